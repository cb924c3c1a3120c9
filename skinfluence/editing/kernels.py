"""Kernel models after an edit: ridge regression and hinge models, at their exact optimum."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from skinfluence._utils._compat import write_gamma, write_svc
from skinfluence.editing.solving import Solved, solve_edited, solve_whole
from skinfluence.editing.writing import like
from skinfluence.hinge.dual import dual_coefficients
from skinfluence.kernel.answers import KernelAnswers
from skinfluence.kernel.problem import KernelProblem

# Kernel ridge regression -----------------------------------------------------------------------


@solve_edited.register
def _(problem: KernelProblem, answers, points, tol):
    return solved_ridge(KernelAnswers(with_dual(problem, np.zeros(problem.n_samples))))


@solve_whole.register
def _(problem: KernelProblem, edit, tol):
    nothing = np.zeros(len(edit.left))
    return solved_ridge(KernelAnswers(edit.taken(edit.kernel_design(), dual_coef=nothing)))


def with_dual(problem, dual):
    """The problem at other coefficients."""
    return replace(problem, dual_coef=dual)


def solved_ridge(answers, size=np.nan):
    """The :class:`Solved` problem of answers about a kernel ridge regression, solved exactly."""
    problem, system = answers.problem, answers.system
    dual = np.zeros(problem.n_samples)
    dual[system.rows] = answers.beta
    function = float(np.sqrt(max((problem.weights * answers.eta) @ problem.y, 0.0)))
    reach, bound = KernelReach(problem.alpha), system.accuracy * function
    if not problem.design.kernel.knows_new_rows:
        # A precomputed kernel does not say how large it is at new points.
        bound = np.inf
    answers.problem = with_dual(problem, dual)
    solved = answers.problem, bound, size, "closed form", reach, write_ridge, 1
    return Solved(*solved, answers=answers)


class KernelReach:
    """``(k(x, x) / scale)^1/2``: what a function of norm one may be at a point."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, design):
        return np.sqrt(np.maximum(design.diagonal(), 0.0) / self.scale)[:, None]


def write_ridge(model, solved, left, lines):
    """A KernelRidge of the rows that are left, which are all that it holds."""
    made, problem = like(model), solved.problem
    X = problem.design.X[left]
    if not problem.design.kernel.knows_new_rows:
        # Precomputed: the kernel values with the rows that are left.
        X = X[:, left]
        made.n_features_in_ = len(left)
    kept = getattr(model, "X_fit_", None)
    made.X_fit_ = sp.csr_matrix(X) if sp.issparse(X) and isinstance(kept, sp.spmatrix) else X
    made.dual_coef_ = problem.dual_coef[left]
    return made


# Hinge models ----------------------------------------------------------------------------------


def in_its_bounds(problem, answers, left):
    """An edited hinge problem at the optimum of the one before, as far as its bounds allow.

    Parameters
    ----------
    problem : HingeObjective
    answers : HingeAnswers
        Before the edit.
    left : ndarray of int
        Which of the rows, new ones last, ``problem`` holds.
    """
    more, beta = int(left.max(initial=-1)) + 1 - answers.problem.n_samples, answers.optimum.beta
    if more > 0:
        beta = np.concatenate([beta, np.zeros((len(beta), more))], axis=1)
    beta = beta[:, left]
    return replace(problem, beta=beta, bias=answers.optimum.bias).in_its_bounds()


def solved_hinge(answers):
    """The :class:`Solved` problem of answers about a hinge model, at its exact optimum."""
    problem = answers.at_optimum
    kkt = max(float(one.kkt_residual) for one in answers.optimum.solutions)
    bounds = problem.C * problem.loss.factors.max() * problem.total_weight * problem.n_outputs
    # The gap between primal and dual is at most the violations times the bounds of their rows.
    bound = float(np.sqrt(2.0 * kkt * bounds))
    reach = HingeReach(problem)
    floor = kkt if reach.free else 0.0
    return Solved(
        problem, bound, np.nan, "path", reach, write_hinge, problem.n_outputs, floor, answers
    )


class HingeReach:
    """As :class:`KernelReach`; a free intercept moves by no more than the decision values do."""

    def __init__(self, problem):
        self.free = problem.free_bias
        held = problem.weights > 0
        diagonal = problem.design.kernel.diagonal(problem.design.X[held])
        self.largest = np.sqrt(diagonal.max(initial=0.0)) if self.free else 0.0

    def __call__(self, design):
        return np.sqrt(np.maximum(design.diagonal(), 0.0))[:, None] + self.largest


def write_hinge(model, solved, left, lines):
    """An SVC or a LinearSVC; of the rows it holds support vectors only."""
    problem = solved.problem
    if hasattr(model, "support_vectors_"):
        return _write_svc(like(model), problem, left)
    made = like(model)
    made.coef_, intercept = solved.answers.optimum.weights()
    if model.fit_intercept:
        made.intercept_ = intercept
    return made


def _write_svc(made, problem, left):
    k = len(made.classes_)
    beta, codes = problem.beta[:, left], problem.y[left]
    kind = type(made.dual_coef_) if sp.issparse(made.dual_coef_) else None
    support, counts, dual = dual_coefficients(beta, codes, k, kind)
    vectors = problem.design.X[left[support]]
    if kind is not None:
        vectors = type(made.support_vectors_)(vectors)
    write_svc(made, support, vectors, counts, dual, problem.bias.copy())
    made.shape_fit_ = (len(left), problem.design.n_features)
    if hasattr(problem.design.kernel, "gamma"):
        write_gamma(made, problem.design.kernel.gamma)
    made.class_weight_ = np.array(problem.labels.class_weight)
    return made
