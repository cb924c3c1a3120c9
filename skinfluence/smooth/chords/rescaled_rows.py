"""One-row edits that rescale the penalty too, in coordinates where the Hessian is the identity."""

import numpy as np

from skinfluence.smooth.pairs.own_values import OneRowEdits

# Conjugate gradients end at this share of the right-hand side, in the norm of the inverse.
RESIDUAL = 1e-10
MAX_STEPS = 100


class RescaledRows(OneRowEdits):
    """Edits with ``P' = P + diag(c_i)``.

    As of :class:`~skinfluence.smooth.batches.rescaled_batch.RescaledBatch`.

    Parameters
    ----------
    at : Whitened
    edits : RowEdits
        With a ratio, 1 where nothing is penalised.

    Notes
    -----
    A diagonal of the parameters is two products with small matrices here, as wide as there are columns
    whose penalty some edit moves, so conjugate gradients preconditioned with ``P`` cost next to nothing
    beside a pass over the rows.
    """

    are_along_rows = False

    def __init__(self, at, edits):
        super().__init__(at, edits)
        objective, accuracy = at.objective, at.accuracy
        penalty = objective.penalty + np.multiply.outer(edits.shift, objective.unit_penalty)
        change = penalty * (edits.ratio - 1.0)
        # Behind encoders most columns keep their penalty. In a tuple, since arrays are one line an edit.
        moving = change.any(axis=0)
        self._shared = (at.unwhitened[:, moving],)
        self.change = change[:, moving]
        penalised = edits.ratio[:, objective.penalty > 0]
        kept = np.minimum(penalised.min(axis=1, initial=1.0), 1.0)
        self.added = np.maximum(penalised.max(axis=1, initial=1.0), 1.0)
        self.kept = kept
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = np.where(kept > 0, self.growth / kept, np.inf)
            wider = np.sqrt(growth / self.growth)
            self.kappa, self.slack = self.kappa * wider, self.slack * wider**2
            rounding = accuracy.rounding(edits.design, edits.gradient, edits.hessian, self.h)
            self.noise = accuracy.floor * (np.sqrt(growth) - 1.0) + rounding * np.sqrt(growth)
            self.growth = growth
        a = self.a
        self._turn = self._pushed(self._halved(self.change * objective.theta[0, moving]))
        self._directions = self._inverse(a, a)
        self._begin = self._inverse(a, -self._right(a))
        self.length = np.sqrt(np.maximum(np.einsum("bd,bd->b", a, self._directions), 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            self._directions /= self.length[:, None]
        self.alpha = np.where(np.isfinite(self._begin).all(axis=1), 1.0, np.nan)
        self.size = self.norm(self._begin, a)
        inflation = np.sqrt((1.0 + np.maximum(self.D * self.h, 0.0)) * self.added)
        inflation *= np.sqrt(1.0 + np.maximum(edits.shift, 0.0) / objective.total_weight)
        self.floor = self.length * (self.noise + accuracy.floor * inflation)
        self.round_off = self.length * accuracy.round_off * inflation
        self.idle = np.zeros(len(self.rows), dtype=bool)

    def _pushed(self, turn):
        """What is added to the gradient everywhere, of which ``turn`` is the penalty's, (m, p)."""
        return turn

    @property
    def _units(self):
        """``L^-1`` of the columns whose penalty moves, (p, q)."""
        return self._shared[0]

    def _halved(self, steps):
        """``L^-1`` of vectors of the dual, given by their entries where the penalty moves."""
        return steps @ self._units.T

    def _bent(self, v):
        """``L^-1 diag(c) L^-T v``."""
        return self._halved((v @ self._units) * self.change)

    def _right(self, a):
        """The gradient that the edit leaves at the fit."""
        b = self.g[:, None] * a + self._turn
        return b if self.at.drift is None else b - self.at.drift

    def _before(self, a, b):
        """``P^-1 b`` without the change of the penalty."""
        along = np.einsum("bd,bd->b", a, b) * self.D * self.grown
        return b - along[:, None] * a

    def _inverse(self, a, b):
        """``P'^-1 b``; what it leaves is counted."""
        x, r = np.zeros_like(b), b.copy()
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z = self._before(a, r)
            d, rz = z.copy(), np.einsum("bd,bd->b", r, z)
            start = rz.copy()
            for _ in range(MAX_STEPS):
                if not (rz > RESIDUAL**2 * start).any():
                    break
                Pd = d + self.D[:, None] * np.einsum("bd,bd->b", a, d)[:, None] * a + self._bent(d)
                share = rz / np.einsum("bd,bd->b", d, Pd)
                # What is solved to the last digit has nothing left to divide by.
                share[~(rz > 0)] = 0.0
                x += share[:, None] * d
                r -= share[:, None] * Pd
                z = self._before(a, r)
                after = np.einsum("bd,bd->b", r, z)
                d = z + np.where(rz > 0, after / rz, 0.0)[:, None] * d
                rz = after
            lost = np.sqrt(np.abs(rz) / start * self.added / self.kept)
        lost[start == 0] = 0.0
        self.slack = self.slack + np.where(np.isnan(lost), np.inf, lost)
        return x

    def begin(self, a):
        return self._begin.copy()

    def directions(self, a):
        return self._directions

    def as_direction(self):
        return None

    def solved(self, a, S):
        return self._inverse(a, -(self._right(a) + S))

    def norm(self, v, a):
        square = np.einsum("bd,bd->b", v, v) + self.D * np.einsum("bd,bd->b", a, v) ** 2
        square += np.einsum("bd,bd->b", (v @ self._units) ** 2, self.change)
        return np.sqrt(np.maximum(square, 0.0))

    def beyond_rows(self, w):
        return super().beyond_rows(w) + self._turn + self._bent(w)

    def hessian_beyond_rows(self):
        U = self._units
        return (U * self.change[:, None, :]) @ U.T
