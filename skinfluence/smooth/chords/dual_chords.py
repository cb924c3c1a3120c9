"""Chords of many one-row edits where rows are fewer than parameters, in the space of the rows.

All that is asked of the parameters are products ``K = X H^-1 X'`` of pairs of rows: an iterate is
``H^-1 X'c`` with a coefficient for each row, and the first chord of every edit needs no product at
all. In single precision with its rounding counted. Derivations are in ``doc/certificate.md``, "Chords
in the space of the rows".
"""

from functools import cached_property

import numpy as np

from skinfluence import certificate
from skinfluence._utils.memory import BLOCK_BYTES, available_memory
from skinfluence.smooth.chords.dual_newton import DualMovedRows
from skinfluence.smooth.chords.logistic_pass import REMAINDER, SUMS, LogisticRows, Passed
from skinfluence.smooth.chords.mixing import BEGIN, FARTHEST, shares
from skinfluence.smooth.pairs.own_values import OneRowEdits, OwnValues, answered
from skinfluence.smooth.pairs.pair_sums import EPS
from skinfluence.solvers.dual import DualFactor

# Edits iterated side by side, and iterations.
SIDE_BY_SIDE, PASSES = 512, 12
# Steps before that an iterate is mixed of; bytes of a pair of rows while pairs are made.
MIXED, BYTES = 2, 40


class DualChords:
    """Chords of one-row edits that hold C, of one output and more parameters than rows.

    Parameters
    ----------
    accuracy : Accuracy
        Of an objective with a dual factor that :meth:`serves`.
    """

    # The penalty does not move.
    drift = None

    def __init__(self, accuracy):
        self.accuracy, self.objective, self.factor = accuracy, accuracy.objective, accuracy.factor
        self.logistic = LogisticRows(self.objective, accuracy.row_sizes)
        mass = self.logistic.mass.astype(float) * abs(self.logistic.scale)
        with np.errstate(divide="ignore"):
            self.inverse_root = np.where(mass > 0, 1.0 / np.sqrt(mass), 0.0).astype(np.float32)
        # Of what a product of n terms in single precision loses.
        self.gamma = (self.objective.n_samples + 6) * EPS

    @staticmethod
    def serves(factor):
        """Whether a factor has what the chords are made of, and they fit in memory."""
        objective = factor.objective
        held = BYTES * objective.n_samples**2
        return (
            type(factor) is DualFactor
            and factor.knows_pairs
            and objective.hold == "C"
            and objective.design.in_memory
            and LogisticRows.serves(objective)
            and (held <= BLOCK_BYTES or held < available_memory())
        )

    @cached_property
    def _pairs(self):
        return self.factor.pairs()

    @cached_property
    def pairs(self):
        """``x_i' H^-1 x_j`` in single precision, (n_samples, n_samples)."""
        return self._pairs.astype(np.float32)

    @cached_property
    def newton(self):
        """Newton steps for edits that no chord certifies."""
        return DualMovedRows(self, self._pairs)

    def solve(self, own, is_enough):
        """Newton's method from the fit, as :meth:`~skinfluence.smooth.chords.moved_rows.MovedRows.solve`."""
        return self.newton.solve(own, np.zeros((len(own), self.newton.width)), is_enough)

    def edits(self, edits):
        """What the bounds of some edits need."""
        return OneRowEdits(self, edits)

    def own_values(self, own, tol):
        """Changes of own decision values; those that are not certified to ``tol`` are the best found.

        Parameters
        ----------
        own : OneRowEdits
        tol : float

        Returns
        -------
        found : OwnValues
        """
        parts = []
        for part in _parts(own):
            change, bound = np.full(len(part), np.nan), np.full(len(part), np.inf)
            chords = _Chords(self, part)
            while len(chords.open):
                chords.forward()
                some, limits = chords.open, chords.own_limits()
                better = limits < bound[some]
                change[some[better]], bound[some[better]] = chords.own[better], limits[better]
                done = certificate.within(
                    bound[some], np.abs(change[some]), tol, part.round_off[some]
                )
                chords.go_on(~done)
            parts.append(answered(part, change, bound))
        return OwnValues.of(parts)

    def moves_at(self, own, tol, cross, round_off):
        """Changes of decision values at other points.

        Parameters
        ----------
        own : OneRowEdits of m rows
        tol : float
            Relative error of the step that is certified, in the norm of the edited Hessian.
        cross : ndarray of shape (n_points, n_samples)
            ``x_t' H^-1 x_j``.
        round_off : float
            Error that counts as none.

        Returns
        -------
        moved : ndarray of shape (m, n_points)
        sure : ndarray of bool, shape (m,)
            Whose step is certified; the others have no answer here.
        """
        moved, sure = np.zeros((len(own), len(cross))), np.array(own.idle)
        single = np.ascontiguousarray(cross.T, dtype=np.float32)
        start = 0
        for part in _parts(own):
            chords = _Chords(self, part)
            while len(chords.open):
                chords.forward()
                limits, size = chords.limits()
                with np.errstate(invalid="ignore"):
                    done = limits <= np.maximum(tol * (size - limits), round_off)
                done = np.flatnonzero(done)
                at = start + chords.open[done]
                moved[at], sure[at] = chords.products(cross, single, done), True
                chords.go_on(np.isin(np.arange(len(limits)), done, invert=True))
            start += len(part)
        return moved, sure

    def cross(self, design):
        """``x_t' H^-1 x_j`` of other points and the training rows, (n_points, n_samples)."""
        rows = design.dense_rows()
        return self.objective.design.multiply(self.factor.solve(rows.T)).T


def _parts(own):
    for low in range(0, len(own), SIDE_BY_SIDE):
        yield own.take(np.arange(low, min(low + SIDE_BY_SIDE, len(own))))


class _Chords:
    """Iterates ``v = H^-1 (b x_i + X'C)`` of some edits, of which fewer and fewer are open.

    ``C`` has zeros at the rows of the edits. Its size in the norm of the inverse of the curvatures,
    ``(sum_j C_j^2 / (w_j l''_j))^1/2``, is at most ``reach``, and bounds both what ``C`` does to any row,
    over the row's length, and what rounding it loses, over gamma.
    """

    def __init__(self, at, edits):
        self.at, self.edits = at, edits
        self.open = np.flatnonzero(edits.are_bounded & ~edits.idle)
        own = edits.take(self.open)
        self._K = at.pairs[own.rows]
        self._K[np.arange(len(own)), own.rows] = 0.0
        far = own.M * np.abs(own.alpha) * np.abs(self._K).max(axis=1, initial=0.0)
        # Steps that overshoot begin where they have moved some row by as much as chords contract at.
        self._b = own.alpha * np.minimum(1.0, BEGIN / np.maximum(far, BEGIN))
        self._C, self._reach, self._before = None, np.zeros(len(own)), []

    def forward(self):
        """One pass: the remainders at the iterates, and what the next ones are made of."""
        at, own, K = self.at, self.edits.take(self.open), self._K
        m = len(own)
        lines = np.arange(m), own.rows
        delta = self._b.astype(np.float32)[:, None] * K
        moved = self._b * own.h
        if self._C is not None:
            delta += self._C @ at.pairs
            delta[lines] = 0.0
            moved = moved + np.einsum("bj,bj->b", self._C, K)
        Z = (own.grown / own.length).astype(np.float32)[:, None] * K
        rho, sums = np.empty_like(delta), np.zeros((7, m))
        at.logistic.remainders(delta, Z, rho, sums)
        if at.logistic.sign < 0:
            np.negative(rho, out=rho)
        length = np.sqrt(own.h)
        # What rounding may move a row by, over its length.
        lost = at.gamma * self._reach + 4.0 * EPS * np.abs(self._b) * length
        self._passed = passed = Passed.of(at.logistic, own, moved, sums, lost)
        # Where nothing is kept for sure there is no bound.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            left = rho if self._C is None else rho + self._C
            self._left = left * at.inverse_root
            beside = (1.0 + SUMS) * np.sqrt(np.einsum("bj,bj->b", self._left, self._left))
            itself = np.abs(self._b + own.g + passed.rest + own.D * moved)
            itself += np.abs(own.D) * at.gamma * self._reach * length
            size = own.size + self._reach
            self._rounded = lost * np.sqrt(passed.turned) + EPS * self._reach
            self._rounded += REMAINDER * (passed.G + 2.0 * size)
            E = (beside + itself * own.length) * (1.0 + own.slack)
            E += own.slack * size + self._rounded + own.noise
            E = np.where(passed.r < FARTHEST, E / np.maximum(passed.kept, 0.0), np.inf)
            self._E = certificate.gradient_bound(own.M, own.kappa, E, 0.0)
            pull = own.h * (own.g + passed.rest) + np.einsum("bj,bj->b", rho, K)
            # The next iterates: -P^-1 of the gradient without P times these ones.
            self.own = -own.grown * pull
            self._next_b = own.D * own.grown * pull - own.g - passed.rest
        self._rho, self._now = rho, own

    def own_limits(self):
        """Bounds on the next iterates' own values, (m,)."""
        own, passed, at = self._now, self._passed, self.at
        # Of K in single precision this much is lost.
        lost = 4.0 * EPS * np.sqrt(passed.turned) + 1e-15
        with np.errstate(over="ignore", invalid="ignore"):
            near = np.expm1(own.M * own.kappa * self._E)
            carry = np.sqrt(passed.carried) + lost + 4.0 * EPS * np.sqrt(at.logistic.edf)
            limit = (1.0 + SUMS) * np.sqrt(passed.bent) + lost + near * carry
            limit = self._E * limit + self._rounded + own.slack * (own.size + passed.G)
            limit = own.length * limit + own.floor
            limit += own.grown * at.gamma * passed.G * np.sqrt(own.h)
        return np.where(np.isnan(limit), np.inf, limit)

    def limits(self):
        """Bounds on the next iterates and at least their sizes, in the norm of P, (m,) each.

        What single precision loses of their products with other rows counts as an error of theirs.
        """
        own, passed, at = self._now, self._passed, self.at
        with np.errstate(over="ignore", invalid="ignore"):
            near = np.exp(own.M * own.kappa * self._E)
            limit = ((1.0 + passed.changed) * near - 1.0) * self._E + self._rounded
            limit += own.slack * (own.size + passed.G) + own.noise
            # Products of C, with other rows and with the edited one, which is in the next b.
            limit += at.gamma * passed.G * np.sqrt(1.0 + np.maximum(own.D * own.h, 0.0))
            limit += at.gamma * passed.G * np.abs(own.D) * own.h * np.sqrt(own.grown)
        return np.where(np.isnan(limit), np.inf, limit), np.maximum(own.size - passed.G, 0.0)

    def products(self, cross, single, which):
        """Products of some of the next iterates with other rows, (m, n_points)."""
        return self._next_b[which, None] * cross[:, self._now.rows[which]].T - (
            self._rho[which] @ single
        )

    def go_on(self, left):
        """The next iterates of those that are ``left`` open: mixtures of those after the last passes."""
        left = left & (self._passed.r < FARTHEST) & np.isfinite(self._next_b)
        left = np.flatnonzero(left & (len(self._before) < PASSES))
        last = self._next_b, self._rho, self._left, (1.0 + SUMS) * self._passed.G
        before = [*self._before, last]
        # Passes are counted by their places: those long before are not needed.
        self._before = [
            None if one is None or k < len(before) - 1 - MIXED else tuple(x[left] for x in one)
            for k, one in enumerate(before)
        ]
        self.open, self._K = self.open[left], self._K[left]
        kept = [one for one in self._before if one is not None]
        share = _shares([left for _, _, left, _ in kept])
        self._b = sum(c * b for c, (b, *_) in zip(share, kept, strict=True))
        self._C = -sum(
            c.astype(np.float32)[:, None] * rho for c, (_, rho, *_) in zip(share, kept, strict=True)
        )
        self._reach = sum(np.abs(c) * G for c, (*_, G) in zip(share, kept, strict=True))


def _shares(left):
    """Of what leaves least of the gradient: for each pass the share of each edit, that add up to 1."""
    last = left[-1]
    if len(left) == 1:
        return [np.ones(len(last))]
    df = np.stack([last - one for one in left[:-1]], axis=1)
    normal = np.einsum("bkd,bld->bkl", df, df).astype(float)
    share = shares(normal, np.einsum("bkd,bd->bk", df, last).astype(float)).T
    return [*share, 1.0 - share.sum(axis=0)]
