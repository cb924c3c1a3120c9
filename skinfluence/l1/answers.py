"""Answers about squared errors with an L1 penalty: every edit solved, its support checked.

Derivatives are those on the support with its signs: where they stay under a small change, which is
where they exist.
"""

import warnings
from functools import cached_property

import numpy as np
import scipy.linalg

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.naming import rows_have
from skinfluence.answers import LOCAL, Answers, answers_of, check_method
from skinfluence.answers.checks import check_solved_exactly
from skinfluence.l1.optimum import NOT_UNIQUE, factored
from skinfluence.l1.problem import L1Problem
from skinfluence.l1.support import Support
from skinfluence.quantity import Quantity
from skinfluence.solvers import SolveReport


class L1Answers(Answers):
    """Derivatives and edits of a lasso or an elastic net.

    Parameters
    ----------
    problem : L1Problem

    Notes
    -----
    All methods measure from the optimum, which is solved first. ``"one-step"`` holds the support and the
    signs; ``"influence"`` is its first order; ``"auto"`` and ``"exact"`` verify that both stay, and follow
    the columns that come and go where not.
    """

    support_type = Support
    solver_name = "active set"
    # What brings a fit nearer to its optimum.
    nearer = "a smaller tol"

    def __init__(self, problem):
        self.problem = problem
        self.support = self.support_type(problem)
        self.theta = self.support.theta

    def holding(self, hold):
        if hold is None or self.problem.holding(hold) is self.problem:
            return self
        return type(self)(self.problem.holding(hold))

    def polished(self):
        return self

    @cached_property
    def eta(self):
        """Decision values of the training rows at the optimum, (n_samples,)."""
        return self._values(self.problem.design, self.theta[None])[0]

    @cached_property
    def gradients(self):
        """Of the loss in the decision values of the training rows, (n_samples,)."""
        return self.problem.loss.gradient(self.eta[:, None], self.problem.y)[:, 0]

    def _curvatures(self, rows):
        """Of the loss in the decision values of rows, (n_rows,)."""
        return np.ones(len(rows))

    @property
    def _where(self):
        """Where the columns of the support are among the parameters, the intercept last."""
        active, design = self.support.active, self.problem.design
        return np.append(active, design.n_columns - 1) if design.intercept else active

    def _values(self, design, thetas):
        """Decision values at points, (b, m)."""
        return design.multiply(np.ascontiguousarray(thetas.T)).T

    def report(self):
        problem, Z = self.problem, self._row_columns(np.arange(self.problem.n_samples))
        gradient = Z.T @ (problem.weights * self.gradients) + self._penalty_gradient()
        size = np.abs(Z).T @ (problem.weights * np.abs(self.gradients))
        values = np.linalg.eigvalsh(self._hessian) if len(self._hessian) else np.ones(1)
        return SolveReport(
            solver=self.solver_name,
            n_parameters=len(self._hessian),
            iterations=0,
            residual=0.0,
            converged=True,
            rcond=float(values[0] / values[-1]),
            newton_decrement=float(np.sqrt(max(2.0 * self._gap, 0.0))),
            leverage_error=0.0,
            relative_gradient=float((np.abs(gradient) / np.maximum(size, 1e-300)).max(initial=0.0)),
        )

    def _penalty_gradient(self):
        """Of the penalty in the columns of the support, the intercept last."""
        problem, k = self.problem, len(self.support.active)
        out = np.zeros(k + bool(problem.design.intercept))
        out[:k] = problem.l1 * self.support.signs + problem.l2 * self.support.b[self.support.active]
        return out

    @cached_property
    def _best(self):
        """The objective at its optimum."""
        return self.problem.value(self.theta)

    @cached_property
    def _gap(self):
        """By how much the objective of the fit is above that."""
        return self.problem.value(self.problem.theta) - self._best

    @property
    def concern(self):
        problem = self.problem
        if self._gap <= 0.1 * self._best / problem.n_samples + 1e-12 * problem.total_weight:
            return None
        other = self._not_of_the_fit()
        if other is not None:
            raise ValueError(
                "X, y and sample_weight must be those of the fit, the rows in the same order. Got others: at "
                f"these coefficients the objective is {other}. Pass what was given to fit, weights included."
            )
        return (
            f"The fit is not at the optimum of its objective, which is lower by {self._gap:.1e}. Answers are "
            "about the optimum for the X, y, sample_weight and parameters given here. Fit with "
            f"{self.nearer}, and check that the data and parameters are those of the fit."
        )

    def _not_of_the_fit(self):
        """In words, where an objective is that no fit on these data ends at; None if it may be one."""
        if self._gap <= self.problem.leaves:
            return None
        return f"{self._gap:.1e} above its optimum, and the fit stopped below {self.problem.leaves:.1e}"

    # Derivatives

    @cached_property
    def _hessian(self):
        """On the support, the intercept last."""
        problem, k = self.problem, len(self.support.active)
        Z = self._row_columns(np.arange(problem.n_samples))
        H = (problem.weights[:, None] * Z).T @ Z
        H[np.arange(k), np.arange(k)] += problem.l2
        return H

    @cached_property
    def _middle(self):
        """Means of the columns of the support, in units of a free intercept's column; None without one."""
        intercept = self.problem.design.intercept
        return self.support.rows.mean[self.support.active] / intercept if intercept else None

    @cached_property
    def _factor(self):
        """Of the Hessian about the columns' means: far from zero all of them look like the intercept's."""
        if not len(self._hessian) or self._middle is None:
            return factored(self._hessian) if len(self._hessian) else None
        H, rows, k = np.diag(self._hessian.diagonal()), self.support.rows, len(self._middle)
        Z = rows.columns(self.support.active)
        H[:k, :k] = (rows.w[:, None] * Z).T @ Z + self.problem.l2 * np.eye(k)
        return factored(H)

    def _solve(self, right):
        if self._factor is None:
            return right
        if self._middle is None:
            return scipy.linalg.cho_solve(self._factor, right)
        right = np.array(right)
        right[:-1] -= np.multiply.outer(self._middle, right[-1])
        out = scipy.linalg.cho_solve(self._factor, right)
        out[-1] -= self._middle @ out[:-1]
        return out

    def _columns(self, design):
        """Rows of a design on the support, the intercept last, (m, k)."""
        X = design.X[:, self.support.active]
        X = X.toarray() if hasattr(X, "toarray") else X
        if not design.intercept:
            return X
        return np.column_stack([X, np.full(len(X), design.intercept)])

    def _row_columns(self, rows):
        return self._columns(self.problem.design.take(rows))

    def up_params(self, rows):
        problem = self.problem
        step = self._solve(self._row_columns(rows).T * self.gradients[rows])
        out = np.zeros((len(rows), 1, problem.design.n_columns))
        out[:, 0, self._where] = -problem.n_samples * step.T
        return problem.design.in_units(out)

    def _pulls(self, tests, aggregate):
        """``H^-1 z_t g_t`` on the support, (k, m), of the mean for ``aggregate``."""
        eta = self._values(tests.design, self.theta[None])[0]
        slope = self.problem.loss.gradient(eta[:, None], tests.y)[:, 0]
        right = self._columns(tests.design).T * slope
        if aggregate:
            right = right.mean(axis=1, keepdims=True)
        return self._solve(right)

    def up_loss(self, tests, rows, aggregate):
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        pulled = self._row_columns(rows) @ self._pulls(tests, aggregate)
        return -self.problem.n_samples * (pulled * self.gradients[rows, None]).T

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        problem, pulls = self.problem, self._pulls(tests, aggregate)
        d, where = problem.design.n_features, self._where
        inner = where < d
        for block in row_blocks(len(rows), 24 * out.shape[0] * d):
            part = rows[block]
            along = (self._row_columns(part) @ pulls) * self._curvatures(part)[:, None]
            moved = along.T[:, :, None] * self.theta[:d]
            moved[:, :, where[inner]] += pulls[inner].T[:, None, :] * self.gradients[part, None]
            out[:, block] = pull_back(part, -problem.n_samples * moved)
        return out

    def self_influence(self):
        Z = self._row_columns(np.arange(self.problem.n_samples))
        own = np.einsum("ij,ji->i", Z, self._solve(Z.T))
        return self.problem.n_samples * self.gradients**2 * own

    # Edits

    def quantity(self, tests, of, method):
        check_method(method)
        eta = self._values(tests.design, self.theta[None])[0]
        return Quantity(of, self.problem.loss, tests, eta[:, None])

    def row_steps(self, rows, label, method, tol):
        check_method(method)
        for block in row_blocks(len(rows), 64 * self.problem.design.n_columns):
            steps = self._steps(rows[block], method)
            self._warn(rows[block][np.isnan(steps).any(axis=1)])
            yield block, steps[:, None]

    def _steps(self, rows, method):
        """Changes of the parameters without each row, (n_rows, n_columns)."""
        steps = np.zeros((len(rows), len(self.theta)))
        there = np.flatnonzero(self.problem.weights[rows] > 0)
        if method == "influence":
            points = self.problem.weights[rows[there]]
            steps[there] = self._first_order(rows[there], -points)
        else:
            found = self.support.without_each(rows[there], checked=method not in LOCAL)
            steps[there] = found - self.theta
        return steps

    def _first_order(self, rows, dw):
        """Changes to first order when each row's weight changes, on its own."""
        right = self._row_columns(rows).T * (dw * self.gradients[rows])
        return self._spread(self._solve(right + self._penalty_slope(dw)))

    def _penalty_slope(self, shift):
        """How the penalties' gradient moves with the total weight, (k, m)."""
        own = self._penalty_gradient() * (self.problem.hold == "lambda")
        return np.multiply.outer(own, shift) / self.problem.total_weight

    def _spread(self, solved):
        """Minus what was solved on the support, in all columns, (m, n_columns)."""
        out = np.zeros((solved.shape[1], len(self.theta)))
        out[:, self._where] = -solved.T
        return out

    def row_stream(self, quantity, rows, label, method, tol):
        for block, steps in self.row_steps(rows, label, method, tol):
            moved = self._values(quantity.design, steps[:, 0])
            yield block, quantity.change(moved[:, :, None])

    def effects(self, points, quantity, method, tol):
        check_method(method)
        values = np.empty((len(points), *quantity.shape))
        leverage = np.empty(len(points))
        for i, one in enumerate(points):
            step = self._step_of(one, method)
            moved = self._values(quantity.design, step[None])
            values[i] = quantity.change(moved[:, :, None])[0]
            leverage[i] = self._leverage(one)
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        used = np.full(len(points), method if method in LOCAL else "exact", dtype="<U9")
        bound = np.full(len(points), np.inf if method in LOCAL else 0.0)
        return values, bound, used, leverage

    def _step_of(self, points, method):
        if method == "one-step":
            raise ValueError(
                "One step of an L1 penalty holds the support, which is known for removals of single rows. "
                "Got other edits with method='one-step'; ask with 'auto', which is exact."
            )
        if method != "influence":
            return self.support.after(points) - self.theta
        right = self._row_columns(points.rows).T @ (
            points.row_changes * self.gradients[points.rows]
        )
        if points.new is not None:
            eta = self._values(points.new, self.theta[None])[0]
            right += self._columns(points.new).T @ (points.new_weights * (eta - points.new_y))
        slope = self._penalty_slope(np.array([points.shift]))
        return self._spread(self._solve(right[:, None] + slope))[0]

    def _leverage(self, points):
        """Largest eigenvalue of ``D^1/2 h D^1/2`` over the weight taken away, on the support."""
        less = points.row_changes < 0
        if not less.any() or not len(self._where):
            return 0.0
        rows = points.rows[less]
        taken = np.sqrt(-points.row_changes[less] * self._curvatures(rows))
        Z = self._row_columns(rows) * taken[:, None]
        return float(np.linalg.eigvalsh(Z @ self._solve(Z.T))[-1])

    def own_removals(self, method, tol, rows=None):
        check_method(method)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        out = self.eta[rows].copy()
        for block, steps in self.row_steps(rows, None, method, tol):
            own = self.problem.design.take(rows[block])
            X, steps = own.X, steps[:, 0]
            moved = (
                X.multiply(steps[:, : X.shape[1]]).sum(axis=1)
                if hasattr(X, "multiply")
                else (np.einsum("ij,ij->i", X, steps[:, : X.shape[1]]))
            )
            out[block] += np.asarray(moved).ravel()
            if own.intercept:
                out[block] += own.intercept * steps[:, -1]
        return out[:, None]

    def own_group_removals(self, removals, method, tol):
        check_method(method)
        out = self.eta.copy()
        for one in removals:
            step = self._step_of(one, method)
            out[one.rows] += self._values(self.problem.design.take(one.rows), step[None])[0]
        return out[:, None]

    def _warn(self, rows):
        if len(rows):
            warnings.warn(
                f"{rows_have(rows)} no answer (NaN). {NOT_UNIQUE}",
                UserWarning,
                stacklevel=level_outside(),
            )


@answers_of.register
def _(problem: L1Problem, *, solver, hold, precision, verbose):
    check_solved_exactly("A support is followed exactly", solver, precision)
    return L1Answers(problem.holding(hold))
