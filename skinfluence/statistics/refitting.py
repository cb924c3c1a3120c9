"""Transformers fitted again without rows, and the model's problem on what they then make."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsmr
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.weights import unless_ones
from skinfluence.answers import LOCAL, Tests, answers_of
from skinfluence.design import design_of
from skinfluence.objective import centred, objective_of
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.existence import refuse_separable
from skinfluence.smooth.optimum.newton import Minimum, minimise
from skinfluence.smooth.optimum.penalty_bound import distance_by_penalty
from skinfluence.smooth.optimum.piecewise_bound import end_bound
from skinfluence.smooth.optimum.row_space import in_row_space
from skinfluence.smooth.stages.edit_start import distance_bound
from skinfluence.solvers import SingularHessianError
from skinfluence.statistics.refits import RefusedRowError

# A bound by the penalty alone is taken up to this share of the size of the parameters in its norm.
PLAIN = 1e-9
# Share of the decision values that old parameters may miss in new columns before others are sought.
ALIGNED = 0.1


@dataclass(frozen=True, eq=False)
class ModelAfter:
    """The model after an edit.

    Attributes
    ----------
    eta : ndarray of shape (n_out, n_outputs)
        Decision values of the rows that were asked about.
    bound : float
        Certified distance of the parameters from the optimum, in the norm of the Hessian there;
        ``inf`` where there is none, or where it was not asked for.
    """

    eta: np.ndarray
    bound: float = np.inf


def local_after(factor, solver, rows, moved, method):
    """A smooth linear model one step after an edit of its whole pipeline.

    Parameters
    ----------
    factor : Factor
        At the parameters as fitted.
    solver : solver object
    rows : EditedRows
    moved : tuple
        What :meth:`Refits.after` returns.
    method : {"one-step", "influence"}
        One Newton step on the problem after the edit, from the old parameters; with ``"influence"``
        by the Hessian before the edit.

    Returns
    -------
    after : ModelAfter
    """
    X, X_out, columns = moved
    if factor.objective.design.turned:
        if method == "influence":
            raise TypeError(
                "The first order of steps that are fitted again needs columns that do not depend on each "
                "other. Got others; ask with method='auto'."
            )
        return _in_row_space_after(factor.objective, solver, rows, X, X_out)
    problem = _one_step(factor, solver, rows, X, columns, method)
    return ModelAfter(problem.design.like(X_out).multiply(problem.theta.T))


def smooth_after(factor, solver, rows, moved, near, certify=False):
    """A smooth linear model after an edit of its whole pipeline, to round-off.

    Parameters
    ----------
    factor : Factor
        At the optimum before.
    solver : solver object
    rows : EditedRows
    moved : tuple
        What :meth:`Refits.after` returns.
    near : tuple or None
        Of :func:`~skinfluence.statistics.near_before.near_after`; None goes there by Newton's method.
    certify : bool, default=False

    Returns
    -------
    after : ModelAfter

    Raises
    ------
    SingularHessianError, SeparableError
        After the edit there is no optimum.
    """
    objective = factor.objective
    X, X_out, columns = moved
    if objective.design.turned:
        return _in_row_space_after(objective, solver, rows, X, X_out)
    if near is not None:
        found, X_out = near
        bound = np.inf
        if certify:
            bound = distance_by_penalty(found)
            if not bound <= PLAIN * np.sqrt((found.penalty * found.theta**2).sum()):
                bound = _bound_there(found, solver)
        return ModelAfter(found.design.like(X_out).multiply(found.theta.T), bound)
    problem = _from_old(objective, rows, design_of(X, objective.design.intercept), columns)
    bound = np.inf
    if piecewise.is_piecewise(problem.loss):
        found, _ = piecewise.minimise(problem, solver)
        bound = end_bound(found, solver) if certify else np.inf
    else:
        minimum = minimise(problem, solver)
        found = minimum.objective
        if certify and found.loss.self_concordance is not None:
            bound = distance_bound(minimum)
    refuse_separable(found)
    return ModelAfter(found.design.like(X_out).multiply(found.theta.T), bound)


def problem_after(objective, solver, rows, design, columns):
    """The problem after an edit, of a smooth loss, at its optimum.

    Parameters
    ----------
    objective : Objective
        At the optimum before.
    solver : solver object
    rows : EditedRows
    design : Design
    columns : ndarray of int or None
        Where its columns were, as of :meth:`Refits.after`.

    Raises
    ------
    SingularHessianError, SeparableError
        After the edit there is no optimum.
    """
    found = minimise(_from_old(objective, rows, design, columns), solver).objective
    refuse_separable(found)
    return found


def _from_old(objective, rows, design, columns):
    """The problem after an edit at the old parameters, or at none where those are further away."""
    problem = centred(problem_on(objective, rows, design, columns)[0])
    nowhere = problem.at(np.zeros_like(problem.theta))
    return problem if problem.value() <= nowhere.value() else nowhere


def _in_row_space_after(objective, solver, rows, X, X_out):
    """As :func:`smooth_after` for columns that depend on each other, before the edit and after it."""
    design = design_of(X, objective.design.intercept)
    problem = replace(
        objective,
        design=design,
        y=rows.y,
        weights=rows.weights,
        penalty=np.zeros(design.n_columns),
        theta=np.zeros((len(objective.theta), design.n_columns)),
        sample_weight=rows.sample_weight,
    )
    problem = in_row_space(problem)
    if problem is None:
        raise SingularHessianError("After the edit as many coefficients are left as rows.")
    minimum = minimise(problem, solver)
    found = minimum.objective
    return ModelAfter(found.design.like(X_out).multiply(found.theta.T), distance_bound(minimum))


def _bound_there(found, solver):
    """How far an optimum that was found with another factor may be from the true one."""
    there = solver.factor(found)
    gradient = found.gradient()
    square = float(gradient @ there.solve(gradient[:, None])[:, 0])
    return distance_bound(Minimum(found, there, np.sqrt(max(square, 0.0))))


def _one_step(factor, solver, rows, X, columns, method):
    """The problem after an edit, at the end of one step from the old parameters.

    What gradient the fit left is not the edit's doing: the step does not go along it.
    """
    objective = factor.objective
    old, free = objective.design, bool(objective.design.intercept and objective.penalty[-1] == 0)
    same = X.shape[1] == old.n_features and (columns is None or is_sorted(columns))
    design = old.like(X) if same and free else design_of(X, old.intercept)
    problem, aligned = problem_on(objective, rows, design, columns)
    same = same and not aligned
    left = objective.gradient().reshape(objective.theta.shape)
    if old.shift is not None and design.shift is None:
        left = left.copy()
        left[:, :-1] += np.outer(left[:, -1], old.shift) / old.intercept
    push = problem.gradient()
    if not aligned:
        push = push - (left if same else _in_columns(left, columns, design)).ravel()
    solved = factor if same and method == "influence" else solver.factor(problem)
    step = solved.solve(push[:, None])[:, 0]
    return problem.at(problem.theta - step.reshape(problem.theta.shape))


def problem_on(objective, rows, design, columns):
    """The problem on the rows after an edit, at the old parameters in the new columns.

    And whether they had to be sought there: components of a decomposition turn and change their
    signs, so that parameters that give the old decision values stand in other places.
    """
    loss, labels = objective.loss, objective.labels
    if rows.ratio is not None:
        loss = loss.reweighted(rows.ratio)
        labels = replace(labels, class_weight=labels.class_weight * rows.ratio)
    share = 1.0
    if objective.hold != "C":
        share = rows.weights.sum() / objective.total_weight
    penalty = np.full(design.n_columns, objective.penalty[0] * share)
    if design.intercept:
        penalty[-1] = objective.penalty[-1] * share
    theta = _start(objective, columns, design)
    before = objective.eta[rows.kept]
    lost = before - design.take(slice(len(before))).multiply(theta.T)
    spread = np.linalg.norm(before - before.mean(axis=0))
    aligned = bool(np.linalg.norm(lost) > ALIGNED * spread)
    if aligned:
        theta = theta + _least_squares(design.take(slice(len(before))), lost)
    problem = replace(
        objective,
        loss=loss,
        labels=labels,
        design=design,
        y=rows.y,
        weights=rows.weights,
        penalty=penalty,
        theta=theta,
        sample_weight=rows.sample_weight,
    )
    return problem, aligned


def _least_squares(design, values):
    """The smallest parameters whose decision values are nearest to some, (n_outputs, n_columns)."""
    shape = design.n_samples, design.n_columns
    operator = LinearOperator(
        shape,
        matvec=lambda v: design.multiply(np.reshape(v, (-1, 1)))[:, 0],
        rmatvec=lambda u: np.ravel(design.adjoint(np.reshape(u, (-1, 1)))),
        dtype=np.float64,
    )
    return np.array([lsmr(operator, one, atol=1e-10, btol=1e-10)[0] for one in values.T])


def model_after(problem, model, rows, moved, method, certify=False):
    """Any model after an edit of its whole pipeline, at its optimum.

    Kinds that know their problem on other rows start from the old parameters; others are fitted again.

    Parameters
    ----------
    problem : Problem
    model : estimator
        As fitted before.
    rows : EditedRows
    moved : tuple
        What :meth:`Refits.after` returns.
    method : {"auto", "exact"}
    certify : bool, default=False

    Returns
    -------
    after : ModelAfter

    Raises
    ------
    RefusedRowError
        Where the model cannot be fitted on the rows.
    """
    X, X_out, columns = moved
    after = problem.on(X, rows, lambda old, design: _in_columns(old, columns, design))
    if after is None:
        after = _fitted_again(problem, model, rows, X)
    answers = answers_of(after, solver="auto", hold="auto", precision="float64", verbose=False)
    design = after.design.like(X_out)
    eta = answers.quantity(Tests(design, None, None), "decision_function", method).eta
    return ModelAfter(eta, answers.optimum_bound if certify and method not in LOCAL else np.inf)


def _fitted_again(problem, model, rows, X):
    # Of transformed targets those of the model are not the user's.
    y = rows.raw_y if problem.curve is None else rows.y
    given = unless_ones(rows.sample_weight)
    weights = {} if given is None else {"sample_weight": given}
    with warnings.catch_warnings():
        # Where its solver stops does not matter: the answers start from the optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            fitted = problem.to_refit(model).fit(X, y, **weights)
        except ValueError as error:
            raise RefusedRowError(str(error)) from error
    return objective_of(fitted, X, y, rows.sample_weight)


def _start(objective, columns, design):
    """The old parameters in the new columns, zero in those that were not there."""
    before, old = objective.design, objective.theta
    theta = _in_columns(old, columns, design)
    if before.intercept and before.shift is not None and design.shift is None:
        theta[:, -1] -= old[:, :-1] @ before.shift / before.intercept
    return theta


def _in_columns(old, columns, design):
    """Values of old columns where they now are, 0 for others, the intercept's last."""
    new = np.zeros((len(old), design.n_columns))
    if design.intercept:
        new[:, -1] = old[:, -1]
    if columns is None and design.n_columns == old.shape[1]:
        new[:, : design.n_features] = old[:, : design.n_features]
    elif columns is not None:
        there = np.flatnonzero(columns >= 0)
        new[:, there] = old[:, columns[there]]
    return new


def is_sorted(columns):
    return bool((columns == np.arange(len(columns))).all())
