"""Sums over all pairs of rows of a tall table, without its pairs: third powers from one tensor.

``sum_j t_j (a_i'a_j)^3`` is a symmetric tensor of the columns contracted with ``a_i`` three times: flops
that are linear in the rows. What else a bound needs is bounded by leverages, which does where no row
moves another one far; the rows of largest leverage are followed one by one.
"""

from functools import cached_property

import numpy as np

from skinfluence._utils.weights import weigh
from skinfluence.smooth.pairs.pair_sums import EPS
from skinfluence.smooth.pairs.third_powers import ThirdPowers

# Steps whose products are held at once; flops that each pair of rows costs beside its product.
ROWS, BESIDE = 2048, 24
# Edits that leverages must certify, as a share; how many rows for each one that is followed.
MOST, FEW = 0.9, 20


class TallSums:
    """What :class:`~skinfluence.smooth.pairs.pair_sums.PairSums` is, with the same attributes.

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
        self._most = float(self._h[self._there].max(initial=0.0))
        self.third = weigh(objective.weights, objective.loss.third(objective.eta, objective.y))
        self._following = False

    @staticmethod
    def pays(n, d, m, width):
        """Whether the tensor of n rows of d columns is cheaper than the pairs of m of them with all.

        Each pair costs as much as a product of ``width`` columns.
        """
        return 4.0 / 3.0 * d**3 * (n + m) < m * (2 * n - m) * (width + 0.5 * BESIDE)

    @staticmethod
    def pays_for_steps(rows, m):
        """Whether it is cheaper than the products of m steps with some rows."""
        n, d = rows.shape
        return 4.0 / 3.0 * d**3 * (n + m) < 2.0 * n * m * (d + 0.5 * BESIDE)

    @property
    def largest(self):
        return self._followed if self._following else _reach(self._h, self._most)

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
        if self._following or len(self._h) <= FEW * self._at.accuracy.split:
            return False
        self._follow()
        return self._does(own, tol)

    def _does(self, own, tol):
        with np.errstate(invalid="ignore", over="ignore"):
            if own.are_along_rows:
                moved = np.abs(own.alpha) * self.largest[own.rows]
            else:
                moved = self.moved_by(own.begin(own.a), own.rows)
            # What is left beyond second order, of the row's own change, is about r^2 / 2.
            return float(np.mean((own.M * moved) ** 2 < tol)) > MOST

    def _follow(self):
        """Bound the largest move of a row by those of the rows of largest leverage, one by one."""
        self._following = True

    def moved_by(self, steps, skip):
        """At least the largest change of a decision value, of rows other than ``skip``, (m,)."""
        if self._following:
            return self._followed_by(steps, skip)
        return _reach(np.einsum("ij,ij->i", steps, steps), self._most)

    @cached_property
    def _followed(self):
        """The largest product of each row."""
        return self._followed_by(self._at.rows, np.arange(len(self._h)))

    @cached_property
    def _top(self):
        """The rows of largest leverage, the place of each row among them, the largest of the others."""
        order = np.argsort(-np.where(self._there, self._h, -1.0))
        top = order[: self._at.accuracy.split]
        top = top[self._there[top]]
        rest = self._h[np.setdiff1d(order[len(top) :], np.flatnonzero(~self._there))]
        place = np.full(len(self._h), -1)
        place[top] = np.arange(len(top))
        return top, place, float(rest.max(initial=0.0))

    def _followed_by(self, steps, skip):
        top, place, rest = self._top
        single = self._at.rows[top].astype(np.float32).T
        square = np.einsum("ij,ij->i", steps, steps)
        found = np.empty(len(steps))
        for low in range(0, len(steps), ROWS):
            K = np.abs(steps[low : low + ROWS].astype(np.float32) @ single)
            own = place[skip[low : low + ROWS]]
            inside = np.flatnonzero(own >= 0)
            K[inside, own[inside]] = 0.0
            found[low : low + ROWS] = K.max(axis=1, initial=0.0)
        gamma = (steps.shape[1] + 6) * EPS
        found += gamma * np.sqrt(square * self._h[top].max(initial=0.0))
        return np.maximum(found, _reach(square, rest))

    @cached_property
    def _tensor(self):
        return ThirdPowers(self._at.rows, self.third)

    def turned(self, vectors):
        """``sum_j w_j l'''_j (a_j'v)^2 a_j`` over all rows, and a bound on the length of its rounding."""
        return self._tensor.turned(vectors)

    @cached_property
    def cubes(self):
        """``sum_j w_j l'''_j K_ij^3``, of the rows j != i."""
        return self._tensor.cubes(self._at.rows) - self.third * self._h**3

    @property
    def cubes_error(self):
        """A bound on the rounding of :attr:`cubes`."""
        return self._tensor.rounding * self._h**1.5


def _reach(square, h):
    """The largest product of a vector with rows of leverage h, by Cauchy and Schwarz."""
    return np.sqrt(square * h) * (1.0 + 1e-9)
