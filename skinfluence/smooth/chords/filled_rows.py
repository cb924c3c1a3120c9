"""One-row edits that move what stands in missing cells, in coordinates where the Hessian is the identity."""

import numpy as np

from skinfluence import certificate
from skinfluence._utils.weights import weigh
from skinfluence.smooth.chords.rescaled_rows import RescaledRows

# From this on moved rows are no small change of the Hessian, and nothing is claimed.
FARTHEST = 0.5


class FilledRows(RescaledRows):
    """Edits as of :class:`~skinfluence.smooth.batches.filled_batch.FilledBatch`: ``x_j' = x_j + h_j * by_i``.

    What moved cells add to the gradient is to first order the same wherever it is taken, and to
    second order known where the step is. So these are edits with one more constant in the gradient,
    solved like all others without a look at the rows that moved; what is left is of third order, and
    bounded by sums over each column's missing cells.

    Parameters
    ----------
    at : Whitened
    edits : RowEdits
        Removals, with a ratio and with fills. No row moves the missing cells of its own.

    Attributes
    ----------
    floor : ndarray of shape (m,)
        Of own decision values, with what is left; infinite until :meth:`settle` is called.
    spread : ndarray of shape (m,)
        The norm of the Hessian with moved rows is between ``1 -+ spread`` times that of P.
    beyond : ndarray of shape (m,)
        How far the optimum may be from that of the edits with the constant, in that norm.

    Notes
    -----
    Derived in ``doc/certificate.md``, "Rows that are filled". O(q (n_samples + m) p^2) for q columns with
    missing cells, next to nothing beside a pass over the rows.
    """

    part_of_errors = 0.4

    def __init__(self, at, edits):
        self._cells = _Cells(at, edits.fills)
        self._by = edits.fills.by[:, self._cells.used]
        super().__init__(at, edits)
        # Gradients of moved rows are rounded like those of others.
        rounding = at.accuracy.noise * np.sqrt(self.growth)
        self.noise = self.noise + rounding
        self._rounded = self.floor + self.length * rounding
        self.floor = np.full(len(self), np.inf)
        self.spread = self.beyond = self.floor

    def _pushed(self, turn):
        cells, a = self._cells, self.a
        self._turn = turn + self._by @ cells.first_order
        self._guess, self._to_second_order = np.zeros_like(a), cells.are_few(len(a))
        if not self._to_second_order:
            return self._turn
        self._guess = self._before(a, -self._right(a))
        self._guess[~np.isfinite(self._guess).all(axis=1)] = 0.0
        return self._turn + cells.second_order(self._by, self._guess)

    def settle(self, r, error):
        M, cells, by, root = self.M, self._cells, np.abs(self._by), np.sqrt(self.growth)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            reach = root[:, None] * cells.lengths
            spread = (by * reach) @ cells.weights
            kappa = (self.kappa + (by * reach).sum(axis=1)) / (1.0 - spread)
            # The optimum with the constant: its size, how far it is from the guess, what it moves.
            size = self.size * (1.0 + self.slack) + error
            off = self.norm(self._begin - self._guess, self.a) * (1.0 + self.slack) + error
            r = r + M * self.kappa * error
            moved = by * (np.abs(self._begin @ cells.units) + reach * error[:, None])
            first = by * np.abs(cells.theta)
            shift = M * (first + moved).sum(axis=1)
            across = (first + moved) @ cells.weights
            near, r = np.exp(r + shift), r + shift
            both, turned = size + across, moved @ cells.weights
            left = (2.0 * spread + M * first.sum(axis=1)) * off
            if not self._to_second_order:
                left += (0.5 * M * first.sum(axis=1) + spread) * (first @ cells.weights)
            left += 0.5 * near * shift * r * both
            left += np.minimum(M * moved.sum(axis=1) * both, r * turned)
            left += spread * (turned + 0.5 * near * r * both)
            beyond = certificate.gradient_bound(M, kappa, left / (1.0 - spread), r)
            known = (spread < FARTHEST) & np.isfinite(beyond)
            self.spread = np.where(known, spread, FARTHEST)
            self.beyond = np.where(known, beyond, np.inf)
            self.floor = self._rounded + self.length * self.beyond / (1.0 - self.spread)
        self.floor[np.isnan(self.floor)] = np.inf

    def may_be_within(self, tol):
        moved = np.abs(np.einsum("bd,bd->b", self.a, self._begin))
        return certificate.within(self.floor, moved + self.floor, 0.5 * tol, self.round_off)

    def are_near(self, tol):
        return self.beyond <= (1.0 - self.part_of_errors) * tol * self.size

    def moved_errors(self, error, size):
        with np.errstate(invalid="ignore"):
            return (1.0 + self.spread) * error + self.beyond, (1.0 - self.spread) * size


class _Cells:
    """The columns that have missing cells, in the coordinates of the rows.

    Attributes
    ----------
    used : ndarray of int, shape (q,)
        Which of the columns that are filled they are.
    theta : ndarray of shape (q,)
        Their coefficients.
    units : ndarray of shape (p, q)
        ``L^-1 e_c``, whose products with a step are its coefficients.
    lengths : ndarray of shape (q,)
        Of those.
    weights : ndarray of shape (q,)
        ``(sum_j w_j l''_j h_jc)^1/2``.
    first_order : ndarray of shape (q, p)
        What the gradient gains as what fills a column moves.
    """

    def __init__(self, at, fills):
        self._at = at
        objective = at.objective
        self.used = np.flatnonzero(fills.holes.any(axis=0))
        self._filled = np.flatnonzero(fills.holes.any(axis=1))
        self._holes = fills.holes[np.ix_(self._filled, self.used)]
        columns, holes = fills.columns[self.used], self._holes.astype(float)
        self.theta = objective.theta[0, columns]
        self.units = at.unwhitened[:, columns]
        self.lengths = np.sqrt(np.einsum("pc,pc->c", self.units, self.units))
        weights = objective.weights[self._filled]
        self._second = weigh(weights, objective.hessians[self._filled, 0, 0])
        self.weights = np.sqrt(self._second @ holes)
        # sum_j w_j l''_j h_jc a_j, and the sums of gradients.
        self._rows = (holes * self._second[:, None]).T @ at.rows[self._filled]
        pulled = weigh(weights, objective.gradients[self._filled, 0]) @ holes
        self.first_order = self.theta[:, None] * self._rows + pulled[:, None] * self.units.T

    def are_few(self, m):
        """Whether :meth:`second_order` of m edits costs little beside a pass over the rows."""
        (n, p), q = self._at.rows.shape, len(self.used)
        return q * max(p, q) * (n + m) < n * m

    def second_order(self, by, steps):
        """What the gradient gains to second order as fills move and a step is taken.

        Parameters
        ----------
        by : ndarray of shape (m, q)
        steps : ndarray of shape (m, p)

        Returns
        -------
        pushes : ndarray of shape (m, p)
            But for what the step alone adds.
        """
        objective, at = self._at.objective, self._filled
        third = np.zeros(len(at))
        if objective.loss.self_concordance:
            third = weigh(
                objective.weights[at], objective.loss.third(objective.eta, objective.y)[at]
            )
        rows, theta = self._at.rows[at], self.theta
        out = np.zeros_like(steps)
        for c in range(len(theta)):
            there = self._holes[:, c]
            own, turn = rows[there], theta[c] * third[there]
            beside = np.multiply.outer(self._rows[c], self.units[:, c])
            along = steps @ ((own * turn[:, None]).T @ own + beside + beside.T)
            # Of the cells with those of each other column.
            holes = self._holes[there].astype(float)
            pairs = 0.5 * theta[:, None] * ((holes * turn[:, None]).T @ own)
            pairs += theta[c] * (self._second[there] @ holes)[:, None] * self.units.T
            out += by[:, [c]] * (along + by @ pairs)
        return out
