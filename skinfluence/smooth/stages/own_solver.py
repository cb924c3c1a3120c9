"""Each row's own decision value without it, where no step of the parameters is needed."""

from functools import cached_property, partial

import numpy as np

from skinfluence import certificate
from skinfluence._utils.memory import row_blocks
from skinfluence.smooth.batches.row_batch import largest_eigenvalue
from skinfluence.smooth.chords.dual_chords import DualChords
from skinfluence.smooth.chords.logistic_pass import LogisticRows
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.accuracy import shrink, solve_error
from skinfluence.smooth.pairs.leverage_sums import LeverageSums
from skinfluence.smooth.pairs.own_values import OwnValues, own_quadratic, own_values
from skinfluence.smooth.pairs.step_sums import own_values_along
from skinfluence.smooth.stages.edit_start import Stage
from skinfluence.solvers.primal import PrimalFactor

# Single precision certifies own values to this; rows left over, as a share of all, from which a pass
# over all pairs of rows pays.
PAIRS_TOL, PAIRS_SHARE = 1e-4, 0.1
# Rows of largest leverage whose moves say where an iteration begins.
FOLLOWED = 100
# Bytes of parameter steps kept at once, and of one parameter's iterates.
BATCH_BYTES, STEPS_BYTES = 2**28, 96
# Bytes of a product of a training row and another point, in both precisions.
POINT_BYTES = 12


class OwnSolver(Stage):
    """Changes of decision values, of rows left out and of few other points."""

    def steps_at_once(self, edits, tol):
        """Steps of each row's own decision values, where they are known to solve the edit.

        No solve per row: of a quadratic loss the leverages say it all, and one step where the penalty
        moves, of other losses of one output the sums over pairs of rows, where enough rows are asked for.

        Returns
        -------
        solved : ndarray of bool, shape (m,)
            To a relative error of ``tol``.
        eta_steps : ndarray of shape (n_solved, n_outputs)
        """
        if not len(edits.rows):
            return np.zeros(0, dtype=bool), np.empty((0, self.objective.loss.n_outputs))
        if (self.M and self._pairs_pay(edits, tol)) or self._steps_are_all(edits):
            found = self.values(edits, tol)
        elif self._dual_pays(edits, tol):
            found = self._by_dual(edits, tol)
        else:
            return self._quadratic_steps(edits, tol)
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
                own.take(left), lambda now, which: self.start.certified(now.error, now.size, tol)
            )
            sure = self.start.certified(found.error, found.size, tol)
            moved[left[sure]] = found.steps[sure, : cross.shape[1]] @ cross.T
            solved[left] = sure
        return solved, moved[solved, :, None]

    def _by_dual(self, edits, tol):
        """As :meth:`values`, in the space of the rows."""
        own = self.dual.edits(edits)
        found = self.dual.own_values(own, tol)
        left = np.flatnonzero(~found.within(tol))
        if len(left):
            self._by_newton(own.take(left), self.dual.solve, left, found, tol)
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

    def knows_values(self, edits, tol):
        """Whether :meth:`values` serves some edits of this factor, to this tolerance."""
        return self.knows_pairs and self.start.has_one_shift(edits) and tol >= PAIRS_TOL

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
            and self.start.has_one_shift(edits)
        )

    def values(self, edits, tol):
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
        found = [self._values(edits.take(block), tol, edits.rows) for block in blocks]
        return found[0] if len(found) == 1 else OwnValues.of(found)

    def loose_values(self, edits):
        """As :meth:`values`, with the bounds that leverages give: a Gram matrix and a form a row.

        Parameters
        ----------
        edits : RowEdits
            That :meth:`knows_values` of.
        """
        at = self.start.whitened(edits)
        return own_values(at.edits(edits), LeverageSums(at))

    def _values(self, edits, tol, asked):
        at = self.start.whitened(edits)
        own = at.edits(edits)
        if not self.M:
            return own_quadratic(own)
        tall = at.tall_for(own, asked)
        if tall is not None and not tall.serves(own, tol):
            tall = None
        # Sums over pairs are of steps along the rows.
        pairs = at.pairs_of(asked) if own.are_along_rows and tall is None else None
        found = (
            own_values(own, tall or pairs) if own.are_along_rows else own_values_along(own, tall)
        )
        left = np.flatnonzero(~found.within(tol) & own.may_be_within(tol))
        if tall is not None and len(left):
            found.replace(left, own_values_along(own.take(left)))
            left = left[~found.within(tol)[left]]
        if not len(left) or not LogisticRows.serves(self.objective):
            return found
        own = own.take(left)
        if pairs is not None:
            far = self.M * np.abs(own.alpha) * pairs.largest[own.rows]
        else:
            far = at.chords.moved(own, self.accuracy.largest[0][:FOLLOWED])
        again, iterates = at.chords.own_values(own, tol, far)
        rest = np.flatnonzero(~again.within(tol))
        if len(rest):
            solve = partial(at.newton.solve, starts=iterates[rest])
            self._by_newton(own.take(rest), solve, rest, again, tol)
        found.replace(left, again)
        return found

    def _by_newton(self, own, solve, rest, found, tol):
        """Own values that chords could not certify, written to where they belong."""

        def is_enough(now, which):
            bound = now.change_error + own.floor[which]
            return certificate.within(bound, np.abs(now.change), tol, own.round_off[which])

        solved = solve(own, is_enough=is_enough)
        bound = solved.change_error + own.floor
        found.replace(rest, OwnValues(solved.change, bound, own.round_off))

    def _pairs_pay(self, edits, tol):
        """Whether a pass over all pairs of rows is cheaper than a pass for each row that needs one."""
        if not self.knows_values(edits, tol):
            return False
        if edits.ratio is not None:
            return LogisticRows.serves(self.objective)
        if self.start.knows_sums_of(edits.rows):
            return True
        return self._are_many(edits, tol)

    def _are_many(self, edits, tol):
        """Whether one step does not do for so many rows that all pairs of rows are worth while."""
        h = steps.row_leverages(self.factor, edits)[:, 0, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.abs(edits.gradient[:, 0]) * np.sqrt(h / (1.0 + edits.hessian[:, 0, 0] * h))
            s = self.M * np.sqrt(self.accuracy.row_sizes.max(initial=0.0)) * size
        return np.count_nonzero(~(s < tol)) > PAIRS_SHARE * self.objective.n_samples

    def _quadratic_steps(self, edits, tol):
        """Those of a quadratic loss, by a factor whose leverages are as accurate as its solves.

        All but rows whose edit leaves little of the Hessian along them, where errors grow.
        """
        factor, n = self.factor, len(edits.rows)
        nothing = np.zeros(n, dtype=bool), np.empty((0, self.objective.loss.n_outputs))
        if (
            edits.ratio is not None
            or self.M != 0
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
