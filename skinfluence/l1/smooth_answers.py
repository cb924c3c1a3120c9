"""Answers about classifiers with an L1 penalty: every edit solved, its support checked.

Derivatives are those on the support with its signs: where they stay under a small change, which is
where they exist.
"""

from functools import cached_property

import numpy as np
import scipy.linalg

from skinfluence._utils.memory import row_blocks
from skinfluence.answers import LOCAL, answers_of, check_method, rows_alone, warn_alone
from skinfluence.l1.answers import L1Answers
from skinfluence.l1.newton import columns_of
from skinfluence.l1.optimum import factored
from skinfluence.l1.smooth_problem import SmoothL1Problem
from skinfluence.l1.smooth_support import SmoothSupport
from skinfluence.quantity import Quantity
from skinfluence.solvers import SolveReport


class SmoothL1Answers(L1Answers):
    """Derivatives and edits of a logistic regression with an L1 penalty, or an elastic net's.

    Parameters
    ----------
    problem : SmoothL1Problem

    Notes
    -----
    As :class:`~skinfluence.l1.answers.L1Answers`, but that ``"one-step"`` is a Newton step on the support.
    """

    def __init__(self, problem):
        self.problem = problem
        self.support = SmoothSupport(problem)
        self.theta = self.support.theta

    def holding(self, hold):
        if hold is None or self.problem.holding(hold) is self.problem:
            return self
        return SmoothL1Answers(self.problem.holding(hold))

    @cached_property
    def gradients(self):
        """Of the loss in the decision values of the training rows, (n_samples,)."""
        return self.problem.loss.gradient(self.eta[:, None], self.problem.y)[:, 0]

    @cached_property
    def _hessian(self):
        return self.support.hessian

    def _columns(self, design):
        return columns_of(design, self.support.active)

    def report(self):
        problem, support = self.problem, self.support
        gap = problem.value(problem.theta) - problem.value(self.theta)
        Z, A = support.columns, support.active
        size = np.abs(Z).T @ (problem.weights * np.abs(self.gradients))
        gradient = Z.T @ (problem.weights * self.gradients) + problem.l2[A] * self.theta[A]
        gradient += problem.l1[A] * support.signs
        values = np.linalg.eigvalsh(self._hessian) if len(A) else np.ones(1)
        return SolveReport(
            solver="active set, Newton",
            n_parameters=len(A),
            iterations=0,
            residual=0.0,
            converged=True,
            rcond=float(values[0] / values[-1]),
            newton_decrement=float(np.sqrt(max(2.0 * gap, 0.0))),
            leverage_error=0.0,
            relative_gradient=float((np.abs(gradient) / np.maximum(size, 1e-300)).max(initial=0.0)),
        )

    @property
    def concern(self):
        problem = self.problem
        best = problem.value(self.theta)
        gap = problem.value(problem.theta) - best
        if gap <= 0.1 * best / problem.n_samples + 1e-12 * problem.total_weight:
            return None
        nothing = problem.value(np.zeros_like(self.theta))
        if problem.value(problem.theta) > nothing:
            raise ValueError(
                "X, y and sample_weight must be those of the fit, the rows in the same order. Got others: at "
                f"these coefficients the objective is {problem.value(problem.theta):.3g}, more than the "
                f"{nothing:.3g} of no coefficients at all. Pass what was given to fit, weights included."
            )
        return (
            f"The fit is not at the optimum of its objective, which is lower by {gap:.1e}. Answers are about "
            "the optimum for the X, y, sample_weight and parameters given here. Fit with a smaller tol and "
            "more iterations (max_iter), on scaled columns, and check that the data are those of the fit."
        )

    # Derivatives

    def _curvatures(self, rows):
        eta, y = self.eta[rows][:, None], self.problem.y[rows]
        return self.problem.loss.hessian(eta, y)[:, 0, 0]

    def up_params(self, rows):
        problem = self.problem
        step = self._solve(self._row_columns(rows).T * self.gradients[rows])
        out = np.zeros((len(rows), 1, problem.design.n_columns))
        out[:, 0, self.support.active] = -problem.n_samples * step.T
        return problem.design.in_units(out)

    def _pulls(self, tests, aggregate):
        eta = self._values(tests.design, self.theta[None])[0]
        right = (
            self._columns(tests.design).T * self.problem.loss.gradient(eta[:, None], tests.y)[:, 0]
        )
        if aggregate:
            right = right.mean(axis=1, keepdims=True)
        return self._solve(right)

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        problem, A = self.problem, self.support.active
        pulls, d = self._pulls(tests, aggregate), problem.design.n_features
        inner = A < d
        for block in row_blocks(len(rows), 24 * out.shape[0] * d):
            part = rows[block]
            along = (self._row_columns(part) @ pulls) * self._curvatures(part)[:, None]
            moved = along.T[:, :, None] * self.theta[:d]
            moved[:, :, A[inner]] += pulls[inner].T[:, None, :] * self.gradients[part, None]
            out[:, block] = pull_back(part, -problem.n_samples * moved)
        return out

    # Edits

    def quantity(self, tests, of, method):
        check_method(method)
        eta = self._values(tests.design, self.theta[None])[0]
        return Quantity(of, self.problem.loss, tests, eta[:, None])

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

    def _penalty_slope(self, shift):
        problem, A = self.problem, self.support.active
        if problem.hold != "lambda":
            return np.zeros((len(A), len(shift)))
        own = problem.l1[A] * self.support.signs + problem.l2[A] * self.theta[A]
        return np.multiply.outer(own, shift) / problem.total_weight

    def _spread(self, solved):
        out = np.zeros((solved.shape[1], len(self.theta)))
        out[:, self.support.active] = -solved.T
        return out

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

    def _leverage(self, points):
        less = points.row_changes < 0
        if not less.any() or not len(self.support.active):
            return 0.0
        rows = points.rows[less]
        taken = np.sqrt(-points.row_changes[less] * self._curvatures(rows))
        Z = self._row_columns(rows) * taken[:, None]
        return float(np.linalg.eigvalsh(Z @ self._solve(Z.T))[-1])


@answers_of.register
def _(problem: SmoothL1Problem, *, solver, hold, precision, verbose):
    if solver not in ("auto", "exact") or precision != "float64":
        raise ValueError(
            "A support is followed exactly: solver must be 'auto' or 'exact' and precision 'float64'. Got "
            f"{solver!r} and {precision!r}."
        )
    return SmoothL1Answers(problem.holding(hold))
