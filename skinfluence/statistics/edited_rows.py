"""The training set that an edit leaves, row by row, as the steps of a pipeline would see it."""

from dataclasses import dataclass

import numpy as np

from skinfluence.edits import NoOptimumError
from skinfluence.edits.points import NOTHING_LEFT, refuse_emptied
from skinfluence.edits.rows import row_changes
from skinfluence.problem import amounts, weight_of_kinds
from skinfluence.statistics.balanced import class_is_gone, counts, ratios

__all__ = ["EditedRows", "relabelled", "rows_after", "without"]


@dataclass(frozen=True, eq=False)
class EditedRows:
    """Rows that are still there, rows that are new, and what both count.

    A row that an edit removes is gone; one whose weight an edit sets to 0 is there, and a scaler
    counts it.

    Attributes
    ----------
    kept : ndarray of int
        Training rows that are there, with the features they had.
    new : list
        Containers of one raw row: replaced rows and added ones, which come after those kept.
    raw_y : ndarray of shape (n_rows,)
        As the user has them.
    y : ndarray of shape (n_rows, ...)
        As the loss wants them.
    sample_weight, weights : ndarray of shape (n_rows,)
        Before and after class weights.
    gone : ndarray of int
        Training rows that are not there as they were.
    ratio : ndarray of shape (n_classes,) or None
        What balanced class weights are multiplied by; infinite for a class that is gone.
    relabels, reweights : bool
        Whether a row that is there has another target, or another weight.
    order : ndarray of int, shape (n_rows,), default=None
        The rows as they stand in the table, where replaced ones are in their places. None where that is
        how they come.
    """

    kept: np.ndarray
    new: list
    raw_y: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray
    weights: np.ndarray
    gone: np.ndarray
    ratio: np.ndarray | None = None
    relabels: bool = False
    reweights: bool = False
    order: np.ndarray | None = None

    @property
    def moves_features(self):
        """Whether steps that look at the features see other rows."""
        return bool(len(self.gone) or self.new)

    @property
    def lone(self):
        """The row, where the edit does nothing but remove it; else None."""
        more = self.new or self.relabels or self.reweights
        return int(self.gone[0]) if len(self.gone) == 1 and not more else None


def without(problem, raw_y, rows):
    """The training set without some rows.

    Parameters
    ----------
    problem : Problem
    raw_y : ndarray of shape (n_samples,)
    rows : ndarray of int
    """
    kept = np.delete(np.arange(problem.n_samples), rows)
    y, own = problem.y[kept], problem.own_weights[kept]
    weights, ratio = _balanced(problem, kept, y, own, problem.weights[kept])
    return EditedRows(kept, [], raw_y[kept], y, own, weights, np.atleast_1d(rows), ratio)


def relabelled(problem, raw_y, row, label):
    """The training set with another class at one row, by the position of the class.

    Parameters
    ----------
    problem : Problem
        Of a classifier.
    raw_y : ndarray of shape (n_samples,)
    row, label : int
    """
    labels = problem.labels
    raw, y, weights = raw_y.copy(), np.array(problem.y), problem.weights.copy()
    raw[row], y[row] = labels.classes[label], labels.relabelled(label, y[[row]])[0]
    own = problem.own_weights
    weights[row] = own[row] * labels.class_weight[label]
    rows, nothing = np.arange(problem.n_samples), np.empty(0, dtype=np.intp)
    weights, ratio = _balanced(problem, rows, y, own, weights)
    return EditedRows(rows, [], raw, y, own, weights, nothing, ratio, relabels=True)


def rows_after(edit, problem, raw_y, raw_row, encode_y, labels=None):
    """The training set that an :class:`~skinfluence.edits.Edit` leaves.

    Parameters
    ----------
    edit : Edit
    problem : Problem
    raw_y : ndarray of shape (n_samples,)
        Training targets as the user has them.
    raw_row : callable
        From one raw row to a container of one row.
    encode_y : callable
        From raw labels, and offsets or None, to ``(y, class_weight)`` of the loss.
    labels : pandas Index, default=None
        Of the training rows.

    Raises
    ------
    IndexError
        For a row that does not exist.
    ValueError
        For a row that is named twice, or an edit that leaves nothing or a class without weight.
    """
    there = np.ones(problem.n_samples, dtype=bool)
    raw, y, own = raw_y.copy(), np.array(problem.y), problem.own_weights.copy()
    factor = problem.class_weights_of(problem.y).astype(float)
    changes = row_changes(edit, problem, labels)
    relabels = reweights = False
    for row, one in changes.changed.items():
        # A row of other features stands among the new ones.
        there[row] = one.present and one.x is None
        if one.y is not None and one.x is None:
            code, class_weight = encode_y([one.y], [one.offset])
            raw[row], y[row] = _as_label(problem, code, one.y), code[0]
            factor[row], relabels = class_weight[0], True
        elif there[row]:
            own[row], reweights = one.sample_weight, True
    replaced = {row: one for row, one in changes.changed.items() if one.x is not None}
    come = [*replaced.values(), *changes.added]
    new = [raw_row(one.x) for one in come]
    kept = np.flatnonzero(there)
    gone = np.flatnonzero(~there)
    raw, y, own, weights = raw[kept], y[kept], own[kept], (own * factor)[kept]
    if new:
        stay = [raw_y[row] for row in replaced] + [None] * len(changes.added)
        new_raw = [was if one.y is None else one.y for one, was in zip(come, stay, strict=True)]
        new_own = [one.sample_weight for one in come]
        code, class_weight = encode_y(new_raw, [one.offset for one in come])
        new_raw = [_as_label(problem, code[[i]], one) for i, one in enumerate(new_raw)]
        raw = np.concatenate([raw, np.asarray(new_raw)])
        y, own = np.concatenate([y, code]), np.concatenate([own, new_own])
        weights = np.concatenate([weights, np.array(new_own) * class_weight])
    weights, ratio = _balanced(problem, kept, y, own, weights)
    order = None
    if replaced:
        behind = problem.n_samples + np.arange(len(changes.added))
        order = np.argsort(np.concatenate([kept, np.array([*replaced]), behind]))
    after = EditedRows(kept, new, raw, y, own, weights, gone, ratio, relabels, reweights, order)
    _refuse_empty(problem, after)
    return after


def _balanced(problem, kept, y, own, weights):
    """Weights where those of classes are balanced anew, and what these are multiplied by."""
    labels = problem.labels
    if not problem.balanced:
        return weights, None
    codes = labels.codes_of(y)
    if problem.balanced != "weights":
        # Rows count whatever the edit makes them weigh.
        own = np.append(problem.own_weights[kept], np.ones(len(own) - len(kept)))
    left = np.bincount(codes, amounts(problem.balanced, own), len(labels.classes))
    ratio = ratios(counts(problem), left)
    with np.errstate(invalid="ignore"):
        # Rows that weigh nothing of a class whose weight would be infinite: NaN, as is the answer.
        return weights * ratio[codes], ratio


def _as_label(problem, code, value):
    """A label in the type of the classes, a target as it is."""
    if problem.labels is None:
        return value
    return problem.labels.classes[problem.labels.codes_of(code)[0]]


def _refuse_empty(problem, after):
    if after.ratio is not None and not np.isfinite(after.ratio).all():
        raise class_is_gone(problem, np.argmax(np.isinf(after.ratio)))
    if not after.weights.sum() > 1e-12 * problem.total_weight:
        raise NoOptimumError(NOTHING_LEFT)
    for one, _, before in problem.own_kinds:
        left = weight_of_kinds(one.kinds(after.y), after.weights, len(before))
        refuse_emptied(one, before, left)
