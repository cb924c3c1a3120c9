"""Models whose loss is written for a row, after an edit."""

import numpy as np

from skinfluence.editing.solving import Solved, solve_edited, solve_whole
from skinfluence.editing.writing import like
from skinfluence.row_losses.answers import MAnswers
from skinfluence.row_losses.huber import HuberProblem
from skinfluence.row_losses.newton import minimise
from skinfluence.row_losses.problem import MProblem


@solve_edited.register
def _(problem: MProblem, answers, points, tol):
    return _solved(problem, answers, points, tol, write_params)


@solve_edited.register
def _(problem: HuberProblem, answers, points, tol):
    return _solved(problem, answers, points, tol, write_huber)


@solve_whole.register
def _(problem: HuberProblem, edit, tol):
    return solved_huber(edit.objective())


def _solved(problem, answers, points, tol, write):
    steps, _ = answers.points_steps([points], "exact", tol)
    if np.isnan(steps).any():
        raise problem.without_minimum()
    start, _ = answers.optimum()
    return _at_optimum(problem.at(start.theta + steps[0]), write, answers.verbose)


def solved_huber(problem):
    """The :class:`Solved` Huber regression from wherever it is, by Newton's method.

    Parameters
    ----------
    problem : HuberProblem
        Of the rows that are left, as the steps before it make them.

    Raises
    ------
    SingularHessianError
        Where it ends at no optimum.
    """
    found = minimise(problem)
    if not found.converged:
        raise problem.without_minimum()
    return _at_optimum(found.problem, write_huber)


def _at_optimum(after, write, verbose=False):
    # Nothing certifies a loss of which nothing is known.
    bound, reach = np.inf, None
    if after.distance is not None:
        bound, reach = float(after.distance.radius), DecisionReach(after)
    answers = MAnswers(after, verbose)
    return Solved(after, bound, np.nan, "newton", reach, write, 1, answers=answers)


class DecisionReach:
    """What a unit of distance is at the decision values of rows of a Huber regression.

    Parameters
    ----------
    problem : HuberProblem
    """

    def __init__(self, problem):
        self.distance, self.columns = problem.distance, problem.row_loss.columns

    def __call__(self, design):
        Z = self.columns(design.X)
        return self.distance.reach(np.column_stack([Z, np.zeros(len(Z))]))[:, None]


def write_params(model, solved, left, lines):
    """An MEstimator at the parameters of a solved problem."""
    made = like(model)
    made.params_ = np.array(solved.problem.theta)
    return made


def write_huber(model, solved, left, lines):
    """A HuberRegressor at the parameters of a solved problem."""
    made, problem = like(model), solved.problem
    theta, X, y = problem.theta, problem.design.X[left], problem.y[left]
    made.coef_, made.scale_ = theta[: X.shape[1]].copy(), float(theta[-1])
    made.intercept_ = float(theta[-2]) if made.fit_intercept else 0.0
    made.outliers_ = np.abs(y - X @ made.coef_ - made.intercept_) > made.scale_ * made.epsilon
    return made
