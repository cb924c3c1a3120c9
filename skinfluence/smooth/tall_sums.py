"""Sums over all pairs of rows of a tall table, without its pairs: third powers from one tensor.

``sum_j t_j (a_i'a_j)^3`` is a symmetric tensor of the columns contracted with ``a_i`` three times: flops
that are linear in the rows. What else a bound needs is bounded by leverages, which does where no row
moves another one far; the rows of largest leverage are followed one by one.
"""

from functools import cached_property

import numpy as np

from skinfluence.smooth.pair_sums import EPS

# Rows of one sum in single precision; flops that each pair of rows costs beside its product.
ROWS, BESIDE = 2048, 90
# Edits that leverages must certify, as a share; how many rows for each one that is followed.
MOST, FEW = 0.9, 20


class TallSums:
    """What :class:`~skinfluence.smooth.pair_sums.PairSums` is, with the same attributes.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output.

    Notes
    -----
    O(n d^3) for n rows of d parameters, once it is asked for sums of third powers. By Cauchy and
    Schwarz ``|K_ij|^2 <= h_i h_j``, and ``sum_j w_j l''_j K_ij^2 <= h_i``.
    """

    def __init__(self, at):
        self._at = at
        rows, objective = at.rows, at.objective
        self._h = np.einsum("ij,ij->i", rows, rows)
        self._there = objective.weights > 0
        self._third = objective.weights * objective.loss.third(objective.eta, objective.y)
        self.largest = self._reach(float(self._h[self._there].max(initial=0.0)))

    @staticmethod
    def pays(rows):
        """Whether the tensor of some rows is cheaper than all their pairs."""
        n, d = rows.shape
        return 8.0 / 3.0 * d**3 < n * (d + 0.5 * BESIDE)

    def _reach(self, h):
        return np.sqrt(self._h * h) * (1.0 + 1e-9)

    @property
    def quarts(self):
        return self._h * self.largest**2 * (1.0 + 1e-9)

    def serves(self, own, tol):
        """Whether it certifies most of some edits.

        Parameters
        ----------
        own : OneRowEdits
        tol : float
        """
        if self._does(own, tol):
            return True
        if len(self._h) <= FEW * self._at.accuracy.split:
            return False
        self._follow()
        return self._does(own, tol)

    def _does(self, own, tol):
        with np.errstate(invalid="ignore", over="ignore"):
            r = own.M * np.abs(own.alpha) * self.largest[own.rows]
            # What is left beyond second order, of the row's own change, is about r^2 / 2.
            return float(np.mean(r**2 < tol)) > MOST

    def _follow(self):
        """Bound the largest product of each row by those with the rows of largest leverage."""
        self.largest = np.minimum(self.largest, self._followed)

    @cached_property
    def _followed(self):
        """The largest product of each row, by those with the rows of largest leverage."""
        rows, length = self._at.rows.astype(np.float32), np.sqrt(self._h)
        order = np.argsort(-np.where(self._there, self._h, -1.0))
        top = order[: self._at.accuracy.split]
        top = top[self._there[top]]
        rest = self._h[np.setdiff1d(order[len(top) :], np.flatnonzero(~self._there))]
        place = np.full(len(rows), -1)
        place[top] = np.arange(len(top))
        found = np.empty(len(rows))
        for low in range(0, len(rows), ROWS):
            K = np.abs(rows[low : low + ROWS] @ rows[top].T)
            own = place[low : low + ROWS]
            inside = np.flatnonzero(own >= 0)
            K[inside, own[inside]] = 0.0
            found[low : low + ROWS] = K.max(axis=1, initial=0.0)
        gamma = (rows.shape[1] + 6) * EPS
        found += gamma * length * float(length[top].max(initial=0.0))
        return np.maximum(found, self._reach(float(rest.max(initial=0.0))))

    @cached_property
    def cubes(self):
        """``sum_j w_j l'''_j K_ij^3``, of the rows j != i."""
        rows, third, h = self._at.rows, self._third, self._h
        n, d = rows.shape
        # Of one size: third powers of tiny rows would underflow.
        scale = float(np.sqrt(h.max(initial=0.0))) or 1.0
        heavy = float(np.abs(third).max(initial=0.0)) or 1.0
        t = (third / heavy).astype(np.float32)
        blocks = [slice(low, min(low + ROWS, n)) for low in range(0, n, ROWS)]

        def columns(block):
            return np.ascontiguousarray((rows[block] / scale).T, dtype=np.float32)

        # Of each column with those that follow: every triple once, at its first column.
        tensor = [np.zeros((d - a, d - a)) for a in range(d)]
        for block in blocks:
            part = columns(block)
            for a, T in enumerate(tensor):
                T += (part[a:] * (t[block] * part[a])) @ part[a:].T
        tensor = [_often(T).astype(np.float32) for T in tensor]
        cubes = np.zeros(n)
        for block in blocks:
            part = columns(block)
            for a, T in enumerate(tensor):
                cubes[block] += part[a] * np.einsum("db,db->b", T @ part[a:], part[a:])
        return cubes * scale**6 * heavy - third * h**3

    @property
    def cubes_error(self):
        """A bound on the rounding of :attr:`cubes`."""
        length = self._h**1.5
        rounding = (ROWS + 3 * self._at.rows.shape[1] + 16) * EPS
        return rounding * length * float(np.abs(self._third) @ length)


def _often(T):
    """The entries of a first column times how often they are in the sum over all triples.

    Three places for the first column where the others are two later ones in both orders.
    """
    out = 3.0 * T
    out[0] *= 0.5
    out[:, 0] *= 0.5
    out[0, 0] = T[0, 0]
    return out
