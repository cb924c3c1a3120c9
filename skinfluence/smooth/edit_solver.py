"""Edits with a certificate: one Newton step and its bound, chord passes, Newton's method.

Each stage is tried on the edits the one before could not certify (``doc/certificate.md``).
"""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence import certificate
from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.curvature import Curvature
from skinfluence.edits import edited
from skinfluence.smooth import batch_newton as refits
from skinfluence.smooth import steps
from skinfluence.smooth.newton import SeparableError, minimise, refuse_separable
from skinfluence.smooth.remainders import RemainderPass
from skinfluence.solvers import SingularHessianError

# Rows of largest leverage whose decision values are followed exactly by the split bound.
SPLIT = 1000
# Beyond this change of the log-curvature a chord with the old Hessian does not contract.
CHORD_RADIUS = 0.7
# Relative error that counts as solved to round-off by method="exact".
ROUND_OFF = 1e-9
# Parameter steps kept at once.
BATCH_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Solved:
    """Steps of the parameters with their trust.

    Attributes
    ----------
    steps : ndarray of shape (m, n_outputs, n_columns)
    bound : ndarray of shape (m,)
        On the error of each step, in the norm of the edited Hessian.
    size : ndarray of shape (m,)
        The steps' own size in that norm.
    method_used : ndarray of str, shape (m,)
    leverage : ndarray of shape (m,)
        Largest eigenvalue of the weight taken away times ``h``.
    """

    steps: np.ndarray
    bound: np.ndarray
    size: np.ndarray
    method_used: np.ndarray
    leverage: np.ndarray

    def within(self, tol, floor):
        """Whether each step is certified to ``tol`` or to round-off."""
        return certificate.within(self.bound, self.size, tol, floor)


class EditSolver:
    """Solves edits of one factored objective, with a certificate for each.

    Parameters
    ----------
    factor : Factor
        At the optimum of its objective.
    solver : solver object
        For the Hessians of edited problems.
    """

    def __init__(self, factor, solver):
        self.factor = factor
        self.solver = solver
        self.objective = factor.objective
        self.M = self.objective.loss.self_concordance
        self.remainders = RemainderPass(self.objective)

    @cached_property
    def floor(self):
        """What float64 leaves of the gradient, as a distance: no bound can be below it."""
        gradient = self.objective.gradient()[:, None]
        left = float((gradient.T @ self.factor.solve(gradient))[0, 0])
        return max(5.0 * np.sqrt(abs(left)), self.noise)

    @cached_property
    def noise(self):
        """Rounding of the gradient and of the parameters, as a distance: a model, no accident.

        Each row's gradient is rounded relative to its own size and, through its decision value,
        to that of ``Lambda_i |x_i| |theta|``; each parameter relative to itself.
        """
        objective = self.objective
        weights = objective.weights[:, None]
        rows = self.rounding(
            objective.design,
            weights * objective.gradients,
            weights[..., None] * objective.hessians,
            self.row_sizes,
        )
        own = self.factor.curvature.diagonal() @ objective.theta.ravel() ** 2
        return float(rows.sum() + 2.0 * np.finfo(float).eps * np.sqrt(own))

    def rounding(self, design, gradient, hessian, sizes):
        """Rounding of weighted terms of the gradient, as a distance; shape (n_rows,)."""
        theta = np.abs(self.objective.theta).max(axis=0)
        eta = type(design)(abs(design.X), abs(design.intercept)).multiply(theta[:, None])[:, 0]
        terms = np.abs(gradient).max(axis=1) + np.abs(hessian).max(axis=(1, 2)) * eta
        return 2.0 * np.finfo(float).eps * terms * np.sqrt(sizes)

    def _sizes(self, h):
        directions = self.objective.loss.spread_directions()
        sizes = [np.einsum("ikl,k,l->i", h, v, v) for v in directions]
        return np.maximum(np.max(sizes, axis=0), 0.0)

    @cached_property
    def solve_error(self):
        """Relative error of a solve in the norm of H, measured on a few rows."""
        return solve_error(self.factor, self.row_sizes)

    @cached_property
    def row_sizes(self):
        """``max_v v' h_j v`` over directions of unit spread: |x_j|^2_{H^-1}, 0 without weight."""
        sizes = self._sizes(self.factor.leverages()) * (1.0 + self.factor.leverage_error)
        return np.where(self.objective.weights > 0, sizes, 0.0)

    @cached_property
    def _largest(self):
        """Rows by falling size, the first SPLIT of them and what follows."""
        m = min(SPLIT, len(self.row_sizes))
        rows = np.argpartition(-self.row_sizes, m - 1)[:m]
        rows = rows[np.argsort(-self.row_sizes[rows], kind="stable")]
        rest = np.delete(self.row_sizes, rows)
        return rows, float(rest.max(initial=0.0))

    # Edits at one row --------------------------------------------------------------------------

    def own_steps_at_once(self, edits, tol):
        """Newton steps of each row's own decision values, where they are known to solve the edit.

        Of a quadratic loss, by a factor whose leverages are as accurate as its solves: all but rows
        whose edit leaves little of the Hessian along them, where errors grow. Needs the leverages
        only, no solve per row.

        Returns
        -------
        solved : ndarray of bool, shape (m,)
            To a relative error of ``tol``.
        eta_steps : ndarray of shape (n_solved, n_outputs)
        """
        factor, n = self.factor, len(edits.rows)
        nothing = np.zeros(n, dtype=bool), np.empty((0, self.objective.loss.n_outputs))
        if self.M != 0 or not n or factor.leverage_error or 1e3 * factor.rtol > tol:
            return nothing
        h = steps.row_leverages(factor, edits)
        sizes = np.zeros(self.objective.n_samples)
        sizes[edits.rows] = self._sizes(h)
        error = 2.0 * solve_error(factor, sizes) + self._leverage_error(edits, h)
        leverage = _largest_eigenvalue(h, -edits.hessian)
        kept = (1.0 - leverage) * _shrink(edits.shift, self.objective)
        solved = (kept > 0.5) & (2.0 * error <= 0.5 * tol)
        return solved, steps.own_eta_steps(factor, edits.take(solved), "one-step", h[solved])

    def _leverage_error(self, edits, h):
        """Relative error of leverages, by solves for a few rows: they may come from an inverse."""
        few = np.append(np.argsort(-self._sizes(h))[:4], np.linspace(0, len(h) - 1, 4, dtype=int))
        some = edits.take(few)
        solved = self.factor.leverages_by_solves(some.design, some.one_shift)
        size, lost = (np.abs(one).max(axis=(1, 2)) for one in (solved, solved - h[few]))
        return 4.0 * float(np.max(lost[size > 0] / size[size > 0], initial=0.0))

    def solve_rows(self, edits, tol):
        """Solve edits at one row each, yielding ``(slice, Solved)`` in blocks.

        Parameters
        ----------
        edits : RowEdits
        tol : float
            Relative error of each step that is certified, in the norm of the edited Hessian.
        """
        k, d = self.objective.theta.shape
        for block in row_blocks(len(edits.rows), 8 * k * d * (3 + k), BATCH_BYTES):
            yield block, self._solve_block(edits.take(block), tol)

    def _solve_block(self, edits, tol):
        state = _Block(self, edits)
        bound = np.where(state.idle, 0.0, state.newton_bound())
        used = np.full(len(edits.rows), "one-step", dtype="<U8")
        left = np.flatnonzero(~self._certified(bound, state.size, tol))
        if self.M is not None and len(left):
            bound[left] = np.minimum(bound[left], state.split_bound(left))
            left = left[~self._certified(bound[left], state.size[left], tol)]
            if len(left):
                state.use(left)
        while self.M is not None and len(left):
            r, after = state.chord(left, bound[left])
            better = after < bound[left]
            contracted = after < 0.5 * bound[left]
            bound[left] = np.where(better, after, bound[left])
            used[left[better]] = "chord"
            done = self._certified(bound[left], state.size[left], tol)
            # A pass costs about a gradient per row, Newton's method dozens: go on while it halves.
            left = left[~done & contracted & (r < CHORD_RADIUS)]
        left = np.flatnonzero(~self._certified(bound, state.size, tol))
        if len(left):
            with small_blas(self.objective.n_parameters):
                for i in self._refit(state, left, tol, bound, used):
                    self._finish(state, i, tol, bound, used)
        return Solved(state.theta_steps, bound + self.floor, state.size, used, state.leverage)

    def _certified(self, bound, size, tol):
        """Relative to the true size, which is at least ``size - bound``; never below round-off."""
        with np.errstate(invalid="ignore"):
            return bound <= np.maximum(tol * (size - bound), self.floor)

    def _refit(self, state, left, tol, bound, used):
        """Newton's method on many edited problems together; those it could not certify."""
        if self.M is None:
            return left
        # Where nothing bounds the edited Hessian from below, nothing certifies here.
        left, rest = left[np.isfinite(state.growth[left])], left[~np.isfinite(state.growth[left])]
        found = refits.refit(
            self.factor,
            state.edits.take(left),
            state.theta_steps[left],
            state.size[left],
            0.01 * tol,
            lambda i: state.sizes(left[i]),
            lambda B, which: state.edited_solve(B, left[which]),
        )
        for block, refit in found:
            rows = left[block]
            slack = 1.0 + state.slack[rows]
            with np.errstate(over="ignore", invalid="ignore"):
                growth = np.exp(0.5 * self.M * refit.shifted)
                kappa = growth * np.sqrt(refit.largest)
                left_over = slack * refit.decrement + growth * refit.noise + state.noise[rows]
                local = certificate.gradient_bound(self.M, kappa, left_over, self.M * refit.moved)
                there = local * growth
            solved = self._certified(there, refit.size, tol)
            done = rows[solved]
            state.theta_steps[done] = refit.steps[solved]
            state.size[done], bound[done] = refit.size[solved], there[solved]
            used[done] = "newton"
        return np.append(left[used[left] != "newton"], rest)

    def _finish(self, state, i, tol, bound, used):
        """Newton's method on one edited problem, from the iterate at hand."""
        edits = state.edits
        row = edits.rows[i]
        weights, y = self.objective.weights.copy(), self.objective.y.copy()
        weights[row], y[row] = edits.weight[i], edits.y[i]
        penalty = self.objective.penalty + edits.shift[i] * self.objective.unit_penalty
        problem = replace(self.objective, weights=weights, y=y, penalty=penalty, sample_weight=None)
        used[i] = "newton"
        try:
            state.theta_steps[i], bound[i], state.size[i] = self._newton(
                problem, state.theta_steps[i], state.sizes(i), tol
            )
            if not np.isfinite(bound[i]):
                refuse_separable(problem.at(self.objective.theta + state.theta_steps[i]))
        except (SingularHessianError, SeparableError):
            # No unique model without the row; the others have theirs.
            state.theta_steps[i], bound[i] = np.nan, np.inf

    def _newton(self, problem, start, sizes, tol):
        """Solve an edited problem and certify it there; also the step's size in P.

        ``sizes`` bounds ``|x_j|^2_{P^-1}`` for the rows of the problem.
        """
        theta = self.objective.theta
        begin = problem.at(theta + start)
        with np.errstate(over="ignore", invalid="ignore"):
            # Overflow makes the value infinite or NaN: no place to start from.
            if not begin.value() <= problem.at(theta).value():
                begin = problem.at(theta)
        minimum = minimise(begin, self.solver)
        step = minimum.objective.theta - theta
        # The norm of the edited Hessian at the fitted parameters, like every other bound.
        base = problem.at(theta)
        flat = step.ravel()
        size = float(np.sqrt(max(0.0, flat @ (Curvature(base) @ flat))))
        if self.M is None:
            # Nothing certifies these: what they have is that Newton's method ended.
            if minimum.decrement > 1e-6 * size + self.floor:
                warnings.warn(
                    f"Newton's method stopped at decrement {minimum.decrement:.1e} of a step of size "
                    f"{size:.1e} on an edited problem. Scale the features or penalise more.",
                    ConvergenceWarning,
                    stacklevel=level_outside(),
                )
            return step, np.inf, size
        # Certified in the norm of the last factor, then carried over to the norm of P.
        last = minimum.factor.objective
        moved = problem.design.multiply((last.theta - theta).T)[problem.weights > 0]
        r = self.M * float(problem.loss.spread(moved).max(initial=0.0))
        with np.errstate(over="ignore", invalid="ignore"):
            # The Hessian there is at least exp(-r) P: often all that is needed of its leverages.
            carried = np.where(last.weights > 0, np.exp(r) * sizes, 0.0)
            bound = self._newton_bound(minimum, r, carried)
            if not self._certified(bound, size, tol):
                bound = self._newton_bound(minimum, r)
        return step, bound, size

    def _newton_bound(self, minimum, r, sizes=None):
        own = EditSolver(minimum.factor, self.solver)
        if sizes is not None:
            own.row_sizes = sizes
        kappa = np.sqrt(own.row_sizes.max(initial=0.0))
        if not np.isfinite(kappa):
            return np.inf
        # Solves that are far off are no measure of what is left.
        error = solve_error(own.factor, own.row_sizes)
        decrement = np.array(minimum.decrement * (1.0 + error) if error < 1e-6 else np.inf)
        local = certificate.gradient_bound(
            self.M, kappa, decrement, np.array(self.M * minimum.moved)
        )
        return float((local + own.noise) * np.exp(0.5 * r))

    # Any edit ----------------------------------------------------------------------------------

    def solve_points(self, points, tol):
        """Solve one edit of any points.

        Returns
        -------
        step : ndarray of shape (n_outputs, n_columns)
        bound, size : float
        method_used : str
        """
        with small_blas(self.objective.n_parameters):
            return self._solve_points(points, tol)

    def _solve_points(self, points, tol):
        problem = edited(self.objective, points)
        inverse = steps.EditedInverse(self.factor, self.solver, points)
        right = inverse.right
        shape = self.objective.theta.shape
        if not right.any():
            return np.zeros(shape), self.floor, 0.0, "one-step"
        v = -inverse.solve(right)
        if self.M is None:
            step, bound, size = self._newton(problem, v.reshape(shape), np.inf, tol)
            return step, bound, size, "newton"
        # One refinement: what it changes is what the solver and Woodbury's formula lost.
        Pv = inverse.multiply(v)
        correction = -inverse.solve(right + Pv)
        v = v + correction
        Pv = inverse.multiply(v)
        size = _norm(v, Pv)
        lost = _norm(correction, inverse.multiply(correction))
        kappa, growth, error = self._kappa(inverse, points)
        solved = inverse.refactored or self.factor
        changed, gradient, hessian = steps.stack(self.objective, points)
        sizes = self._sizes(solved.leverages(changed))
        own_noise = self.rounding(changed, gradient, hessian, sizes).sum()
        slack = lost / size + 2.0 * error * growth
        noise = self.floor * (np.sqrt(growth) - 1.0) + own_noise * np.sqrt(growth)
        bound = float(certificate.newton_step_bound(self.M, kappa, np.array(size)))
        bound += slack * size + noise
        used = "one-step"
        while not self._certified(bound, size, tol):
            r, nonlinear = self._remainder(problem, v)
            left = Pv + right + nonlinear
            if not np.isfinite(left).all():
                break
            change = -inverse.solve(left)
            gradient = np.array(_norm(-change, left) * (1.0 + slack) + noise)
            here = certificate.gradient_bound(self.M, kappa, gradient, np.array(r))
            there = float(certificate.chord_bound(self.M, kappa, here, np.array(r)))
            there += slack * float(gradient) + noise
            again = there < 0.5 * bound and r < CHORD_RADIUS
            if there < bound:
                v, bound, used = v + change, there, "chord"
                Pv = inverse.multiply(v)
                size = _norm(v, Pv)
            if not again:
                break
        v = v.reshape(shape)
        if not self._certified(bound, size, tol):
            v, bound, size = self._newton(problem, v, kappa**2, tol)
            used = "newton"
            if not np.isfinite(bound):
                refuse_separable(problem.at(self.objective.theta + v))
        return v, bound + self.floor, size, used

    def _kappa(self, inverse, points):
        """A bound on ``|x_j|_{P^-1}`` over the rows of positive weight after the edit.

        With a bound on ``P^-1`` relative to the inverse that is solved with, and the relative
        error of that one's solves.
        """
        if inverse.refactored is not None:
            own = EditSolver(inverse.refactored, self.solver)
            return np.sqrt(own.row_sizes.max(initial=0.0)), 1.0, own.solve_error
        leverage = inverse.leverage * (1.0 + self.solve_error)
        shrink = float(_shrink(np.array([points.shift]), self.objective)[0]) * (1.0 - leverage)
        if not shrink > 0:
            return np.inf, np.inf, np.inf
        sizes = self.row_sizes.copy()
        before = self.objective.weights[points.rows]
        after = before + points.row_changes
        sizes[points.rows[after <= 0]] = 0.0
        largest = sizes.max(initial=0.0)
        # Rows that had no weight are not among the sizes.
        fresh = [self.objective.design.take(points.rows[(before <= 0) & (after > 0)])]
        if points.new is not None:
            fresh.append(points.new.take(np.flatnonzero(points.new_weights > 0)))
        for design in fresh:
            sizes = self._sizes(self.factor.leverages(design))
            largest = max(largest, sizes.max(initial=0.0))
        return np.sqrt(largest / shrink), 1.0 / shrink, self.solve_error

    def _remainder(self, problem, v):
        step = v.reshape(self.objective.theta.shape)
        positive = problem.weights > 0
        moved = problem.design.multiply(step.T)
        r = self.M * float(problem.loss.spread(moved[positive]).max(initial=0.0))
        # A step that overshoots overflows, and is left to Newton's method.
        with np.errstate(over="ignore", invalid="ignore"):
            rho = problem.weights[:, None] * problem.loss.remainder(problem.eta, problem.y, moved)
            return r, problem.design.adjoint(rho).T.ravel()


def solve_error(factor, sizes):
    """Relative error of a solve in the norm of H, measured on rows, the largest among them."""
    objective = factor.objective
    rows = np.unique(
        np.concatenate([np.argsort(-sizes)[:4], np.linspace(0, len(sizes) - 1, 4, dtype=int)])
    )
    k = objective.loss.n_outputs
    design = objective.design.take(rows)
    sign = np.where(np.arange(k) % 2, -1.0, 1.0)
    B = (sign[None, :, None] * design.dense_rows()[:, None, :]).reshape(len(rows), -1).T
    X = factor.solve(B)
    residual = B - factor.curvature.matmat(X)
    lost = np.abs(np.einsum("ij,ij->j", residual, factor.solve(residual)))
    found = np.einsum("ij,ij->j", B, X)
    seen = found > 0
    error = 4.0 * np.sqrt(np.max(lost[seen] / found[seen], initial=0.0))
    if factor.rtol:
        # What an iterative solver may leave elsewhere, by the trace of H^-1 >= 1 / its least
        # eigenvalue (Hutchinson's estimate).
        signs = np.sign(np.random.default_rng(0).standard_normal((len(B), 8)))
        trace = np.einsum("ij,ij->", signs, factor.solve(signs)) / 8
        scale = np.max((B[:, seen] ** 2).sum(axis=0) / found[seen], initial=0.0)
        error += 2.0 * factor.rtol * np.sqrt(trace * scale)
    return float(error) + 16.0 * np.finfo(float).eps


def _norm(a, Pa):
    """``|a|_P``; infinite where round-off makes P indefinite along a."""
    square = float(a @ Pa)
    return np.sqrt(square) if square > 0 or not a.any() else np.inf


def _shrink(shift, objective):
    """``H + shift R0 >= _shrink * H``."""
    if objective.hold == "C":
        return np.ones_like(shift)
    return 1.0 + np.minimum(shift, 0.0) / objective.total_weight


class _Block:
    """Iterates of many one-row edits: ``P = H + shift R0 + J_i' D_i J_i`` for each."""

    def __init__(self, owner, edits):
        self.owner, self.edits = owner, edits
        factor, objective = owner.factor, owner.objective
        self.shift = edits.one_shift
        self.rows = edits.design.dense_rows()
        k = objective.loss.n_outputs
        h = steps.row_leverages(factor, edits)
        self.h = h
        Z = steps.penalty_steps(factor, edits, "one-step")
        right = self.rows[:, None, :] * edits.gradient[:, :, None]
        if Z is not None:
            right = right + edits.shift[:, None, None] * (objective.unit_penalty * objective.theta)
        self.right = right
        a = steps.step_coefficients(factor, edits, "one-step", h)
        self.theta_steps = steps.steps_from(factor, edits, "one-step", a)
        # -P v of the current iterates: what they solve.
        self.solved = right.copy()
        self.idle = ~right.any(axis=(1, 2))
        self.size = self._size(self.theta_steps, -right)
        A = np.eye(k) + edits.hessian @ h
        try:
            self.inner = np.linalg.solve(A, edits.hessian)
        except np.linalg.LinAlgError:
            # A leverage of exactly 1: that edit goes to Newton's method, the others are fine.
            self.inner = np.linalg.pinv(A) @ edits.hessian
        self.leverage = _largest_eigenvalue(h, -edits.hessian)
        kept = 1.0 - self.leverage * (1.0 + owner.solve_error)
        shrink = kept * _shrink(edits.shift, objective)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.growth = np.where(shrink > 0, 1.0 / shrink, np.inf)
            # Relative error of P^-1 where leverages are rounded to float32.
            odds = self.leverage / (1.0 - self.leverage)
            self.slack = factor.leverage_error * np.where(shrink > 0, odds, np.inf)
            self.slack[self.leverage == 0] = 0.0
        # Woodbury's formula enlarges the solver's own error.
        self.slack += 2.0 * owner.solve_error * self.growth
        # The floor is in the norm of H.
        own = owner.rounding(edits.design, edits.gradient, edits.hessian, owner._sizes(h))
        self.noise = owner.floor * (np.sqrt(self.growth) - 1.0) + own * np.sqrt(self.growth)

    def use(self, active):
        """Prepare :meth:`edited_solve` for some edits: ``V_i = (H + shift R0)^-1 J_i'``."""
        k = self.h.shape[1]
        shift = self.shift if np.ndim(self.shift) == 0 else self.shift[active]
        design = self.edits.design.take(active)
        columns = [
            self.owner.factor.solve_rows(design, np.broadcast_to(e, (len(active), k)), shift)
            for e in np.eye(k)
        ]
        self._V, self._V_rows = np.stack(columns, axis=1), active

    def edited_solve(self, B, active):
        """``P^-1 B`` of each active edit, among those in use, by Woodbury on their ``V_i``."""
        factor = self.owner.factor
        shift = self.shift if np.ndim(self.shift) == 0 else self.shift[active]
        V = self._V[np.searchsorted(self._V_rows, active)]
        Y = factor.solve(B.reshape(len(active), -1).T, shift).T.reshape(B.shape)
        at_row = np.einsum("ikd,id->ik", Y, self.rows[active])
        correction = (self.inner[active] @ at_row[..., None])[..., 0]
        return Y - np.einsum("ikld,ik->ild", V, correction)

    def _size(self, a, Pa):
        """``|a|_P``; infinite where round-off makes P indefinite along a."""
        square = np.einsum("ikd,ikd->i", a, Pa)
        indefinite = (square <= 0) & a.any(axis=(1, 2))
        return np.sqrt(np.where(indefinite, np.inf, np.maximum(square, 0.0)))

    def kappa(self):
        """``max_j |x_j|_{P^-1}`` of each edit, over rows of positive weight after it."""
        sizes = self.owner.row_sizes
        order, rest = self.owner._largest
        first, second = order[0], (order[1] if len(order) > 1 else order[0])
        runner_up = sizes[second] if len(order) > 1 else rest
        largest = np.where(
            (self.edits.rows == first) & (self.edits.weight <= 0), runner_up, sizes[first]
        )
        # A row that had no weight and gets some is not among the sizes.
        own = np.where(self.edits.weight > 0, self.owner._sizes(self.h), 0.0)
        largest = np.maximum(largest, own)
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.where(np.isfinite(self.growth), largest * self.growth, np.inf))

    def sizes(self, i):
        """A bound on ``|x_j|^2_{P^-1}`` of all rows after one edit."""
        if not np.isfinite(self.growth[i]):
            return np.inf
        sizes = self.owner.row_sizes.copy()
        if self.edits.weight[i] > 0:
            sizes[self.edits.rows[i]] = self.owner._sizes(self.h[[i]])[0]
        return self.growth[i] * sizes

    def newton_bound(self):
        M = self.owner.M
        if M is None:
            return np.full(len(self.size), np.inf)
        self._kappa = self.kappa()
        if M == 0:
            bound = np.where(np.isfinite(self.growth), 0.0, np.inf)
        else:
            bound = certificate.newton_step_bound(M, self._kappa, self.size)
        return bound + self.slack * self.size + self.noise

    def split_bound(self, active):
        """Follow the rows of largest leverage exactly, bound the others by their leverage."""
        owner, M = self.owner, self.owner.M
        objective = owner.objective
        order, rest = owner._largest
        design = objective.design.take(order)
        with np.errstate(invalid="ignore"):
            bound_rest = np.sqrt(rest * self.growth[active]) * self.size[active]
        followed = np.empty(len(active))
        k, d = objective.theta.shape
        for part in row_blocks(len(active), 8 * k * (d + 2 * len(order))):
            chosen = active[part]
            flat = self.theta_steps[chosen].reshape(-1, d)
            moved = design.multiply(np.ascontiguousarray(flat.T)).reshape(len(order), -1, k)
            spread = objective.loss.spread(moved)
            spread[objective.weights[order] <= 0] = 0.0
            gone = (order[:, None] == self.edits.rows[chosen]) & (self.edits.weight[chosen] <= 0)
            spread[gone] = 0.0
            followed[part] = spread.max(axis=0)
        own = self._own_spread(active)
        r = M * np.maximum(np.maximum(followed, bound_rest), own)
        gradient = (certificate.remainder_factor(r) + self.slack[active]) * self.size[active]
        gradient += self.noise[active]
        return certificate.gradient_bound(M, self._kappa[active], gradient, r)

    def _own_spread(self, active):
        """Spread at the edited row itself where it keeps weight."""
        own = np.einsum("ikd,id->ik", self.theta_steps[active], self.rows[active])
        kept = self.edits.weight[active] > 0
        return np.where(kept, self.owner.objective.loss.spread(own), 0.0)

    def chord(self, active, bound):
        """One chord iteration: the ``r`` where it started and the bound where it ends.

        Updates the iterates and their sizes where the new bound is below ``bound``.
        """
        M, edits, objective = self.owner.M, self.edits, self.owner.objective
        v = self.theta_steps[active]
        own = np.einsum("ikd,id->ik", v, self.rows[active])
        eta = objective.eta[edits.rows[active]]
        kept = edits.weight[active]
        # A step that overshoots overflows, and is left to Newton's method.
        with np.errstate(over="ignore", invalid="ignore"):
            S, r = self.owner.remainders(v, edits.rows[active])
            rho = kept[:, None] * objective.loss.remainder(eta, edits.y[active], own)
            S += rho[:, :, None] * self.rows[active][:, None, :]
        r = M * np.maximum(r, self._own_spread(active))
        finite = np.isfinite(S).all(axis=(1, 2))
        B = self.right[active] + np.where(finite[:, None, None], S, 0.0)
        after = -self.edited_solve(B, active)
        # The gradient at v is P (v - after); both P v and P after are known without a product.
        change = np.einsum("ikd,ikd->i", after - v, self.solved[active] - B)
        slack = self.slack[active]
        noise = self.noise[active]
        gradient = np.sqrt(np.abs(change)) * (1.0 + slack) + slack * self.size[active] + noise
        kappa = self._kappa[active]
        here = certificate.gradient_bound(M, kappa, gradient, r)
        size = self._size(after, -B)
        there = certificate.chord_bound(M, kappa, here, r) + slack * size + noise
        chosen = finite & (there < bound)
        moved = active[chosen]
        self.theta_steps[moved] = after[chosen]
        self.solved[moved] = B[chosen]
        self.size[moved] = size[chosen]
        return r, np.where(chosen, there, np.inf)


def _largest_eigenvalue(h, A):
    """Largest eigenvalue of ``h A`` for symmetric A and positive semi-definite h, at least 0."""
    if h.shape[1] == 1:
        return np.maximum(h[:, 0, 0] * A[:, 0, 0], 0.0)
    values, vectors = np.linalg.eigh(h)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    inner = root.transpose(0, 2, 1) @ A @ root
    return np.maximum(np.linalg.eigvalsh(inner)[:, -1], 0.0)
