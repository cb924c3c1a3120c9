"""Rows are removed from a fitted model, one request after the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence import edits
from skinfluence._utils.influences import influence_of
from skinfluence._utils.weights import unless_ones
from skinfluence.problem import refuse_chosen, refuse_curve
from skinfluence.unlearning.receipts import Receipt, receipt


@dataclass(frozen=True, eq=False)
class Forgotten:
    """A model without some rows.

    Attributes
    ----------
    estimator : estimator
        To deploy; it holds nothing of the rows that were removed.
    influence : Influence
        For the next request. It still holds the removed rows, as all training data: drop it, and
        what it was made of, when no request is to come.
    receipt : Receipt

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, unlearning
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> done = unlearning.forget(Influence(Ridge().fit(X, y), X, y), 3)
    >>> done.estimator.predict([[5.0]]).round(3)
    array([2.])
    >>> Ridge().fit(X[:3], y[:3]).predict([[5.0]]).round(3)
    array([2.])
    """

    estimator: Any
    influence: Any
    receipt: Receipt


def forget(influence, rows=None, *, labels=None, frozen=None):
    """Remove rows from a fitted model, with a receipt that the retained rows verify.

    Parameters
    ----------
    influence : Influence or estimator
        Of the deployed model, or that of the request before: rows keep their numbers.
    rows : int, array-like of int or of bool, default=None
    labels : label or array-like of labels, default=None
        Names the rows by the index of the training frame, instead of ``rows``.
    frozen : {None, "accept", "refuse"}, default=None
        As in :meth:`~skinfluence.Influence.after`. With ``"accept"`` the transformers of a pipeline still
        hold what they learned from removed rows, and there is no receipt for those.

    Returns
    -------
    forgotten : Forgotten

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence import Influence, unlearning
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> inf = Influence(LogisticRegression(max_iter=500).fit(X, y), X, y)
    >>> done = unlearning.forget(inf, [3, 77])
    >>> bool(done.receipt.distance < 1e-8)
    True
    >>> done = unlearning.forget(done.influence, 120)
    >>> X_left, y_left = unlearning.retained(done.influence)
    >>> unlearning.verify(done.receipt, done.estimator, X_left, y_left).holds
    True
    """
    influence = influence_of(influence, "Receipts are of")
    refuse_chosen(influence.objective, "Receipts of forgetting")
    refuse_curve(influence.objective, "Receipts of forgetting")
    after = influence.after(edits.remove(rows, labels=labels), frozen=frozen)
    X, y, weight = _left(after)
    given = receipt(after.estimator, X, y, weight)
    return Forgotten(after.estimator, after, given)


def retained(influence):
    """The rows that are left after requests, as they were passed.

    Parameters
    ----------
    influence : Influence

    Returns
    -------
    X : array-like of shape (n_retained, n_features)
    y : ndarray of shape (n_retained,)
        And, where there were weights, ``sample_weight`` of shape (n_retained,).

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, unlearning
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> done = unlearning.forget(Influence(Ridge().fit(X, y), X, y), 3)
    >>> X_left, y_left = unlearning.retained(done.influence)
    >>> y_left
    array([0., 1., 1.])
    """
    X, y, weight = _left(influence)
    return (X, y) if weight is None else (X, y, weight)


def _left(influence):
    n = influence.objective.n_samples
    left = np.setdiff1d(np.arange(n), list(influence.data.gone))
    weight = influence.objective.own_weights[left]
    X = _safe_indexing(influence.data.inputs.raw, left)
    return X, influence.data.y[left], unless_ones(weight)
