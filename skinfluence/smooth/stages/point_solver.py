"""One edit of any points, with its certificate."""

from functools import cached_property

import numpy as np

from skinfluence import certificate
from skinfluence._utils.threads import small_blas
from skinfluence._utils.weights import weigh
from skinfluence.edits.points import edited
from skinfluence.smooth.batches.row_batch import MILD
from skinfluence.smooth.one_step import point_steps
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.accuracy import Accuracy, inflation, shrink
from skinfluence.smooth.optimum.existence import refuse_separable
from skinfluence.smooth.optimum.piecewise_bound import PiecewiseBound
from skinfluence.smooth.stages.edit_start import Stage
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.base import KEPT_BYTES

# Beyond this change of the log-curvature a chord with the old Hessian does not contract.
CHORD_RADIUS = 0.7


class PointSolver(Stage):
    """The step of the parameters for one edit."""

    def solve(self, points, tol):
        """Solve one edit of any points.

        Returns
        -------
        step : ndarray of shape (n_outputs, n_columns)
        bound, size : float
        method_used : str
        round_off : float
            What of the bound is round-off.
        """
        with small_blas(self.objective.n_parameters):
            return self._solve(points, tol)

    def _solve(self, points, tol):
        problem = edited(self.objective, points)
        if piecewise.is_piecewise(problem.loss):
            return self._points_exactly(problem, points)
        inverse = point_steps.EditedInverse(self.factor, self.solver, points)
        right = inverse.right
        shape = self.objective.theta.shape
        changed, gradient, hessian = point_steps.stack(self.objective, points)
        # A gradient of nothing may be one that rounding hides, unless nothing curves less either.
        still = not right.any()
        if still and not hessian.any():
            return np.zeros(shape), self.accuracy.floor, 0.0, "one-step", self.accuracy.round_off
        if self.M is None:
            v = -inverse.solve(right)
            step, bound, size = self.start.newton(problem, v.reshape(shape), np.inf, tol)
            return step, bound, size, "newton", self.accuracy.round_off
        # As in RowBatch: the error before the edit counts in the norm of P.
        added = point_steps.points_leverage(self.factor, points, gained=True)
        inflated = np.sqrt(float(inflation(added, points.shift, self.objective)))
        floor, round_off = self.accuracy.floor * inflated, self.accuracy.round_off * inflated
        # What the last refinement changes is what the solver and Woodbury's formula lost.
        try:
            v, Pv, lost = inverse.refined(-right)
        except SingularHessianError as error:
            v, bound, size = self._elsewhere(problem, tol, error)
            return v, bound + floor, size, "newton", round_off
        size = point_steps.norm(v, Pv)
        kappa, growth, error = self.kappa(inverse, points)
        solved = inverse.refactored or self.factor
        sizes = self.accuracy.sizes(solved.leverages(changed))
        own_noise = self.accuracy.rounding(
            changed, gradient, hessian, sizes, v.reshape(shape)
        ).sum()
        with np.errstate(invalid="ignore"):
            slack = (0.0 if still else lost / size) + 2.0 * error * growth
        # Where nothing bounds the edited Hessian from below, all of this is infinite or NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            noise = self.accuracy.floor * (np.sqrt(growth) - 1.0) + own_noise * np.sqrt(growth)
            if still and inverse.refactored is None and growth <= MILD:
                # Nothing to round-off, and all of its bound is that.
                return v.reshape(shape), floor + noise, 0.0, "one-step", floor + noise
            bound = float(certificate.newton_step_bound(self.M, kappa, np.array(size)))
            bound += slack * size + noise
        errors = kappa, slack, noise
        v, bound, size, used = self._chords(problem, inverse, (v, Pv, bound, size), errors, tol)
        v = v.reshape(shape)
        if not self.start.certified(bound, size, tol):
            v, bound, size = self.start.newton(problem, v, kappa**2, tol)
            used = "newton"
            if not np.isfinite(bound):
                refuse_separable(problem.at(self.objective.theta + v))
        return v, bound + floor, size, used, round_off

    def _chords(self, problem, inverse, start, errors, tol):
        """Steps with the Hessian at hand, until the bound is small or no longer halves.

        Parameters
        ----------
        problem : Objective
            After the edit.
        inverse : EditedInverse
        start : tuple of v, Pv, bound and size
            Of the first step.
        errors : tuple of kappa, slack and noise
            The largest leverage in the edited Hessian; what solves lose of a step, relative to it; and
            what rounding adds.
        tol : float
        """
        v, Pv, bound, size = start
        kappa, slack, noise = errors
        used = "one-step"
        while not self.start.certified(bound, size, tol):
            r, nonlinear = self._remainder(problem, v)
            left = Pv + inverse.right + nonlinear
            if not np.isfinite(left).all():
                break
            change = -inverse.solve(left)
            gradient = np.array(point_steps.norm(-change, left) * (1.0 + slack) + noise)
            here = certificate.gradient_bound(self.M, kappa, gradient, np.array(r))
            there = float(certificate.chord_bound(self.M, kappa, here, np.array(r)))
            there += slack * float(gradient) + noise
            again = there < 0.5 * bound and r < CHORD_RADIUS
            if there < bound:
                v, bound, used = v + change, there, "chord"
                Pv = inverse.multiply(v)
                size = point_steps.norm(v, Pv)
            if not again:
                break
        return v, bound, size, used

    def _elsewhere(self, problem, tol, error):
        """Newton's method where the Hessian at the fit has no digits, as where a new row outweighs all.

        Raises ``error`` where no penalty decides what rows do not.
        """
        if not self.M or not problem.penalty.any():
            raise error
        try:
            step, bound, size = self.start.newton(
                problem, np.zeros(self.objective.theta.shape), np.inf, tol
            )
        except SingularHessianError:
            raise error from None
        if not np.isfinite(bound):
            refuse_separable(problem.at(self.objective.theta + step))
        return step, bound, size

    def _points_exactly(self, problem, points):
        objective = self.objective
        shift = points.shift * objective.unit_penalty
        design, gradient, _ = point_steps.stack(objective, points)
        y = objective.y[points.rows]
        y = y if points.new is None else np.concatenate([y, points.new_y])
        pushes = (gradient != 0.0) | piecewise.near_edge(objective, design, y)
        moves = pushes.any(axis=0) | (shift * objective.theta).any(axis=1)
        space = self._piecewise_space
        if points.new is not None and space is not None:
            space = space.extended(points.new)
        found, _ = piecewise.minimise(problem, self.solver, np.flatnonzero(moves), space)
        step = found.theta - objective.theta
        curved, moved = piecewise.curvatures(problem), problem.design.multiply(step.T)
        size = np.sqrt((curved * moved**2).sum() + (problem.penalty * step**2).sum())
        bound = self.piecewise_bound.edited(points, curved, found)
        return step, bound, size, "newton", bound

    @cached_property
    def piecewise_bound(self):
        """Of squared hinges and tubes."""
        return PiecewiseBound(self.factor)

    @cached_property
    def _piecewise_space(self):
        # Rows and their sizes are kept where they are few.
        small = 16 * self.objective.n_samples * self.objective.design.n_columns <= KEPT_BYTES
        return piecewise.space_of(self.objective) if small else None

    def kappa(self, inverse, points):
        """A bound on ``|x_j|_{P^-1}`` over the rows of positive weight after the edit.

        With a bound on ``P^-1`` relative to the inverse that is solved with, and the relative
        error of that one's solves.
        """
        if inverse.refactored is not None:
            own = Accuracy(inverse.refactored)
            return np.sqrt(own.row_sizes.max(initial=0.0)), 1.0, own.solve_error
        error = self.accuracy.solve_error_at(points.shift)
        leverage = inverse.leverage * (1.0 + error)
        kept = float(shrink(np.array([points.shift]), self.objective)[0]) * (1.0 - leverage)
        if not kept > 0:
            return np.inf, np.inf, np.inf
        sizes = self.accuracy.row_sizes.copy()
        before = self.objective.weights[points.rows]
        after = before + points.row_changes
        sizes[points.rows[after <= 0]] = 0.0
        largest = sizes.max(initial=0.0)
        # Rows that had no weight are not among the sizes.
        fresh = [self.objective.design.take(points.rows[(before <= 0) & (after > 0)])]
        if points.new is not None:
            fresh.append(points.new.take(np.flatnonzero(points.new_weights > 0)))
        for design in fresh:
            sizes = self.accuracy.sizes(self.factor.leverages(design))
            largest = max(largest, sizes.max(initial=0.0))
        return np.sqrt(largest / kept), 1.0 / kept, error

    def _remainder(self, problem, v):
        step = v.reshape(self.objective.theta.shape)
        positive = problem.weights > 0
        moved = problem.design.multiply(step.T)
        r = self.M * float(problem.loss.spread(moved[positive]).max(initial=0.0))
        # A step that overshoots overflows, and is left to Newton's method.
        with np.errstate(over="ignore", invalid="ignore"):
            rho = problem.loss.remainder(problem.eta, problem.y, moved)
            rho = weigh(problem.weights[:, None], rho)
            return r, problem.design.adjoint(rho).T.ravel()
