"""The two sides of the tube of a support vector regression, as rows of the engine."""

import numpy as np

from skinfluence.active_set import HingeProblem
from skinfluence.active_set.problem import KernelBlocks
from skinfluence.hinge.problem import KEPT_ROWS


class Tube:
    """What targets and coefficients are in the units of the engine.

    Parameters
    ----------
    problem : TubeProblem
    """

    def __init__(self, problem):
        there = problem.weights > 0
        y = problem.y[there]
        self.middle = (
            float(np.average(y, weights=problem.weights[there])) if problem.free_bias else 0.0
        )
        self.size = float(np.std(y)) or max(abs(self.middle), 1.0)
        self.bound = problem.C / self.size
        self.epsilon = problem.epsilon / self.size

    def sides(self, y):
        """Labels and targets of both sides of rows, (2 n,) each."""
        scaled = (y - self.middle) / self.size
        labels = np.repeat([1.0, -1.0], len(y))
        return labels, np.concatenate([scaled - self.epsilon, scaled + self.epsilon])

    def bounds(self, weights):
        """Upper bounds of the coefficients of both sides, (2 n,)."""
        return np.tile(self.bound * weights, 2)

    def engine(self, problem, design, y, weights):
        """The engine's problem of some rows."""
        n, kernel, X = len(y), design.kernel, design.X
        labels, targets = self.sides(y)

        def values(a, b):
            return kernel(X[a % n], X[b % n])

        if n <= KEPT_ROWS:
            values = KernelBlocks(design.values, copies=2)
        return HingeProblem(
            values,
            labels,
            self.bounds(weights),
            free_bias=problem.free_bias,
            diagonal=np.tile(kernel.diagonal(X), 2),
            target=targets,
        )
