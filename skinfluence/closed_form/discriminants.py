"""Linear and quadratic discriminant analysis.

Without row i of class c, ``v = x - mean_c``, the scatter of its class loses ``n_c / (n_c - 1) v v'``: a
covariance of rank one less, whose inverse and determinant are known from ``v' S^-1 v``. What the
counts do to all rows of a class alike goes into one factor per class.
"""

import numpy as np
import scipy.linalg

from skinfluence.closed_form.family import Family, NoModelError, log_priors

# One minus a leverage in its class: with less left, digits are lost and the class is counted anew.
CANCELS = 1e-5
# Of a covariance: the least eigenvalue over the largest.
SINGULAR = 1e-14


class DiscriminantFamily(Family):
    """Gaussian classes with covariances.

    Parameters
    ----------
    X, codes, weights, n_classes
        See :class:`~skinfluence.closed_form.family.Family`; rows count one each.
    priors : ndarray of shape (n_classes,) or None
    options : dict
        Of the kind.
    """

    def __init__(self, X, codes, weights, n_classes, priors, **options):
        super().__init__(X, codes, weights, n_classes)
        self.priors, self.options = priors, options
        self.means = np.stack([X[mine].mean(axis=0) for mine in self.members])
        self.moved = X - self.means[codes]
        self.scatters = [self.moved[mine].T @ self.moved[mine] for mine in self.members]

    def again(self, X, codes, weights):
        return type(self)(X, codes, weights, self.n_classes, self.priors, **self.options)

    def own_scores(self, rows):
        out = np.empty((len(rows), self.n_classes))
        for k, mine, without in self._by_class(rows):
            out[mine] = without.own()
            self._anew(out, mine, rows, k, without, own=True)
        return out

    def scores_without(self, X, rows):
        for block in self.blocks(rows, X):
            some = rows[block]
            out = np.empty((len(some), len(X), self.n_classes))
            for k, mine, without in self._by_class(some):
                out[mine] = without.at(X)
                self._anew(out, mine, some, k, without, X=X)
            yield block, out

    def _by_class(self, rows):
        for k in np.unique(self.codes[rows]):
            mine = np.flatnonzero(self.codes[rows] == k)
            yield k, mine, self.without_each(k, self.moved[rows[mine]])

    def _anew(self, out, mine, rows, k, without, X=None, own=False):
        """Answers for rows that a difference does not give."""
        for i in mine[~(without.left > CANCELS)]:
            there = np.arange(len(self.codes)) != rows[i]
            try:
                rest = self.again(self.X[there], self.codes[there], self.weights[there])
                out[i] = rest.scores(self.X[rows[[i]]])[0] if own else rest.scores(X)
            except NoModelError:
                out[i] = np.nan


class LinearFamily(DiscriminantFamily):
    """One covariance for all classes, so that scores are linear.

    With ``r`` the point that means are measured from, scores are
    ``(x - r)' C^-1 (m_k - r) - (m_k - r)' C^-1 (m_k - r) / 2 + log pi_k``.

    ``options``: ``"pooled"``, whether C is the sum of scatters over one number (or the classes' own
    covariances weighted by their priors); ``"corrected"``, whether that number is less the classes;
    ``"centred"``, whether r is the mean of the means (or zero).
    """

    def __init__(self, X, codes, weights, n_classes, priors, **options):
        super().__init__(X, codes, weights, n_classes, priors, **options)
        C = np.tensordot(self._shares(self.counts), np.stack(self.scatters), axes=1)
        self.factor = _factored(C)
        self.centre = self._centre(self.counts)

    def _priors(self, counts):
        return np.exp(log_priors(counts, self.priors))

    def _shares(self, counts):
        """What each class's scatter counts in the covariance."""
        if not self.options["pooled"]:
            return self._priors(counts) / counts
        n = counts.sum() - (self.n_classes if self.options["corrected"] else 0)
        if not n > 0:
            raise NoModelError("No more rows than classes.")
        return np.full(self.n_classes, 1.0 / n)

    def _centre(self, counts):
        return self._priors(counts) @ self.means if self.options["centred"] else 0.0

    def scores(self, X):
        Z = self.means - self.centre
        W = scipy.linalg.cho_solve(self.factor, Z.T)
        constant = log_priors(self.counts, self.priors) - 0.5 * np.einsum("kj,jk->k", Z, W)
        return (X - self.centre) @ W + constant

    def without_each(self, c, V):
        return LinearWithout(self, c, V)


class LinearWithout:
    """Scores of a :class:`LinearFamily` without each of some rows of one class.

    With B the covariance by the new counts, from which ``b v v'`` is still to go: all that scores
    need are products of the means, of ``v`` and of points in ``B^-1``.

    Parameters
    ----------
    family : LinearFamily
    c : int
    V : ndarray of shape (b, n_features)
        The rows, from the mean of their class.

    Attributes
    ----------
    left : ndarray of shape (b,)
        ``1 - b v' B^-1 v``; NaN where the rest of the class has no model.
    """

    def __init__(self, family, c, V):
        self.family, self.c, self.V = family, c, V
        counts = family.counts.copy()
        counts[c] -= 1
        self.left = np.full(len(V), np.nan)
        if not counts[c] > 0:
            return
        try:
            shares = family._shares(counts)
            factor = _factored(np.tensordot(shares, np.stack(family.scatters), axes=1))
        except NoModelError:
            return
        self.log_priors = log_priors(counts, family.priors)
        self.centre = family._centre(counts)
        self.U = family.means - self.centre
        self.BU = scipy.linalg.cho_solve(factor, self.U.T)
        self.BV = scipy.linalg.cho_solve(factor, V.T)
        self.T, self.s = self.U @ self.BU, V @ self.BU
        self.q = np.einsum("ij,ji->i", V, self.BV)
        self.b = shares[c] * family.counts[c] / counts[c]
        self.left = 1.0 - self.b * self.q
        # The mean of the class moves by -v / n, and the centre by its share of that.
        self.rho = np.exp(self.log_priors[c]) / counts[c] if family.options["centred"] else 0.0
        self.gamma = np.full(family.n_classes, self.rho)
        self.gamma[c] -= 1.0 / counts[c]

    def own(self):
        if np.isnan(self.left).all():
            return np.full((len(self.V), self.family.n_classes), np.nan)
        s, q, own = self.s, self.q[:, None], 1.0 + self.rho
        inner = self.T[self.c] + self.gamma * s[:, [self.c]] + own * (s + self.gamma * q)
        return self._scores(inner, s[:, [self.c]] + own * q)

    def at(self, X):
        if np.isnan(self.left).all():
            return np.full((len(self.V), len(X), self.family.n_classes), np.nan)
        moved = X - self.centre
        along = moved @ self.BV + self.rho * self.q
        inner = (moved @ self.BU)[None] + self.gamma * (moved @ self.BV).T[:, :, None]
        inner += self.rho * (self.s + self.gamma * self.q[:, None])[:, None]
        return self._scores(inner, along.T[:, :, None])

    def _scores(self, inner, along):
        """From products with the means and with v in ``B^-1``: what the rank one adds, and the rest."""
        q, left = self.q[:, None], self.left[:, None]
        means = self.s + self.gamma * q
        size = self.T.diagonal() + 2 * self.gamma * self.s + self.gamma**2 * q
        size = size + self.b * means**2 / left
        constant = self.log_priors - 0.5 * size
        if inner.ndim == 3:
            means, left, constant = means[:, None], left[:, None], constant[:, None]
        return inner + self.b * along * means / left + constant


class QuadraticFamily(DiscriminantFamily):
    """A covariance for each class: ``(1 - r) S / n + r I`` of its own rows.

    ``options``: ``"shrinkage"``, r; ``"corrected"``, whether n is one less than the rows.
    """

    def __init__(self, X, codes, weights, n_classes, priors, **options):
        super().__init__(X, codes, weights, n_classes, priors, **options)
        self.spectra = [np.linalg.eigh(S) for S in self.scatters]
        self.variances = [self._variances(k, n) for k, n in enumerate(self.counts)]

    def _variances(self, k, n):
        """Of a class along its axes, were its scatter that of n rows."""
        if not n > self.X.shape[1]:
            raise NoModelError("A class has no more rows than there are columns.")
        n = n - 1 if self.options["corrected"] else n
        r = self.options["shrinkage"]
        found = (1.0 - r) * np.maximum(self.spectra[k][0], 0.0) / n + r
        if not found.min() > SINGULAR * found.max():
            raise NoModelError("A covariance is singular.")
        return found

    def scores(self, X):
        out = np.tile(log_priors(self.counts, self.priors), (len(X), 1))
        for k, D in enumerate(self.variances):
            along = (X - self.means[k]) @ self.spectra[k][1]
            out[:, k] -= 0.5 * ((along**2 / D).sum(axis=1) + np.log(D).sum())
        return out

    def without_each(self, c, V):
        return QuadraticWithout(self, c, V)


class QuadraticWithout:
    """Scores of a :class:`QuadraticFamily` without each of some rows of one class.

    Parameters
    ----------
    family : QuadraticFamily
    c : int
    V : ndarray of shape (b, n_features)
        The rows, from the mean of their class.

    Attributes
    ----------
    left : ndarray of shape (b,)
        What the determinant of the class's covariance is multiplied by; NaN where the rest of the
        class has no model.
    """

    def __init__(self, family, c, V):
        self.family, self.c, self.V = family, c, V
        n = family.counts[c]
        self.left = np.full(len(V), np.nan)
        counts = family.counts.copy()
        counts[c] -= 1
        if not counts[c] > 1:
            return
        try:
            self.D = family._variances(c, counts[c])
        except NoModelError:
            return
        self.log_priors = log_priors(counts, family.priors)
        self.along = V @ family.spectra[c][1]
        self.q = (self.along**2 / self.D).sum(axis=1)
        share = (1.0 - family.options["shrinkage"]) / (
            counts[c] - 1 if family.options["corrected"] else counts[c]
        )
        self.b = share * n / counts[c]
        self.left = 1.0 - self.b * self.q
        self.n = n

    def own(self):
        family, c = self.family, self.c
        X = self.V + family.means[c]
        out = family.scores(X) - log_priors(family.counts, family.priors)
        if np.isnan(self.left).all():
            return np.full(out.shape, np.nan)
        size = (self.n / (self.n - 1)) ** 2 * self.q / self.left
        out[:, c] = -0.5 * (size + np.log(self.D).sum() + _log(self.left))
        return out + self.log_priors

    def at(self, X):
        family, c = self.family, self.c
        out = np.tile(
            family.scores(X) - log_priors(family.counts, family.priors), (len(self.V), 1, 1)
        )
        if np.isnan(self.left).all():
            return np.full(out.shape, np.nan)
        points = (X - family.means[c]) @ family.spectra[c][1] / self.D
        cross, step, q = self.along @ points.T, 1.0 / (self.n - 1), self.q[:, None]
        size = (points**2 * self.D).sum(axis=1) + 2 * step * cross + step**2 * q
        size += self.b * (cross + step * q) ** 2 / self.left[:, None]
        out[:, :, c] = -0.5 * (size + np.log(self.D).sum() + _log(self.left)[:, None])
        return out + self.log_priors


def _log(left):
    """NaN where nothing is left; those are counted anew."""
    return np.log(np.where(left > 0, left, np.nan))


def _factored(C):
    """The Cholesky factor of a covariance, in units of its columns' own.

    Raises
    ------
    NoModelError
        Where it is singular.
    """
    scale = np.sqrt(C.diagonal())
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = C / np.multiply.outer(scale, scale)
    if not np.isfinite(unit).all() or np.linalg.eigvalsh(unit)[0] < SINGULAR * len(C):
        raise NoModelError("The covariance within classes is singular.")
    factor, lower = scipy.linalg.cho_factor(unit, lower=True)
    return scale[:, None] * factor, lower
