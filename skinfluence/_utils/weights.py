"""Weights of rows: how they reach the model of a pipeline, and what they do to what rows have."""

import numpy as np
from sklearn import get_config
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from skinfluence._utils._compat import BaseSearchCV

# What gives the keywords of its fit to what it is around.
HAND_ON = (Pipeline, BaseSearchCV, TransformedTargetRegressor)


def fit_weights(estimator, sample_weight):
    """The keyword of ``fit`` that brings sample weights to the last step of a pipeline; none for None.

    Also of a pipeline that a search tries, or that is fitted on transformed targets.
    """
    if sample_weight is None:
        return {}
    name = "sample_weight"
    if not get_config()["enable_metadata_routing"]:
        path = []
        while isinstance(estimator, HAND_ON):
            if isinstance(estimator, Pipeline):
                path.append(estimator.steps[-1][0])
                estimator = estimator.steps[-1][1]
            elif isinstance(estimator, BaseSearchCV):
                estimator = estimator.estimator
            else:
                estimator = estimator.regressor
        name = "__".join([*path, name])
    return {name: sample_weight}


def unless_ones(weights):
    """The weights, or None; None where all are 1, too: fits that take no weights are given none."""
    return None if weights is None or (weights == 1.0).all() else weights


def weigh(weights, values):
    """``weights * values``, with nothing where a weight is: infinite values included.

    Rows without weight are no part of an objective, and decision values that nobody fitted can be so far
    out that a loss overflows.

    Parameters
    ----------
    weights, values : ndarray
        Of shapes that are broadcast together; losses of rows, or derivatives.

    Returns
    -------
    weighed : ndarray
    """
    if weights.all():
        return weights * values
    with np.errstate(invalid="ignore"):
        found = weights * values
    np.copyto(found, 0.0, where=weights == 0)
    return found
