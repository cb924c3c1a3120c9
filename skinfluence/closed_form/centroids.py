"""Nearest centroids: the mean of a class moves with a row, and the spread about the means with all.

A row is predicted by the nearest mean where all priors are alike, and by its score where not; the score
measures distances in spreads of the columns and adds the prior. So the two can disagree, as scikit-learn's
do, and a row has both: its scores, then minus half its squared distances.
"""

import numpy as np

from skinfluence.closed_form.family import Family, NoModelError
from skinfluence.closed_form.problem import Posterior
from skinfluence.closed_form.sums import CANCELS
from skinfluence.losses.base import decided


class CentroidFamily(Family):
    """Means of classes.

    Parameters
    ----------
    X, codes, weights, n_classes
        See :class:`~skinfluence.closed_form.family.Family`; rows count one each.
    priors : ndarray of shape (n_classes,) or None
        None for the shares of the rows.
    """

    def __init__(self, X, codes, weights, n_classes, priors):
        super().__init__(X, codes, weights, n_classes)
        self.priors = priors
        if len(codes) <= n_classes:
            raise NoModelError("No more rows than classes.")
        self.means = np.stack([X[mine].mean(axis=0) for mine in self.members])
        self.scatter = ((X - self.means[codes]) ** 2).sum(axis=0)

    def again(self, X, codes, weights):
        return CentroidFamily(X, codes, weights, self.n_classes, self.priors)

    def scores(self, X):
        return _scores(X, self.means, self.scatter, self.counts, self.priors)

    def own_scores(self, rows):
        counts, mean, scatter = self._without(rows)
        means = np.broadcast_to(self.means, (len(rows), *self.means.shape)).copy()
        means[np.arange(len(rows)), self.codes[rows]] = mean
        out = _scores(self.X[rows], means, scatter, counts, self.priors)
        out[self._no_model(rows)] = np.nan
        return out

    def scores_without(self, X, rows):
        for block in self.blocks(rows, X):
            some = rows[block]
            out = np.empty((len(some), len(X), 2 * self.n_classes))
            for i, (row, counts, mean, scatter) in enumerate(
                zip(some, *self._without(some), strict=True)
            ):
                means = self.means.copy()
                means[self.codes[row]] = mean
                out[i] = _scores(X, means, scatter, counts, self.priors)
            out[self._no_model(some)] = np.nan
            yield block, out

    def _no_model(self, rows):
        """Which rows leave no row of their class, or no more rows than classes."""
        return (self.counts[self.codes[rows]] <= 1) | (len(self.codes) - 1 <= self.n_classes)

    def _without(self, rows):
        """Rows of each class, the mean of its own and the squares about the means, without each row.

        Returns
        -------
        counts : ndarray of shape (n_rows, n_classes)
        mean, scatter : ndarray of shape (n_rows, n_features)
        """
        codes = self.codes[rows]
        counts = np.tile(self.counts, (len(rows), 1))
        counts[np.arange(len(rows)), codes] -= 1
        # Those that leave none have no model.
        left = np.maximum(counts[np.arange(len(rows)), codes], 1)[:, None]
        gap = self.X[rows] - self.means[codes]
        mean = self.means[codes] - gap / left
        scatter = self.scatter - gap**2 * (left + 1) / left
        lost = (scatter < CANCELS * self.scatter) & (gap != 0)
        for i in np.flatnonzero(lost.any(axis=1)):
            # Digits are lost: counted anew.
            there = np.arange(len(self.codes)) != rows[i]
            if not there[self.members[codes[i]]].any():
                continue
            some, others = lost[i], self.codes[there]
            means, X = self.means[:, some].copy(), self.X[np.ix_(there, some)]
            means[codes[i]] = mean[i, some] = X[others == codes[i]].mean(axis=0)
            scatter[i, some] = ((X - means[others]) ** 2).sum(axis=0)
        return counts, mean, scatter


def _scores(X, means, scatter, counts, priors):
    """Scores and minus half the squared distances, (m, 2 n_classes).

    Parameters
    ----------
    X : ndarray of shape (m, n_features)
    means : ndarray of shape ([m,] n_classes, n_features)
    scatter : ndarray of shape ([m,] n_features)
    counts : ndarray of shape ([m,] n_classes)
    priors : ndarray of shape (n_classes,) or None
    """
    n_classes = counts.shape[-1]
    variance = scatter / (counts.sum(axis=-1, keepdims=True) - n_classes)
    weight = 1.0 / np.where(variance != 0, variance, 1.0)
    shares = counts / counts.sum(axis=-1, keepdims=True) if priors is None else priors
    out, squares = np.empty((len(X), 2 * n_classes)), np.empty(X.shape)
    for k in range(n_classes):
        np.subtract(X, means[..., k, :], out=squares)
        squares *= squares
        out[:, n_classes + k] = -0.5 * squares.sum(axis=1)
        squares *= weight
        out[:, k] = -squares.sum(axis=1)
    with np.errstate(divide="ignore"):
        out[:, :n_classes] += 2.0 * np.log(shares)
    # What is predicted: the nearest mean, where no prior speaks.
    plain = np.isclose(shares, 1.0 / n_classes).all(axis=-1, keepdims=True)
    out[:, n_classes:] = np.where(plain, out[:, n_classes:], out[:, :n_classes])
    return out


class Centroids(Posterior):
    """The log loss of scores, and of what else is predicted by, the second half of the outputs."""

    def __init__(self, n_classes, as_ratio):
        super().__init__(n_classes, as_ratio)
        self.n_classes, self.n_outputs = n_classes, 2 * n_classes

    def value(self, eta, y):
        return super().value(eta[..., : self.n_classes], y)

    def gradient(self, eta, y):
        inner = super().gradient(eta[..., : self.n_classes], y)
        return np.concatenate([inner, np.zeros_like(inner)], axis=-1)

    def expand(self, eta):
        return super().expand(eta[..., : self.n_classes])

    def decide(self, eta):
        return decided(eta[..., self.n_classes :])

    def predict_proba(self, eta):
        return super().predict_proba(eta[..., : self.n_classes])
