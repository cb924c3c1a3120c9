"""Finite questions: what the model would be after a change of the training set.

An edit is a short list of weighted points. Removing a row or a group, relabelling, replacing,
adding and reweighting all become rows whose weight changes (``(row, dw)``) and new rows with a
weight; one routine answers them. The constructors here are what users write; the rest turns them
into a change of the parameters, to first order or by one Newton step.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from dataclasses import replace as _replaced
from enum import Enum
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from skinfluence._utils.rows import named
from skinfluence._utils.typing import Names
from skinfluence.design import Design

__all__ = ["Edit", "NoOptimumError", "add", "relabel", "remove", "replace", "reweight"]


class _Unset(Enum):
    # A member of an enumeration, so that it is itself in a pickle too.
    UNSET = 0


_UNSET = _Unset.UNSET


def is_given(value):
    """Whether a term of an edit says this, or leaves it as it is."""
    return value is not _UNSET


@dataclass(frozen=True, eq=False)
class _Term:
    """One weighted point. Its sample weight is ``scale`` x the row's own + ``amount``.

    The row is a position, or a pair: rows as they were named, and which of them. Before a model a
    row that leaves is one of weight 0; before steps that count rows it is not.
    """

    row: object
    x: object = None
    y: object = _UNSET
    scale: float = 0.0
    amount: float = 0.0
    leaves: bool = False
    reweighted: bool = False


@dataclass(frozen=True, eq=False)
class Edit:
    """A change of the training set; add edits with ``+`` to make them together.

    Made by :func:`remove`, :func:`relabel`, :func:`replace`, :func:`add` and :func:`reweight`.

    Attributes
    ----------
    terms : tuple
        Its weighted points.

    Examples
    --------
    >>> from skinfluence import edits
    >>> change = edits.remove([3, 7]) + edits.relabel(5, 1)
    >>> len(change.terms)
    4
    """

    terms: tuple

    def __add__(self, other: "Edit") -> "Edit":
        if not isinstance(other, Edit):
            return NotImplemented
        return Edit(self.terms + other.terms)

    def __radd__(self, other: Literal[0]) -> "Edit":
        # sum() starts from 0.
        return self if other == 0 else NotImplemented

    def __repr__(self) -> str:
        return f"Edit({len(self.terms)} weighted points)"


def _rows(rows, labels):
    rows = named(rows, labels)
    if not len(rows):
        raise ValueError("An edit must name at least one row. Got none.")
    if rows.kind == "positions":
        return [int(row) for row in rows.names]
    return [(rows, k) for k in range(len(rows))]


def _per_row(values, rows, name):
    if isinstance(values, str) or np.ndim(values) == 0:
        return [values] * len(rows)
    values = list(values)
    if len(values) != len(rows):
        raise ValueError(
            f"{name} must hold one value per row. Got {len(values)} for {len(rows)} rows."
        )
    return values


def _weight(value):
    value = float(value)
    if not 0.0 <= value < np.inf:
        raise ValueError(f"sample_weight must be finite and non-negative. Got {value}.")
    return value


def remove(rows: ArrayLike | None = None, *, labels: Names | Hashable = None) -> Edit:
    """Remove a row, or several together.

    Parameters
    ----------
    rows : int, array-like of int or of bool, default=None
        Positions in the training data, or a mask of them; a mask that is a Series is aligned by its
        index.
    labels : label or array-like of labels, default=None
        Names the rows by the index of the training frame, instead of ``rows``.

    Examples
    --------
    >>> from skinfluence import edits
    >>> edits.remove(3) + edits.add([0.5, 1.0], "spam")
    Edit(2 weighted points)
    """
    return Edit(tuple(_Term(row, scale=-1.0, leaves=True) for row in _rows(rows, labels)))


def reweight(
    rows: ArrayLike | None = None,
    sample_weight: ArrayLike | _Unset = _UNSET,
    *,
    labels: Names | Hashable = None,
) -> Edit:
    """Give rows another sample weight.

    Parameters
    ----------
    rows, labels
        As in :func:`remove`.
    sample_weight : float or array-like of float
        The new weights, before class weights.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.reweight(3, 2.0), [[5.0]], of="predict").values.round(3)
    array([0.304])
    >>> refit = Ridge().fit(X, y, sample_weight=[1, 1, 1, 2])
    >>> (refit.predict([[5.0]]) - Ridge().fit(X, y).predict([[5.0]])).round(3)
    array([0.304])
    """
    _check_given("reweight", sample_weight=sample_weight)
    chosen = _rows(rows, labels)
    weights = [_weight(w) for w in _per_row(sample_weight, chosen, "sample_weight")]
    pairs = zip(chosen, weights, strict=True)
    return Edit(tuple(_Term(r, scale=-1.0, amount=w, reweighted=True) for r, w in pairs))


def relabel(
    rows: ArrayLike | None = None,
    y: ArrayLike | _Unset = _UNSET,
    *,
    labels: Names | Hashable = None,
) -> Edit:
    """Give rows another label or target, their features and sample weights kept.

    Parameters
    ----------
    rows, labels
        As in :func:`remove`; ``labels`` name rows, they are no classes.
    y : label or array-like of labels
        The new labels, in the user's own coding.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.relabel(3, 5.0), [[5.0]], of="predict").values.round(3)
    array([1.])
    """
    _check_given("relabel", y=y)
    chosen = _rows(rows, labels)
    terms = []
    for row, label in zip(chosen, _per_row(y, chosen, "y"), strict=True):
        terms += [_Term(row, scale=-1.0), _Term(row, y=label, scale=1.0)]
    return Edit(tuple(terms))


def replace(
    row: int | None = None, x: Any = _UNSET, y: Any = _UNSET, *, labels: Hashable = None
) -> Edit:
    """Replace the features of a row, and its label if one is given.

    Parameters
    ----------
    row : int, default=None
    x : array-like of shape (n_features,)
    y : label, optional
    labels : label, default=None
        Names the row by the index of the training frame, instead of ``row``.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.replace(3, [3.0]), [[5.0]], of="predict").values.round(3)
    array([0.667])
    """
    _check_given("replace", x=x)
    rows = _rows(row, labels)
    if len(rows) != 1:
        raise ValueError(f"replace changes one row. Got {len(rows)}; add one edit for each.")
    return Edit((_Term(rows[0], scale=-1.0), _Term(rows[0], x=x, y=y, scale=1.0)))


def _check_given(name, **given):
    for parameter, value in given.items():
        if value is _UNSET:
            raise TypeError(f"edits.{name} needs {parameter}. Got none.")


def add(x: Any, y: Any, sample_weight: float = 1.0) -> Edit:
    """Add a new row.

    Parameters
    ----------
    x : array-like of shape (n_features,)
    y : label or float
    sample_weight : float, default=1.0

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.add([5.0], 6.0), [[5.0]], of="predict").values.round(3)
    array([0.952])
    """
    return Edit((_Term(None, x=x, y=y, amount=_weight(sample_weight)),))


class NoOptimumError(ValueError):
    """An edit leaves nothing, or a class without weight: the model would have no optimum.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 0, 1]
    >>> inf = Influence(LogisticRegression().fit(X, y), X, y)
    >>> try:
    ...     inf.effect(edits.remove(3), [[1.0]], [0])
    ... except edits.NoOptimumError:
    ...     print("without row 3 there is one class left")
    without row 3 there is one class left
    """


@dataclass(frozen=True, eq=False)
class Points:
    """An edit in the core's terms.

    Parameters
    ----------
    rows : ndarray of int, shape (m,)
        Training rows whose weight changes.
    row_changes : ndarray of shape (m,)
        By how much.
    new : Design or None
        The new rows, relabelled and replaced ones included.
    new_y : ndarray of shape (m_new, ...)
    new_weights : ndarray of shape (m_new,)
    gone : ndarray of int, default=None
        Training rows that are not there any more, whatever they weighed; relabelled and replaced
        ones come back among the new. None where only weights are known.
    """

    rows: np.ndarray
    row_changes: np.ndarray
    new: Design | None
    new_y: np.ndarray | None
    new_weights: np.ndarray
    gone: np.ndarray | None = None

    @property
    def shift(self):
        """``sum dw``, the change of the total weight."""
        return float(self.row_changes.sum() + self.new_weights.sum())

    def applied(self, design, y, weights):
        """The design, the targets and the weights after the edit of those before it."""
        weights = weights.copy()
        weights[self.rows] = np.maximum(weights[self.rows] + self.row_changes, 0.0)
        if self.new is None:
            return design, y, weights
        return (
            design.extended(self.new),
            np.concatenate([y, self.new_y]),
            np.concatenate([weights, self.new_weights]),
        )


def resolve(edit, objective, encode_x, encode_y, labels=None):
    """Turn an :class:`Edit` into :class:`Points`.

    Parameters
    ----------
    edit : Edit
    objective : Objective
    encode_x : callable
        From one raw row to a (1, n_features) array of the model's inputs.
    encode_y : callable
        From raw labels to ``(y, class_weight)`` of the loss.
    labels : pandas Index, default=None
        Of the training rows.

    Raises
    ------
    IndexError
        For a row that does not exist.
    ValueError
        For weights that would become negative, or an edit that removes everything.
    """
    if not isinstance(edit, Edit):
        raise TypeError(f"An edit is made by skinfluence.edits.remove, relabel, ... Got {edit!r}.")
    n = objective.n_samples
    weights, sample_weight = objective.weights, objective.sample_weight
    changes, taken, gone = {}, set(), set()
    new_X, new_y, new_weights = [], [], []
    found = {}
    for term in edit.terms:
        row = None if term.row is None else position(term.row, n, labels, found)
        if term.scale < 0 and row in taken:
            raise ValueError(f"An edit may change a row once. Row {row} is named twice.")
        taken.update([row] if term.scale < 0 else [])
        gone.update([row] if term.scale < 0 and not term.reweighted else [])
        if not np.isfinite(term.amount):
            raise ValueError(f"Weights must be finite. Got {term.amount}.")
        if row is not None and term.x is None and term.y is _UNSET:
            own = sample_weight[row]
            # The class weight is w / s; a row of sample weight zero has to look its own up.
            factor = (
                weights[row] / own if own else objective.class_weights_of(objective.y[[row]])[0]
            )
            change = term.scale * weights[row] + factor * term.amount
            changes[row] = changes.get(row, 0.0) + change
            continue
        x = _given(objective.design, row) if term.x is None else encode_x(term.x)
        if term.y is _UNSET:
            y = objective.y[[row]]
            factor = objective.class_weights_of(y)[0]
        else:
            y, factor = encode_y([term.y])
            factor = factor[0]
        amount = term.amount + (term.scale * sample_weight[row] if row is not None else 0.0)
        new_X.append(x)
        new_y.append(y)
        new_weights.append(amount * factor)
    rows = np.array(sorted(changes), dtype=np.intp)
    row_changes = np.array([changes[row] for row in rows], dtype=float)
    new_weights = np.array(new_weights, dtype=float)
    after = weights[rows] + row_changes
    # Round-off of w - w is not a negative weight.
    if (after < -1e-12 * np.maximum(1.0, weights[rows])).any() or (new_weights < 0).any():
        raise ValueError(
            "Weights must be non-negative after the edit. The edit takes more weight from row "
            f"{rows[np.argmin(after)] if len(rows) else '(new)'} than it has; is it named twice?"
        )
    if new_X:
        stacked = sp.vstack(new_X, format="csr") if sp.issparse(new_X[0]) else np.vstack(new_X)
        new = objective.design.like(stacked)
        new_y = np.concatenate(new_y)
        _refuse_outside(objective, stacked)
        _refuse_overflow(objective, new, new_y)
    else:
        new, new_y = None, None
    points = Points(rows, row_changes, new, new_y, new_weights, np.array(sorted(gone), np.intp))
    _refuse_nothing_left(objective, points)
    return points


def removal(objective, rows):
    """The :class:`Points` of :func:`remove`, of many rows at once.

    Parameters
    ----------
    objective : Objective
    rows : ndarray of int
        Distinct, sorted.

    Raises
    ------
    NoOptimumError
    """
    nothing = np.empty(0)
    points = Points(rows, -objective.weights[rows], None, None, nothing, rows)
    _refuse_nothing_left(objective, points)
    return points


def _refuse_nothing_left(objective, points):
    if not objective.keeps_weight(points.shift):
        raise NoOptimumError("The edit removes all the training weight: nothing is left to fit.")
    _refuse_empty_class(objective, points)


def position(row, n, labels, found):
    """The position of one row; ``found`` keeps those of rows that were named together."""
    if isinstance(row, tuple):
        rows, k = row
        if id(rows) not in found:
            found[id(rows)] = rows.positions(n, labels)
        return int(found[id(rows)][k])
    if not -n <= row < n:
        raise IndexError(f"Rows must be below {n}, the rows given to fit. Got row {row}.")
    return row % n


def _refuse_outside(objective, X):
    """Of columns that depend on each other: new rows in which they do not."""
    outside = getattr(objective.design, "outside", None)
    if outside is not None and outside(X).any():
        raise ValueError(
            "The columns of an added or replaced row must depend on each other as those of the training rows "
            "do. Got a row that would determine coefficients that they leave open. Refit with it, drop "
            "columns, or penalise the model."
        )


def _refuse_overflow(objective, new, new_y):
    """Of a smooth model: new rows at which the loss, or what is derived from it, is not a number."""
    if not hasattr(objective, "theta") or not hasattr(objective.loss, "hessian_state"):
        return
    with np.errstate(all="ignore"):
        eta = new.multiply(objective.theta.T)
        # Squared: what an answer multiplies.
        size = [objective.loss.value(eta, new_y), objective.loss.gradient(eta, new_y)]
        lost = ~np.isfinite(
            [np.square(np.reshape(one, (len(eta), -1))).sum(axis=1) for one in size]
        )
    if lost.any():
        row = int(np.flatnonzero(lost.any(axis=0))[0])
        raise ValueError(
            "The loss of an added or replaced row must be a number at the fit. Got a row whose decision "
            f"value is {np.abs(eta[row]).max():.3g}, where it overflows; is the row in the units of the "
            "training rows?"
        )


def no_weight_left(problem, kind):
    """The error of an edit that leaves no weight to a class, or to the positive targets."""
    return NoOptimumError(
        "Every class must keep weight after the edit, and so must the positive targets of a count "
        f"model. Got an edit that leaves none to {problem.kind_name(kind)}: {problem.without_a_class}. "
        "Fit the model that is meant on the remaining rows."
    )


def _refuse_empty_class(objective, points):
    if not objective.needs_all_classes:
        return
    kinds, before = objective.own_kinds
    # From -1 on: targets of no kind come first, and do not count.
    n_kinds = len(before) + 1
    after = before + np.bincount(kinds[points.rows] + 1, points.row_changes, n_kinds)[1:]
    if points.new is not None:
        after += np.bincount(objective.kinds(points.new_y) + 1, points.new_weights, n_kinds)[1:]
    gone = np.flatnonzero((before > 0) & (after <= 1e-12 * before))
    if len(gone):
        raise no_weight_left(objective, gone[0])


def _given(design, row):
    """A training row as the model was given it."""
    moved = getattr(design, "shift", None) is not None
    return design.given([row]) if moved else design.X[[row]]


def edited(objective, points):
    """The objective after an edit, at the same parameters (rows of weight zero stay)."""
    design, y, weights = points.applied(objective.design, objective.y, objective.weights)
    penalty = objective.penalty + points.shift * objective.unit_penalty
    return _replaced(
        objective, design=design, y=y, weights=weights, penalty=penalty, sample_weight=None
    )
