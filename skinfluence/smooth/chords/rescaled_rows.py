"""One-row edits that rescale the penalty too, in coordinates where the Hessian is the identity."""

import numpy as np

from skinfluence.smooth.pairs.own_values import OneRowEdits

# What is solved ends at this share of the right-hand side, in the norm of the inverse.
RESIDUAL = 1e-10
MAX_STEPS = 100
# Steps of a series; edits that need more, whose penalty moves much, take conjugate gradients.
SERIES = 8


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
    whose penalty some edit moves. What it adds to a solve with ``P`` lies in their span, where a series in
    the change of the penalty is summed; so a solve costs next to nothing beside a pass over the rows.
    """

    are_along_rows = False

    def __init__(self, at, edits):
        super().__init__(at, edits)
        objective, accuracy = at.objective, at.accuracy
        penalty = objective.penalty + np.multiply.outer(edits.shift, objective.unit_penalty)
        change = penalty * (edits.ratio - 1.0)
        # Behind encoders most columns keep their penalty. In a tuple, since arrays are one line an edit.
        moving = change.any(axis=0)
        units = at.unwhitened[:, moving]
        self._shared = units, units.T @ units
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
        # What the units are of the row, and P^-1 takes off along it.
        self._along = a @ units
        self._share = self.D * self.grown
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
        along = np.einsum("bd,bd->b", a, b) * self._share
        return b - along[:, None] * a

    def _inverse(self, a, b):
        """``P'^-1 b``; what it leaves is counted.

        ``P'^-1 b = P^-1 (b - U y)`` with ``y = c U'P'^-1 b``, which is iterated.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            along = np.einsum("bd,bd->b", a, b)
            moved = b @ self._units - (self._share * along)[:, None] * self._along
            start = np.einsum("bd,bd->b", b, b) - self._share * along**2
            y = self.change * moved
            for _ in range(SERIES):
                off = self.change * (moved - self._squeezed(y)) - y
                left = np.einsum("bq,bq->b", off, self._squeezed(off))
                open_ = ~(left <= RESIDUAL**2 * start)
                if not open_.any():
                    break
                y += off
            x = self._before(a, b - self._halved(y))
            left = np.abs(left)
            some = np.flatnonzero(open_)
            if len(some):
                x[some], left[some] = self.take(some)._by_conjugate_gradients(a[some], b[some])
            lost = np.sqrt(left / start * self.added / self.kept)
        lost[start == 0] = 0.0
        self.slack = self.slack + np.where(np.isnan(lost), np.inf, lost)
        return x

    def _squeezed(self, y):
        """``U'P^-1 U y``."""
        along = self._share * np.einsum("bq,bq->b", self._along, y)
        return y @ self._shared[1] - along[:, None] * self._along

    def _by_conjugate_gradients(self, a, b):
        """``P'^-1 b``, and the square of what it leaves."""
        x, r = np.zeros_like(b), b.copy()
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
        return x, np.abs(rz)

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
