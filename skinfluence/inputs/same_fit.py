"""Whether data are those of the fit: what its solver can have left, and what it cannot.

A solver that stopped by its own rule leaves a gradient below what the rule allows, and no solver
that descends from zero ends above it. Data that break this are others: rows in another order,
weights that were forgotten, a target that was transformed.
"""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from skinfluence._utils.weights import weigh
from skinfluence.curvature import Curvature
from skinfluence.inputs.wrappers import opened
from skinfluence.losses import SquaredError
from skinfluence.objective import Objective
from skinfluence.smooth.optimum.half_squares import terms

# Above what a stopping rule allows, for what its norm and round-off add.
MARGIN = 10.0
# Of the objective: lbfgs also stops where a step gains less than 64 eps of it, far below this.
GAIN, SEEN = 1e-7, 64.0
# Descend at each step.
MONOTONE = ("lbfgs", "newton-cg", "newton-cholesky")
# Of these models: end at the same coefficients whenever they see the same rows.
REPEATS = (*MONOTONE, "lsqr")
LINEAR = (
    PoissonRegressor
    | GammaRegressor
    | TweedieRegressor
    | LinearRegression
    | Ridge
    | LogisticRegression
)
# Stop by the largest entry of the gradient per unit of weight.
BY_GRADIENT = MONOTONE
# Stop where a pass changes no coefficient by more than tol of the largest, which the first few passes
# may do above where they began.
STOCHASTIC = ("sag", "saga")
SETTLED, SETTLED_TOL = 10, 1e-3
# Where all rows of a class weigh nothing, of two the other one may get either sign.
LIBLINEAR = ("liblinear", "dual coordinate descent")
# Of a least squares problem: no more than round-off is left.
DIRECT = ("cholesky", "svd", "eigen", "lstsq")
# Of one too, by products with the rows; what they have left of the first step's gain.
KRYLOV = ("lsqr", "sparse_cg")
KRYLOV_GAIN = 1e-4
# Sizes of columns whose products with each other have lost half of their digits.
HALF_OF_DIGITS = 1e-8
# Of parameters: what rounding in another order may change before a solver stops.
AGAIN = 1e-3
# Line searches begin with steps of length one and shorten them a few dozen times.
SHORTEST = 1e-9


def check_same_fit(model, problem):
    """Refuse data that the fitted model was not fitted on.

    Parameters
    ----------
    model : estimator
        Fitted.
    problem : Objective or another problem
        Of the model and the data.

    Raises
    ------
    ValueError
        If no fit on these data ends at these parameters.
    """
    if not isinstance(problem, Objective) or not problem.total_weight:
        return
    while isinstance(model, OneVsRestClassifier) or opened(model) is not None:
        inside = opened(model)
        if inside is not None:
            model = inside.inside
            continue
        # One that ran out of iterations is above what the rule of the others leaves.
        model = max(model.estimators_, key=_steps)
    solver = _solver(model)
    if solver is None or (solver in LIBLINEAR and _lacks_a_class(problem)):
        return
    found = _left(model, problem, solver) or _above_nothing(model, problem, solver)
    # Beside columns of other sizes small ones are rounded away: solvers fail in their own ways.
    honest = found is None or _is_badly_scaled(problem) or _may_be_single(problem, solver)
    honest = honest or _ends_there(model, problem, solver)
    if not honest:
        if problem.offset is not None:
            raise ValueError(
                "X, y, sample_weight and offset must be those of the fit, the rows in the same order. Got "
                f"others: {found}. Estimators of scikit-learn fit no offset: give one the coef_ and "
                "intercept_ of a fit with this offset, or leave offset out."
            )
        raise ValueError(
            "X, y and sample_weight must be those of the fit, the rows in the same order. Got "
            f"others: {found}. Pass what was given to fit, weights included, and the model as it was "
            "fitted."
        )


def _lacks_a_class(problem):
    codes = problem.labels.codes_of(problem.y)
    weight = np.bincount(codes, problem.weights, len(problem.labels.classes))
    return not weight.all()


def _solver(model):
    """The name of what fitted the model; None where nothing is known of how it stops."""
    if type(model).__module__.partition(".")[0] not in ("sklearn", "skinfluence"):
        # A class of somebody else's may minimise what it likes.
        return None
    if np.asarray(getattr(model, "coef_", 0.0)).dtype == np.float32:
        # In single precision a solver stops where its rounding lets it.
        return None
    if isinstance(model, LinearRegression):
        if not hasattr(model, "singular_"):
            return "lsqr"
        # Of a lower rank it is not the optimum: lstsq leaves small directions out.
        return "lstsq" if model.rank_ == model.n_features_in_ else None
    if isinstance(model, RidgeCV | RidgeClassifierCV):
        return "eigen" if model.cv is None else None
    if isinstance(model, BayesianRidge | ARDRegression):
        return "eigen"
    if isinstance(model, Ridge | RidgeClassifier):
        return getattr(model, "solver_", model.solver)
    if isinstance(model, LinearSVC):
        return "dual coordinate descent"
    return getattr(model, "solver", None)


def _converged(model):
    """Whether the solver is known to have stopped by itself."""
    n_iter, most = getattr(model, "n_iter_", None), getattr(model, "max_iter", None)
    if n_iter is None:
        return False
    if getattr(model, "solver", None) == "newton-cholesky":
        # Where it gives up, lbfgs has the steps that are left, and only those are counted.
        return bool(np.max(n_iter) < most / 2 and most >= 50)
    # scipy's lsqr has a limit of its own.
    return bool(np.max(n_iter) < (2 * model.n_features_in_ if most is None else most))


def _steps(model):
    n_iter = getattr(model, "n_iter_", None)
    return 0 if n_iter is None else np.max(n_iter)


def _has_no_limit(model):
    return getattr(model, "max_iter", None) is None


def _left(model, problem, solver):
    """In words, a gradient that the stopping rule of the solver does not leave; None for none."""
    if solver in BY_GRADIENT:
        return _by_gradient(model, problem, solver)
    if solver in DIRECT and not _is_small(problem, 1e-8):
        gain = _gain_left(problem)
        if gain > GAIN:
            return (
                f"at these parameters a step down the gradient gains {gain:.0e} of what the first "
                f"step gains, and solver={solver!r} leaves no more than round-off"
            )
    asked = solver in KRYLOV or (solver == "liblinear" and not model.dual)
    # Conjugate gradients do not say how many steps they took; their limit is never reached.
    free = solver in KRYLOV and getattr(model, "n_iter_", None) is None and _has_no_limit(model)
    if not asked or not (free or _converged(model)) or _is_small(problem, 0.01 * model.tol):
        return None
    if solver == "liblinear":
        # Trust regions also end where nothing is gained to twelve digits.
        gradient = problem.gradient()
        if _gain(problem, gradient) <= GAIN * max(problem.total_weight, problem.value()):
            return None
        start = problem.at(np.zeros_like(problem.theta)).gradient()
        return _by_norm(model, problem, solver, np.linalg.norm(start))
    if _gain_left(problem) <= KRYLOV_GAIN:
        return None
    spread = Curvature(replace(problem, penalty=np.zeros_like(problem.penalty))).diagonal().sum()
    # scipy's lsqr adds eps to the norm of the residuals.
    left = np.sqrt(2.0 * _nothing(problem).value()) + np.finfo(np.float64).eps
    return _by_norm(model, problem, solver, left * np.sqrt(spread))


def _by_gradient(model, problem, solver):
    gradient, weight = problem.gradient(), problem.total_weight
    largest = np.abs(gradient).max(initial=0.0) / weight
    # A line search that fails at the first step, where exponentials overflow, leaves the start.
    if largest <= MARGIN * model.tol or not _converged(model) or np.max(model.n_iter_) < 2:
        return None
    gain = _gain(problem, gradient)
    if gain <= GAIN * max(weight, abs(problem.value()), MARGIN * _rounded(problem) / SEEN):
        return None
    # The step is 2 gain / |gradient| long; where that is nothing, a line search may have failed.
    if 2.0 * gain / np.linalg.norm(gradient) <= SHORTEST:
        return None
    return (
        f"at these parameters the largest entry of the gradient per unit of weight is {largest:.1e}, "
        f"and solver={solver!r} stopped below tol={model.tol:.0e}"
    )


def _by_norm(model, problem, solver, most):
    size = np.linalg.norm(problem.gradient())
    if size <= MARGIN * model.tol * most:
        return None
    return (
        f"at these parameters the norm of the gradient is {size:.1e}, and solver={solver!r} with "
        f"tol={model.tol:.0e} stopped below {model.tol * most:.1e}"
    )


def _rounded(problem):
    """What the objective is rounded relative to, where decision values are sums of terms that cancel.

    Line searches end in the rounding of the objective, which may be more than what they look for.
    """
    pull = weigh(problem.weights[:, None], np.abs(problem.gradients))
    return float(np.sum(pull * terms(problem.design, problem.theta)))


def _is_small(problem, share):
    """Whether the gradient is a small share of what its rows could add up to.

    By the size of a few rows: to save the passes over all of them that the rules need.
    """
    rows = problem.design.take(slice(0, min(problem.n_samples, 256))).dense_rows()
    weight = problem.total_weight
    size = np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    pull = np.sqrt(weigh(problem.weights, np.sum(problem.gradients**2, axis=1)).sum() / weight)
    return np.linalg.norm(problem.gradient()) <= share * weight * size * pull


def _is_badly_scaled(problem):
    """Whether columns are so different that products with each other have no digits of the small."""
    weights = np.zeros((problem.n_samples, problem.loss.n_outputs))
    weights[:] = problem.weights[:, None]
    sizes = problem.design.squared_columns(weights)[:, 0]
    sizes = sizes[sizes > 0]
    return bool(len(sizes)) and sizes.min() < HALF_OF_DIGITS**2 * sizes.max()


def _may_be_single(problem, solver):
    """Whether a fit may have given way to lbfgs in single precision, with coefficients in float64.

    That is what newton-cholesky does on rows in float32 where its first Hessian has no digits there.
    """
    if solver != "newton-cholesky":
        return False
    rows = problem.design.take(slice(0, min(problem.n_samples, 256))).dense_rows()
    if (rows != rows.astype(np.float32)).any():
        return False
    values = np.linalg.eigvalsh(Curvature(problem.at(np.zeros_like(problem.theta))).dense())
    return bool(values[0] < MARGIN * np.finfo(np.float32).eps * values[-1])


def _ends_there(model, problem, solver):
    """Whether a fit of these very data ends at these parameters, whatever its stopping rule says.

    A step of a line search at which a loss overflows may end it where it began, as converged; ``lsqr`` also
    stops where residuals are within what targets and rows may be off by, of which large coefficients
    allow much. Costs a fit.
    """
    known = solver in REPEATS and isinstance(model, LINEAR) and problem.offset is None
    y, weights = problem.y, problem.weights
    if problem.labels is not None:
        known = known and np.array_equal(model.classes_, problem.labels.classes)
        y, weights = problem.labels.classes[problem.labels.codes_of(y)], problem.sample_weight
    if not known or not problem.design.in_memory:
        return False
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        rows = problem.design.given(np.arange(problem.n_samples))
        try:
            again = clone(model).fit(rows, y, sample_weight=weights)
        except ValueError:
            # Of rows that it would not have been fitted to at all.
            return False
    ends = [np.append(np.ravel(one.coef_), one.intercept_) for one in (model, again)]
    return bool(np.linalg.norm(ends[0] - ends[1]) <= AGAIN * np.linalg.norm(ends[0]))


def _beyond_rounding(problem):
    """The gradient of a least squares problem, at zero where it is no more than round-off.

    Residuals are as exact as the targets and the decision values are, and factorisations round all
    columns relative to the largest one.
    """
    gradient = problem.gradient()
    weights = problem.weights[:, None]
    sizes = np.sqrt(problem.design.squared_columns(weights + 0.0 * problem.gradients).T)
    y = problem.y.reshape(problem.n_samples, -1)
    exact = np.sqrt(np.sum(weights * y**2)) + np.sum(np.abs(problem.theta) * sizes)
    limit = MARGIN * np.finfo(np.float64).eps * exact * sizes.max()
    return np.where(np.abs(gradient) <= limit, 0.0, gradient)


def _gain_left(problem):
    """What a step down the gradient gains, over what the first one does; least squares."""
    gradient = _beyond_rounding(problem)
    if not gradient.any():
        return 0.0
    nothing = _nothing(problem)
    most = max(_gain(nothing, nothing.gradient()), GAIN * nothing.value())
    return _gain(problem, gradient) / most if most else 0.0


def _gain(problem, gradient):
    """By how much a step of steepest descent lowers the objective, to second order.

    Not a Newton step: directions of little curvature converge last, in an honest fit too.
    """
    curved = gradient @ Curvature(problem).matvec(gradient)
    return 0.5 * (gradient @ gradient) ** 2 / curved if curved > 0 else 0.0


def _nothing(problem):
    """The least squares problem at its best intercept and no coefficients."""
    theta = np.zeros_like(problem.theta)
    if problem.design.intercept and not problem.penalty[-1]:
        y = problem.y.reshape(problem.n_samples, -1)
        theta[:, -1] = problem.weights @ y / problem.total_weight / problem.design.intercept
    return problem.at(theta)


def _above_nothing(model, problem, solver):
    """In words, an objective above that of no coefficients at all; None if it is not."""
    from_zero = solver in MONOTONE and not getattr(model, "warm_start", False)
    if not (from_zero or (solver is not None and _converged(model))):
        return None
    if solver in STOCHASTIC:
        if np.min(model.n_iter_) < SETTLED or model.tol > SETTLED_TOL:
            return None
        # The length of their steps is that of rows of weight 1: heavier ones may drive them off.
        if problem.weights.max() > 1.0:
            return None
    if isinstance(problem.loss, SquaredError):
        nothing = _nothing(problem).value()
    else:
        eta = np.zeros((problem.n_samples, problem.loss.n_outputs))
        nothing = float(weigh(problem.weights, problem.loss.value(eta, problem.y)).sum())
    value, weight = problem.value(), problem.total_weight
    if value <= nothing + GAIN * max(abs(nothing), weight):
        return None
    return (
        f"at these parameters the objective is {value / weight:.2g} per unit of weight, more than the "
        f"{nothing / weight:.2g} of no coefficients at all"
    )
