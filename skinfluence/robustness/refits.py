"""The user's estimator fitted again on the edited rows: what everything else is compared with."""

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter

from skinfluence._utils.weights import HAND_ON, fit_weights, unless_ones
from skinfluence.editing.rows import edited_raw, edited_rows
from skinfluence.editing.writing import innermost, rebuilt
from skinfluence.inputs.wrappers import opened


def refit_after(influence, edit, frozen=None):
    """A clone of the estimator, fitted on the rows after an edit.

    Parameters
    ----------
    influence : Influence
    edit : Edit
    frozen : {None, "accept", "refuse"}
        With ``"accept"`` the model alone is fitted again, on what its transformers make of the rows.

    Returns
    -------
    refit : estimator
        Of searches and frozen estimators, what is inside them.
    X, y, weight
        The rows that are left, as they were given, and None for weights that are all one.
    """
    rows, inputs = edited_rows(influence, edit), influence.data.inputs
    replaced = {row: one.x for row, one in rows.changed.items() if one.x is not None}
    X = edited_raw(inputs.raw, replaced, [one.x for one in rows.added])
    y, weight = influence.data.y.copy(), influence.objective.own_weights.copy()
    for row, one in rows.changed.items():
        weight[row] = one.sample_weight
        if one.y is not None:
            y[row] = one.y
    if rows.added:
        y = np.concatenate([y, [one.y for one in rows.added]])
        weight = np.append(weight, [one.sample_weight for one in rows.added])
    gone = sorted(influence.data.gone | set(rows.gone.tolist()))
    left = np.setdiff1d(np.arange(len(y)), gone)
    estimator = _fitted_one(influence.estimator)
    if frozen == "accept":
        Z = inputs.transform(_safe_indexing(X, left))
        model = _fit(clone(innermost(estimator)), Z, y[left], weight[left])
        refit = rebuilt(estimator, model, None)
    else:
        refit = _fit(clone(estimator), _safe_indexing(X, left), y[left], weight[left])
    return refit, _safe_indexing(X, left), y[left], unless_ones(weight[left])


def _fitted_one(estimator):
    """The estimator that is fitted on all rows: the chosen one of a search."""
    while not isinstance(estimator, Pipeline | TransformedTargetRegressor):
        layer = opened(estimator)
        if layer is None or layer.transformers:
            break
        estimator = layer.inside
    return estimator


def _fit(estimator, X, y, weight):
    if unless_ones(weight) is None:
        return estimator.fit(X, y)
    if not (has_fit_parameter(estimator, "sample_weight") or isinstance(estimator, HAND_ON)):
        raise TypeError(
            f"Rows of other weights than 1 need an estimator that takes sample_weight. Got "
            f"{type(estimator).__name__}."
        )
    return estimator.fit(X, y, **fit_weights(estimator, weight))
