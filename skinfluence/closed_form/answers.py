"""Answers about models in closed form: every edit is what its sums say."""

import warnings
from dataclasses import dataclass

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.naming import rows_have
from skinfluence.answers import EXACT_INSTEAD, EditsOnly, answers_of, check_method
from skinfluence.answers.checks import check_solved_exactly
from skinfluence.closed_form.family import NoModelError
from skinfluence.closed_form.problem import ClosedProblem
from skinfluence.quantity import Quantity


@dataclass(frozen=True)
class ClosedReport:
    """What a model in closed form is made of.

    Attributes
    ----------
    model : str
    n_rows, n_columns : int
    how : str
        What becomes of it without a row.
    held : str or None
        What was chosen on all rows, and every answer holds.
    """

    model: str
    n_rows: int
    n_columns: int
    how: str
    held: str | None = None

    def __str__(self):
        return f"{self.model}, {self.n_rows} rows x {self.n_columns} columns: {self.how}"


class ClosedAnswers(EditsOnly):
    """Edits of a model in closed form, to round-off by every method but ``"influence"``.

    Parameters
    ----------
    problem : ClosedProblem

    Notes
    -----
    Leaving each row out takes it from the sums of its class; any other edit counts again what the rows
    after it add up to, one fit each.
    """

    def __init__(self, problem):
        self.problem = problem
        self.family = problem.family

    @property
    def concern(self):
        return self.family.concern

    def report(self):
        X = self.problem.design.X
        return ClosedReport(self.problem.model_name, *X.shape, self.family.how)

    def holding(self, hold):
        self.problem.holding("auto" if hold is None else hold)
        return self

    # Edits

    def quantity(self, tests, of, method):
        check_method(method)
        if method == "influence":
            raise ValueError(
                f"Edits of {self.problem.model_name} are counted whole: method must be 'auto', 'exact' or "
                "'one-step', which are the same. Got 'influence'."
            )
        return Quantity(of, self.problem.loss, tests, self.family.scores(tests.design.X))

    def row_stream(self, quantity, rows, label, method, tol):
        X, gone = quantity.design.X, []
        if label is not None:
            found = self._relabelled(X, rows, label)
        elif self.problem.held is None:
            found = self.family.scores_without(X, rows)
        else:
            found = self._without_some(X, rows)
        for block, scores in found:
            gone.extend(rows[block][np.isnan(scores).reshape(len(scores), -1).any(axis=1)])
            yield block, quantity.change(scores - quantity.eta)
        self._warn(gone)

    def _without_some(self, X, rows):
        """Scores without each row, where some were removed before: without those nothing changes."""
        place, before = self.problem.place(rows), self.family.scores(X)
        for block in row_blocks(len(rows), 16 * (1 + before.size)):
            there = np.flatnonzero(place[block] >= 0)
            scores = np.tile(before, (len(place[block]), 1, 1))
            for part, found in self.family.scores_without(X, place[block][there]):
                scores[there[part]] = found
            yield block, scores

    def _relabelled(self, X, rows, label):
        family = self.family
        target = self.problem.labels.targets[label]
        for i, row in enumerate(self.problem.place(rows)):
            codes = family.codes.copy()
            if row >= 0:
                codes[row] = target
            yield slice(i, i + 1), self._scores_of(X, family.X, codes, family.weights)[None]

    def effects(self, points, quantity, method, tol):
        values = np.empty((len(points), *quantity.shape))
        leverage = np.empty(len(points))
        for i, one in enumerate(points):
            after = self._after(one)
            scores = after.scores(quantity.design.X)
            values[i] = quantity.change((scores - quantity.eta)[None])[0]
            leverage[i] = self._leverage(one)
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        return values, np.zeros(len(points)), np.full(len(points), "exact"), leverage

    def own_removals(self, method, tol, rows=None):
        self._check_finite(method)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        place = self.problem.place(rows)
        there = place >= 0
        found = np.empty((len(rows), self.problem.loss.n_outputs))
        found[there] = self.family.own_scores(place[there])
        if not there.all():
            found[~there] = self.family.scores(self.problem.design.X[rows[~there]])
        gone = rows[np.isnan(found).any(axis=1)]
        self._warn(np.setdiff1d(gone, self._lonely()))
        return found

    def own_group_removals(self, removals, method, tol):
        self._check_finite(method)
        out = self.family.scores(self.problem.design.X)
        for one in removals:
            out[one.rows] = self._after(one).scores(self.problem.design.X[one.rows])
        return out

    def _after(self, points):
        """The family after an edit; rows of weight zero are gone."""
        problem = self.problem
        design, y, weights = points.applied(problem.design, problem.y, problem.weights)
        there = np.ones(len(weights), dtype=bool)
        there[points.rows] = weights[points.rows] > 0
        if problem.held is not None:
            there &= weights > 0
        problem.check_counts(weights[there])
        return self.family.again(design.X[there], y[there], weights[there])

    def _scores_of(self, X, *rows):
        try:
            return self.family.again(*rows).scores(X)
        except NoModelError:
            return np.full((X.shape[0], self.problem.loss.n_outputs), np.nan)

    def _leverage(self, points):
        """The largest share that an edit takes of the weight of a class, or of all."""
        less = np.maximum(-points.row_changes, 0.0)
        if self.problem.labels is None:
            return less.sum() / self.problem.total_weight
        taken = np.bincount(self.problem.y[points.rows], less, self.family.n_classes)
        return float((taken / np.bincount(self.family.codes, self.family.weights)).max())

    def _check_finite(self, method):
        check_method(method)
        if method == "influence":
            self._refuse("its first order", EXACT_INSTEAD)

    def _lonely(self):
        if not self.problem.needs_all_classes:
            return np.empty(0, dtype=np.intp)
        codes = self.family.codes
        alone = np.flatnonzero(np.bincount(codes)[codes] == 1)
        return alone if self.problem.held is None else self.problem.held[alone]

    def _warn(self, gone):
        if len(gone):
            warnings.warn(
                f"{rows_have(np.asarray(gone))} no answer (NaN): the others have no fit, because a class "
                "is left without rows, a covariance is singular, or there are fewer rows than neighbours.",
                UserWarning,
                stacklevel=level_outside(),
            )


@answers_of.register
def _(problem: ClosedProblem, *, solver, hold, precision, verbose):
    problem.holding(hold)
    how = f"For {problem.model_name} no system is solved"
    check_solved_exactly(how, solver, precision, ("auto",))
    return ClosedAnswers(problem)
