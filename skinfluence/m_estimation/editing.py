"""An MEstimator after an edit."""

import numpy as np

from skinfluence.editing.solving import Solved, solve_edited
from skinfluence.editing.writing import like
from skinfluence.m_estimation.problem import MProblem
from skinfluence.solvers import SingularHessianError


@solve_edited.register
def _(problem: MProblem, answers, points, tol):
    steps, _ = answers.points_steps([points], "exact", tol)
    if np.isnan(steps).any():
        raise SingularHessianError(
            "The edited objective must have a minimum near the fit. Got an edit after which Newton's "
            "method finds none; add l2."
        )
    start, _ = answers._optimum()
    after = problem.at(start.theta + steps[0])
    # Nothing certifies a loss of which nothing is known.
    other = type(answers)(after, answers.verbose)
    return Solved(after, np.inf, np.nan, "newton", None, write_params, 1, answers=other)


def write_params(model, solved, left, lines):
    """An MEstimator at the parameters of a solved problem."""
    made = like(model)
    made.params_ = np.array(solved.problem.theta)
    return made
