"""Edits at one row each, many at once: one Newton step and its bound, chord passes, Newton's method.

Each stage is tried on the edits the one before could not certify (``doc/certificate.md``).
"""

from dataclasses import replace

import numpy as np

from skinfluence import certificate
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.smooth.batches.filled_batch import FilledBatch, filled_design
from skinfluence.smooth.batches.remainders import RemainderPass
from skinfluence.smooth.batches.rescaled_batch import RescaledBatch
from skinfluence.smooth.batches.row_batch import MANY_OUTPUTS, RowBatch, largest_eigenvalue
from skinfluence.smooth.chords.logistic_pass import LogisticRows
from skinfluence.smooth.chords.row_chords import by_chords
from skinfluence.smooth.chords.single_solves import SingleSolves
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum import batch_newton as refits
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.existence import SeparableError, refuse_separable
from skinfluence.smooth.pairs.step_sums import own_values_along
from skinfluence.smooth.stages import single_starts
from skinfluence.smooth.stages.edit_start import Stage
from skinfluence.smooth.stages.own_solver import BATCH_BYTES, FOLLOWED, PAIRS_TOL, STEPS_BYTES
from skinfluence.smooth.stages.solved import SolvedSteps
from skinfluence.solvers import Exact, SingularHessianError
from skinfluence.solvers.cg import CGFactor

# The largest change of a row certifies a step to about half of it: smaller errors are not asked of it.
SPLIT_TOL = 1e-5
# Parameters from which on solves in single precision save time.
LOOSE_PARAMETERS = 300


class RowSolver(Stage):
    """Steps of the parameters for edits at one row each.

    Parameters
    ----------
    start : EditStart
    """

    def __init__(self, start):
        super().__init__(start)
        self.remainders = RemainderPass(self.objective)
        self._singles = {}

    def solve(self, edits, tol):
        """Solve edits at one row each, yielding ``(slice, SolvedSteps)`` in blocks.

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
        bound, settled = state.newton_bound(), state.settled
        round_off = np.where(settled, bound + floor, round_off)
        used = np.full(len(edits.rows), "one-step", dtype="<U8")
        left = np.flatnonzero(~(settled | self.start.certified(bound, state.size, tol)))
        if len(left) and tol >= PAIRS_TOL and self._serves_single(state, left, tol):
            left = self._by_single_chords(state, left, tol, bound, used)
        elif self.M and len(left) and tol >= PAIRS_TOL and self._loosens(state):
            state.loosen(self._single_solves(state.shift), tol)
        elif self.M is not None and len(left) and k < MANY_OUTPUTS and tol >= SPLIT_TOL:
            bound[left] = np.minimum(bound[left], state.split_bound(left))
            left = left[~self.start.certified(bound[left], state.size[left], tol)]
        if len(left) and self.M is not None:
            begin = self._near_starts(state, left, tol)
            by_chords(state, left, lambda *one: self.start.certified(*one, tol), bound, used, begin)
        left = np.flatnonzero(~(settled | self.start.certified(bound, state.size, tol)))
        if len(left):
            with small_blas(self.objective.n_parameters):
                for i in self._refit(state, left, tol, bound, used):
                    self._finish(state, i, tol, bound, used)
        return SolvedSteps(
            state.theta_steps, bound + floor, state.size, used, state.leverage, round_off
        )

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

    def _serves_single(self, state, left, tol):
        """Whether some edits of a batch are served by chords in single precision."""
        if not (self._serves_whitened(state) and LogisticRows.serves(self.objective)):
            return False
        if not self.objective.design.is_sparse:
            return True
        # Products with sparse rows are cheap: only what takes their place is cheaper.
        at = self.start.whitened(state.edits)
        return at.chords.finds_near(at.edits(state.edits.take(left)), tol)

    def _by_single_chords(self, state, left, tol, bound, used):
        """Chords in single precision; the edits that they leave."""
        at = self.start.whitened(state.edits)
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
        rest = ~self.start.certified(bound[left], state.size[left], tol)
        rest = self._by_moved_rows(state, left[rest], own.take(rest), tol, bound, used)
        return np.union1d(others, rest)

    def _near_starts(self, state, left, tol):
        """Iterates of some edits by chords in single precision, and ``-P`` times them; None for none."""
        if tol >= PAIRS_TOL or type(state) is not RowBatch or not self.remainders.pays(len(left)):
            return None
        if not (self._serves_whitened(state) and single_starts.serves(self.objective)):
            return None
        at = self.start.whitened(state.edits)
        own = at.edits(state.edits.take(left))
        steps, sums, found = single_starts.near_optima(at, own, self.remainders, tol)
        w, b = state.theta_steps[left], state.solved[left]
        with small_blas(self.objective.n_parameters):
            w[found, 0] = at.whole(steps[found])
            b[found, 0] = state.right[left[found], 0] + at.adjoint_whole(sums[found])
        return w, b

    def _serves_moved(self, state):
        """Whether edits of a batch are served by Newton steps that renew the rows that moved."""
        return self._serves_whitened(state) and not self.objective.design.is_sparse

    def _serves_whitened(self, state):
        """Whether edits of a batch may be asked about in coordinates where the Hessian is the identity."""
        n, p = self.objective.n_samples, self.objective.n_parameters
        return (
            self.knows_pairs
            and self.start.has_one_shift(state.edits)
            and (p <= 64 or p * p <= 20 * n)
            and (not self.objective.design.is_sparse or 8 * n * p <= BATCH_BYTES)
        )

    def _by_moved_rows(self, state, left, own, tol, bound, used):
        """Newton steps that renew the Hessian where rows moved; the edits that they leave."""
        if not len(left):
            return left
        at = self.start.whitened(state.edits)

        def is_enough(now, which):
            return self.start.certified(now.error, now.size, own.part_of_errors * tol)

        found = at.newton.solve(own, at.halved(state.theta_steps[left, 0]), is_enough)
        error, size = own.moved_errors(found.error, found.size)
        self._take_over(state, left, found.steps, error, size, tol, bound, used, "newton")
        return left[~self.start.certified(bound[left], state.size[left], tol)]

    def _take_over(self, state, left, found, error, size, tol, bound, used, name):
        """Keep what is certified of some iterates, in the coordinates of whitened rows."""
        sure = self.start.certified(error, size, tol)
        done = left[sure]
        with small_blas(self.objective.n_parameters):
            state.theta_steps[done, 0] = self.start.whitened(state.edits).whole(found[sure])
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
        return SolvedSteps(found, nothing, size, used, leverage, nothing)

    def _refit(self, state, left, tol, bound, used):
        """Newton's method on many edited problems together; those it could not certify."""
        if self.M is None or isinstance(state, FilledBatch):
            return left
        if isinstance(self.factor, CGFactor) and isinstance(self.solver, Exact):
            # Few parameters: a Hessian of its own costs less than solves within solves.
            return left
        if len(left) and self._serves_moved(state):
            own = self.start.whitened(state.edits).edits(state.edits.take(left))
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
            solved = self.start.certified(there, refit.size, tol)
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
            state.theta_steps[i], bound[i], state.size[i] = self.start.newton(
                problem, state.theta_steps[i], state.sizes(i), tol
            )
            if not np.isfinite(bound[i]):
                refuse_separable(problem.at(self.objective.theta + state.theta_steps[i]))
        except (SingularHessianError, SeparableError):
            # No unique model without the row; the others have theirs.
            state.theta_steps[i], bound[i] = np.nan, np.inf


def _batch_of(edits):
    """The class of the batch that holds some edits."""
    if edits.move_fills:
        return FilledBatch
    return RowBatch if edits.ratio is None else RescaledBatch
