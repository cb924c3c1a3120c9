"""Answers about classifiers with an L1 penalty: every edit solved, its support checked.

Derivatives are those on the support with its signs: where they stay under a small change, which is
where they exist.
"""

from functools import cached_property

import numpy as np
import scipy.linalg

from skinfluence._utils.memory import row_blocks
from skinfluence.answers import LOCAL, answers_of, check_method
from skinfluence.answers.checks import check_solved_exactly, rows_alone, warn_alone
from skinfluence.l1.answers import L1Answers
from skinfluence.l1.newton import columns_of
from skinfluence.l1.optimum import factored
from skinfluence.l1.smooth_problem import SmoothL1Problem
from skinfluence.l1.smooth_support import SmoothSupport


class SmoothL1Answers(L1Answers):
    """Derivatives and edits of a logistic regression with an L1 penalty, or an elastic net's.

    Parameters
    ----------
    problem : SmoothL1Problem

    Notes
    -----
    As :class:`~skinfluence.l1.answers.L1Answers`, but that ``"one-step"`` is a Newton step on the support.
    """

    support_type = SmoothSupport
    solver_name = "active set, Newton"
    nearer = "a smaller tol and more iterations (max_iter), on scaled columns"

    _middle = None

    @cached_property
    def _hessian(self):
        return self.support.hessian

    @property
    def _where(self):
        return self.support.active

    def _columns(self, design):
        return columns_of(design, self.support.active)

    def _penalty_gradient(self):
        problem, A = self.problem, self.support.active
        return problem.l1[A] * self.support.signs + problem.l2[A] * self.theta[A]

    def _not_of_the_fit(self):
        fitted = self.problem.value(self.problem.theta)
        nothing = self.problem.value(np.zeros_like(self.theta))
        if fitted <= nothing:
            return None
        return f"{fitted:.3g}, more than the {nothing:.3g} of no coefficients at all"

    # Derivatives

    def _curvatures(self, rows):
        eta, y = self.eta[rows][:, None], self.problem.y[rows]
        return self.problem.loss.hessian(eta, y)[:, 0, 0]

    # Edits

    def row_steps(self, rows, label, method, tol):
        check_method(method)
        alone = np.isin(rows, rows_alone(self.problem))
        if alone.any():
            warn_alone(self.problem, rows[alone])
        for block in row_blocks(len(rows), 64 * self.problem.design.n_columns):
            steps = self._label_steps(rows[block], label, method)
            steps[alone[block]] = np.nan
            self._warn(rows[block][np.isnan(steps).any(axis=1) & ~alone[block]])
            yield block, steps[:, None]

    def _label_steps(self, rows, label, method):
        """Changes of the parameters without each row, or with another label, (n_rows, n_columns)."""
        problem = self.problem
        y, w = problem.y[rows], np.zeros(len(rows))
        if label is not None:
            y = np.full(len(rows), problem.labels.targets[label])
            w = problem.sample_weight[rows] * problem.labels.class_weight[label]
            w = np.where(
                problem.labels.codes_of(problem.y[rows]) == label, problem.weights[rows], w
            )
        steps = np.zeros((len(rows), len(self.theta)))
        moved = (problem.weights[rows] != w) | (problem.y[rows] != y)
        there = np.flatnonzero(moved & ((problem.weights[rows] > 0) | (w > 0)))
        some = rows[there]
        if method == "influence":
            eta = self.eta[some][:, None]
            pulled = w[there] * problem.loss.gradient(eta, y[there])[:, 0]
            pulled -= problem.weights[some] * self.gradients[some]
            slope = self._penalty_slope(w[there] - problem.weights[some])
            steps[there] = self._spread(self._solve(self._row_columns(some).T * pulled + slope))
        else:
            checked = method not in LOCAL
            steps[there] = self.support.after_each(some, y[there], w[there], checked) - self.theta
        return steps

    def _step_of(self, points, method):
        if method not in LOCAL:
            return self.support.after(points) - self.theta
        problem, Z = self.problem, self._row_columns(points.rows)
        right = Z.T @ (points.row_changes * self.gradients[points.rows])
        curved = points.row_changes * self._curvatures(points.rows)
        H = self._hessian + (curved[:, None] * Z).T @ Z
        if points.new is not None:
            eta, Z = (
                self._values(points.new, self.theta[None])[0][:, None],
                self._columns(points.new),
            )
            right += Z.T @ (points.new_weights * problem.loss.gradient(eta, points.new_y)[:, 0])
            curved = points.new_weights * problem.loss.hessian(eta, points.new_y)[:, 0, 0]
            H = H + (curved[:, None] * Z).T @ Z
        right = right[:, None] + self._penalty_slope(np.array([points.shift]))
        if method == "influence" or not len(H):
            return self._spread(self._solve(right))[0]
        left = float(problem.share(np.asarray(problem.total_weight + points.shift)))
        H = H + np.diag((left - 1.0) * problem.l2[self.support.active])
        return self._spread(scipy.linalg.cho_solve(factored(H), right))[0]


@answers_of.register
def _(problem: SmoothL1Problem, *, solver, hold, precision, verbose):
    check_solved_exactly("A support is followed exactly", solver, precision)
    return SmoothL1Answers(problem.holding(hold))
