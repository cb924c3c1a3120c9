"""From what the user passes to fitted clones."""

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, indexable
from sklearn.utils.validation import column_or_1d

from skinfluence._utils.untouched import untouched
from skinfluence._utils.weights import fit_weights
from skinfluence.inputs.wrappers import opened
from skinfluence.objective import refuse_unknown


def check_data(X, y, sample_weight=None, groups=None):
    """X that can be indexed, y of one dimension, and sample weights, all of one length."""
    if y is None:
        raise ValueError(
            "Leaving a row out requires y to be passed, but the target y is None. Pass the labels "
            "or targets of the rows."
        )
    y = np.asarray(y)
    if y.ndim > 1 and y.shape[1] > 1:
        raise ValueError(
            f"y must be one-dimensional. Got an array of shape {y.shape}. Fit one model per target."
        )
    X, y = indexable(X, y)
    y = column_or_1d(y, warn=True)
    if len(y) < 2:
        raise ValueError("Leaving a row out needs at least 2 rows. Got 1 sample.")
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight)
    weights = sample_weight if np.ndim(sample_weight) else None
    check_consistent_length(X, y, weights, groups)
    return X, y, sample_weight


def check_known(estimator):
    """Refuse estimators that have no objective before any work is done.

    Raises
    ------
    TypeError
    """
    model = estimator
    while isinstance(model, Pipeline | TransformedTargetRegressor):
        model = opened(model).inside
    if hasattr(model, "estimator") and hasattr(model, "fit") and hasattr(model, "refit"):
        raise TypeError(
            "The estimator must not be a search: it would choose its parameters anew without each "
            f"row. Got {type(model).__name__}. Pass its best_estimator_, whose parameters are then "
            "held, or use cross_val_predict for the nested question."
        )
    refuse_unknown(model)


def fitted(estimator, X, y, sample_weight):
    """A clone fitted on all rows, which stay as they are."""
    model = clone(estimator)
    return model.fit(untouched(X, model), y, **fit_weights(model, sample_weight))
