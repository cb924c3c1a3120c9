"""Losses that are half squares beyond an edge and nothing before it: of margins, of both sides of a tube.

    sum_i sum_sides c_i / 2 max(0, t_i - s_i eta_i)^2,      s_i = -1 or 1

A row of a squared hinge has one side, with the edge at its margin ``t = 1``. One of a squared tube has two,
``y - epsilon`` above it and ``y + epsilon`` below it, of which it is beyond one at most.
"""

from dataclasses import dataclass

import numpy as np

from skinfluence.losses import OneVsRest, SquaredEpsilonInsensitive, SquaredHinge
from skinfluence.smooth.optimum.held_set import EPS

# A row this near to its edge, relative to its own terms, may be on either side of it.
TIE = 4.0 * EPS


def is_piecewise(loss):
    """Whether a loss is made of half squares beyond edges, one output each."""
    if isinstance(loss, OneVsRest):
        return isinstance(loss.loss, SquaredHinge)
    return isinstance(loss, SquaredHinge | SquaredEpsilonInsensitive)


@dataclass(frozen=True, eq=False)
class HalfSquares:
    """All sides of all rows: one side of each and then, of a tube, the other.

    Attributes
    ----------
    signs, targets, curvature : ndarray of shape (times * n_samples, n_outputs)
        ``s``, ``t`` and ``c``.
    times : {1, 2}
        Sides of a row.
    """

    signs: np.ndarray
    targets: np.ndarray
    curvature: np.ndarray
    times: int

    @classmethod
    def of(cls, objective):
        """Those of an objective."""
        loss, y, weights = objective.loss, objective.y, objective.weights
        if isinstance(loss, SquaredEpsilonInsensitive):
            signs = np.repeat([1.0, -1.0], len(y))
            targets = np.concatenate([y - loss.epsilon, -y - loss.epsilon])
            curvature = np.tile(2.0 * weights, 2)
            return cls(signs[:, None], targets[:, None], curvature[:, None], 2)
        nothing = np.zeros((objective.n_samples, loss.n_outputs))
        # At zero every row is short of its margin by one.
        slope = -loss.gradient(nothing, y)
        return cls(np.sign(slope), np.ones(slope.shape), weights[:, None] * np.abs(slope), times=1)

    def each(self, of_rows):
        """What rows have, for each of their sides."""
        return of_rows if self.times == 1 else np.concatenate([of_rows, of_rows])

    def slack(self, eta):
        """How far each side is beyond its edge, ``t - s eta``, from the decision values of rows."""
        return self.targets - self.signs * self.each(eta)

    def push(self, held, eta):
        """Minus the gradient in the decision values, (n_samples, n_outputs), with sides held."""
        push = held * self.curvature * self.signs * self.slack(eta)
        return push.reshape(self.times, len(eta), -1).sum(axis=0)


def sides(objective):
    """How far each row is beyond its edge in each output, its curvature there, and what is rounded.

    Returns
    -------
    slack, curvature, rounded : ndarray of shape (n_samples, n_outputs)
        Of a tube ``slack`` is that of the side which is nearer to being beyond; ``rounded`` is the size of
        the terms of the slack.
    """
    found = HalfSquares.of(objective)
    shape = found.times, *objective.eta.shape
    slack = found.slack(objective.eta).reshape(shape).max(axis=0)
    largest = np.abs(found.targets).reshape(shape).max(axis=0)
    rounded = largest + terms(objective.design, objective.theta)
    return slack, found.curvature[: len(slack)], rounded


def near_edge(objective, design, *targets):
    """Rows whose decision value is at an edge to round-off: whether they push is not known from it.

    Parameters
    ----------
    objective : Objective
    design : Design
        Of the rows.
    *targets : ndarray of shape (design.n_samples,)
        What the rows have or may have; a margin is where it is whatever the target.

    Returns
    -------
    near : ndarray of bool, shape (design.n_samples, n_outputs)
    """
    eta, rounded = design.multiply(objective.theta.T), terms(design, objective.theta)
    if not isinstance(objective.loss, SquaredEpsilonInsensitive):
        return np.abs(np.abs(eta) - 1.0) <= 2.0 * TIE * (1.0 + rounded)
    epsilon, near = objective.loss.epsilon, np.zeros(eta.shape, dtype=bool)
    for y in targets:
        y = np.asarray(y)[:, None]
        size = np.abs(y) + epsilon + rounded
        near |= np.abs(np.abs(eta - y) - epsilon) <= 2.0 * TIE * size
    return near


def terms(design, theta):
    """Sizes of what decision values are sums of, or of these themselves for rows out of memory."""
    if not design.in_memory:
        return np.abs(design.multiply(theta.T))
    return type(design)(abs(design.X), abs(design.intercept)).multiply(np.abs(theta.T))
