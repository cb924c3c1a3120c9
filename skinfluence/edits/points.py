"""What edits become: training rows whose weight changes, and new rows with a weight."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from skinfluence.design import Design
from skinfluence.edits.constructors import Edit, is_given
from skinfluence.problem import weight_of_kinds

NOTHING_LEFT = "The edit removes all the training weight: nothing is left to fit."


class NoOptimumError(ValueError):
    """An edit leaves nothing, a class without weight, or classes that a model without a penalty separates.

    The model would have no optimum.

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
    places : ndarray of int, default=None
        Of each new row the training row in whose place it comes, -1 behind all. None where that is
        not known.
    """

    rows: np.ndarray
    row_changes: np.ndarray
    new: Design | None
    new_y: np.ndarray | None
    new_weights: np.ndarray
    gone: np.ndarray | None = None
    places: np.ndarray | None = None

    @cached_property
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
        From raw labels, and offsets or None, to ``(y, class_weight)`` of the loss.
    labels : pandas Index, default=None
        Of the training rows.

    Raises
    ------
    IndexError
        For a row that does not exist.
    ValueError
        For weights that would become negative, or an edit that removes everything.
    """
    weights, sample_weight = objective.weights, objective.sample_weight
    changes, gone = {}, set()
    new_X, new_y, new_weights, places = [], [], [], []
    for term, row in terms_of(edit, objective.n_samples, labels):
        gone.update([row] if term.scale < 0 and not term.reweighted else [])
        if not np.isfinite(term.amount):
            raise ValueError(f"Weights must be finite. Got {term.amount}.")
        if row is not None and term.x is None and not is_given(term.y):
            own = sample_weight[row]
            # The class weight is w / s; a row of sample weight zero has to look its own up.
            factor = (
                weights[row] / own if own else objective.class_weights_of(objective.y[[row]])[0]
            )
            change = term.scale * weights[row] + factor * term.amount
            changes[row] = changes.get(row, 0.0) + change
            continue
        x = _given(objective.design, row) if term.x is None else encode_x(term.x)
        if not is_given(term.y):
            y = objective.y[[row]]
            factor = objective.class_weights_of(y)[0]
        else:
            y, factor = encode_y([term.y], [offset_of(term, row, objective)])
            factor = factor[0]
        amount = term.amount + (term.scale * sample_weight[row] if row is not None else 0.0)
        new_X.append(x)
        new_y.append(y)
        new_weights.append(amount * factor)
        places.append(-1 if row is None else row)
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
        # Training rows may be kept dense where what users pass is sparse.
        sparse = any(sp.issparse(x) for x in new_X)
        stacked = sp.vstack(new_X, format="csr") if sparse else np.vstack(new_X)
        new = objective.design.like(stacked)
        new_y = np.concatenate(new_y)
        _refuse_outside(objective, stacked)
        weighted = np.flatnonzero(new_weights > 0)
        _refuse_overflow(objective, new.take(weighted), new_y[weighted])
    else:
        new, new_y = None, None
    fresh = rows[(weights[rows] <= 0) & (after > 0)]
    if len(fresh):
        _refuse_overflow(objective, objective.design.take(fresh), objective.y[fresh])
    gone, places = np.array(sorted(gone), np.intp), np.array(places, np.intp)
    points = Points(rows, row_changes, new, new_y, new_weights, gone, places)
    # In a stream of edits each is asked of rows of its own.
    _refuse_nothing_left(objective, points, look_around=True)
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


def edited(objective, points):
    """The objective after an edit, at the same parameters (rows of weight zero stay)."""
    design, y, weights = points.applied(objective.design, objective.y, objective.weights)
    penalty = objective.penalty + points.shift * objective.unit_penalty
    return replace(
        objective, design=design, y=y, weights=weights, penalty=penalty, sample_weight=None
    )


def terms_of(edit, n, labels=None):
    """Each term of an edit with the position of its row among ``n``, None for a new one.

    Raises
    ------
    TypeError
        For what is not an edit.
    IndexError
        For a row that does not exist.
    ValueError
        For a row that is named twice.
    """
    if not isinstance(edit, Edit):
        raise TypeError(f"An edit is made by skinfluence.edits.remove, relabel, ... Got {edit!r}.")
    taken, found = set(), {}
    for term in edit.terms:
        row = None if term.row is None else _position(term.row, n, labels, found)
        if term.scale < 0:
            if row in taken:
                raise ValueError(f"An edit may change a row once. Row {row} is named twice.")
            taken.add(row)
        yield term, row


def offset_of(term, row, problem):
    """What stands beside the decision value of a point: the row's own offset, or the one given with it."""
    own = problem.offset
    return term.offset if row is None or own is None else own[row]


def _position(row, n, labels, found):
    """The position of one row; ``found`` keeps those of rows that were named together."""
    if isinstance(row, tuple):
        rows, k = row
        if id(rows) not in found:
            found[id(rows)] = rows.positions(n, labels)
        return int(found[id(rows)][k])
    if not -n <= row < n:
        raise IndexError(f"Rows must be below {n}, the rows given to fit. Got row {row}.")
    return row % n


def _given(design, row):
    """A training row as the model was given it."""
    moved = getattr(design, "shift", None) is not None
    return design.given([row]) if moved else design.X[[row]]


def refuse_emptied(problem, before, after):
    """Refuse an edit that leaves no weight to a class, or to the positive targets.

    Parameters
    ----------
    problem : Problem
        One of :attr:`~skinfluence.problem.Problem.needing`.
    before, after : ndarray of shape (n_kinds,)
        The weight of each of its kinds.

    Raises
    ------
    NoOptimumError
    """
    gone = np.flatnonzero((before > 0) & (after <= 1e-12 * before))
    if len(gone):
        raise NoOptimumError(
            "Every class must keep weight after the edit, and so must the positive targets of a count "
            f"model. Got an edit that leaves none to {problem.kind_name(gone[0])}: "
            f"{problem.without_a_class}. Fit the model that is meant on the remaining rows."
        )


def _refuse_nothing_left(objective, points, look_around=False):
    if not objective.keeps_weight(points.shift):
        raise NoOptimumError(NOTHING_LEFT)
    if objective.needs_all_classes and not (look_around and _others_outweigh(objective, points)):
        _refuse_empty_class(objective, points)


def _refuse_empty_class(objective, points):
    for one, kinds, before in objective.own_kinds:
        after = before + weight_of_kinds(kinds[points.rows], points.row_changes, len(before))
        if points.new is not None:
            after += weight_of_kinds(one.kinds(points.new_y), points.new_weights, len(before))
        refuse_emptied(one, before, after)


def _others_outweigh(objective, points):
    """Whether, of each kind that weight is taken of, a row weighs as much that the edit leaves alone.

    Few rows are looked at: an edit of one row takes no pass over all of them.
    """
    rows, (step, known) = points.rows, objective.some_kinds
    weights, seen = (
        objective.weights[::step],
        [row // step for row in rows.tolist() if not row % step],
    )
    if seen:
        weights = weights.copy()
        weights[seen] = 0.0
    for one, others in known:
        taken = {}
        kinds = one.kinds(objective.y[rows])
        for kind, change in zip(kinds.tolist(), points.row_changes.tolist(), strict=True):
            taken[kind] = taken.get(kind, 0.0) - change
        taken.pop(-1, None)
        if any(lost > weights[others == kind].max(initial=0.0) for kind, lost in taken.items()):
            return False
    return True


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
    """Of a smooth model: rows that come in where the loss, or what is derived from it, is not a number."""
    if not hasattr(objective, "theta") or not hasattr(objective.loss, "hessian_state"):
        return
    with np.errstate(all="ignore"):
        eta = new.multiply(objective.theta.T)
        size = [objective.loss.value(eta, new_y), objective.loss.gradient(eta, new_y)]
        # Squared: what an answer multiplies.
        if math.isfinite(sum(float(np.vdot(one, one)) for one in size)):
            return
        lost = ~np.isfinite(
            [np.square(np.reshape(one, (len(eta), -1))).sum(axis=1) for one in size]
        )
    if lost.any():
        row = int(np.flatnonzero(lost.any(axis=0))[0])
        raise ValueError(
            "The loss of a row that comes in, new or without weight so far, must be a number at the fit. Got "
            f"one whose decision value is {np.abs(eta[row]).max():.3g}, where it overflows; is the row in "
            "the units of the training rows?"
        )
