"""Weight, mean and scatter of rows, and what they are without each one of them."""

from dataclasses import dataclass

import numpy as np

# Of a column's scatter: with less left, the digits that a difference loses are counted anew.
CANCELS = 1e-5


@dataclass(frozen=True, eq=False)
class Sums:
    """Of rows with weights: how much, their mean, and the squares about it by column.

    Parameters
    ----------
    X : ndarray of shape (n_rows, d)
    w : ndarray of shape (n_rows,)
    """

    X: np.ndarray
    w: np.ndarray
    weight: float
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, X, w):
        """The sums of rows, whose weights are not all zero."""
        weight = float(w.sum())
        mean = w @ X / weight
        # A mean is known to its rounding; the second pass takes out what is left.
        mean = mean + w @ (X - mean) / weight
        return cls(X, w, weight, mean, w @ (X - mean) ** 2)

    @property
    def variance(self):
        return self.scatter / self.weight

    def of_columns(self, some):
        """The sums of some columns."""
        return Sums(self.X[:, some], self.w, self.weight, self.mean[some], self.scatter[some])

    def without_each(self, place):
        """Weights, means and variances without each of some of the rows.

        Parameters
        ----------
        place : ndarray of int, shape (m,)
            Positions among these rows.

        Returns
        -------
        weight : ndarray of shape (m,)
            Zero, and NaN in the others, where nothing is left.
        mean, variance : ndarray of shape (m, d)
        """
        w, gap = self.w[place, None], self.X[place] - self.mean
        left = self.weight - w
        # Round-off of w - w is not a weight.
        left[left <= 1e-12 * self.weight] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.mean - w * gap / left
            scatter = self.scatter - w * gap**2 * self.weight / left
            variance = np.where(left > 0, scatter / left, np.nan)
        lost = (left[:, 0] > 0) & (scatter < CANCELS * self.scatter).any(axis=1)
        for i in np.flatnonzero(lost):
            there = np.arange(len(self.w)) != place[i]
            rest = Sums.of(self.X[there], self.w[there])
            mean[i], variance[i] = rest.mean, rest.variance
        return left[:, 0], np.where(left > 0, mean, np.nan), variance
