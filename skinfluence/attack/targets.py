"""What an attack is about: test points with their margins, and the box that rows stay in."""

import copy

import numpy as np
from sklearn.utils import column_or_1d


class Box:
    """What values a row may take: within ``radius`` of its own, and between ``low`` and ``high``."""

    def __init__(self, radius, low, high):
        radius = np.asarray(radius, dtype=float)
        if not (np.isfinite(radius).all() and (radius > 0).all()):
            raise ValueError(f"radius must be positive and finite. Got {radius} instead.")
        self.radius = radius
        self.low = -np.inf if low is None else low
        self.high = np.inf if high is None else high

    def of(self, X):
        """Smallest and largest allowed values around rows; a value outside low .. high may stay."""
        return (
            np.minimum(np.maximum(X - self.radius, self.low), X),
            np.maximum(np.minimum(X + self.radius, self.high), X),
        )

    def reach(self, X):
        """How far rows may go down and up."""
        smallest, largest = self.of(X)
        return smallest - X, largest - X


class Targets:
    """The test points: their features, labels, margins and gradients."""

    def __init__(self, head, X_test, y_test):
        labels = head.objective.labels
        self.features = head.inputs.transform(X_test)
        self.y = column_or_1d(y_test)
        self._design = head.objective.design.like(self.features)
        self._codes = labels.codes(self.y)
        self._encoded = labels.targets[self._codes]
        if len(self.y) != self._design.n_samples:
            raise ValueError(
                f"X_test and y_test must have one row each per target. Got "
                f"{self._design.n_samples} and {len(self.y)}."
            )

    def only(self, t):
        """One of the targets."""
        one = copy.copy(self)
        one.features, one.y, one._codes, one._encoded = (
            a[[t]] for a in (self.features, self.y, self._codes, self._encoded)
        )
        one._design = self._design.like(one.features)
        return one

    def losses(self, head):
        """Loss of each target."""
        return head.objective.loss.value(head.decision(self._design), self._encoded)

    def margins(self, head):
        """Decision value of the true class minus the largest other one."""
        eta = head.decision(self._design)
        return np.einsum("tk,tk->t", head.sides(eta, self._codes), head.objective.loss.expand(eta))

    def loss_direction(self, head, chosen):
        """The mean loss of some targets, as a direction of the head."""
        slopes = head.uphill(head.decision(self._design), self._encoded)
        return head.direction(self._design, slopes * chosen[:, None] / chosen.sum())

    def margin_directions(self, head):
        """The margin of each target, as directions of the head."""
        loss = head.objective.loss
        basis = loss.expand(np.eye(loss.n_outputs))
        sides = head.sides(head.decision(self._design), self._codes)
        return head.directions(self._design, sides @ basis.T)
