"""Models whose fit is a closed form: after an edit, the estimator's own fit on the rows that are left."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.base import clone

from skinfluence.closed_form.problem import ClosedProblem
from skinfluence.design import design_of
from skinfluence.editing.solving import Solved, solve_edited, solve_whole, values_of
from skinfluence.editing.writing import like
from skinfluence.kernel.gaussian_process import GaussianProcessAnswers, GaussianProcessProblem
from skinfluence.members.fold_models import check_takes_weights
from skinfluence.members.in_folds import InFolds
from skinfluence.members.pairs import PairsProblem


@solve_edited.register
def _(problem: ClosedProblem, answers, points, tol):
    return solved_closed(problem)


@solve_whole.register
def _(problem: ClosedProblem, edit, tol):
    return solved_closed(edit.taken(design_of(edit.X, 0.0)))


def solved_closed(problem):
    """The :class:`Solved` problem of rows with weights of zero, counted again without those.

    Raises
    ------
    NoModelError
        Where the rows that are left have no fit.
    """
    there = np.flatnonzero(problem.weights > 0)
    weights = problem.weights[there]
    problem.check_counts(weights)
    family = problem.family.again(problem.design.X[there], problem.y[there], weights)
    return _fitted(replace(problem, family=family, held=there))


@solve_edited.register
def _(problem: GaussianProcessProblem, answers, points, tol):
    return solved_process(problem)


@solve_whole.register
def _(problem: GaussianProcessProblem, edit, tol):
    return solved_process(edit.taken(problem.design.like(edit.X)))


def solved_process(problem):
    """The :class:`Solved` problem of a Gaussian process, whose kernel was given."""
    weights = problem.weights
    if (weights != np.round(weights)).any():
        raise ValueError(
            "A Gaussian process has no weights: a row is there so many times. Got an edit that gives one "
            f"{weights[weights != np.round(weights)][0]:g}; ask Influence.effect for what it changes."
        )
    return _fitted(replace(problem, fitted_coef=np.zeros(problem.n_samples)))


def process_answers(problem):
    """Answers about a Gaussian process at its solution."""
    found = GaussianProcessAnswers(problem)
    coef = np.zeros(problem.n_samples)
    coef[found.centred.system.rows] = found.centred.beta
    found.problem = replace(problem, fitted_coef=coef)
    found.centred.problem = found.problem.system
    return found


def _fitted(problem):
    n_values = values_of(problem.loss)
    return Solved(problem, 0.0, np.nan, "fit", no_reach, write_fit, n_values)


@solve_edited.register
def _(problem: PairsProblem | InFolds, answers, points, tol):
    return solved_by_models(problem)


@solve_whole.register
def _(problem: PairsProblem | InFolds, edit, tol):
    return solved_by_models(edit.taken(design_of(edit.X)))


def solved_by_models(problem):
    """The :class:`Solved` problem of a model made of several: its fit, without a bound."""
    weights = problem.weights[problem.weights > 0]
    if isinstance(problem, PairsProblem) and (weights != 1.0).any():
        raise ValueError(
            "The model after an edit of a OneVsOneClassifier is its fit on the rows that are left, which "
            f"takes no weights. Got rows that weigh {weights[weights != 1.0][0]:g}; ask Influence.effect for "
            "what it changes."
        )
    n_values = values_of(problem.loss)
    return Solved(problem, np.inf, np.nan, "fit", no_reach, write_fit, n_values, answers=None)


def no_reach(design):
    """The fit is the refit: nothing is left of a bound of zero."""
    return np.zeros((design.n_samples, 1))


def write_fit(model, solved, left, lines):
    """The estimator, fitted on the rows that are left as the model sees them."""
    problem = solved.problem
    rows = left[problem.weights[left] > 0]
    if isinstance(problem, InFolds):
        # Rows that weigh nothing are in a fold.
        rows = left
    y = (
        problem.y
        if problem.labels is None
        else problem.labels.classes[problem.labels.codes_of(problem.y)]
    )
    made, given = clone(model), {}
    if isinstance(problem, GaussianProcessProblem):
        made.set_params(kernel=problem.design.kernel.kernel, optimizer=None)
        rows = np.repeat(rows, problem.weights[rows].astype(int))
    elif (problem.weights[rows] != 1.0).any():
        given = {"sample_weight": problem.weights[rows]}
        for one in getattr(problem, "estimators", ()):
            check_takes_weights(one, problem.weights[rows])
    with warnings.catch_warnings():
        # Said by a calibrated classifier of what it holds, which takes no weights and needs none.
        warnings.filterwarnings("ignore", message="Since FrozenEstimator does not appear")
        made.fit(problem.design.X[rows], y[rows], **given)
    made.set_params(**model.get_params(deep=False))
    if hasattr(model, "feature_names_in_"):
        made.feature_names_in_ = model.feature_names_in_
    return like(made)
