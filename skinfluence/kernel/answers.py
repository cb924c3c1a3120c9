"""Answers about kernel ridge regression: squared error, so that every edit has a closed form.

    Phi(f) = sum_i w_i (y_i - f(x_i))^2 / 2 + alpha / 2 |f|_H^2,      f = sum_j beta_j k(x_j, .)

With ``A = K + alpha W^-1``, ``beta = A^-1 y`` and ``s_t = A^-1 k_t`` the removal of row i moves the
decision value of t by ``-s_ti beta_i / (A^-1)_ii``, and its own to ``y_i - beta_i / (A^-1)_ii``.
Every quantity below is written with ``A^-1`` and ``beta``, never as a difference of decision
values, so that no digits are lost where the model nearly interpolates.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.answers import answers_of, check_method
from skinfluence.kernel.edits import change_of, solve_edit
from skinfluence.kernel.function_answers import FunctionAnswers, check_options
from skinfluence.kernel.others import effect_on_others
from skinfluence.kernel.problem import KernelProblem
from skinfluence.kernel.system import KernelSystem
from skinfluence.solvers import SolveReport

# Of the terms of the system of a fit; Cholesky leaves 1e-13, and lstsq little more.
# Of a kernel matrix in single precision rounding leaves 1e-7.
OTHER_ROWS, OTHER_ROWS_SINGLE = 1e-10, 1e-4


class KernelAnswers(FunctionAnswers):
    """Effects of edits of a kernel ridge regression, exact but for ``"influence"``.

    Parameters
    ----------
    problem : KernelProblem

    Attributes
    ----------
    K : ndarray of shape (n_samples, n_samples)
        The kernel matrix.
    system : KernelSystem
    solved_y : SolvedSide
    beta : ndarray of shape (n_active,)
        The solution. Arrays over *active* rows, those of positive weight, are in the system's order.
    place : ndarray of int, shape (n_samples,)
        Where the system has each training row; -1 for rows of weight zero.

    Notes
    -----
    All methods measure from the exact solution of the problem: its closed form is cheaper than a
    step to it. O(n^3) once, O(n^2) per test point.
    """

    def __init__(self, problem):
        self.problem = problem
        n = problem.n_samples
        check_fits((3, n, n), "Fit on fewer rows.", "The kernel system")
        self.K = problem.design.values
        _refuse_indefinite(self.K, problem.design.kernel)
        self.system = KernelSystem(self.K, problem.weights, problem.alpha)
        self.place = np.full(n, -1)
        self.place[self.system.rows] = np.arange(len(self.system.rows))
        self._solve()

    def _solve(self):
        self.solved_y = self.system.solved(self.problem.y[self.system.rows, None])
        self.beta = self.solved_y.solution[:, 0]

    def with_targets(self, y):
        """Answers about the same rows with other targets, (n_samples,), on the same factor."""
        made = object.__new__(type(self))
        made.problem = replace(self.problem, y=y)
        made.K, made.system, made.place = self.K, self.system, self.place
        made._solve()
        return made

    def beside(self, problem):
        """Answers about another target of the same rows, on the same factor; None for other problems."""
        own = self.problem
        same = isinstance(problem, KernelProblem) and problem.design is own.design
        if not same or problem.alpha != own.alpha or problem.weights is not own.weights:
            return None
        made = self.with_targets(problem.y)
        made.problem = problem
        return made

    # The solution

    @cached_property
    def eta(self):
        """Decision values of all training rows, (n_samples,)."""
        return self.problem.y + self.gradients

    @cached_property
    def gradients(self):
        """``f_i - y_i`` of all training rows, (n_samples,)."""
        active, idle = self.system.rows, np.flatnonzero(self.place < 0)
        out = np.empty(self.problem.n_samples)
        out[active] = -self.system.ridge * self.beta
        out[idle] = self.decide(self.K[np.ix_(active, idle)]) - self.problem.y[idle]
        return out

    def decide(self, columns):
        """Decision values of points from their kernel values with the active rows, (n_active, m)."""
        out = self.system.apply(columns, self.beta[:, None])[:, 0]
        if self.system.refines:
            # Large coefficients cancel: even the digits that they lost to rounding count.
            out += columns.T @ self.solved_y.low[:, 0]
        return out

    def columns(self, new):
        """Kernel values of the training rows with new ones, (n_samples, q)."""
        known = self.K[:, new.idle]
        if new.design is None:
            return known
        return np.concatenate([known, self.problem.design.cross(new.design)], axis=1)

    def among(self, new):
        """Kernel values of new rows among themselves, (q, q)."""
        known = self.K[np.ix_(new.idle, new.idle)]
        if new.design is None:
            return known
        edge = self.columns(new)[new.idle, len(new.idle) :]
        return np.block([[known, edge], [edge.T, new.design.kernel(new.design.X)]])

    def report(self):
        return self._report

    @cached_property
    def _report(self):
        problem, system = self.problem, self.system
        off = problem.dual_coef.copy()
        off[system.rows] -= self.beta
        moved = self.K @ off
        inside = problem.weights @ moved**2 + problem.alpha * max(off @ moved, 0.0)
        gradient = self.K @ (problem.weights * moved + problem.alpha * off)
        pull = np.abs(self.K) @ (problem.weights * np.abs(self.gradients))
        residual, target = self.solved_y.residual, self.solved_y.right
        return SolveReport(
            solver="kernel Cholesky" + (", refined" if system.refines else ""),
            n_parameters=len(self.beta),
            iterations=0,
            residual=float(np.linalg.norm(residual) / max(np.linalg.norm(target), 1e-300)),
            converged=True,
            rcond=system.rcond,
            newton_decrement=float(np.sqrt(inside)),
            leverage_error=0.0,
            relative_gradient=float(np.abs(gradient).max() / max(pull.max(), 1e-300)),
        )

    @property
    def concern(self):
        report = self.report()
        value = 0.5 * self.problem.alpha * float(self.problem.y[self.system.rows] @ self.beta)
        if 0.5 * report.newton_decrement**2 <= 0.1 * value / self.problem.n_samples + 1e-12:
            return None
        self._refuse_other_rows()
        return (
            "The fit is not the solution of its problem: Newton decrement "
            f"{report.newton_decrement:.1e}. Answers are about the solution for the X, y, "
            "sample_weight and parameters given here; check that they are those of the fit."
        )

    def _refuse_other_rows(self):
        """A solution in closed form is that of a system a rounding away: larger, it is another's."""
        rows, system = self.system.rows, self.system
        dual = self.problem.dual_coef[rows]
        left = system.K @ dual + system.ridge * dual - self.problem.y[rows]
        size = np.abs(system.K) @ np.abs(dual) + system.ridge * np.abs(dual)
        error = np.linalg.norm(left) / np.linalg.norm(size + np.abs(self.problem.y[rows]))
        if error > (OTHER_ROWS_SINGLE if self.problem.single else OTHER_ROWS):
            raise ValueError(
                "X, y and sample_weight must be those of the fit, the rows in the same order. Got "
                f"others: the coefficients of the fitted model leave {error:.0e} of the terms of their "
                "system, and a solution in closed form leaves round-off. Pass what was given to fit, "
                "weights included."
            )

    # Derivatives

    def up_loss(self, tests, rows, aggregate):
        columns, solved, _ = self._pulls(tests, aggregate)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        h = self._responses(columns, solved, rows)
        return -self.problem.n_samples * (h * self.gradients[rows, None]).T

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        # h_t and f stay as functions, their values at x_i differentiate: g_i grad h_t + h_ti grad f.
        problem = self.problem
        columns, solved, pulls = self._pulls(tests, aggregate)
        X, kernel = problem.design.X, problem.design.kernel
        centres = X[self.system.rows]
        for block in row_blocks(len(rows), 24 * out.shape[0] * problem.design.n_features):
            part = rows[block]
            moved = kernel.grad_combination(X[part], tests.design.X, pulls)
            moved -= kernel.grad_combination(X[part], centres, solved.solution)
            moved *= self.gradients[part, None] / problem.alpha
            slope = kernel.grad_combination(X[part], centres, self.beta[:, None])
            moved += self._responses(columns, solved, part).T[:, :, None] * slope
            moved *= -problem.n_samples
            out[:, block] = pull_back(part, moved)
        return out

    def self_influence(self):
        return self.problem.n_samples * self.gradients**2 * self._own_responses

    @cached_property
    def is_positive(self):
        """Whether no kernel value of two training rows is negative."""
        return bool((self.K >= 0.0).all())

    def test_columns(self, design):
        """Kernel values of all training rows with points, (n_samples, m)."""
        # Points first: a precomputed kernel knows their values with the training rows only.
        return np.ascontiguousarray(design.cross(self.problem.design).T)

    def _pulls(self, tests, aggregate):
        """Kernel values, solved, and weights of the points, times ``g_t``; summed for the mean."""
        columns = self.test_columns(tests.design)
        pulls = np.diag(self.decide(columns[self.system.rows]) - tests.y)
        if aggregate:
            pulls = pulls.mean(axis=1, keepdims=True)
            columns = columns @ pulls
        else:
            columns = columns * pulls.diagonal()
        return columns, self.system.solved(columns[self.system.rows]), pulls

    def _responses(self, columns, solved, rows):
        """``h_it``, the inverse Hessian between training rows and points, (n_rows, m)."""
        out = np.empty((len(rows), columns.shape[1]))
        place = self.place[rows]
        held = place >= 0
        out[held] = solved.solution[place[held]] / self.problem.weights[rows[held], None]
        idle = rows[~held]
        if len(idle):
            known = self.system.solved(self.K[np.ix_(self.system.rows, idle)])
            out[~held] = known.left_of(columns[idle], solved) / self.problem.alpha
        return out

    @cached_property
    def _own_responses(self):
        """``h_ii`` of every training row."""
        system, idle = self.system, np.flatnonzero(self.place < 0)
        out = np.empty(self.problem.n_samples)
        w = self.problem.weights[system.rows]
        out[system.rows] = (1.0 - system.ridge * system.inverse.diagonal()) / w
        for block in row_blocks(len(idle), 8, budget=8 * 64):
            some = idle[block]
            known = system.solved(self.K[np.ix_(system.rows, some)])
            out[some] = known.own_left(self.K[some, some]) / self.problem.alpha
        return out

    # Edits

    def values_at(self, design):
        return self.decide(self.test_columns(design)[self.system.rows])

    def removal_steps(self, design, rows, method):
        factors = self._removal_factors(method)
        place = self.place[rows]
        S = self.system.solve(self.test_columns(design)[self.system.rows])
        for block in row_blocks(len(rows), 24 * S.shape[1]):
            part = place[block]
            # Rows of weight zero have nothing to take away.
            yield block, np.where(part >= 0, -factors[part], 0.0)[:, None] * S[part]

    def _removal_factors(self, method):
        """What moves ``-s_ti`` for the removal of each active row, (n_active,)."""
        check_method(method)
        if method == "influence":
            return -self.gradients[self.system.rows]
        return self.beta / self.system.inverse.diagonal()

    def edit_steps(self, points, design, method):
        columns = self.test_columns(design)
        tests = self.system.solved(columns[self.system.rows])
        for one in points:
            solved = solve_edit(self, change_of(self, one), method)
            moved = tests.solution[solved.active].T @ solved.coef
            if len(solved.new):
                start = self._with_points(solved.new, columns, design)
                moved += solved.known.left_of(start, tests).T @ solved.new_coef
            yield moved, solved

    def _with_points(self, new, columns, design):
        """Kernel values of new rows with points, (q, m)."""
        known = columns[new.idle]
        if new.design is None:
            return known
        return np.concatenate([known, new.design.cross(design)])

    def own_removals(self, method, tol, rows=None):
        found = self._without(method)[:, None]
        return found if rows is None else found[rows]

    def _without(self, method):
        factors, system = self._removal_factors(method), self.system
        out = self.eta.copy()
        if method == "influence":
            h = self._own_responses[system.rows]
            out[system.rows] += self.problem.weights[system.rows] * h * -factors
        else:
            out[system.rows] = self.problem.y[system.rows] - factors
        return out

    def effect_on_others(self, answered, thorough=False):
        return effect_on_others(self, answered)

    def own_group_removals(self, removals, method, tol):
        check_method(method)
        out = self.eta.copy()
        for one in removals:
            solved = solve_edit(self, change_of(self, one), method)
            held = self.place[one.rows] >= 0
            rows, idle = one.rows[held], one.rows[~held]
            U = self.place[rows]
            if method == "influence":
                at_rows = self.system.inverse[np.ix_(U, solved.active)] @ solved.coef
                out[rows] += solved.coef - self.system.ridge[U] * at_rows
            else:
                # mu = X_UU^-1 beta_U is the whole residual: f + dy - mu would cancel.
                out[rows] = self.problem.y[rows] + solved.coef
            S = self.system.solve(self.K[np.ix_(self.system.rows, idle)])
            out[idle] += S[solved.active].T @ solved.coef
        return out[:, None]


@answers_of.register
def _(problem: KernelProblem, *, solver, hold, precision, verbose):
    check_options(problem, solver, hold, precision)
    return KernelAnswers(problem)


def _refuse_indefinite(K, kernel):
    if not np.isfinite(K).all():
        raise ValueError(
            f"Kernel values must be finite. {kernel!r} gives NaN or infinity on the training rows."
        )
    if kernel.is_psd:
        return
    values = np.linalg.eigvalsh(K)
    if values[0] < -1e-10 * max(values[-1], 0.0):
        raise ValueError(
            "The kernel must be positive semi-definite, else the problem has no minimum. Got "
            f"{kernel!r} with a kernel matrix whose eigenvalues reach from {values[0]:.1e} to "
            f"{values[-1]:.1e}. Use rbf, laplacian, linear, or poly with a natural degree and "
            "coef0 >= 0."
        )
