"""Edits with a certificate: one Newton step and its bound, chord passes, Newton's method.

Each stage is tried on the edits the one before could not certify (``doc/certificate.md``).
"""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence import certificate
from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.curvature import Curvature
from skinfluence.edits.points import edited
from skinfluence.smooth import batch_newton as refits
from skinfluence.smooth import piecewise, steps
from skinfluence.smooth.accuracy import SPLIT, Accuracy, inflation, shrink, solve_error
from skinfluence.smooth.dual_chords import DualChords
from skinfluence.smooth.filled_batch import FilledBatch, filled_design
from skinfluence.smooth.logistic_pass import LogisticRows
from skinfluence.smooth.newton import SeparableError, minimise, refuse_separable
from skinfluence.smooth.own_values import OwnValues, own_quadratic, own_values
from skinfluence.smooth.pair_sums import PairSums
from skinfluence.smooth.piecewise_bound import PiecewiseBound
from skinfluence.smooth.remainders import RemainderPass
from skinfluence.smooth.rescaled_batch import RescaledBatch
from skinfluence.smooth.row_batch import MANY_OUTPUTS, RowBatch, largest_eigenvalue
from skinfluence.smooth.row_chords import by_chords
from skinfluence.smooth.single_solves import SingleSolves
from skinfluence.smooth.step_sums import own_values_along
from skinfluence.smooth.whitened import Whitened
from skinfluence.solvers import CG, Exact, SingularHessianError
from skinfluence.solvers.base import KEPT_BYTES
from skinfluence.solvers.cg import CGFactor
from skinfluence.solvers.primal import PrimalFactor

# Beyond this change of the log-curvature a chord with the old Hessian does not contract.
CHORD_RADIUS = 0.7
# Relative error that counts as solved to round-off by method="exact".
ROUND_OFF = 1e-9
# Single precision certifies own values to this; rows left over, as a share of all, from which a pass
# over all pairs of rows pays.
PAIRS_TOL, PAIRS_SHARE = 1e-4, 0.1
# The largest change of a row certifies a step to about half of it: smaller errors are not asked of it.
SPLIT_TOL = 1e-5
# Rows of largest leverage whose moves say where an iteration begins.
FOLLOWED = 100
# Parameters up to which edited Hessians are factored directly, whatever the solver: that costs less
# than the hundreds of products that a hard one needs.
MOST_DIRECT = 200
# Parameters from which on solves in single precision save time.
LOOSE_PARAMETERS = 300
# Bytes of parameter steps kept at once, and of one parameter's iterates.
BATCH_BYTES, STEPS_BYTES = 2**28, 96
# Bytes of a product of a training row and another point, in both precisions.
POINT_BYTES = 12


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
    round_off : ndarray of shape (m,)
        What of the bound is round-off.
    """

    steps: np.ndarray
    bound: np.ndarray
    size: np.ndarray
    method_used: np.ndarray
    leverage: np.ndarray
    round_off: np.ndarray

    def within(self, tol):
        """Whether each step is certified to ``tol`` or to round-off."""
        return certificate.within(self.bound, self.size, tol, self.round_off)


def serving_edits(factor, solver):
    """What certified answers are made with: the factor and solver given, or direct ones.

    Conjugate gradients take minutes on few columns of very different sizes.
    """
    few = factor.objective.n_parameters <= MOST_DIRECT
    if few and isinstance(factor, CGFactor) and factor.is_wild:
        return Exact().factor(factor.objective), Exact()
    return factor, solver


class EditSolver:
    """Solves edits of one factored objective, with a certificate for each.

    Parameters
    ----------
    factor : Factor
        At the optimum of its objective.
    solver : solver object
        For the Hessians of edited problems; those of few parameters are factored directly.
    split : int, default=1000
        Rows of largest leverage whose decision values the split bound follows exactly.
    """

    def __init__(self, factor, solver, split=SPLIT):
        self.factor = factor
        small = factor.objective.n_parameters <= MOST_DIRECT
        self.solver = Exact() if isinstance(solver, CG) and small else solver
        if isinstance(self.solver, Exact):
            self.solver = self.solver.for_edits()
        self.accuracy = Accuracy(factor, split=split)
        self.objective = factor.objective
        self.M = self.objective.loss.self_concordance
        self.remainders = RemainderPass(self.objective)
        self._whitened, self._singles = {}, {}

    # Edits at one row --------------------------------------------------------------------------

    def whitened(self, edits):
        """What edits of one shift share, kept for the next ones."""
        shift = 0.0 if self.objective.hold == "C" else edits.one_shift
        if shift not in self._whitened:
            self._whitened.clear()
            self._whitened[shift] = Whitened(self.accuracy, shift)
        return self._whitened[shift]

    def own_steps_at_once(self, edits, tol):
        """Steps of each row's own decision values, where they are known to solve the edit.

        No solve per row: of a quadratic loss the leverages say it all, and one step where the penalty
        moves, of other losses of one output the sums over pairs of rows, where enough rows are asked for.

        Returns
        -------
        solved : ndarray of bool, shape (m,)
            To a relative error of ``tol``.
        eta_steps : ndarray of shape (n_solved, n_outputs)
        """
        if (self.M and self._pairs_pay(edits, tol)) or self._steps_are_all(edits):
            found = self.own_values(edits, tol)
        elif self._dual_pays(edits, tol):
            found = self._own_by_dual(edits, tol)
        else:
            return self._own_quadratic_steps(edits, tol)
        solved = found.within(tol)
        return solved, found.change[solved, None]

    def moves_at(self, edits, design, tol):
        """Changes of decision values at other points, where no step of the parameters is needed for them.

        Parameters
        ----------
        edits : RowEdits of m rows
        design : Design of the points
        tol : float

        Returns
        -------
        solved : ndarray of bool, shape (m,)
            Whose step is certified to ``tol``, in the norm of the edited Hessian.
        moved : ndarray of shape (n_solved, n_points, n_outputs)
        """
        few = POINT_BYTES * design.n_samples * self.objective.n_samples <= BATCH_BYTES
        if not few or not self._dual_pays(edits, tol):
            shape = 0, design.n_samples, self.objective.loss.n_outputs
            return np.zeros(len(edits.rows), dtype=bool), np.empty(shape)
        own, cross = self.dual.edits(edits), self.dual.cross(design)
        moved, solved = self.dual.moves_at(own, tol, cross, self.accuracy.round_off)
        left = np.flatnonzero(~solved)
        if len(left):
            found = self.dual.solve(
                own.take(left), lambda now, which: self._certified(now.error, now.size, tol)
            )
            sure = self._certified(found.error, found.size, tol)
            moved[left[sure]] = found.steps[sure, : cross.shape[1]] @ cross.T
            solved[left] = sure
        return solved, moved[solved, :, None]

    def _own_by_dual(self, edits, tol):
        """As :meth:`own_values`, in the space of the rows."""
        own = self.dual.edits(edits)
        found = self.dual.own_values(own, tol)
        left = np.flatnonzero(~found.within(tol))
        if len(left):
            self._own_by_newton(own.take(left), self.dual.solve, left, found, tol)
        return found

    @cached_property
    def dual(self):
        """Chords in the space of the rows."""
        return DualChords(self.accuracy)

    def _dual_pays(self, edits, tol):
        """Whether all pairs of rows of a dual factor are cheaper than solves for each row."""
        if "dual" in vars(self):
            return edits.ratio is None and tol >= PAIRS_TOL
        if edits.ratio is not None or tol < PAIRS_TOL or not DualChords.serves(self.factor):
            return False
        return self._are_many(edits, tol)

    def knows_own_values(self, edits, tol):
        """Whether :meth:`own_values` serves some edits of this factor, to this tolerance."""
        return PairSums.serves(self.factor) and self._one_shift(edits) and tol >= PAIRS_TOL

    def _steps_are_all(self, edits):
        """Whether edits that move the penalty are of a quadratic loss, and few numbers a row."""
        factor, objective = self.factor, self.objective
        return (
            self.M == 0
            and edits.ratio is not None
            and type(factor) is PrimalFactor
            and objective.loss.n_outputs == 1
            and objective.design.in_memory
            and not objective.design.is_sparse
            and self._one_shift(edits)
        )

    def _one_shift(self, edits):
        return self.objective.hold == "C" or np.ndim(edits.one_shift) == 0

    def own_values(self, edits, tol):
        """Changes of each row's own decision value, with bounds: by sums over pairs, then by chords.

        Parameters
        ----------
        edits : RowEdits
        tol : float
            Relative error from which on chords are not worth while.

        Returns
        -------
        found : OwnValues
        """
        blocks = row_blocks(len(edits.rows), STEPS_BYTES * self.objective.n_parameters, BATCH_BYTES)
        found = [self._own_values(edits.take(block), tol) for block in blocks]
        return found[0] if len(found) == 1 else OwnValues.of(found)

    def _own_values(self, edits, tol):
        at = self.whitened(edits)
        own = at.edits(edits)
        if not self.M:
            return own_quadratic(own)
        tall = at.tall_for(own)
        if tall is not None and not tall.serves(own, tol):
            tall = None
        # Sums over pairs are of steps along the rows.
        by_pairs = own.are_along_rows and tall is None
        found = own_values(own, tall) if own.are_along_rows else own_values_along(own, tall)
        left = np.flatnonzero(~found.within(tol) & own.may_be_within(tol))
        if tall is not None and len(left):
            found.replace(left, own_values_along(own.take(left)))
            left = left[~found.within(tol)[left]]
        if not len(left) or not LogisticRows.serves(self.objective):
            return found
        own = own.take(left)
        if by_pairs:
            far = self.M * np.abs(own.alpha) * at.pairs.largest[own.rows]
        else:
            far = at.chords.moved(own, self.accuracy.largest[0][:FOLLOWED])
        again, iterates = at.chords.own_values(own, tol, far)
        rest = np.flatnonzero(~again.within(tol))
        if len(rest):
            solve = partial(at.newton.solve, starts=iterates[rest])
            self._own_by_newton(own.take(rest), solve, rest, again, tol)
        found.replace(left, again)
        return found

    def _own_by_newton(self, own, solve, rest, found, tol):
        """Own values that chords could not certify, written to where they belong."""

        def is_enough(now, which):
            bound = now.change_error + own.floor[which]
            return certificate.within(bound, np.abs(now.change), tol, own.round_off[which])

        solved = solve(own, is_enough=is_enough)
        bound = solved.change_error + own.floor
        found.replace(rest, OwnValues(solved.change, bound, own.round_off))

    def _pairs_pay(self, edits, tol):
        """Whether a pass over all pairs of rows is cheaper than a pass for each row that needs one."""
        if not self.knows_own_values(edits, tol):
            return False
        if edits.ratio is not None:
            return LogisticRows.serves(self.objective)
        if any(at.knows_sums for at in self._whitened.values()):
            return True
        return self._are_many(edits, tol)

    def _are_many(self, edits, tol):
        """Whether one step does not do for so many rows that all pairs of rows are worth while."""
        h = steps.row_leverages(self.factor, edits)[:, 0, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.abs(edits.gradient[:, 0]) * np.sqrt(h / (1.0 + edits.hessian[:, 0, 0] * h))
            s = self.M * np.sqrt(self.accuracy.row_sizes.max(initial=0.0)) * size
        return np.count_nonzero(~(s < tol)) > PAIRS_SHARE * self.objective.n_samples

    def _own_quadratic_steps(self, edits, tol):
        """Those of a quadratic loss, by a factor whose leverages are as accurate as its solves.

        All but rows whose edit leaves little of the Hessian along them, where errors grow.
        """
        factor, n = self.factor, len(edits.rows)
        nothing = np.zeros(n, dtype=bool), np.empty((0, self.objective.loss.n_outputs))
        if (
            edits.ratio is not None
            or self.M != 0
            or not n
            or factor.leverage_error
            or 1e3 * factor.rtol > tol
        ):
            return nothing
        h = steps.row_leverages(factor, edits)
        sizes = np.zeros(self.objective.n_samples)
        sizes[edits.rows] = self.accuracy.sizes(h)
        error = 2.0 * solve_error(factor, sizes) + self._leverage_error(edits, h)
        leverage = largest_eigenvalue(h, -edits.hessian)
        kept = (1.0 - leverage) * shrink(edits.shift, self.objective)
        solved = (kept > 0.5) & (2.0 * error <= 0.5 * tol)
        return solved, steps.own_eta_steps(factor, edits.take(solved), "one-step", h[solved])

    def _leverage_error(self, edits, h):
        """Relative error of leverages, by solves for a few rows: they may come from an inverse."""
        few = np.append(
            np.argsort(-self.accuracy.sizes(h))[:4], np.linspace(0, len(h) - 1, 4, dtype=int)
        )
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
        held = 8 * k if k < _batch_of(edits).many_outputs else STEPS_BYTES
        for block in row_blocks(
            len(edits.rows), (STEPS_BYTES + held) * k * d + 96 * k * k, BATCH_BYTES
        ):
            yield block, self._solve_block(edits.take(block), tol)

    def _solve_block(self, edits, tol):
        if piecewise.is_piecewise(self.objective.loss):
            return self._solved_exactly(edits)
        k = self.objective.loss.n_outputs
        state = _batch_of(edits)(self.accuracy, edits, self.remainders)
        floor, round_off = (
            one * state.inflation for one in (self.accuracy.floor, self.accuracy.round_off)
        )
        bound = np.where(state.idle, 0.0, state.newton_bound())
        used = np.full(len(edits.rows), "one-step", dtype="<U8")
        left = np.flatnonzero(~self._certified(bound, state.size, tol))
        if len(left) and tol >= PAIRS_TOL and self._serves_single(state):
            left = self._by_single_chords(state, left, tol, bound, used)
        elif self.M and len(left) and tol >= PAIRS_TOL and self._loosens(state):
            state.loosen(self._single_solves(state.shift), tol)
        elif self.M is not None and len(left) and k < MANY_OUTPUTS and tol >= SPLIT_TOL:
            bound[left] = np.minimum(bound[left], state.split_bound(left))
            left = left[~self._certified(bound[left], state.size[left], tol)]
        if len(left) and self.M is not None:
            by_chords(state, left, lambda *one: self._certified(*one, tol), bound, used)
        left = np.flatnonzero(~self._certified(bound, state.size, tol))
        if len(left):
            with small_blas(self.objective.n_parameters):
                for i in self._refit(state, left, tol, bound, used):
                    self._finish(state, i, tol, bound, used)
        return Solved(state.theta_steps, bound + floor, state.size, used, state.leverage, round_off)

    def _loosens(self, state):
        """Whether the solves of a batch may be in single precision: of many outputs."""
        return (
            self.objective.loss.n_outputs >= MANY_OUTPUTS
            and not isinstance(state, FilledBatch)
            and np.ndim(state.shift) == 0
            and self.objective.n_parameters >= LOOSE_PARAMETERS
            and SingleSolves.serves(self.factor.shifted(state.shift))
        )

    def _single_solves(self, shift):
        """Solves in single precision at one shift, kept for the next batch."""
        shift = 0.0 if self.objective.hold == "C" else shift
        if shift not in self._singles:
            self._singles = {
                shift: SingleSolves(self.factor.shifted(shift), self.accuracy.row_sizes)
            }
        return self._singles[shift]

    def _serves_single(self, state):
        """Whether the edits of a batch are served by chords in single precision."""
        return self._serves_moved(state) and LogisticRows.serves(self.objective)

    def _by_single_chords(self, state, left, tol, bound, used):
        """Chords in single precision; the edits that they leave."""
        at = self.whitened(state.edits)
        own = at.edits(state.edits.take(left))
        if state.edits.move_fills:
            # That says how far moved cells take the optimum.
            own_values_along(own)
        sure = own.are_near(tol)
        others, left, own = left[~sure], left[sure], own.take(sure)
        far = at.chords.moved(own, self.accuracy.largest[0][:FOLLOWED])
        part = own.part_of_errors * tol
        found, error, size = at.chords.solve(own, part, far, self.accuracy.round_off)
        error, size = own.moved_errors(error, size)
        self._take_over(state, left, found, error, size, tol, bound, used, "chord")
        rest = ~self._certified(bound[left], state.size[left], tol)
        rest = self._by_moved_rows(state, left[rest], own.take(rest), tol, bound, used)
        return np.union1d(others, rest)

    def _serves_moved(self, state):
        """Whether edits of a batch are served by Newton steps that renew the rows that moved."""
        objective, p = self.objective, self.objective.n_parameters
        return (
            PairSums.serves(self.factor)
            and self._one_shift(state.edits)
            and not objective.design.is_sparse
            and (p <= 64 or p * p <= 20 * objective.n_samples)
        )

    def _by_moved_rows(self, state, left, own, tol, bound, used):
        """Newton steps that renew the Hessian where rows moved; the edits that they leave."""
        if not len(left):
            return left
        at = self.whitened(state.edits)

        def is_enough(now, which):
            return self._certified(now.error, now.size, own.part_of_errors * tol)

        found = at.newton.solve(own, at.halved(state.theta_steps[left, 0]), is_enough)
        error, size = own.moved_errors(found.error, found.size)
        self._take_over(state, left, found.steps, error, size, tol, bound, used, "newton")
        return left[~self._certified(bound[left], state.size[left], tol)]

    def _take_over(self, state, left, found, error, size, tol, bound, used, name):
        """Keep what is certified of some iterates, in the coordinates of whitened rows."""
        sure = self._certified(error, size, tol)
        done = left[sure]
        with small_blas(self.objective.n_parameters):
            state.theta_steps[done, 0] = self.whitened(state.edits).whole(found[sure])
        state.size[done], bound[done], used[done] = size[sure], error[sure], name

    def _solved_exactly(self, edits):
        h = steps.row_leverages(self.factor, edits)
        # One step by Woodbury's formula, where what it divides by has digits.
        left = np.einsum("ikk->ik", steps.complements(self.factor, edits, h))
        push = np.divide(edits.gradient, left, out=np.zeros(left.shape), where=left > 1e-6)
        starts = -self.factor.solve_rows(edits.design, push)
        found = piecewise.solve_rows(self.objective, self.solver, edits, starts)
        flat = found.reshape(len(found), -1)
        size = np.sqrt(np.maximum(np.einsum("ij,ji->i", flat, self.factor.curvature @ flat.T), 0.0))
        leverage = largest_eigenvalue(h, -edits.hessian)
        nothing, used = np.full(len(found), np.inf), np.full(len(found), "newton", dtype="<U8")
        return Solved(found, nothing, size, used, leverage, nothing)

    def _certified(self, bound, size, tol):
        """Relative to the true size, which is at least ``size - bound``; never below round-off."""
        with np.errstate(invalid="ignore"):
            return bound <= np.maximum(tol * (size - bound), self.accuracy.round_off)

    def _refit(self, state, left, tol, bound, used):
        """Newton's method on many edited problems together; those it could not certify."""
        if self.M is None or isinstance(state, FilledBatch):
            return left
        if isinstance(self.factor, CGFactor) and isinstance(self.solver, Exact):
            # Few parameters: a Hessian of its own costs less than solves within solves.
            return left
        if len(left) and self._serves_moved(state):
            own = self.whitened(state.edits).edits(state.edits.take(left))
            left = self._by_moved_rows(state, left, own, tol, bound, used)
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
            lambda B, which: state.precondition(B, left[which]),
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
            # What no bound from the fit reaches ends beside its optimum: a place to start from.
            near = ~solved & np.isfinite(refit.decrement)
            state.theta_steps[rows[near]] = refit.steps[near]
        return np.append(left[used[left] != "newton"], rest)

    def _finish(self, state, i, tol, bound, used):
        """Newton's method on one edited problem, from the iterate at hand."""
        edits = state.edits
        row = edits.rows[i]
        weights, y = self.objective.weights.copy(), self.objective.y.copy()
        weights[row], y[row] = edits.weight[i], edits.y[i]
        penalty = self.objective.penalty + edits.shift[i] * self.objective.unit_penalty
        if edits.ratio is not None:
            penalty = penalty * edits.ratio[i]
        problem = replace(self.objective, weights=weights, y=y, penalty=penalty, sample_weight=None)
        if edits.fills is not None:
            moved = filled_design(problem.design, edits.fills.take([i]))
            problem = replace(problem, design=moved)
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
        size = float(np.sqrt(np.maximum(0.0, flat @ (Curvature(base) @ flat))))
        if self.M is None:
            # Nothing certifies these: what they have is that Newton's method ended.
            if minimum.decrement > 1e-6 * size + self.accuracy.floor:
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
        return distance_bound(minimum, sizes) * float(np.exp(0.5 * r))

    # Any edit ----------------------------------------------------------------------------------

    def solve_points(self, points, tol):
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
            return self._solve_points(points, tol)

    def _solve_points(self, points, tol):
        problem = edited(self.objective, points)
        if piecewise.is_piecewise(problem.loss):
            return self._points_exactly(problem, points)
        inverse = steps.EditedInverse(self.factor, self.solver, points)
        right = inverse.right
        shape = self.objective.theta.shape
        if not right.any():
            return np.zeros(shape), self.accuracy.floor, 0.0, "one-step", self.accuracy.round_off
        if self.M is None:
            v = -inverse.solve(right)
            step, bound, size = self._newton(problem, v.reshape(shape), np.inf, tol)
            return step, bound, size, "newton", self.accuracy.round_off
        # As in RowBatch: the error before the edit counts in the norm of P.
        added = steps.points_leverage(self.factor, points, gained=True)
        inflated = np.sqrt(float(inflation(added, points.shift, self.objective)))
        floor, round_off = self.accuracy.floor * inflated, self.accuracy.round_off * inflated
        # What the last refinement changes is what the solver and Woodbury's formula lost.
        try:
            v, Pv, lost = inverse.refined(-right)
        except SingularHessianError as error:
            v, bound, size = self._elsewhere(problem, tol, error)
            return v, bound + floor, size, "newton", round_off
        size = steps.norm(v, Pv)
        kappa, growth, error = self._kappa(inverse, points)
        solved = inverse.refactored or self.factor
        changed, gradient, hessian = steps.stack(self.objective, points)
        sizes = self.accuracy.sizes(solved.leverages(changed))
        own_noise = self.accuracy.rounding(changed, gradient, hessian, sizes).sum()
        with np.errstate(invalid="ignore"):
            slack = lost / size + 2.0 * error * growth
        # Where nothing bounds the edited Hessian from below, all of this is infinite or NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            noise = self.accuracy.floor * (np.sqrt(growth) - 1.0) + own_noise * np.sqrt(growth)
            bound = float(certificate.newton_step_bound(self.M, kappa, np.array(size)))
            bound += slack * size + noise
        used = "one-step"
        while not self._certified(bound, size, tol):
            r, nonlinear = self._remainder(problem, v)
            left = Pv + right + nonlinear
            if not np.isfinite(left).all():
                break
            change = -inverse.solve(left)
            gradient = np.array(steps.norm(-change, left) * (1.0 + slack) + noise)
            here = certificate.gradient_bound(self.M, kappa, gradient, np.array(r))
            there = float(certificate.chord_bound(self.M, kappa, here, np.array(r)))
            there += slack * float(gradient) + noise
            again = there < 0.5 * bound and r < CHORD_RADIUS
            if there < bound:
                v, bound, used = v + change, there, "chord"
                Pv = inverse.multiply(v)
                size = steps.norm(v, Pv)
            if not again:
                break
        v = v.reshape(shape)
        if not self._certified(bound, size, tol):
            v, bound, size = self._newton(problem, v, kappa**2, tol)
            used = "newton"
            if not np.isfinite(bound):
                refuse_separable(problem.at(self.objective.theta + v))
        return v, bound + floor, size, used, round_off

    def _elsewhere(self, problem, tol, error):
        """Newton's method where the Hessian at the fit has no digits, as where a new row outweighs all.

        Raises ``error`` where no penalty decides what rows do not.
        """
        if not self.M or not problem.penalty.any():
            raise error
        try:
            step, bound, size = self._newton(
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
        design, gradient, _ = steps.stack(objective, points)
        pushes = (gradient != 0.0) | piecewise.near_margin(objective, design)
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
        """Of squared hinges."""
        return PiecewiseBound(self.factor)

    @cached_property
    def _piecewise_space(self):
        # Rows and their sizes are kept where they are few.
        small = 16 * self.objective.n_samples * self.objective.design.n_columns <= KEPT_BYTES
        return piecewise.space_of(self.objective) if small else None

    def _kappa(self, inverse, points):
        """A bound on ``|x_j|_{P^-1}`` over the rows of positive weight after the edit.

        With a bound on ``P^-1`` relative to the inverse that is solved with, and the relative
        error of that one's solves.
        """
        if inverse.refactored is not None:
            own = Accuracy(inverse.refactored)
            return np.sqrt(own.row_sizes.max(initial=0.0)), 1.0, own.solve_error
        leverage = inverse.leverage * (1.0 + self.accuracy.solve_error)
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
        return np.sqrt(largest / kept), 1.0 / kept, self.accuracy.solve_error

    def _remainder(self, problem, v):
        step = v.reshape(self.objective.theta.shape)
        positive = problem.weights > 0
        moved = problem.design.multiply(step.T)
        r = self.M * float(problem.loss.spread(moved[positive]).max(initial=0.0))
        # A step that overshoots overflows, and is left to Newton's method.
        with np.errstate(over="ignore", invalid="ignore"):
            rho = problem.weights[:, None] * problem.loss.remainder(problem.eta, problem.y, moved)
            return r, problem.design.adjoint(rho).T.ravel()


def _batch_of(edits):
    """The class of the batch that holds some edits."""
    if edits.move_fills:
        return FilledBatch
    return RowBatch if edits.ratio is None else RescaledBatch


def distance_bound(minimum, sizes=None):
    """How far the end of Newton's method may be from the optimum, in the norm of its Hessian.

    Parameters
    ----------
    minimum : Minimum
        Of an objective whose loss has a constant of self-concordance.
    sizes : ndarray of shape (n_samples,), default=None
        Bounds on ``|x_j|^2`` in the inverse of that Hessian, if they are known.

    Returns
    -------
    bound : float
    """
    own = Accuracy(minimum.factor, sizes)
    kappa = np.sqrt(own.row_sizes.max(initial=0.0))
    if not np.isfinite(kappa):
        return np.inf
    # Solves that are far off are no measure of what is left.
    error = solve_error(own.factor, own.row_sizes)
    decrement = np.array(minimum.decrement * (1.0 + error) if error < 1e-6 else np.inf)
    M = minimum.objective.loss.self_concordance
    local = certificate.gradient_bound(M, kappa, decrement, np.array(M * minimum.moved))
    return float(local + own.noise)
