"""The optimum of every binary problem of a hinge model, and what starts from it."""

import threading

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.active_set import Paths, distance_under, polish, polish_near
from skinfluence.hinge.conditional import at_margin, smoothed
from skinfluence.hinge.planes import Planes


class Optimum:
    """The polished optimum of every binary problem.

    Paths, conditional kernels and weights are kept for the next question, under a lock.

    Parameters
    ----------
    problem : HingeObjective
    solutions : list of HingeOptimum, default=None
        Of every binary problem, where they are known.

    Attributes
    ----------
    rows : list of ndarray of int
        Rows with part in each problem.
    solutions : list of HingeOptimum
    beta : ndarray of shape (n_outputs, n_samples)
        Coefficients at the optimum, with the sign of the target.
    bias : ndarray of shape (n_outputs,)
    eta : ndarray of shape (n_samples, n_outputs)
        Decision values of the training rows.
    """

    def __init__(self, problem, solutions=None):
        self.problem = problem
        self._lock = threading.RLock()
        self._paths, self._conditionals, self._planes = {}, {}, {}
        self.rows = [problem.rows_of(j) for j in range(problem.n_outputs)]
        self.solutions = solutions or [self._solved(j, rows) for j, rows in enumerate(self.rows)]
        self.beta = np.zeros((problem.n_outputs, problem.n_samples))
        for j, (rows, solution) in enumerate(zip(self.rows, self.solutions, strict=True)):
            self.beta[j, rows] = solution.beta
        self.bias = np.array([solution.bias for solution in self.solutions])
        self.eta = self._training_decision()

    def _solved(self, output, rows):
        problem = self.problem
        solved = polish_near if problem.near else polish
        binary = problem.binary(output, rows)
        return solved(binary, problem.beta[output, rows], problem.bias[output])

    @property
    def in_memory(self):
        """Whether the kernel matrix of every binary problem is kept."""
        return all(one.problem.in_memory for one in self.solutions)

    @property
    def distance(self):
        """Of the model as fitted, in decision values."""
        fitted = self.problem.fitted_eta
        if fitted is None:
            return max(float(one.distance) for one in self.solutions)
        away = (fitted - self.eta)[self.problem.weights > 0]
        return max(
            distance_under(away[:, j], one.bias, one.bias_interval)
            for j, one in enumerate(self.solutions)
        )

    def _training_decision(self):
        out = np.empty((self.problem.n_samples, self.problem.n_outputs))
        if any(len(rows) < len(out) for rows in self.rows):
            # Rows without part in a problem have a decision value all the same.
            out[:] = self.decision(self.problem.design.X)
        for j, (rows, solution) in enumerate(zip(self.rows, self.solutions, strict=True)):
            plane = self.plane(j)
            out[rows, j] = plane.decision(plane.X) if plane.lacks_digits else solution.f
        return out

    def decision(self, X):
        """Decision values of other rows, (n_rows, n_outputs)."""
        used = np.flatnonzero(self.beta.any(axis=0))
        cross, support = self.problem.cross, self.problem.design.X[used]
        out = np.empty((X.shape[0], self.problem.n_outputs))
        for block in row_blocks(len(out), 8 * (len(used) + 1)):
            out[block] = cross(X[block], support) @ self.beta[:, used].T + self.bias
        for j in range(self.problem.n_outputs):
            plane = self.plane(j)
            if plane.lacks_digits:
                out[:, j] = plane.decision(X)
        return out

    def weights(self):
        """``coef_`` and ``intercept_`` of linear functions, (n_outputs, n_features) and (n_outputs,)."""
        problem = self.problem
        coef = np.asarray((problem.design.X.T @ self.beta.T).T)
        scaled = problem.intercept**2 * self.beta.sum(axis=1)
        intercept = self.bias.copy() if problem.free_bias else scaled
        for j in range(problem.n_outputs):
            plane = self.plane(j)
            if plane.lacks_digits:
                coef[j], intercept[j] = plane.at_optimum
        return coef, intercept

    def plane(self, output, paths=None, rows=None):
        """The weights of one binary problem: of its own rows, or of those of a path."""
        rows = self.rows[output] if rows is None else rows
        key = output, len(rows)
        if key not in self._planes:
            solution = self.solutions[output] if paths is None else paths.solution
            self._planes[key] = Planes(self.problem, solution, rows)
        return self._planes[key]

    def path(self, output, with_all_rows=False):
        """The engine of one binary problem, and its rows.

        With all rows, those without part in the problem are there with a bound of zero, so that
        they can be given one.
        """
        everything = np.arange(self.problem.n_samples)
        rows = everything if with_all_rows else self.rows[output]
        with self._lock:
            key = (output, len(rows))
            if key not in self._paths:
                solution = self.solutions[output]
                if len(rows) != len(self.rows[output]):
                    binary = self.problem.binary(output, rows)
                    solution = polish(binary, self.beta[output], self.bias[output])
                self._paths[key] = Paths(solution)
            return self._paths[key], rows

    def conditionals(self, smoothing):
        """The conditional kernel of every binary problem."""
        with self._lock:
            if smoothing not in self._conditionals:
                self._conditionals[smoothing] = [
                    at_margin(self.problem, j, rows, self.solutions[j], self.path(j)[0])
                    if smoothing is None
                    else smoothed(self.problem, j, rows, self.solutions[j], smoothing)
                    for j, rows in enumerate(self.rows)
                ]
            return self._conditionals[smoothing]
