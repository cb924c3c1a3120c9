"""Chord iterations of many one-row edits side by side, in single precision with its rounding counted.

Derivations are in ``doc/certificate.md``, "Chords in single precision".
"""

from typing import NamedTuple

import numpy as np

from skinfluence import certificate
from skinfluence.smooth.chords.logistic_pass import REMAINDER, SUMS, LogisticRows, Passed
from skinfluence.smooth.chords.mixing import BEGIN, FARTHEST, accelerated, length
from skinfluence.smooth.chords.near_rows import FarRows, NearRows
from skinfluence.smooth.pairs.own_values import answered
from skinfluence.smooth.pairs.pair_sums import EPS

# Edits iterated side by side, entries of one block of edits and rows, rows of one sum in single
# precision, and iterations.
SIDE_BY_SIDE, ENTRIES, SUMMED_ROWS, PASSES = 256, 2**18, 256, 8
# Edits that are left to Newton's method, as what a pass costs beside its products is more.
FEW = 6
# Relative rounding of a product of SUMMED_ROWS remainders.
SUMMED = (SUMMED_ROWS + 4) * EPS


class _Rows(NamedTuple):
    """Rows that a pass reads one by one, in single precision.

    Attributes
    ----------
    rows : ndarray of float32, shape (k, n_parameters)
    drifts : ndarray of float32, shape (k,), or None
    logistic : LogisticRows of k rows
    place : ndarray of int, shape (n_samples,)
        Of each training row among them, -1 for none.
    """

    rows: np.ndarray
    drifts: np.ndarray
    logistic: LogisticRows
    place: np.ndarray


class SingleChords:
    """Chords of many one-row edits.

    In coordinates in which the Hessian is the identity, an edit is a rank-one change of it. The
    iterates are accelerated (Anderson's method with two steps before); a bound needs nothing but the
    iterate it is made for.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output.
    """

    def __init__(self, at):
        self.at, self.objective, self.rows = at, at.objective, at.rows
        self.logistic = LogisticRows(at.objective, at.accuracy.row_sizes)
        drifts = None if at.drift is None else at.drifts.astype(np.float32)
        every = np.arange(len(at.rows))
        self.all = _Rows(at.single_rows, drifts, self.logistic, every)
        self.near, self.far, self.far_rows = None, None, FarRows(at)

    def moved(self, own, rows):
        """``M`` times the largest change that whole steps make at some other rows, (m,)."""
        with np.errstate(invalid="ignore", over="ignore"):
            moved = np.abs(own.begin(own.a).astype(np.float32) @ self.all.rows[rows].T)
        moved[own.rows[:, None] == rows] = 0.0
        return own.M * moved.max(axis=1, initial=0.0)

    def own_values(self, own, tol, far):
        """Iterate until each change of an own value is certified to ``tol``, or cannot be here.

        Parameters
        ----------
        own : OneRowEdits
        tol : float
        far : ndarray of shape (m,)
            ``M`` times the largest change of a decision value under the whole step.

        Returns
        -------
        found : OwnValues
        steps : ndarray of shape (m, n_parameters)
            The last iterates, in the coordinates of :attr:`rows`.
        """

        def iterate(own, far, near):
            chords = _Chords(self, own, far, near)
            change, bound = np.full(len(own), np.nan), np.full(len(own), np.inf)
            while len(chords.open):
                values, limits, after, r = chords.own_values()
                some = chords.open
                better = limits < bound[some]
                change[some[better]], bound[some[better]] = values[better], limits[better]
                done = certificate.within(
                    bound[some], np.abs(change[some]), tol, own.round_off[some]
                )
                chords.go_on(~done & (r < FARTHEST), after)
            return change, bound, chords.steps

        change, bound, steps = self._in_parts(own, tol, far, iterate)
        return answered(own, change, bound), steps

    def solve(self, own, tol, far, round_off):
        """Iterate until each step of the parameters is certified to ``tol``, or cannot be here.

        Parameters
        ----------
        own : OneRowEdits
        tol : float
        far : ndarray of shape (m,)
            As in :meth:`own_values`, about.
        round_off : float
            Error that counts as none.

        Returns
        -------
        steps : ndarray of shape (m, n_parameters)
            In the coordinates of :attr:`rows`: the best that was certified, else the last.
        bound, size : ndarray of shape (m,)
            On their errors, without the floor of the fit, and their own, in the norm of P.
        """

        def iterate(own, far, near):
            chords = _Chords(self, own, far, near)
            steps, bound, size = chords.steps.copy(), np.full(len(own), np.inf), own.size.copy()
            while len(chords.open):
                limits, sizes, after, r = chords.parameters()
                some = chords.open
                better = limits < bound[some]
                steps[some[better]], bound[some[better]] = after[better], limits[better]
                size[some[better]] = sizes[better]
                with np.errstate(invalid="ignore"):
                    done = bound[some] <= np.maximum(tol * (size[some] - bound[some]), round_off)
                chords.go_on(~done & (r < FARTHEST), after)
            unknown = np.isinf(bound)
            steps[unknown] = chords.steps[unknown]
            return steps, bound, size

        return self._in_parts(own, tol, far, iterate)

    def _in_parts(self, own, tol, far, iterate):
        """What is found of edits for which near rows are taken to second order, and of the others."""
        if not self.finds_near(own, tol):
            return iterate(own, far, None)
        served = self.near.serve(own, tol)
        if not served.any():
            return iterate(own, far, None)
        if served.all():
            return iterate(own, far, self.near)
        parts = [np.flatnonzero(one) for one in (served, ~served)]
        found = [
            iterate(own.take(some), far[some], near)
            for some, near in zip(parts, (self.near, None), strict=True)
        ]
        order = np.argsort(np.concatenate(parts))
        return tuple(np.concatenate(one)[order] for one in zip(*found, strict=True))

    def finds_near(self, own, tol):
        """Whether there are near rows that a tensor is cheaper for; one is kept for the next edits."""
        far = self.far_rows.cheapest(own, tol)
        if far is None:
            return False
        if self.near is None or not np.array_equal(self.near.far, far):
            self.near, self.far = NearRows(self.at, far), self._among(far)
        return True

    def _among(self, rows):
        """Some of the rows of a pass."""
        place = np.full(len(self.rows), -1)
        place[rows] = np.arange(len(rows))
        drifts = None if self.all.drifts is None else self.all.drifts[rows]
        return _Rows(self.all.rows[rows], drifts, self.logistic.take(rows), place)


class _Chords:
    """The iterates of some edits, of which fewer and fewer are open.

    Parameters
    ----------
    single : SingleChords
    own : OneRowEdits of m rows
    far : ndarray of shape (m,)
    near : NearRows, default=None
        What takes the place of rows that no edit moves far.
    """

    def __init__(self, single, own, far, near=None):
        # Steps that overshoot begin where they have moved some row by as much as chords contract at.
        share = np.minimum(1.0, BEGIN / np.maximum(far, BEGIN))
        self.single, self.own, self._near = single, own, near
        self._rows = single.all if near is None else single.far
        self.open = np.flatnonzero(own.are_bounded)
        self._a = single.rows[own.rows[self.open]]
        self._share = share[self.open]
        self._w = self._share[:, None] * own.take(self.open).begin(self._a)
        self._history = []
        self._passes = 0
        self.steps = np.zeros((len(own), single.rows.shape[1]))
        self.steps[self.open] = self._w

    def go_on(self, left, after):
        """The next iterates of those that are ``left`` open."""
        f = after - self._w
        self._passes += 1
        left = np.flatnonzero(left & np.isfinite(f).all(axis=1) & (self._passes < PASSES))
        if len(left) < FEW:
            left = left[:0]
        self.open, self._a = self.open[left], self._a[left]
        history = [(p[left], q[left]) for p, q in self._history]
        self._w, self._history = accelerated(self._w[left], f[left], history)
        self.steps[self.open] = self._w

    def own_values(self):
        """Own values of the next iterates with their bounds, those iterates, and how far rows moved."""
        own = self.own.take(self.open)
        after, E, rounded, passed = self._judged(own, *self._pass(own))
        reach = own.M * own.kappa * E
        gamma = self._gamma
        # Of each of what the sums are weighted with gamma is lost.
        lost = gamma * np.sqrt(passed.turned) + 1e-15
        with np.errstate(over="ignore", invalid="ignore"):
            carry = np.sqrt(passed.carried) + lost + gamma * np.sqrt(self.single.logistic.edf)
            limit = (1.0 + SUMS) * np.sqrt(passed.bent) + lost + np.expm1(reach) * carry
            limit = own.length * (E * limit + rounded + own.slack * own.size) + own.floor
        limit[np.isnan(limit)] = np.inf
        return np.einsum("bd,bd->b", self._a, after), limit, after, passed.r

    def parameters(self):
        """Bounds on the next iterates and their sizes, those iterates, and how far rows moved."""
        own = self.own.take(self.open)
        after, E, rounded, passed = self._judged(own, *self._pass(own, own_values=False))
        with np.errstate(over="ignore", invalid="ignore"):
            # What a chord leaves of an error: the curvature between there and the optimum.
            near = np.exp(own.M * own.kappa * E)
            limit = ((1.0 + passed.changed) * near - 1.0) * E
            size = own.norm(after, self._a)
            limit += rounded + own.slack * size + own.noise
        limit[np.isnan(limit)] = np.inf
        return limit, size, after, passed.r

    @property
    def _gamma(self):
        return (self._a.shape[1] + 6) * EPS

    def _reach(self, own):
        """At least ``|v|`` times what ``|L^-1 x_j|^2`` may be larger than the leverage of row j."""
        return length(self._w) / np.sqrt(own.shrink)

    def _pass(self, own, own_values=True):
        """Remainders of all rows after the edits: their sum, what bounds are made of, what is left out."""
        m = len(own)
        S, sums = np.zeros((m, self._a.shape[1])), np.zeros((7, m))
        for low in range(0, m, SIDE_BY_SIDE):
            some = slice(low, min(low + SIDE_BY_SIDE, m))
            part = own if m <= SIDE_BY_SIDE else own.take(some)
            self._block(part, some, own_values, S[some], sums[:, some])
        logistic, lost = self.single.logistic, 0.0
        S *= logistic.sign
        if self._near is not None:
            lost = self._near.add(own, self._a, self._w, S, sums, abs(logistic.scale))
        moved = np.einsum("bd,bd->b", self._a, self._w)
        passed = Passed.of(logistic, own, moved, sums, self._gamma * self._reach(own))
        with np.errstate(over="ignore", invalid="ignore"):
            S += passed.rest[:, None] * self._a
        return S, passed, lost

    def _block(self, own, some, weighted, S, sums):
        read = self._rows
        place, m, n = read.place[own.rows], len(own.rows), len(read.rows)
        # Beside x_j' z whole steps need no product of their own.
        along = None if self._passes or not weighted else own.as_direction()
        if weighted:
            z = own.directions(self._a[some]).astype(np.float32)
        if along is None:
            w = self._w[some].astype(np.float32)
        else:
            share = self._share[some]
            along, share = (share * along).astype(np.float32), share.astype(np.float32)
        width = max(SUMMED_ROWS, ENTRIES // m // SUMMED_ROWS * SUMMED_ROWS)
        held = np.empty((3, m * min(width, n)), dtype=np.float32)
        for start in range(0, n, width):
            stop = min(start + width, n)
            part = read.rows[start:stop]
            Z, delta, rho = (one[: m * len(part)].reshape(m, -1) for one in held)
            if weighted:
                np.matmul(z, part.T, out=Z)
            if along is not None:
                np.multiply(Z, along[:, None], out=delta)
                if read.drifts is not None:
                    delta += share[:, None] * read.drifts[start:stop]
            else:
                np.matmul(w, part.T, out=delta)
            if not weighted:
                Z = delta
            inside = np.flatnonzero((place >= start) & (place < stop))
            Z[inside, place[inside] - start] = 0.0
            delta[inside, place[inside] - start] = 0.0
            read.logistic.remainders(delta, Z, rho, sums, slice(start, stop))
            for low in range(0, len(part), SUMMED_ROWS):
                S += rho[:, low : low + SUMMED_ROWS] @ part[low : low + SUMMED_ROWS]

    def _judged(self, own, S, passed, lost):
        """The next iterates, bounds on the errors of these ones, what rounding leaves, and the pass."""
        a, w, G = self._a, self._w, passed.G
        after = own.solved(a, S)
        size = own.norm(w, a)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rounded = self._gamma * self._reach(own) * np.sqrt(passed.turned) + REMAINDER * (
                G + 2.0 * size
            )
            rounded += SUMMED * G * np.sqrt(self.single.logistic.edf * own.growth) + lost
            left = own.norm(after - w, a) * (1.0 + own.slack)
            left += own.slack * size + rounded + own.noise
            E = np.where(passed.r < FARTHEST, left / np.maximum(passed.kept, 0.0), np.inf)
        E = certificate.gradient_bound(own.M, own.kappa, E, 0.0)
        return after, E, rounded, passed
