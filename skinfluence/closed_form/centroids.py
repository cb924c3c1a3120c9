"""Nearest centroids: the mean of a class moves with a row, and the spread about the means with all.

A row is predicted by the nearest mean where all priors are alike, and by its score where not; the score
measures distances in spreads of the columns and adds the prior. So the two can disagree, as scikit-learn's
do, and a row has both: its scores, then minus half its squared distances.
"""

import numpy as np

from skinfluence.closed_form.family import Family, NoModelError
from skinfluence.closed_form.problem import Posterior
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
        out = np.empty((len(rows), 2 * self.n_classes))
        for i, row in enumerate(rows):
            out[i] = self._without(row, self.X[[row]])[0]
        return out

    def scores_without(self, X, rows):
        for block in self.blocks(rows, X):
            yield block, np.stack([self._without(row, X) for row in rows[block]])

    def _without(self, row, X):
        """Scores of rows of X without a training row, (m, 2 n_classes)."""
        c = self.codes[row]
        counts = self.counts.copy()
        counts[c] -= 1
        if not counts[c] > 0 or len(self.codes) - 1 <= self.n_classes:
            return np.full((len(X), 2 * self.n_classes), np.nan)
        gap = self.X[row] - self.means[c]
        means = self.means.copy()
        means[c] -= gap / counts[c]
        scatter = self.scatter - gap**2 * self.counts[c] / counts[c]
        if (scatter <= 1e-8 * self.scatter).any():
            # Digits are lost: counted anew.
            there = np.arange(len(self.codes)) != row
            rest = self.again(self.X[there], self.codes[there], self.weights[there])
            return rest.scores(X)
        return _scores(X, means, scatter, counts, self.priors)


def _scores(X, means, scatter, counts, priors):
    """Scores and minus half the squared distances, (m, 2 n_classes)."""
    spread = np.sqrt(scatter / (counts.sum() - len(counts)))
    inside = spread != 0
    scale = np.where(inside, spread, 1.0)
    shares = counts / counts.sum() if priors is None else priors
    away = X[:, None, :] - means
    with np.errstate(divide="ignore"):
        scores = 2.0 * np.log(shares) - ((away / scale) ** 2).sum(axis=2)
    plain = -0.5 * (away**2).sum(axis=2)
    # What is predicted: the nearest mean, where no prior speaks.
    decides = plain if np.isclose(shares, 1.0 / len(shares)).all() else scores
    return np.concatenate([scores, decides], axis=1)


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
