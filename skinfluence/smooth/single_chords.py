"""Chord iterations of many one-row edits side by side, in single precision with its rounding counted.

Derivations are in ``doc/certificate.md``, "Chords in single precision".
"""

import numpy as np
from scipy.special import expit

from skinfluence import certificate
from skinfluence.losses import Binomial, SmoothHinge, Tweedie
from skinfluence.smooth.own_values import answered
from skinfluence.smooth.pair_sums import EPS

# Edits iterated side by side, entries of one block of edits and rows, rows of one sum in single
# precision, and iterations.
SIDE_BY_SIDE, ENTRIES, SUMMED_ROWS, PASSES = 128, 2**19, 256, 8
# Edits that are left to Newton's method, as what a pass costs beside its products is more.
FEW = 12
# Changes of the log-curvature up to which remainders are taken in single precision and to which a
# start is shortened.
FARTHEST, BEGIN = 4.0, 1.0
# Relative rounding of a remainder in single precision, of a product of SUMMED_ROWS of them, and of
# sums of squares.
REMAINDER, SUMMED, SUMS = 4e-6, (SUMMED_ROWS + 4) * EPS, 1e-4
# Changes of a curvature, relative to it, that are bounded by their largest; larger ones row by row.
BENT = 0.25


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
        objective = at.objective
        self.objective, self.rows = objective, at.rows
        self._single = at.rows.astype(np.float32)
        self._drifts = None if at.drift is None else at.drifts.astype(np.float32)
        eta, loss, sizes = objective.eta[:, 0], objective.loss, at.accuracy.row_sizes
        second = objective.weights * objective.hessians[:, 0, 0]
        self._scale = 1.0
        if isinstance(loss, Tweedie):
            # An exponential is a logistic far out.
            self._scale = 1.0 if loss.power == 1 else -1.0
            p, s, mass = np.zeros(len(eta)), np.ones(len(eta)), second
        else:
            if isinstance(loss, SmoothHinge):
                eta, self._scale = (eta - objective.y) / loss.temperature, 1.0 / loss.temperature
            p, s = expit(eta), expit(-eta)
            mass = objective.weights * p * s
        self._terms = [one.astype(np.float32) for one in (p, s, mass, sizes)]
        self._edf = float(second @ sizes)

    @staticmethod
    def serves(objective):
        """Whether the loss has its remainders in single precision."""
        loss = objective.loss
        if isinstance(loss, Tweedie):
            return loss.power in (1, 2)
        return isinstance(loss, Binomial | SmoothHinge)

    def moved(self, own, rows):
        """``M`` times the largest change that whole steps make at some other rows, (m,)."""
        with np.errstate(invalid="ignore", over="ignore"):
            moved = np.abs(own.begin(own.a).astype(np.float32) @ self._single[rows].T)
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
        chords = _Chords(self, own, far)
        change, bound = np.full(len(own), np.nan), np.full(len(own), np.inf)
        while len(chords.open):
            values, limits, after, r = chords.own_values()
            some = chords.open
            better = limits < bound[some]
            change[some[better]], bound[some[better]] = values[better], limits[better]
            done = certificate.within(bound[some], np.abs(change[some]), tol, own.round_off[some])
            chords.go_on(~done & (r < FARTHEST), after)
        return answered(own, change, bound), chords.steps

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
        chords = _Chords(self, own, far)
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


class _Chords:
    """The iterates of some edits, of which fewer and fewer are open."""

    def __init__(self, single, own, far):
        # Steps that overshoot begin where they have moved some row by as much as chords contract at.
        share = np.minimum(1.0, BEGIN / np.maximum(far, BEGIN))
        self.single, self.own = single, own
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
        self._w, self._history = _accelerated(self._w[left], f[left], history)
        self.steps[self.open] = self._w

    def own_values(self):
        """Own values of the next iterates with their bounds, those iterates, and how far rows moved."""
        own = self.own.take(self.open)
        S, r, G, bent, carried, turned, kept, _ = self._pass(own)
        after, E, rounded = self._judged(own, S, r, G, turned, kept)
        reach = own.M * own.kappa * E
        gamma = self._gamma
        # Of each of what the sums are weighted with gamma is lost.
        lost = gamma * np.sqrt(turned) + 1e-15
        with np.errstate(over="ignore", invalid="ignore"):
            carry = np.sqrt(carried) + lost + gamma * np.sqrt(self.single._edf)
            limit = (1.0 + SUMS) * np.sqrt(bent) + lost + np.expm1(reach) * carry
            limit = own.length * (E * limit + rounded + own.slack * own.size) + own.floor
        limit[np.isnan(limit)] = np.inf
        return np.einsum("bd,bd->b", self._a, after), limit, after, r

    def parameters(self):
        """Bounds on the next iterates and their sizes, those iterates, and how far rows moved."""
        own = self.own.take(self.open)
        S, r, G, _, _, turned, kept, changed = self._pass(own, own_values=False)
        after, E, rounded = self._judged(own, S, r, G, turned, kept)
        with np.errstate(over="ignore", invalid="ignore"):
            # What a chord leaves of an error: the curvature between there and the optimum.
            near = np.exp(own.M * own.kappa * E)
            limit = ((1.0 + changed) * near - 1.0) * E
            size = own.norm(after, self._a)
            limit += rounded + own.slack * size + own.noise
        limit[np.isnan(limit)] = np.inf
        return limit, size, after, r

    @property
    def _gamma(self):
        return (self._a.shape[1] + 6) * EPS

    def _reach(self, own):
        """At least ``|v|`` times what ``|L^-1 x_j|^2`` may be larger than the leverage of row j."""
        return _length(self._w) / np.sqrt(own.shrink)

    def _pass(self, own, own_values=True):
        """Remainders of all rows after the edits: their sum, and what bounds are made of."""
        single, objective = self.single, self.single.objective
        m = len(own)
        S, sums = np.zeros((m, self._a.shape[1])), np.zeros((7, m))
        for low in range(0, m, SIDE_BY_SIDE):
            some = slice(low, min(low + SIDE_BY_SIDE, m))
            self._block(own.take(some), some, own_values, S[some], sums[:, some])
        # Of the logistic loss in its own units: l'' is its curvature times the scale.
        scale = abs(single._scale)
        r, G = sums[0], np.sqrt(sums[1] / scale)
        bent, carried, turned, fell, rose = sums[2:] * scale
        if single._scale < 0:
            S *= -1.0
        moved = np.einsum("bd,bd->b", self._a, self._w)
        loss, eta, weight = objective.loss, own.eta, own.weight
        second = loss.hessian(eta, own.y)[:, 0, 0]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rest = loss.remainder(eta, own.y, moved[:, None])[:, 0]
            q = loss.hessian(eta + moved[:, None], own.y)[:, 0, 0] / second
            there = weight > 0
            S += np.where(there, weight * rest, 0.0)[:, None] * self._a
            own_z = np.where(there, weight * second * own.length**2, 0.0)
            q = np.where(there, q, 1.0)
            G = np.sqrt(G**2 + np.where(there, weight * rest**2 / second, 0.0))
            bent = bent + own_z * (q - 1.0) ** 2
            carried = carried + own_z * q**2
            r = np.where(there, np.maximum(r, np.abs(moved) * own.M), r)
            # Rows beyond BENT are added up in the norm of P, with what their rounding can be.
            lost = own.M * self._gamma * self._reach(own) * own.kappa * single._edf
            fell, rose = (
                own.growth * (one * (1.0 + SUMS) + lost)
                + own_z * np.maximum(side * (q - 1.0) - BENT, 0.0)
                for one, side in ((fell, -1.0), (rose, 1.0))
            )
            kept = np.maximum(1.0 - BENT - fell, np.exp(-r))
            changed = np.minimum(np.expm1(r), BENT + np.maximum(fell, rose))
        return S, r, G, bent, carried, turned, kept, changed

    def _block(self, own, some, weighted, S, sums):
        from skinfluence._compiled.pairs import logistic_remainders

        single, rows = self.single, own.rows
        m, n = len(rows), single.objective.n_samples
        # Whole steps along x_j' z need no product of their own.
        along = None if self._passes else own.as_direction()
        weighted = weighted or along is not None
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
            part = single._single[start:stop]
            Z, delta, rho = (one[: m * len(part)].reshape(m, -1) for one in held)
            if weighted:
                np.matmul(z, part.T, out=Z)
            if along is not None:
                np.multiply(Z, along[:, None], out=delta)
                if single._drifts is not None:
                    delta += share[:, None] * single._drifts[start:stop]
            else:
                np.matmul(w, part.T, out=delta)
            if not weighted:
                Z = delta
            inside = np.flatnonzero((rows >= start) & (rows < stop))
            Z[inside, rows[inside] - start] = 0.0
            delta[inside, rows[inside] - start] = 0.0
            terms = [one[start:stop] for one in single._terms]
            scale, far = np.float32(single._scale), np.float32(BENT)
            logistic_remainders(delta, Z, *terms, scale, far, rho, sums)
            for low in range(0, len(part), SUMMED_ROWS):
                S += rho[:, low : low + SUMMED_ROWS] @ part[low : low + SUMMED_ROWS]

    def _judged(self, own, S, r, G, turned, kept):
        """The next iterates, bounds on the errors of these ones, and what rounding leaves."""
        a, w = self._a, self._w
        after = own.solved(a, S)
        size = own.norm(w, a)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rounded = self._gamma * self._reach(own) * np.sqrt(turned) + REMAINDER * (
                G + 2.0 * size
            )
            rounded += SUMMED * G * np.sqrt(self.single._edf * own.growth)
            left = own.norm(after - w, a) * (1.0 + own.slack)
            left += own.slack * size + rounded + own.noise
            E = np.where(r < FARTHEST, left / np.maximum(kept, 0.0), np.inf)
        return after, certificate.gradient_bound(own.M, own.kappa, E, 0.0), rounded


def _length(v):
    return np.sqrt(np.einsum("bd,bd->b", v, v))


def _accelerated(w, f, history):
    """Next iterates from this one and up to two before: the combination of least residual."""
    kept = [*history, (w, f)][-3:]
    if len(kept) == 1:
        return w + f, kept
    dw = np.stack([w - p for p, _ in kept[:-1]], axis=1)
    df = np.stack([f - q for _, q in kept[:-1]], axis=1)
    normal = np.einsum("bkd,bld->bkl", df, df)
    k = normal.shape[1]
    trace = np.einsum("bkk->b", normal)
    normal += (1e-10 * trace + 1e-300)[:, None, None] * np.eye(k)
    share = np.linalg.solve(normal, np.einsum("bkd,bd->bk", df, f)[..., None])
    return w + f - np.einsum("bkl,bkd->bd", share, dw + df), kept
