"""Gaussian naive Bayes.

Without a row of weight w from a class of weight N, with ``v = x - mean`` and S the squares,

    mean' = mean - w v / (N - w),      S' = S - w v^2 N / (N - w),      var' = S' / (N - w)

and all classes' variances share ``epsilon``, a part of the largest variance of all rows, each
counted once, which moves too.
"""

import numpy as np

from skinfluence._utils.rows import are_all
from skinfluence.closed_form.family import Family, log_priors
from skinfluence.closed_form.sums import Sums

# Of a variance, what smoothing may move it by to be taken to first order.
NEAR = 1e-8


class GaussianFamily(Family):
    """Means and variances of each column in each class.

    Parameters
    ----------
    X, codes, weights, n_classes
        See :class:`Family`.
    priors : ndarray of shape (n_classes,) or None
    smoothing : float
        ``var_smoothing`` of scikit-learn.
    """

    takes_weights = True

    def __init__(self, X, codes, weights, n_classes, priors, smoothing):
        super().__init__(X, codes, weights, n_classes)
        self.priors, self.smoothing = priors, smoothing
        self.classes = [Sums.of(X[mine], weights[mine]) for mine in self.members]
        self.every = Sums.of(X, np.ones(len(X)))

    def again(self, X, codes, weights):
        return GaussianFamily(X, codes, weights, self.n_classes, self.priors, self.smoothing)

    @property
    def moments(self):
        """Means and smoothed variances, (n_classes, n_features) each."""
        epsilon = self.smoothing * self.every.variance.max()
        means = np.stack([one.mean for one in self.classes])
        return means, np.stack([one.variance for one in self.classes]) + epsilon

    def scores(self, X):
        densities = [
            _log_density(X - mean, variance) for mean, variance in zip(*self.moments, strict=True)
        ]
        return np.stack(densities, axis=1) + log_priors(self.counts, self.priors)

    def own_scores(self, rows):
        out = np.empty((len(rows), self.n_classes))
        counts = np.tile(self.counts, (len(rows), 1))
        epsilon = self._epsilon_without(rows)
        every = are_all(rows, len(self.codes))
        X = self.X if every else self.X[rows]
        space = np.empty(X.shape)
        for k, one in enumerate(self.classes):
            # Of all rows, and then those of the class again: to pick the others would cost more.
            out[:, k] = _log_densities(X, one.mean, one.variance, epsilon, space)
            mine = np.flatnonzero(self.codes[rows] == k)
            counts[mine, k], mean, variance = one.without_each(self.place[rows[mine]])
            out[mine, k] = _log_density(X[mine] - mean, variance + epsilon[mine])
        return self._whole(out, counts)

    def scores_without(self, X, rows):
        epsilon = self._epsilon_without(rows)
        for block in self.blocks(rows, X):
            out = np.empty((len(rows[block]), len(X), self.n_classes))
            counts = np.tile(self.counts, (len(rows[block]), 1))
            for i, row in enumerate(rows[block]):
                for k, one in enumerate(self.classes):
                    mean, variance = one.mean, one.variance
                    if k == self.codes[row]:
                        left, mean, variance = one.without_each(self.place[[row]])
                        counts[i, k] = left[0]
                    out[i, :, k] = _log_density(X - mean, variance + epsilon[block][i])
            yield block, self._whole(out, counts[:, None])

    def _whole(self, densities, counts):
        """Scores from densities; NaN for all classes where one of them has no rows left."""
        gone = (counts == 0).any(axis=-1)
        with np.errstate(divide="ignore"):
            out = densities + log_priors(counts, self.priors)
        out[np.broadcast_to(gone, out.shape[:-1])] = np.nan
        return out

    def _epsilon_without(self, rows):
        # No column gains by the loss of a row: the largest is among those above what is surely left.
        n, largest = self.every.weight, self.every.scatter.argmax()
        gap = self.X[rows, largest] - self.every.mean[largest]
        least = (self.every.scatter[largest] - gap**2 * n / (n - 1)).min(initial=np.inf)
        some = self.every.scatter >= min(least, self.every.scatter[largest])
        _, _, variance = self.every.of_columns(some).without_each(rows)
        return self.smoothing * variance.max(axis=1, keepdims=True)


def _log_densities(X, mean, variance, epsilon, space):
    """As :func:`_log_density` with ``variance + epsilon``, where that is nearly the same for all rows.

    Parameters
    ----------
    X : ndarray of shape (m, n_features)
    mean, variance : ndarray of shape (n_features,)
    epsilon : ndarray of shape (m, 1)
    space : ndarray of shape (m, n_features)
        Written over: a new one for each class would be cleared by the system first.
    """
    if not len(X):
        return np.zeros(0)
    middle, off = variance + epsilon[0], epsilon[:, 0] - epsilon[0]
    # Where a class does not vary, as in pixels that it never uses, the smoothing is all there is.
    flat = variance == 0.0
    # To first order: what is left is the square of this, below round-off.
    near = ~flat & (np.abs(off).max() < NEAR * middle)
    squares = np.subtract(X, mean, out=space)
    squares *= squares
    inverse = np.divide(1.0, middle, out=np.zeros_like(middle), where=near)
    # One product with all columns: to pick some of them would cost more.
    sums = squares @ np.column_stack([inverse, inverse**2, flat])
    out = np.log(2.0 * np.pi * middle[near]).sum() + sums[:, 0] + off * (inverse.sum() - sums[:, 1])
    if flat.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            out += flat.sum() * np.log(2.0 * np.pi * epsilon[:, 0]) + sums[:, 2] / epsilon[:, 0]
    rest = ~(flat | near)
    if rest.any():
        out -= 2.0 * _log_density(X[:, rest] - mean[rest], variance[rest] + epsilon)
    return -0.5 * out


def _log_density(gap, variance):
    """Log densities, (m,), of distances from a mean; variances of all rows, or of each."""
    if variance.ndim == 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            return -0.5 * (np.log(2.0 * np.pi * variance).sum() + gap**2 @ (1.0 / variance))
    return -0.5 * (np.log(2.0 * np.pi * variance) + gap**2 / variance).sum(axis=1)
