"""Isotonic curves, and what they are without each of their rows.

Adjacent violators are pooled in any order. What is pooled of the scores below one, and of those above it, is
kept for each of them; without a row the two are joined, which pools few blocks.
"""

from functools import cached_property

import numpy as np

# Scores that are nearer are one, as in scikit-learn.
SAME = np.finfo(float).resolution


class Steps:
    """A curve that is linear between places, and flat outside them.

    Parameters
    ----------
    places, heights : ndarray of shape (n_places,)
    """

    def __init__(self, places, heights):
        self.places, self.heights = places, heights

    def predict(self, scores):
        """Heights at scores, (m,)."""
        return np.interp(scores, self.places, self.heights)


class Pooled:
    """Scores of rows of a class and of others, and their isotonic curve.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,)
    own : ndarray of bool, shape (n_rows,)
        Which rows are of the class.
    weights : ndarray of shape (n_rows,)
        Rows without any are not there.
    """

    def __init__(self, scores, own, weights):
        order = np.argsort(scores, kind="stable")
        order = order[weights[order] > 0]
        first = np.append(True, np.diff(scores[order]) >= SAME)
        which = np.cumsum(first) - 1
        self.own, self.weights = own, weights
        # Where each row is, -1 for one that is not there.
        self.at = np.full(len(scores), -1)
        self.at[order] = which
        self.places = scores[order][first]
        self.counts = np.bincount(which)
        self.total = np.bincount(which, weights[order]).tolist()
        self.sums = np.bincount(which, weights[order] * own[order]).tolist()

    @cached_property
    def _below(self):
        """For each place, and the end, what is pooled below it: (sum, weight, first place, the rest)."""
        top, found = None, [None]
        for j, (s, w) in enumerate(zip(self.sums, self.total, strict=True)):
            first = j
            while top is not None and top[0] * w >= s * top[1]:
                s, w, first, top = s + top[0], w + top[1], top[2], top[3]
            top = (s, w, first, top)
            found.append(top)
        return found

    @cached_property
    def _above(self):
        """For each place, and the end, what is pooled from there on: (sum, weight, last place, the rest)."""
        top, found = None, [None]
        for j in range(len(self.sums) - 1, -1, -1):
            s, w, last = self.sums[j], self.total[j], j
            while top is not None and top[0] * w <= s * top[1]:
                s, w, last, top = s + top[0], w + top[1], top[2], top[3]
            top = (s, w, last, top)
            found.append(top)
        return found[::-1]

    def curve(self):
        """The :class:`Steps` of all rows."""
        return self._curve(self._below[-1], None, None, len(self.places))

    def without(self, row):
        """The :class:`Steps` of the other rows."""
        return self._curve(*self._joined(row), self.at[row])

    def height_without(self, row):
        """What the curve of the other rows says of a row."""
        j = self.at[row]
        below, middle, above = self._joined(row)
        if middle is not None:
            return middle[0] / middle[1]
        if below is None or above is None:
            s, w = (above or below)[:2]
            return s / w
        low, high = below[0] / below[1], above[0] / above[1]
        left, at, right = self.places[j - 1 : j + 2]
        return low + (high - low) * (at - left) / (right - left)

    def _joined(self, row):
        """What is pooled below a row, about it and above it once it is gone; None for nothing."""
        j, gone = self.at[row], self.weights[row]
        below, above = self._below[j], self._above[j + 1]
        first = last = j
        if self.counts[j] > 1:
            w = self.total[j] - gone
            s = min(max(self.sums[j] - gone * self.own[row], 0.0), w)
        elif below is None or above is None or below[0] * above[1] < above[0] * below[1]:
            return below, None, above
        else:
            s, w = below[0] + above[0], below[1] + above[1]
            first, last, below, above = below[2], above[2], below[3], above[3]
        while True:
            if below is not None and below[0] * w >= s * below[1]:
                s, w, first, below = s + below[0], w + below[1], below[2], below[3]
            elif above is not None and above[0] * w <= s * above[1]:
                s, w, last, above = s + above[0], w + above[1], above[2], above[3]
            else:
                return below, (s, w, first, last), above

    def _curve(self, below, middle, above, gone):
        """The curve of pooled blocks, beside a place that is none of theirs where nothing is about it."""
        at, heights = [], []
        end = gone if middle is None else middle[2]
        while below is not None:
            at += [end - 1, below[2]]
            heights += [below[0] / below[1]] * 2
            end, below = below[2], below[3]
        at, heights = at[::-1], heights[::-1]
        start = gone + 1
        if middle is not None:
            at += [middle[2], middle[3]]
            heights += [middle[0] / middle[1]] * 2
            start = middle[3] + 1
        while above is not None:
            at += [start, above[2]]
            heights += [above[0] / above[1]] * 2
            start, above = above[2] + 1, above[3]
        at, heights = np.array(at), np.array(heights)
        # A block of one place is one point.
        once = np.append(True, np.diff(at) > 0)
        return Steps(self.places[at[once]], heights[once])
