"""What a new point does to the residuals of squared error: all of them are lines in its target."""

from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks

# Of lines of all rows for a block of points, and what is made of them.
NEAR_BYTES = 2**22


class ResidualLines:
    """The residuals of all rows for a block of points, each as a line: ``r_i - c_i z``.

    Parameters
    ----------
    mean : ndarray of shape (b,)
        ``f(x)`` of each point.
    h : ndarray of shape (b,)
        Its leverage.
    residuals : ndarray of shape (n,)
    slopes : ndarray of shape (n, b)
        ``c``; it may be made when it is asked for.
    """

    def __init__(self, mean, h, residuals, slopes=None):
        self.mean, self.h, self.residuals, self._slopes = mean, h, residuals, slopes

    @property
    def slopes(self):
        """``c``, (n, b)."""
        return self._slopes

    def moved(self, z):
        """``c_i z - r_i`` of rows and points, (n, b), for the residuals z of the points, (b,)."""
        out = self.slopes * z
        out -= self.residuals[:, None]
        return out


class ProductLines(ResidualLines):
    """Lines of rows in an array: one product says where all residuals are, and no slope is made.

    Parameters
    ----------
    mean, h, residuals
        As of :class:`ResidualLines`.
    rows : ndarray of shape (n, d + 1)
        ``[x_i, s, -r_i]``.
    solved : ndarray of shape (d, b)
        ``H^-1 x`` of each point, so that ``c_i = [x_i, s] H^-1 x``.
    room : ndarray of shape (n * b,)
        What :meth:`moved` writes into: fresh memory takes longer than the product.
    """

    def __init__(self, mean, h, residuals, rows, solved, room):
        super().__init__(mean, h, residuals)
        self._rows, self._solved, self._room = rows, solved, room

    @property
    def slopes(self):
        return self._rows[:, :-1] @ self._solved

    def moved(self, z):
        n, b = len(self._rows), len(z)
        ahead = np.vstack([self._solved * z, np.ones(b)])
        return np.matmul(self._rows, ahead, out=self._room[: n * b].reshape(n, b))


class Responses:
    """With a new row ``(x, y)`` the residuals become ``r_i - c_i z``, its own ``z``.

    ``z = (y - f(x)) / (1 + h)`` with the leverage h of the new row, and ``c_i`` what a unit of the
    gradient at x moves ``f(x_i)``.

    Parameters
    ----------
    influence : Influence
    """

    def __init__(self, influence):
        self.influence = influence
        self.n = influence.objective.n_samples

    def blocks(self, X):
        """Blocks of points and their :class:`ResidualLines`, which stay near."""
        tests = self.influence.data.tests(X, None).design
        # What is solved for of many points at once has a number for each of their columns.
        for some in row_blocks(tests.n_samples, 24 * tests.n_features):
            own = list(row_blocks(some.stop - some.start, 40 * self.n, NEAR_BYTES))
            for block, lines in zip(own, self._lines(tests.take(some), own), strict=True):
                yield slice(some.start + block.start, some.start + block.stop), lines


class LinearResponses(Responses):
    """Of ridge and least squares."""

    def __init__(self, influence):
        super().__init__(influence)
        self._factor = influence.answers.edit_solver().factor
        objective = self._factor.objective
        self.residuals = objective.y - objective.eta[:, 0]

    @cached_property
    def _rows(self):
        """``[x_i, s, -r_i]`` of rows in an array; None of others."""
        design = self._factor.objective.design
        if type(design.X) is not np.ndarray:
            return None
        return np.column_stack([design.dense_rows(), -self.residuals])

    def _lines(self, tests, blocks):
        objective = self._factor.objective
        mean = tests.multiply(objective.theta.T)[:, 0]
        solved = self._factor.solve_rows(tests, np.ones((tests.n_samples, 1)))[:, 0]
        h = np.einsum("md,md->m", tests.dense_rows(), solved)
        room = np.empty(self.n * max((one.stop - one.start for one in blocks), default=0))
        for block in blocks:
            at, known = (mean[block], h[block], self.residuals), solved[block].T
            if self._rows is None:
                yield ResidualLines(*at, objective.design.multiply(known))
            else:
                yield ProductLines(*at, self._rows, known, room)


class KernelResponses(Responses):
    """Of kernel ridge regression."""

    def __init__(self, influence):
        super().__init__(influence)
        self.residuals = influence.objective.y - influence.answers.eta

    def _lines(self, tests, blocks):
        answers, problem = self.influence.answers, self.influence.objective
        for block in blocks:
            design = tests.take(block)
            columns = answers.test_columns(design)
            known = answers.system.solved(columns)
            h = known.own_left(problem.design.kernel.diagonal(design.X)) / problem.alpha
            yield ResidualLines(answers.decide(columns), h, self.residuals, known.solution)
