"""Weights of rows: how they reach the model of a pipeline, and what they do to what rows have."""

import numpy as np
from sklearn import get_config
from sklearn.pipeline import Pipeline


def fit_weights(estimator, sample_weight):
    """The keyword of ``fit`` that brings sample weights to the last step of a pipeline; none for None."""
    if sample_weight is None:
        return {}
    name = "sample_weight"
    if not get_config()["enable_metadata_routing"]:
        path = []
        while isinstance(estimator, Pipeline):
            path.append(estimator.steps[-1][0])
            estimator = estimator.steps[-1][1]
        name = "__".join([*path, name])
    return {name: sample_weight}


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
