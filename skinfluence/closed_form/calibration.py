"""Calibrators of given scores: curves of few numbers, which are fitted again without each row.

Platt's curve of a class is ``1 / (1 + exp(-(a s + b)))``, logistic regression of the score s on targets
that are not 0 and 1: of ``n1`` rows of the class and ``n0`` others ``(n1 + 1) / (n1 + 2)`` and
``1 / (n0 + 2)``, so that they move with every row. A temperature multiplies the scores of all classes
before a softmax, and an isotonic curve is a step function. Scores come from a classifier that is held,
and do not move.
"""

from abc import abstractmethod

import numpy as np
from scipy.special import expit

from skinfluence._utils.memory import row_blocks
from skinfluence.closed_form.family import Family, NoModelError
from skinfluence.closed_form.steps import Pooled

# Newton's steps are quadratic: one below this, of a decision value of size one, is the last.
SETTLED = 1e-9
MOST_STEPS = 100
# scikit-learn brings scores of this size to size one, and stops where slopes are below a tenth of this.
LARGE = 30.0
FLAT = 1e-5


class CalibrationFamily(Family):
    """Calibrators of the scores of a classifier.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_scores)
        Scores: one for two classes, else one a class.
    codes, weights, n_classes
        See :class:`~skinfluence.closed_form.family.Family`.

    Attributes
    ----------
    curves : object
        What was fitted, of all rows.
    """

    takes_weights = True
    how = "curves of the scores, fitted again"

    def __init__(self, X, codes, weights, n_classes):
        super().__init__(X, codes, weights, n_classes)
        self.curves = self._fit()
        if self.curves is None:
            raise NoModelError(self.no_curve)

    # Why there may be none, and what to do.
    no_curve = "The scores of all rows are the same."
    determined_by = (
        "Calibrate on rows of all classes, of a classifier that tells them apart, or with method='isotonic', "
        "whose steps may be flat."
    )

    @abstractmethod
    def _fit(self):
        """The curves of all rows; None for none."""

    @abstractmethod
    def without(self, rows):
        """The curves without each of some rows, None for none: ``(slice of rows, list of curves)``."""

    def under(self, scores, gone):
        """The curves of the same rows under other scores, each without a row.

        Parameters
        ----------
        scores : ndarray of shape (m, n_samples, n_scores)
        gone : ndarray of int, shape (m,)
            Which row is not there; -1 for none.

        Returns
        -------
        curves : list of object
            None where there are none.
        """
        return [self._under(*one) for one in zip(scores, gone, strict=True)]

    def _under(self, scores, gone):
        there = np.arange(len(self.codes)) != gone
        if np.isnan(scores[there]).any():
            # Of a model that has no fit.
            return None
        try:
            return self.again(scores[there], self.codes[there], self.weights[there]).curves
        except NoModelError:
            return None

    @abstractmethod
    def chances(self, curves, X):
        """What curves say of scores, before they are made to add up, (m, n_curves)."""

    @abstractmethod
    def left(self, chances):
        """What is minimised, at what curves say of the rows."""

    def may_stop_at(self, chances):
        """Whether a solver may take what curves say of the rows for the end, far from it."""
        return False

    def again(self, X, codes, weights):
        return type(self)(X, codes, weights, self.n_classes)

    def scores(self, X):
        return self.shares(self.chances(self.curves, X))

    def own_scores(self, rows):
        out = np.full((len(rows), self.n_classes), np.nan)
        for block, found in self.without(rows):
            for i, curves in zip(np.arange(len(rows))[block], found, strict=True):
                if curves is not None:
                    out[i] = self.shares(self.chances(curves, self.X[rows[[i]]]))[0]
        return out

    def scores_without(self, X, rows):
        nothing = np.full((X.shape[0], self.n_classes), np.nan)
        for block in self.blocks(rows, X):
            some = rows[block]
            found = [curves for _, part in self.without(some) for curves in part]
            yield (
                block,
                np.stack(
                    [nothing if one is None else self.shares(self.chances(one, X)) for one in found]
                ),
            )

    def shares(self, chances):
        """Chances that add up to one, (m, n_classes); where all are zero, all alike."""
        if chances.shape[1] == 1:
            return np.concatenate([1.0 - chances, chances], axis=1)
        total = chances.sum(axis=1, keepdims=True)
        alike = np.full_like(chances, 1.0 / self.n_classes)
        return np.divide(chances, total, out=alike, where=total != 0)

    @property
    def sides(self):
        """Of each curve, which rows are of its class."""
        every = range(self.n_classes) if self.X.shape[1] > 1 else (1,)
        return [self.codes == k for k in every]


class SigmoidFamily(CalibrationFamily):
    """Platt's curves, one a class."""

    def _fit(self):
        found = [self._solved(k, np.full(1, -1))[0] for k in range(self.X.shape[1])]
        return None if np.isnan(found).any() else np.array(found)

    def without(self, rows):
        every = np.arange(len(rows))
        for block in row_blocks(len(rows), 48 * len(self.codes)):
            found = np.stack([self._solved(k, rows[block]) for k in range(self.X.shape[1])], axis=1)
            yield every[block], [None if np.isnan(one).any() else one for one in found]

    def chances(self, curves, X):
        return expit(X * curves[:, 0] + curves[:, 1])

    def left(self, chances):
        found = 0.0
        for chance, own in zip(chances.T, self.sides, strict=True):
            with np.errstate(divide="ignore"):
                both = np.log(np.maximum([chance, 1.0 - chance], np.finfo(float).tiny))
            high, low = _targets(self.weights @ own, self.weights @ ~own)
            target = np.where(own, high, low)
            found -= self.weights @ (target * both[0] + (1.0 - target) * both[1])
        return found

    def may_stop_at(self, chances):
        """Whether slopes are as small as where scikit-learn stops: those of small scores always are."""
        size, away = np.abs(self.X).max(axis=0), np.empty_like(chances)
        for k, own in enumerate(self.sides):
            high, low = _targets(self.weights @ own, self.weights @ ~own)
            away[:, k] = self.weights * (chances[:, k] - np.where(own, high, low))
        scores = self.X / np.where(size >= LARGE, size, 1.0)
        slopes = np.concatenate([(away * scores).sum(axis=0), away.sum(axis=0)])
        return np.abs(slopes).max() <= FLAT

    def under(self, scores, gone):
        found = [
            self._solved(k, gone, scores[:, :, k], self.curves[k]) for k in range(scores.shape[2])
        ]
        found = np.stack(found, axis=1)
        return [None if np.isnan(one).any() else one for one in found]

    def _solved(self, k, rows, scores=None, start=None):
        """Slope and intercept of a curve without each of some rows, of row -1 of all, (m, 2).

        Of the scores of the rows, or of others for each of those, (m, n_samples).
        """
        s = self.X[None, :, k] if scores is None else scores
        own, w = self.sides[k], self.weights
        middle, size = s.mean(axis=1), np.ptp(s, axis=1)
        theta = np.full((len(rows), 2), np.nan)
        # Scores that are all the same have no curve: NaN from here on.
        size = np.where(size > 0, size, np.nan)
        Z = (s - middle[:, None]) / size[:, None]
        gone = np.where(rows >= 0, w[rows], 0.0)
        side = own[rows]
        high, low = _targets(w @ own - gone * side, w @ ~own - gone * ~side)
        target = np.where(side, high, low)
        pull = np.stack(
            [
                high * (Z @ (w * own)) + low * (Z @ (w * ~own)) - gone * target * _at(Z, rows),
                high * (w @ own) + low * (w @ ~own) - gone * target,
            ],
            axis=1,
        )
        if start is None and rows[0] >= 0:
            start = self.curves[k]
        start = np.zeros(2) if start is None else start
        theta[:, 0], theta[:, 1] = start[0] * size, start[1] + start[0] * middle
        edges = np.stack([Z.min(axis=1), Z.max(axis=1)], axis=1)
        live = np.arange(len(rows))
        for _ in range(MOST_STEPS):
            some = live if len(Z) > 1 else slice(None)
            step = _newton(theta[live], Z[some], w, rows[live], gone[live], pull[live])
            longest = np.abs(step[:, :1] * edges[some] + step[:, 1:]).max(axis=1)
            # Third derivatives are at most the second: shorter steps descend wherever they begin.
            theta[live] -= step / (1.0 + np.where(longest > 0.5, longest, 0.0))[:, None]
            live = live[longest > SETTLED]
            if not len(live):
                break
        theta[live] = np.nan
        slope = theta[:, 0] / size
        return np.column_stack([slope, theta[:, 1] - slope * middle])


def _targets(n1, n0):
    """What Platt's curve is fitted to at rows of the class, and at others."""
    return (n1 + 1.0) / (n1 + 2.0), 1.0 / (n0 + 2.0)


def _at(Z, rows):
    """The score of each row, of those of all or of its own, (m,)."""
    return Z[0, rows] if len(Z) == 1 else Z[np.arange(len(rows)), rows]


def _moments(p, w, Z, k):
    """Sums over the rows of p and the first k - 1 powers of scores, (m, k)."""
    if len(Z) == 1:
        return p @ (w * Z[0] ** np.arange(k)[:, None]).T
    p, found = w * p, []
    for j in range(k):
        found.append(p.sum(axis=1))
        p = p * Z if j + 1 < k else p
    return np.stack(found, axis=1)


def _newton(theta, Z, w, rows, gone, pull):
    """Newton's steps of the curves without each row, (m, 2); NaN where they are not determined."""
    p = expit(theta[:, :1] * Z + theta[:, 1:])
    own, place = p[np.arange(len(rows)), rows], _at(Z, rows)
    total, first = _moments(p, w, Z, 2).T
    g = np.stack([first - gone * own * place, total - gone * own], axis=1) - pull
    lost = gone * own * (1.0 - own)
    c, b, a = _moments(p * (1.0 - p), w, Z, 3).T - lost * place ** np.arange(3)[:, None]
    det = a * c - b**2
    with np.errstate(divide="ignore", invalid="ignore"):
        det = np.where(det > 1e-12 * a * c, det, np.nan)
        return (
            np.stack([c * g[:, 0] - b * g[:, 1], a * g[:, 1] - b * g[:, 0]], axis=1) / det[:, None]
        )


class IsotonicFamily(CalibrationFamily):
    """Step functions, one a class."""

    def _fit(self):
        self.pooled = [
            Pooled(s, own, self.weights) for s, own in zip(self.X.T, self.sides, strict=True)
        ]
        return [one.curve() for one in self.pooled]

    def _there(self, rows):
        """Rows without which their class has others, (n_rows,)."""
        return self.counts[self.codes[rows]] - self.weights[rows] > 0

    def own_scores(self, rows):
        there = self._there(rows)
        stay = [self._stays(k, rows) for k in range(self.X.shape[1])]
        out = np.full((len(rows), self.X.shape[1]), np.nan)
        for k, one in enumerate(self.pooled):
            out[:, k] = self.curves[k].predict(self.X[rows, k])
            for i in np.flatnonzero(there & ~stay[k]):
                out[i, k] = one.height_without(rows[i])
        out = self.shares(out)
        out[~there] = np.nan
        return out

    def without(self, rows):
        stay = [self._stays(k, rows) for k in range(self.X.shape[1])]
        for i, (row, there) in enumerate(zip(rows, self._there(rows), strict=True)):
            curves = [
                self.curves[k] if stay[k][i] else one.without(row)
                for k, one in enumerate(self.pooled)
            ]
            yield slice(i, i + 1), [curves if there else None]

    def _stays(self, k, rows):
        """Rows without which the steps of a class stay: inside one, where all are as they are, (n_rows,)."""
        curve, s = self.curves[k], self.X[rows, k]
        edges, heights = curve.places, curve.heights
        above = np.searchsorted(edges, s)
        inside = (above > 0) & (above < len(edges))
        above = np.where(inside, above, 0)
        # A score that is no edge is between two of one height.
        inside &= s != edges[above]
        own = self.sides[k][rows]
        inside &= (heights[above] == own) & (heights[above - 1] == own)
        return inside | (self.weights[rows] == 0)

    def chances(self, curves, X):
        return np.column_stack([one.predict(s) for one, s in zip(curves, X.T, strict=True)])

    def left(self, chances):
        away = (np.column_stack(self.sides) - chances) ** 2
        return self.weights @ away.sum(axis=1)
