"""The estimator of an influence, fitted again without one of its rows."""

import numpy as np
from sklearn.base import clone

from skinfluence._utils.weights import fit_weights


def refitted(influence, row):
    """A clone of the estimator, fitted on all rows but one.

    Parameters
    ----------
    influence : Influence
    row : int

    Returns
    -------
    model : estimator
    X : array-like of n_samples - 1 rows
        The others, as they were given; so is ``y``.
    y : ndarray of shape (n_samples - 1,)
    weight : ndarray of shape (n_samples - 1,) or None
        None for weights that are all 1.
    """
    others = np.delete(np.arange(influence.objective.n_samples), row)
    X, y = influence.data.inputs.raw_rows(others), influence.data.y[others]
    weight = influence.objective.sample_weight
    weight = None if weight is None or np.all(weight == 1.0) else weight[others]
    model = clone(influence.estimator)
    return model.fit(X, y, **fit_weights(model, weight)), X, y, weight
