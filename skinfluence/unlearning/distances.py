"""How far the parameters of a fitted model are from the optimum on some rows, by kind of problem."""

from functools import singledispatch

import numpy as np

from skinfluence import certificate
from skinfluence.closed_form.problem import ClosedProblem
from skinfluence.editing.fits import solved_closed, solved_process
from skinfluence.editing.solving import PenaltyReach, reach_of
from skinfluence.editing.supports import solved_l1
from skinfluence.hinge.optimum import Optimum
from skinfluence.hinge.problem import HingeObjective
from skinfluence.hinge.regression import TubeAnswers, TubeProblem
from skinfluence.kernel.gaussian_process import GaussianProcessProblem
from skinfluence.kernel.problem import KernelProblem
from skinfluence.l1.problem import L1Problem
from skinfluence.l1.smooth_problem import SmoothL1Problem
from skinfluence.objective import Objective, centred
from skinfluence.row_losses.huber import HuberProblem
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.accuracy import Accuracy, solve_error
from skinfluence.solvers import resolve_solver

# Eigenvalues of a Hessian are found up to so many parameters.
MOST_PARAMETERS = 4000
EPS = np.finfo(float).eps


@singledispatch
def distances_of(problem, model):
    """Bounds on the distance of a model from the optimum, in parameters and in decision values.

    Parameters
    ----------
    problem : Problem
        Of the rows, at the parameters of the model.
    model : estimator
        The innermost one.

    Returns
    -------
    distance, decision_values : float
        As in :class:`~skinfluence.unlearning.Receipt`; infinite where none is known.
    """
    raise TypeError(
        "A receipt needs a model whose distance from its optimum can be bounded from its parameters: "
        "linear models, Huber regression, kernel models, support vector machines, models with an L1 "
        f"penalty or in closed form. Got {type(model).__name__}; fit it again without the rows."
    )


def gradient_left(objective):
    """The gradient of an objective and a bound on its rounding, (n_outputs, n_columns) each."""
    design = objective.design
    terms = np.abs(objective.weighted_gradients)
    absolute = type(design)(abs(design.X), abs(design.intercept)).adjoint(terms).T
    rounding = 4.0 * EPS * (absolute + np.abs(objective.penalty * objective.theta))
    return objective.gradient().reshape(objective.theta.shape), rounding


@distances_of.register
def _(problem: Objective, model):
    objective = centred(problem)
    gradient, rounding = gradient_left(objective)
    penalty, loss = objective.penalty, objective.loss
    left = np.abs(gradient) + rounding
    convex = piecewise.is_piecewise(loss) or loss.self_concordance is not None
    best = np.inf, np.inf
    if convex and (penalty > 0).all():
        # Strong convexity of the penalty alone.
        bound = float(np.sqrt(np.sum(left**2 / penalty)))
        size = PenaltyReach(penalty)(objective.design).max(initial=0.0)
        best = bound / np.sqrt(penalty.min()), bound * size
    if loss.self_concordance is None or objective.n_parameters > MOST_PARAMETERS:
        return best
    factor = resolve_solver("exact", objective, "float64").factor(objective)
    own = Accuracy(factor)
    error = solve_error(factor, own.row_sizes)
    # Rounding of each entry, with the signs that add up to most.
    rounded = rounding.ravel()
    noise = float(np.sqrt(rounded @ np.abs(factor.solve(np.eye(len(rounded)))) @ rounded))
    size = np.sqrt(
        max(0.0, float(gradient.ravel() @ factor.solve(gradient.ravel()[:, None])[:, 0]))
    )
    local = np.array(size * (1.0 + error) + noise)
    kappa = np.sqrt(own.row_sizes.max(initial=0.0))
    bound = float(certificate.gradient_bound(loss.self_concordance, kappa, local, np.array(0.0)))
    # In the units of coef_ and intercept_: a shift of columns moves the intercept by what the others move.
    H = factor.curvature.dense()
    T = _units(objective)
    inner = np.linalg.eigvalsh(T @ np.linalg.solve(H, T.T))[-1]
    reach = reach_of(loss, factor.leverages, objective.design).max(initial=0.0)
    return min(best[0], bound * np.sqrt(inner)), min(best[1], bound * reach)


def _units(objective):
    """The matrix from the parameters to ``coef_`` and ``intercept_`` of all outputs."""
    k, d = objective.theta.shape
    basis = np.eye(k * d).reshape(k * d, k, d)
    moved = np.stack([objective.design.in_units(objective.loss.expand(one.T).T) for one in basis])
    return moved.reshape(k * d, -1).T


@distances_of.register
def _(problem: KernelProblem, model):
    # The residual of the system bounds the function: ``A >= alpha / w``.
    rows = np.flatnonzero(problem.weights > 0)
    design, dual = problem.design.take(rows), problem.dual_coef
    if dual[problem.weights <= 0].any():
        return np.inf, np.inf
    K, dual, y = design.kernel(design.X), dual[rows], problem.y[rows]
    ridge = problem.alpha / problem.weights[rows]
    residual = np.abs(K @ dual + ridge * dual - y)
    residual += 4.0 * EPS * (np.abs(K) @ np.abs(dual) + np.abs(y)) * np.sqrt(len(y))
    distance = float(np.linalg.norm(residual) / np.sqrt(ridge.min()))
    return distance, distance * float(np.sqrt(np.diagonal(K).max(initial=0.0)))


@distances_of.register
def _(problem: HingeObjective, model):
    # The gap between primal and dual bounds the functions, and they bound the intercepts.
    distance = values = 0.0
    linear = problem.fitted_eta is not None
    # Of coefficients alone the dual is not known: any one will do, and the best gives the smallest gap.
    duals = Optimum(problem).beta if linear else problem.beta
    for j in range(problem.n_outputs):
        rows = problem.rows_of(j)
        binary, bias = problem.binary(j, rows), problem.bias[j]
        share = np.clip(duals[j, rows] * binary.target, 0.0, binary.C)
        beta = share * binary.target
        g = binary.decision(beta)
        f = problem.fitted_eta[rows, j] if linear else g
        lost = binary.C @ np.maximum(0.0, 1.0 - binary.target * (f + bias))
        size = _squared_norm(model, j) if linear else float(beta @ g)
        gap = lost + 0.5 * size + 0.5 * float(beta @ g) - share.sum()
        moved, reach = _within(problem, binary.diagonal, gap, lost + size, beta, bias)
        if problem.free_bias:
            # The best intercept is a quantile: it moves by no more than the functions do.
            start = binary.C[binary.target > 0].sum()
            reach = 2.0 * reach + _off_its_best(binary.target - f, binary.C, start, bias)
        distance, values = max(distance, moved), max(values, reach)
    return distance * (_intercept_units(model) if linear else 1.0), values


@distances_of.register
def _(problem: TubeProblem, model):
    linear = problem.fitted_eta is not None
    there = problem.weights > 0
    X, y, kernel = problem.design.X[there], problem.y[there], problem.design.kernel
    C = problem.C * problem.weights
    beta = np.clip(TubeAnswers(problem).beta if linear else problem.beta, -C, C)
    g = problem.expansion(beta, X)
    beta, C = beta[there], C[there]
    f = problem.fitted_eta[there] if linear else g
    left, epsilon = y - f, problem.epsilon
    lost = C @ np.maximum(0.0, np.abs(left - problem.bias) - epsilon)
    size = _squared_norm(model, 0) if linear else float(beta @ g)
    dual = float(y @ beta) - epsilon * np.abs(beta).sum() - 0.5 * float(beta @ g)
    terms = lost + size + np.abs(y) @ np.abs(beta)
    gap = lost + 0.5 * size - dual
    moved, reach = _within(problem, kernel.diagonal(X), gap, terms, beta, problem.bias)
    if problem.free_bias:
        # As above: the best intercept goes with the targets less the function, and no faster.
        places = np.concatenate([left - epsilon, left + epsilon])
        reach = 2.0 * reach + _off_its_best(places, np.tile(C, 2), C.sum(), problem.bias)
    return moved * (_intercept_units(model) if linear else 1.0), reach


def _within(problem, diagonal, gap, terms, beta, bias):
    """From a gap to the distance of functions, and of their values at the rows."""
    gap = max(gap, 0.0) + len(beta) * EPS * (terms + np.abs(beta).sum())
    # Of coefficients that do not add up to zero, what the gap does not see.
    gap += abs(float(beta.sum()) * bias) if problem.free_bias else 0.0
    moved = float(np.sqrt(2.0 * gap))
    return moved, moved * float(np.sqrt(np.max(diagonal, initial=0.0)))


def _squared_norm(model, j):
    """Of the coefficients of one output of a linear machine, whose intercept is penalised."""
    coef = np.atleast_2d(model.coef_)[j]
    intercept = (
        np.ravel(model.intercept_)[j] / model.intercept_scaling if model.fit_intercept else 0.0
    )
    return float(coef @ coef + intercept**2)


def _intercept_units(model):
    """What a distance is at most in the units of ``intercept_``."""
    return max(1.0, float(model.intercept_scaling)) if model.fit_intercept else 1.0


def _off_its_best(places, weights, start, bias):
    """How far an intercept is from the nearest one that is best for the functions at hand.

    Parameters
    ----------
    places, weights : ndarray of shape (m,)
        Where the slope of the loss in the intercept rises, and by how much.
    start : float
        Minus the slope below all places.
    bias : float
    """
    order = np.argsort(places)
    slope, at = np.cumsum(weights[order]) - start, places[order]
    left = int(np.searchsorted(slope, -1e-12 * weights.sum()))
    right = int(np.searchsorted(slope, 1e-12 * weights.sum(), side="right"))
    low, high = at[min(left, len(at) - 1)], at[min(right, len(at) - 1)]
    return float(max(low - bias, bias - high, 0.0))


@distances_of.register(L1Problem)
@distances_of.register(SmoothL1Problem)
def _(problem, model):
    # From the support at hand to the optimum, which is known to a bound of its own.
    solved = solved_l1(problem)
    if not np.isfinite(solved.bound):
        return np.inf, np.inf
    design, reach = problem.design.take(problem.weights > 0), solved.reach
    moved = solved.problem.theta - problem.theta
    values = np.abs(design.multiply(moved[:, None])[:, 0]) + solved.bound * reach(design)[:, 0]
    # A distance on the support in the units of coef_ and intercept_.
    T = np.eye(len(reach.active))
    if problem.design.intercept:
        T[reach.active == problem.design.n_features] *= problem.design.intercept
        T = np.vstack([T, -reach.middle])
    inner = np.linalg.eigvalsh(T @ reach.inverse @ T.T)[-1] if len(reach.active) else 0.0
    moved = np.linalg.norm(problem.design.in_units(moved[None]))
    rounding = 8.0 * EPS * np.linalg.norm(problem.theta)
    return (
        float(moved + solved.bound * np.sqrt(max(inner, 0.0)) + rounding),
        float(values.max(initial=0.0) + solved.floor),
    )


@distances_of.register
def _(problem: HuberProblem, model):
    # From what is left of the gradient, where the rows within epsilon decide; the scale is a parameter too.
    known = problem.distance
    if known is None:
        return np.inf, np.inf
    columns = problem.row_loss.columns(problem.weighted[0])
    reach = known.reach(np.column_stack([columns, np.zeros(len(columns))]))
    everything = np.eye(len(problem.theta))
    return known.in_norm(everything), known.radius * float(reach.max(initial=0.0))


@distances_of.register
def _(problem: ClosedProblem, model):
    return _from_a_fit(problem, model, solved_closed(problem))


@distances_of.register
def _(problem: GaussianProcessProblem, model):
    return _from_a_fit(problem, model, solved_process(problem))


def _from_a_fit(problem, model, solved):
    """The distance from another fit on the same rows, which costs no more than to look at them."""
    fitted = solved.write(model, solved, np.arange(problem.n_samples), ())
    before, after = numbers_of(model), numbers_of(fitted)
    if [(k, v.shape) for k, v in before.items()] != [(k, v.shape) for k, v in after.items()]:
        return np.inf, np.inf
    distance = np.sqrt(sum(np.sum((before[name] - after[name]) ** 2) for name in before))
    rows = problem.design.X
    found, wanted = (_outputs(one, rows) for one in (model, fitted))
    # Where both are infinite there is no difference.
    differ = found != wanted
    away = np.abs(found[differ] - wanted[differ])
    return float(distance), float(np.max(away, initial=0.0))


def numbers_of(model):
    """The fitted numbers of a model in closed form, rows that it holds among them, by name."""
    found = {}
    for name, value in sorted(vars(model).items()):
        learned = name.endswith("_") or name in ("_fit_X", "_y")
        parts = value if isinstance(value, list) else [value]
        for k, part in enumerate(parts if learned else ()):
            dense = part.toarray() if hasattr(part, "toarray") else part
            if isinstance(dense, np.ndarray | float) and np.asarray(dense).dtype.kind in "fiub":
                found[f"{name} {k}"] = np.asarray(dense, dtype=float)
    for one in getattr(model, "calibrated_classifiers_", ()):
        for k, curve in enumerate(one.calibrators):
            found |= {f"{name} of curve {k}": value for name, value in numbers_of(curve).items()}
    return found


def _outputs(model, X):
    for name in ("decision_function", "predict_proba", "predict"):
        if hasattr(model, name):
            return np.asarray(getattr(model, name)(X))
    raise AttributeError(name)
