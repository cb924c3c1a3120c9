"""What a new point does to the residuals of squared error: all of them are lines in its target."""

import numpy as np

from skinfluence._utils.memory import row_blocks

# Of lines of all rows for a block of points, and what is made of them.
NEAR_BYTES = 2**22


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
        """Blocks of points, whose lines stay near: ``(block, f(x), h, c of shape (n, b), r)``."""
        tests = self.influence.data.tests(X, None).design
        for block in row_blocks(tests.n_samples, 40 * self.n, NEAR_BYTES):
            yield block, *self._at(tests.take(block)), self.residuals


class LinearResponses(Responses):
    """Of ridge and least squares."""

    def __init__(self, influence):
        super().__init__(influence)
        answers = influence.answers
        self._factor = answers.edit_solver().factor
        objective = self._factor.objective
        self.residuals = objective.y - objective.eta[:, 0]

    def _at(self, design):
        objective = self._factor.objective
        mean = design.multiply(objective.theta.T)[:, 0]
        solved = self._factor.solve_rows(design, np.ones((design.n_samples, 1)))[:, 0]
        h = np.einsum("md,md->m", design.dense_rows(), solved)
        return mean, h, objective.design.multiply(solved.T)


class KernelResponses(Responses):
    """Of kernel ridge regression."""

    def __init__(self, influence):
        super().__init__(influence)
        answers = influence.answers
        self.residuals = influence.objective.y - answers.eta

    def _at(self, design):
        answers, problem = self.influence.answers, self.influence.objective
        columns = answers.test_columns(design)
        known = answers.system.solved(columns)
        h = known.own_left(problem.design.kernel.diagonal(design.X)) / problem.alpha
        return answers.decide(columns), h, known.solution
