"""What one-row edits do to the row's own decision value, certified to second order and by chords.

Derivations are in ``doc/certificate.md``, "The row's own value".
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from skinfluence import certificate
from skinfluence.losses import Binomial, SmoothHinge
from skinfluence.smooth import steps
from skinfluence.smooth.accuracy import shrink
from skinfluence.smooth.pair_sums import EPS, half_solved

# Edits iterated side by side, passes over the rows, and the changes of the log-curvature up to which
# remainders are taken in single precision and to which a start is shortened.
SIDE_BY_SIDE, PASSES, FARTHEST, BEGIN = 128, 8, 4.0, 1.0
# Relative rounding of a remainder in single precision, of a product of 512 of them, which will do up to
# this change of the log-curvature, and of the sums of squares.
REMAINDER, SUMMED, NEAR, SUMS = 4e-6, 3.1e-5, 1.5, 1e-4


@dataclass(frozen=True, eq=False)
class OwnValues:
    """Changes of own decision values.

    Attributes
    ----------
    change : ndarray of shape (m,)
    bound : ndarray of shape (m,)
        On the error of each change.
    round_off : ndarray of shape (m,)
        What of the bound is round-off.
    """

    change: np.ndarray
    bound: np.ndarray
    round_off: np.ndarray

    def within(self, tol):
        """Whether each change is certified to ``tol`` or to round-off."""
        return certificate.within(self.bound, np.abs(self.change), tol, self.round_off)


class _OwnEdits:
    """One-row edits of one output that hold C, and what all bounds on own values need of them."""

    def __init__(self, accuracy, edits):
        factor, objective = accuracy.factor, accuracy.objective
        self.objective, self.edits, self.rows = objective, edits, edits.rows
        self.M = objective.loss.self_concordance
        h = steps.row_leverages(factor, edits)
        left = steps.complements(factor, edits, h)[:, 0, 0]
        self.h, self.g, self.D = h[:, 0, 0], edits.gradient[:, 0], edits.hessian[:, 0, 0]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.grown = 1.0 / left
            # The step is alpha H^-1 x, and |x| in P^-1 is length.
            self.alpha = -self.g * self.grown
            self.length = np.sqrt(np.maximum(self.h * self.grown, 0.0))
            self.size = np.abs(self.g) * self.length
            leverage = np.maximum(-self.D * self.h, 0.0)
            kept = (1.0 - leverage * (1.0 + accuracy.solve_error)) * shrink(edits.shift, objective)
            growth = np.where(kept > 0, 1.0 / kept, np.inf)
            self.slack = (2.0 * accuracy.solve_error + factor.leverage_error) * growth
            largest = np.maximum(accuracy.row_sizes.max(initial=0.0), self.h)
            self.kappa = np.sqrt(largest * growth)
            rounding = accuracy.rounding(edits.design, edits.gradient, edits.hessian, self.h)
            # As in RowBatch, in the norm of P.
            self.noise = accuracy.floor * (np.sqrt(growth) - 1.0) + rounding * np.sqrt(growth)
            inflation = np.sqrt(1.0 + np.maximum(self.D * self.h, 0.0))
            self.floor = self.length * (self.noise + accuracy.floor * inflation)
            self.round_off = self.length * accuracy.round_off * inflation
        self.idle = (self.g == 0) & (self.D == 0)

    def after(self, chosen=slice(None)):
        """Weights, decision values and targets of the rows themselves after the edits."""
        return (
            self.edits.weight[chosen],
            self.objective.eta[self.rows[chosen]],
            self.edits.y[chosen],
        )


def own_values(accuracy, edits, sums):
    """Newton steps of own decision values, corrected to second order, with bounds.

    Parameters
    ----------
    accuracy : Accuracy
        Of an objective with one output that holds C.
    edits : RowEdits
    sums : PairSums
        Of its factor.

    Returns
    -------
    found : OwnValues
    """
    own = _OwnEdits(accuracy, edits)
    loss, M, rows, h, alpha = accuracy.objective.loss, own.M, own.rows, own.h, own.alpha
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The row itself, as it is after the edit.
        weight, eta, y = own.after()
        W, T = weight * loss.hessian(eta, y)[:, 0, 0], weight * loss.third(eta, y)
        cubes = sums.cubes[rows] + T * h**3
        fourth = alpha**2 * np.sqrt(sums.quarts[rows] + np.abs(W) * h**4)
        r = M * np.abs(alpha) * np.maximum(sums.largest[rows], np.where(W > 0, h, 0.0))
        second = 0.5 * own.grown * alpha**2
        change = alpha * h - second * cubes
        left = certificate.remainder_average(M, r) * fourth + own.slack * own.size + own.noise
        E = certificate.gradient_bound(M, own.kappa, left, r)
        bound = certificate.own_value_bound(M, own.kappa, E, r, np.abs(own.g), fourth, own.size)
        bound += second * sums.cubes_error[rows] + own.floor
        bound += own.slack * (np.abs(alpha * h) + second * np.abs(cubes))
    return _answered(own, change, bound)


def _answered(own, change, bound):
    change, bound = np.where(own.idle, 0.0, change), np.where(own.idle, 0.0, bound)
    return OwnValues(change, np.where(np.isnan(bound), np.inf, bound), own.round_off)


class OwnChords:
    """Chord iterations of many one-row edits for their own decision values, in single precision.

    In coordinates in which the Hessian is the identity, an edit is a rank-one change of it. The
    iterates are accelerated (Anderson's method with two steps before); a bound needs nothing but the
    iterate it is made for.

    Parameters
    ----------
    accuracy : Accuracy
        Of an objective with one output that holds C.
    """

    def __init__(self, accuracy):
        objective = accuracy.objective
        self.accuracy, self.objective = accuracy, objective
        self._rows = half_solved(accuracy.factor)
        self._single = self._rows.astype(np.float32)
        eta, loss = objective.eta[:, 0], objective.loss
        if isinstance(loss, SmoothHinge):
            eta, self._scale = (eta - objective.y) / loss.temperature, 1.0 / loss.temperature
        else:
            self._scale = 1.0
        mass = objective.weights * expit(eta) * expit(-eta)
        terms = expit(eta), expit(-eta), mass, accuracy.row_sizes
        self._terms = [one.astype(np.float32) for one in terms]
        self._edf = float(
            accuracy.objective.weights @ (objective.hessians[:, 0, 0] * accuracy.row_sizes)
        )

    @staticmethod
    def serves(objective):
        """Whether the loss has its remainders in single precision."""
        return isinstance(objective.loss, Binomial | SmoothHinge)

    def solve(self, edits, tol):
        """Iterate until every change is certified to ``tol`` or cannot be here: an OwnValues."""
        own = _OwnEdits(self.accuracy, edits)
        change, bound = np.full(len(edits.rows), np.nan), np.full(len(edits.rows), np.inf)
        # One call's own: fresh pages would cost more than the products.
        held = min(SIDE_BY_SIDE, len(edits.rows))
        buffers = np.empty((4, held, self.objective.n_samples), dtype=np.float32)
        for low in range(0, len(edits.rows), SIDE_BY_SIDE):
            chosen = np.arange(low, min(low + SIDE_BY_SIDE, len(edits.rows)))
            fair = np.isfinite(own.kappa[chosen]) & np.isfinite(own.alpha[chosen])
            self._iterate(own, chosen[fair], tol, change, bound, buffers)
        return _answered(own, change, bound)

    def _iterate(self, own, chosen, tol, change, bound, buffers):
        rows, a = own.rows[chosen], self._rows[own.rows[chosen]]
        Z, other = buffers[:2, : len(rows)]
        np.matmul(a.astype(np.float32), self._single.T, out=Z)
        # x_j' z over |z|_P, for z = P^-1 x.
        Z *= (own.grown / own.length)[chosen, None].astype(np.float32)
        Z[np.arange(len(rows)), rows] = 0.0
        w = own.alpha[chosen, None] * a
        # Steps that overshoot begin where they have moved some row by as much as chords contract at.
        far = np.abs(Z).max(axis=1, initial=0.0) * own.size[chosen] * own.M
        w *= np.minimum(1.0, BEGIN / np.maximum(far, BEGIN))[:, None]
        history = []
        for _ in range(PASSES):
            with np.errstate(over="ignore", invalid="ignore"):
                S, *sums = self._pass(own, chosen, a, w, Z, buffers[2:, : len(chosen)])
                after = -self._edited_solve(own, chosen, a, own.g[chosen, None] * a + S)
                f = after - w
                values, limits = self._judged(own, chosen, a, w, f, after, *sums)
            better = limits < bound[chosen]
            change[chosen[better]], bound[chosen[better]] = values[better], limits[better]
            done = certificate.within(
                bound[chosen], np.abs(change[chosen]), tol, own.round_off[chosen]
            )
            left = np.flatnonzero(~done & (sums[0] < FARTHEST) & np.isfinite(f).all(axis=1))
            if not len(left):
                return
            w, history = _accelerated(w[left], f[left], [(p[left], q[left]) for p, q in history])
            np.take(Z, left, axis=0, out=other[: len(left)])
            Z, other = other[: len(left)], Z
            chosen, a = chosen[left], a[left]

    def _pass(self, own, chosen, a, w, Z, buffers):
        """Remainders of all rows after the edits: their sum, and what bounds are made of."""
        from skinfluence._compiled.pairs import logistic_remainders

        rows, m = own.rows[chosen], len(chosen)
        delta, rho = buffers
        np.matmul(w.astype(np.float32), self._single.T, out=delta)
        delta[np.arange(m), rows] = 0.0
        sums = np.empty((5, m))
        logistic_remainders(delta, Z, *self._terms, np.float32(self._scale), rho, sums)
        if sums[0].max() <= NEAR:
            S, summed = np.zeros_like(w), SUMMED * np.sqrt(self._edf)
            for low in range(0, delta.shape[1], 512):
                S += rho[:, low : low + 512] @ self._single[low : low + 512]
        else:
            S, summed = rho.astype(float) @ self._rows, 0.0
        # Of the logistic loss in its own units: l'' is its curvature times the scale.
        r, G = sums[0], np.sqrt(sums[1] / self._scale)
        bent, carried, turned = sums[2:] * self._scale
        weight, eta, y = own.after(chosen)
        moved = np.einsum("bd,bd->b", a, w)
        loss = self.objective.loss
        second = loss.hessian(eta, y)[:, 0, 0]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rest = loss.remainder(eta, y, moved[:, None])[:, 0]
            q = loss.hessian(eta + moved[:, None], y)[:, 0, 0] / second
            there = weight > 0
            S += np.where(there, weight * rest, 0.0)[:, None] * a
            own_z = weight * second * own.length[chosen] ** 2
            G = np.sqrt(G**2 + np.where(there, weight * rest**2 / second, 0.0))
            bent = bent + np.where(there, own_z * (q - 1.0) ** 2, 0.0)
            carried = carried + np.where(there, own_z * q**2, 0.0)
            r = np.where(there, np.maximum(r, np.abs(moved) * own.M), r)
        return S, r, G, bent, carried, turned, summed

    def _edited_solve(self, own, chosen, a, b):
        along = np.einsum("bd,bd->b", a, b) * own.D[chosen] * own.grown[chosen]
        return b - along[:, None] * a

    def _judged(self, own, chosen, a, w, f, after, r, G, bent, carried, turned, summed):
        """The own values of the next iterates, and their bounds."""
        D, length, slack = own.D[chosen], own.length[chosen], own.slack[chosen]
        size = _norm(D, a, w)
        gamma = (a.shape[1] + 4) * EPS
        rounded = gamma * size * np.sqrt(turned) + REMAINDER * (G + 2.0 * size) + summed * G
        left = _norm(D, a, f) * (1.0 + slack) + slack * size + rounded + own.noise[chosen]
        E = certificate.gradient_bound(own.M, own.kappa[chosen], left, r)
        reach = own.M * own.kappa[chosen] * E
        # Of each Z gamma is lost.
        lost = gamma * np.sqrt(turned) + 1e-15
        carry = np.sqrt(carried) + lost + gamma * np.sqrt(self._edf)
        limit = length * E * ((1.0 + SUMS) * np.sqrt(bent) + lost + np.expm1(reach) * carry)
        limit = limit + length * (rounded + slack * size) + own.floor[chosen]
        return np.einsum("bd,bd->b", a, after), np.where(np.isnan(limit), np.inf, limit)


def _norm(D, a, v):
    """``|v|_P`` of each line, with ``P = I + D a a'``."""
    along = np.einsum("bd,bd->b", a, v)
    return np.sqrt(np.maximum(np.einsum("bd,bd->b", v, v) + D * along**2, 0.0))


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
