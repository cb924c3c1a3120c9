"""A temperature of given scores: one number, the zero of a slope that is one function for all rows."""

from functools import cached_property

import numpy as np
from numpy.polynomial import Chebyshev
from scipy.special import softmax

from skinfluence.closed_form.calibration import MOST_STEPS, SETTLED, CalibrationFamily

# scikit-learn looks for the logarithm of a temperature's inverse in this range.
EDGE = 10.0
# Of a polynomial that is the slope of what a temperature minimises.
DEGREE = 16
# What scikit-learn adds to chances before it takes their logarithm.
TINY = 1e-12


class TemperatureFamily(CalibrationFamily):
    """One number by which the scores of all classes are multiplied before a softmax.

    Parameters
    ----------
    X, codes, weights, n_classes
        As of :class:`~skinfluence.closed_form.calibration.CalibrationFamily`.
    are_chances : bool
        Whether scores are chances, of which it takes the logarithms.
    """

    no_curve = "The temperature ends at the edge of what scikit-learn looks at."
    determined_by = (
        "Pass what was given to fit; if this was, calibrate on rows of all classes, or with "
        "method='sigmoid', whose curves have any slope."
    )

    def __init__(self, X, codes, weights, n_classes, are_chances):
        self.are_chances = are_chances
        super().__init__(X, codes, weights, n_classes)

    def again(self, X, codes, weights):
        return TemperatureFamily(X, codes, weights, self.n_classes, self.are_chances)

    def _fit(self):
        return self._solved(-1, 0.0)

    def without(self, rows):
        start = np.log(self.curves)
        near = self._nearby(rows, start)
        left = self.counts[self.codes[rows]] - self.weights[rows] > 0
        for i, row in enumerate(rows):
            found = None
            if left[i]:
                found = np.exp(near[i]) if np.isfinite(near[i]) else self._solved(row, start)
            yield slice(i, i + 1), [found]

    def chances(self, curves, X):
        return softmax(curves * self._logits(X), axis=1)

    def left(self, chances):
        own = np.take_along_axis(chances, self.codes[:, None], axis=1)[:, 0]
        with np.errstate(divide="ignore"):
            return -self.weights @ np.log(own)

    def _logits(self, X):
        if X.shape[1] == 1:
            X = np.concatenate([1.0 - X if self.are_chances else -X, X], axis=1)
        return np.log(X + TINY) if self.are_chances else X

    @cached_property
    def _centred(self):
        """Logits of the rows about their mean, and those of their own classes."""
        Z = self._logits(self.X)
        Z = Z - Z.mean(axis=1, keepdims=True)
        return Z, Z[np.arange(len(Z)), self.codes]

    def _solved(self, row, start):
        """The number without a row; None at the edge."""
        w = self.weights.copy()
        if row >= 0:
            w[row] = 0.0

        def slopes(at):
            first, second = self._slopes(slice(None), np.exp(at))
            return w @ first, w @ second

        low, high, at = -EDGE, EDGE, start
        for _ in range(MOST_STEPS):
            first, second = slopes(at)
            low, high = (at, high) if first < 0 else (low, at)
            size = np.exp(at)
            after = size - first / second if second > 0 else -1.0
            inside = after > 0 and low <= np.log(after) <= high
            after = np.log(after) if inside else 0.5 * (low + high)
            if abs(after - at) <= SETTLED:
                break
            at = after
        return np.exp(after) if abs(after) < EDGE - 1e-6 else None

    def _slopes(self, rows, size):
        """Slopes and bends of the loss of rows in the number, convex, (n_rows,) each."""
        Z, own = self._centred
        Z, own = Z[rows], own[rows]
        p = softmax(np.reshape(size, (-1, 1)) * Z, axis=1)
        mean = (p * Z).sum(axis=1)
        return mean - own, (p * Z**2).sum(axis=1) - mean**2

    def _nearby(self, rows, start):
        """Logarithms of the number without each row, by one curve for all; NaN where that is not sure.

        What is minimised has one slope for each number: between the farthest ends of one Newton step it is a
        polynomial to round-off, from which each row's own slope is taken.
        """
        out = np.full(len(rows), np.nan)
        w = self.weights[rows]
        first, second = self._slopes(rows, self.curves)
        bend = self.weights @ self._slopes(slice(None), self.curves)[1] - w * second
        if len(rows) <= 2 * DEGREE or not (bend > 0).all():
            return out
        ends = start + np.append(0.0, w * first / (bend * self.curves))
        low, high = ends.min(), ends.max()
        margin = 0.5 * (high - low) + 1e-6
        low, high = low - margin, high + margin

        def slope(at):
            return np.array([self.weights @ self._slopes(slice(None), np.exp(x))[0] for x in at])

        line = Chebyshev.interpolate(slope, DEGREE, domain=[low, high])
        if np.abs(line.coef[-3:]).max() > 1e-13 * np.abs(line.coef).max():
            return out
        bends, at = line.deriv(), ends[1:]
        for _ in range(MOST_STEPS):
            size = np.exp(at)
            first, second = self._slopes(rows, size)
            step = (line(at) - w * first) / (bends(at) - w * second * size)
            at = np.clip(at - step, low, high)
            if not (np.abs(step) > SETTLED).any():
                break
        sure = (np.abs(step) <= SETTLED) & (at > low) & (at < high) & (np.abs(at) < EDGE - 1e-6)
        return np.where(sure, at, np.nan)
