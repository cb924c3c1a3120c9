"""Balanced class weights: they move with an edit, as a refit would move them.

``c_k = W / (K W_k)`` with the weight (or the number of rows) ``W_k`` of class k and ``W`` of all: a
row that leaves changes the weights of its own class, and of all classes through ``W``. The change is
the same for all rows of a class that weigh the same, so that the model under the new class weights is
fitted once for all of them, from the old one; what a row does itself is an edit of that model.
"""

import warnings
from dataclasses import replace

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence._utils.naming import rows_have
from skinfluence._utils.progress import progress_bar
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.edits import NoOptimumError
from skinfluence.problem import amounts
from skinfluence.smooth.answers import SmoothAnswers
from skinfluence.smooth.reweighted import ReweightedAnswers
from skinfluence.statistics.held import MovingAnswers, started_at

# Answers under other class weights are kept for the next question up to this size.
KEPT_BYTES = 2**28


def with_balanced(answers):
    """The answers in which class weights move with the rows; themselves where they were given."""
    return BalancedAnswers(answers) if answers.problem.balanced else answers


def counts(problem):
    """What ``"balanced"`` counts of each class, (n_classes,)."""
    every = np.arange(problem.n_samples)
    counted = _amounts(problem, every)
    return np.bincount(_codes(problem, every), counted, len(problem.labels.classes))


def ratios(before, after):
    """What the weight of each class is multiplied by; infinite for a class that is gone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return after.sum() / before.sum() * np.where(before > 0, before / after, 1.0)


class EmptiedClassError(NoOptimumError):
    """A class has no rows left, so that its balanced weight would be infinite."""


def class_is_gone(problem, k):
    """The error of an edit that leaves no rows to class number k, where class weights are balanced."""
    return EmptiedClassError(
        "Every class must keep rows after the edit where class weights are balanced. Got an edit that leaves "
        f"none to class {problem.labels.classes[k]}: its weight would be infinite. Fit the model that is "
        "meant on the remaining rows."
    )


def _codes(problem, rows):
    return problem.labels.codes_of(problem.y[rows])


def _amounts(problem, rows):
    return amounts(problem.balanced, problem.sample_weight[rows])


class BalancedAnswers(MovingAnswers):
    """Answers about edits after which class weights are balanced anew.

    Derivatives, and what diagnostics are made of, keep the weights of the fit.

    Parameters
    ----------
    held : Answers
        With class weights as fitted.
    """

    def __init__(self, held):
        super().__init__(held)
        self._counts = counts(held.problem)
        self._kept = {}

    def row_stream(self, quantity, rows, label, method, tol):
        for some, answers in self._alike(rows, label, method):
            if answers is None:
                yield some, np.full((len(some), *quantity.shape), np.nan)
                continue
            moved = started_at(quantity, answers, self._held, method)
            for block, values in answers.row_stream(moved, rows[some], label, method, tol):
                yield some[block], values

    def row_steps(self, rows, label, method, tol):
        for some, answers in self._alike(rows, label, method):
            if answers is None:
                yield some, np.full((len(some), *self.problem.theta.shape), np.nan)
                continue
            for block, moved in answers.row_steps(rows[some], label, method, tol):
                yield some[block], moved

    def own_removals(self, method, tol, rows=None):
        return self._own("own_removals", method, tol, rows)

    def removals_at(self, rows, gammas, Z, each=False):
        """See :meth:`HingeAnswers.removals_at`."""
        out = np.full((len(rows), 1 if each else Z.shape[0], self.problem.loss.n_outputs), np.nan)
        for some, answers in self._alike(rows, None, "exact", say_alone=False):
            if answers is not None:
                points = Z[some] if each else Z
                out[some] = answers.removals_at(rows[some], gammas[some], points, each)
        return out

    def own_removals_rescaled(self, method, tol, rows, ratio, fills=None):
        """See :meth:`SmoothAnswers.own_removals_rescaled`."""
        return self._own("own_removals_rescaled", method, tol, rows, ratio, fills)

    def rescaled_stream(self, quantity, rows, ratio, method, tol, fills=None, there=None):
        """See :meth:`SmoothAnswers.rescaled_stream`."""
        for some, answers in self._alike(rows, None, method):
            if answers is None:
                yield some, np.full((len(some), *quantity.shape), np.nan)
                continue
            moved = started_at(quantity, answers, self._held, method)
            own = fills and fills.take(some)
            stream = answers.rescaled_stream(
                moved, rows[some], ratio[some], method, tol, own, there
            )
            for block, values in stream:
                yield some[block], values

    def rescaled_effects(self, quantity, rows, ratio, method, tol, fills=None, there=None):
        """See :meth:`SmoothAnswers.rescaled_effects`."""
        values = np.full((*quantity.shape[:1], len(rows), *quantity.shape[1:]), np.nan)
        bound, used = np.full(len(rows), np.inf), np.full(len(rows), method, dtype="<U9")
        leverage = np.full(len(rows), np.nan)
        for some, answers in self._alike(rows, None, method):
            if answers is None:
                continue
            moved = started_at(quantity, answers, self._held, method)
            own = fills and fills.take(some)
            found = answers.rescaled_effects(
                moved, rows[some], ratio[some], method, tol, own, there
            )
            values[(slice(None), some) if quantity.shape else some] = found[0]
            bound[some], used[some], leverage[some] = found[1:]
        return values, bound, used, leverage

    def _own(self, question, method, tol, rows, *arrays):
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        out = None
        # Rows alone in their class are said to be so by those who ask for own values.
        for some, answers in self._alike(rows, None, method, say_alone=False):
            if answers is None:
                continue
            own = [one if one is None else one[some] for one in arrays]
            values = getattr(answers, question)(method, tol, rows[some], *own)
            if out is None:
                out = np.full((len(rows), values.shape[1]), np.nan)
            out[some] = values
        return np.full((len(rows), self.problem.loss.n_outputs), np.nan) if out is None else out

    def own_group_removals(self, removals, method, tol):
        out = np.full((self.problem.n_samples, self.problem.loss.n_outputs), np.nan)
        for one in removals:
            answers, points = self._after(one, method)
            values = answers.own_group_removals([points], method, tol)
            out[one.rows] = values[one.rows]
        return out

    def effects(self, points, quantity, method, tol):
        found = []
        with progress_bar(len(points), "edits", self.verbose) as advance:
            for one in points:
                answers, moved = self._after(one, method)
                moved_quantity = started_at(quantity, answers, self._held, method)
                found.append(answers.effects([moved], moved_quantity, method, tol))
                advance(1)
        values, *trust = zip(*found, strict=True) if found else self._nothing(quantity, method, tol)
        axis = 1 if quantity.shape else 0
        return np.concatenate(values, axis=axis), *[np.concatenate(one) for one in trust]

    def _nothing(self, quantity, method, tol):
        return [[part] for part in self._held.effects([], quantity, method, tol)]

    def _alike(self, rows, label, method, say_alone=True):
        """Rows that move the class weights alike, with the answers under those; None for no model.

        Yields
        ------
        some : ndarray of int
            Positions among ``rows``.
        answers : Answers or None
        """
        kinds = np.column_stack([_codes(self.problem, rows), _amounts(self.problem, rows)])
        distinct, kind = np.unique(kinds, axis=0, return_inverse=True)
        kind, gone = kind.ravel(), []
        for i, (code, amount) in enumerate(distinct):
            some = np.flatnonzero(kind == i)
            moved = np.zeros(len(self._counts))
            moved[int(code)] -= amount
            if label is not None:
                moved[label] += amount
            if self._leaves_none(moved):
                gone.append(rows[some])
                yield some, None
            else:
                yield some, self._at(moved, method)
        if gone:
            gone = np.concatenate(gone)
            alone = np.isin(gone, rows_alone(self.problem))
            if alone.any() and say_alone:
                warn_alone(self.problem, gone[alone])
            if not alone.all():
                _warn_gone(gone[~alone])

    def _leaves_none(self, moved):
        return bool((self._counts + moved <= 1e-12 * self._counts).any())

    def _after(self, points, method):
        """The answers under the class weights after an edit, and the edit under them."""
        problem, classes = self.problem, np.arange(len(self._counts))
        codes = _codes(problem, points.rows)
        new = np.empty(0, dtype=np.intp)
        if points.new is not None:
            new = problem.labels.codes_of(points.new_y)
        if problem.balanced != "weights":
            lost, gained = _codes(problem, points.gone), np.ones(len(new))
            moved = -np.bincount(lost, minlength=len(classes)).astype(float)
        else:
            weight = problem.labels.class_weight
            gained = points.new_weights / weight[new]
            moved = np.bincount(codes, points.row_changes / weight[codes], len(classes))
        moved = moved + np.bincount(new, gained, len(classes))
        if self._leaves_none(moved):
            raise class_is_gone(problem, np.argmin(self._counts + moved))
        ratio = ratios(self._counts, self._counts + moved)
        if method == "influence":
            return self._at(moved, method), points
        changed = replace(
            points,
            row_changes=points.row_changes * ratio[codes],
            new_weights=points.new_weights * ratio[new],
        )
        return self._at(moved, method), changed

    def _at(self, moved, method):
        """The answers where the counts of the classes have moved."""
        if not moved.any():
            return self._held
        ratio = ratios(self._counts, self._counts + moved)
        if method == "influence":
            ratio = 1.0 + moved.sum() / self._counts.sum() - moved / self._counts
        key = (ratio.tobytes(), method if method in ("influence", "one-step") else "auto")
        with self._lock:
            if key not in self._kept:
                answers = _reweighted(self._held, ratio, method)
                size = max(answers.problem.n_samples, 1) * 8
                size *= getattr(answers.problem, "n_parameters", answers.problem.n_samples)
                while self._kept and (len(self._kept) + 1) * size > KEPT_BYTES:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = answers
            return self._kept[key]

    def __getstate__(self):
        return {**super().__getstate__(), "_kept": {}}


def _reweighted(answers, ratio, method):
    if isinstance(answers, SmoothAnswers):
        return ReweightedAnswers.of(answers, ratio, method)
    return answers.reweighted(ratio, method)


def _warn_gone(rows):
    warnings.warn(
        f"{rows_have(rows)} no answer (NaN): without them a class has no rows, so its balanced weight "
        "would be infinite. Add rows of that class or drop the class.",
        UserWarning,
        stacklevel=level_outside(),
    )
