"""Support vector regression after an edit, at its exact optimum."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from skinfluence._utils._compat import write_gamma, write_svr
from skinfluence.active_set.few_rows import solution_under
from skinfluence.editing.kernels import HingeReach
from skinfluence.editing.solving import Solved, solve_edited, solve_whole
from skinfluence.editing.writing import like
from skinfluence.hinge.regression import TubeAnswers, TubeProblem


@solve_edited.register
def _(problem: TubeProblem, answers, points, tol):
    start = in_its_tube(problem, answers, np.arange(problem.n_samples))
    found = None
    if problem.design is answers.problem.design and answers.solution.problem.in_memory:
        found = followed(start, answers)
    return solved_tube(TubeAnswers(replace(start, near=True)) if found is None else found)


@solve_whole.register
def _(problem: TubeProblem, edit, tol):
    start = edit.taken(edit.kernel_design())
    start = in_its_tube(start, edit.influence.answers.held, edit.left)
    return solved_tube(TubeAnswers(replace(start, near=True)))


class FollowedTubeAnswers(TubeAnswers):
    """Answers at the optimum that edits came to.

    Parameters
    ----------
    problem : TubeProblem
    tube : Tube
    solution : HingeOptimum
    margin : Margin or None
        What the next edit starts from.
    """

    def __init__(self, problem, tube, solution, margin):
        super().__init__(problem, tube, solution)
        # The fit is where the edits ended.
        self.problem = self.at_optimum
        self.margin = margin


def followed(problem, answers):
    """Answers at the optimum after an edit that moves no row; None where its path is not that of few rows.

    Parameters
    ----------
    problem : TubeProblem
        After the edit.
    answers : TubeAnswers
        Before it.
    """
    tube = answers.tube
    labels, targets = tube.sides(problem.y)
    found, margin = solution_under(
        answers.solution,
        getattr(answers, "margin", None),
        labels,
        tube.bounds(problem.weights),
        targets,
    )
    return None if found is None else FollowedTubeAnswers(problem, tube, found, margin)


def in_its_tube(problem, answers, left):
    """An edited regression at the optimum of the one before, as far as its bounds allow.

    Parameters
    ----------
    problem : TubeProblem
    answers : TubeAnswers
        Before the edit.
    left : ndarray of int
        Which of the rows, new ones last, ``problem`` holds.
    """
    more = max(0, int(left.max(initial=-1)) + 1 - answers.problem.n_samples)
    beta = np.concatenate([answers.beta, np.zeros(more)])[left]
    edge = problem.C * problem.weights
    beta = np.clip(beta, -edge, edge)
    return replace(problem, beta=beta, bias=answers.bias, fitted_eta=None)


def solved_tube(answers):
    """The :class:`Solved` problem of answers about a support vector regression."""
    problem = answers.at_optimum
    kkt = float(answers.solution.kkt_residual) * answers.tube.size
    # The gap between primal and dual is at most the violations times the bounds of their rows.
    bound = float(np.sqrt(2.0 * kkt * problem.C * problem.total_weight))
    reach = HingeReach(problem)
    floor = kkt if reach.free else 0.0
    return Solved(problem, bound, np.nan, "path", reach, write_tube, 1, floor, answers)


def write_tube(model, solved, left, lines):
    """An SVR, or a LinearSVR; of the rows it holds support vectors only."""
    problem = solved.problem
    made, beta = like(model), problem.beta[left]
    if not hasattr(model, "support_vectors_"):
        made.coef_ = np.asarray(problem.design.X[left].T @ beta).reshape(np.shape(model.coef_))
        if model.fit_intercept:
            bias = model.intercept_scaling**2 * beta.sum()
            made.intercept_ = np.full(np.shape(model.intercept_), bias)
        return made
    support = np.flatnonzero(beta)
    vectors, dual = problem.design.X[left[support]], beta[support][None]
    if sp.issparse(model.dual_coef_):
        dual = type(model.dual_coef_)(dual)
        vectors = type(model.support_vectors_)(vectors)
    write_svr(made, support, vectors, dual, np.array([problem.bias]))
    made.shape_fit_ = (len(left), problem.design.n_features)
    if hasattr(problem.design.kernel, "gamma"):
        write_gamma(made, problem.design.kernel.gamma)
    return made
