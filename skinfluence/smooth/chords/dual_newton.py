"""Newton's method on one-row edits in the space of the rows, where those are fewer than parameters.

As in :mod:`~skinfluence.smooth.chords.moved_rows` the Hessian is renewed where rows moved, here by Woodbury's
formula in the products of pairs of these rows. Derivations are in ``doc/certificate.md``, "Chords in
the space of the rows".
"""

import numpy as np

from skinfluence.smooth.chords.moved_rows import MovedRows, Solutions

# Rows that add up to so much of the Hessian of the fit are not renewed; below this ratio of curvatures
# the largest eigenvalue of an inverse is bounded by the inverse.
SPARED, LOW = 1e-3, 1e-2


class DualMovedRows(MovedRows):
    """Solves edits whose steps are ``H^-1 X'c``.

    An iterate is ``c`` and, after it, ``Kc``: what it moves every row by.

    Parameters
    ----------
    at : DualChords
    pairs : ndarray of shape (n_samples, n_samples)
        ``K = X H^-1 X'``.
    """

    def __init__(self, at, pairs):
        self._pairs = pairs
        n = len(pairs)
        self._keep(at, 2 * n, 2 * n, np.sqrt(np.maximum(np.diagonal(pairs), 0.0)))

    def _at(self, some, w):
        n = len(self._pairs)
        c, delta = w[:, :n], w[:, n:]
        first, second = self._derivatives(some, delta)
        G = np.zeros_like(w)
        with np.errstate(over="ignore", invalid="ignore"):
            # Coefficients of the rows in the gradient: their products with Kc are slopes.
            G[:, n:] = c + (first - self._first - self._second * delta)
        return G, first, second

    def _newton_step(self, some, w, at):
        (G, first, second), K = at, self._pairs
        n, m = len(K), len(w)
        gamma, lines = G[:, n:], np.arange(m)
        change, renewed, lowest, bent, spared = self._renewed(some, second, SPARED)
        own_growth = np.full(m, np.inf)
        fair = np.isfinite(gamma).all(axis=1) & np.isfinite(change).all(axis=1) & (lowest > 0)
        gamma = np.where(fair[:, None], gamma, 0.0)
        moved = gamma @ K
        step, along = np.zeros_like(w), np.array(some.h)
        for i in np.flatnonzero(fair):
            rows, row = np.flatnonzero(renewed[i]), some.rows[i]
            E, own = change[i, rows], K[row, rows]
            inner = np.eye(len(rows)) + E[:, None] * K[np.ix_(rows, rows)]
            try:
                both = np.linalg.solve(inner, E[:, None] * np.stack([moved[i, rows], own], axis=1))
            except np.linalg.LinAlgError:
                fair[i] = False
                continue
            if lowest[i] < LOW:
                # F^-1 has the eigenvalues of this inverse, and 1.
                inverse = np.linalg.inv(inner)
                own_growth[i] = np.sqrt(max(1.0, float(np.einsum("ab,ba->", inverse, inverse))))
            step[i, :n] = -gamma[i]
            step[i, rows] += both[:, 0]
            step[i, n:] = both[:, 0] @ K[rows] - moved[i]
            along[i] -= own @ both[:, 1]
        square = -np.einsum("bj,bj->b", gamma, step[:, n:])
        before, size = self._sizes(some, w)
        there, in_P, own_bound = self._bounds(
            some,
            (first, second, before, size),
            (square, along, own_growth),
            lowest,
            bent,
            fair,
            spared,
        )
        after = w + step
        _, size = self._sizes(some, after)
        return step, Solutions(after, there * in_P, size, after[lines, n + some.rows], own_bound)

    def _sizes(self, some, w):
        """``|v|`` in the norms of H and of P."""
        n = len(self._pairs)
        square = np.maximum(np.einsum("bj,bj->b", w[:, :n], w[:, n:]), 0.0)
        own = w[np.arange(len(w)), n + some.rows]
        return np.sqrt(square), np.sqrt(np.maximum(square + some.D * own**2, 0.0))
