"""What a pipeline is after an edit: scikit-learn's transformers fitted again, the oracle's optimum.

Nothing here is the package's. The last step is solved in long double, with a bound on what is left.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from tests.oracle import KernelRidgeProblem, MachineProblem, minimise, problem_of
from tests.oracle.algebra import Factor, NotPositiveDefiniteError
from tests.oracle.optimum import rounding_size
from tests.oracle.problems import class_weights

LD = np.longdouble
EPS = float(np.finfo(float).eps)
# Relative error of a change that "exact" may have, and of values that float64 columns know.
EXACT, ROUND_OFF = 1e-6, 1e-11
ROUNDING = 40.0
# Whose penalty is a share of their rows.
MEAN_FORM = ("PoissonRegressor", "GammaRegressor", "SGDClassifier", "SGDRegressor")
# Columns of a linear model that is solved in long double.
MOST = 160


class UnsureError(Exception):
    """The oracle does not know the answer well enough to judge."""


class NoModelError(Exception):
    """There is no model: a class without rows, or no optimum."""


@dataclass
class Truth:
    """Decision values before and after, and how far an answer may be from them.

    Attributes
    ----------
    before, after : ndarray of shape (m, n_outputs)
    own : ndarray of shape (m, n_outputs)
        What the oracle itself may be off by.
    exact : ndarray
        What "exact" may be off by.
    norms : dict of ndarray
        ``|x_t|`` in the inverse of the Hessian at the optimum, "solved", and at the old decision
        values, "start": what a bound is multiplied by.
    size : float
        Of the change, in the norm of the Hessian at the start; NaN where that is not known.
    pivot : float
        The smallest of the Hessians scaled to unit diagonal: 0 is singular.
    far : bool
        Whether the fit's Newton decrement is beyond a fifth of what matters to an average row.
    """

    before: np.ndarray
    after: np.ndarray
    own: np.ndarray
    exact: np.ndarray
    norms: dict = field(default_factory=dict)
    size: float = np.nan
    pivot: float = 1.0
    far: bool = False


def truth_of(trial, model, again, after):
    """The truth of a trial from the pipeline fitted before and after.

    Parameters
    ----------
    trial : Trial
    model : Pipeline
        Fitted on the rows before the edit.
    again : Pipeline
        Its steps, fitted on the rows after it.
    after : ndarray or CSR matrix
        What they gave for these rows.

    Raises
    ------
    UnsureError, NoModelError
    """
    tests = _rows(trial.X, trial.tests)
    seen = {
        "old": _dense(model[:-1].transform(trial.X)),
        "old tests": _dense(model[:-1].transform(tests)),
        "old rows": _dense(model[:-1].transform(trial.X_after)),
        "new": _dense(after),
        "new tests": _dense(again.transform(tests)),
    }
    last = model.steps[-1][1]
    if trial.family in ("SVC", "LinearSVC hinge"):
        return _of_machine(trial, seen)
    if trial.family == "KernelRidge":
        return _of_kernel_ridge(trial, seen, last)
    return _of_linear(trial, seen, last)


def emptied(trial):
    """Whether a class, or all counts, have no weight before or after the edit."""
    return any(_without(trial, y, w) for y, w in _sides(trial))


def unstable(trial, model, given):
    """Whether the model was given other columns than ``transform`` makes of the same rows."""
    given, again = _dense(given), _dense(model[:-1].transform(trial.X))
    return bool(np.abs(given - again).max() > 1e-8 * (1.0 + np.abs(given).max()))


def _without(trial, y, weight):
    used = np.ones(len(y), bool) if weight is None else weight > 0
    if not used.any():
        return True
    if y.dtype.kind == "i":
        return len(np.unique(y[used])) < trial.y.max() + 1
    return trial.family == "PoissonRegressor" and not y[used].any()


def _sides(trial):
    return (trial.y, trial.weight), (trial.y_after, trial.weight_after)


# Linear models -------------------------------------------------------------------------------


def _of_linear(trial, seen, last):
    if seen["new"].shape[1] > MOST:
        raise UnsureError("too many columns for long double")
    problem = _problem(trial, last, seen["old"], trial.y, trial.weight)
    edited = _problem(trial, last, seen["new"], trial.y_after, trial.weight_after)
    edited = _held(trial, problem, edited, last)
    before, after = _optimum(problem), _optimum(edited)
    rows, old = edited.rows(seen["new tests"]), problem.rows(seen["old tests"])
    start = problem.outputs(before.theta, problem.rows(seen["old rows"]))
    try:
        P = Factor(edited.hessian(None, start))
    except NotPositiveDefiniteError as error:
        raise UnsureError("singular where the steps start") from error
    shape = len(rows), edited.loss.n_outputs
    norm = {
        "start": P.inverse_norms(edited.directions(rows)).reshape(shape),
        "solved": after.factor.inverse_norms(edited.directions(rows)).reshape(shape),
        "before": before.factor.inverse_norms(problem.directions(old)).reshape(shape),
    }
    own = norm["before"] * before.error + norm["solved"] * after.error
    ends = problem.outputs(before.theta, old), edited.outputs(after.theta, rows)
    floor = norm["before"] * ROUNDING * EPS * _rounding(problem, before)
    floor = floor + norm["solved"] * ROUNDING * EPS * _rounding(edited, after)
    reach = np.abs(old) @ np.abs(before.theta).T + np.abs(rows) @ np.abs(after.theta).T
    floor = floor + ROUND_OFF * reach.max(axis=1, keepdims=True)
    size = _size(P, problem, edited, before, after, seen, trial)
    change = ends[1] - ends[0]
    exact = EXACT * np.abs(change).max() + floor + own
    if np.any(own > 0.3 * exact):
        raise UnsureError("the oracle's own error counts")
    pivot = min(before.factor.smallest, after.factor.smallest, P.smallest)
    return Truth(*ends, own + floor, exact, norm, size, pivot, _far(problem, before, last))


def _far(problem, before, last):
    """Whether the fit is away from the optimum by more than its solver's tolerance leaves."""
    theta = _fitted(problem, last)
    gradient = problem.gradient(theta).ravel()
    decrement = np.sqrt(max(gradient @ before.factor.solve(gradient), LD(0)))
    loss = problem.loss.value(problem.outputs(theta), problem.y)
    total = (problem.weights * loss).sum() + (problem.penalty * theta**2).sum() / 2
    return bool(decrement >= 0.2 * np.sqrt(0.2 * abs(total) / len(problem.X)))


def _fitted(problem, last):
    """Parameters as the estimator has them."""
    parts = getattr(last, "estimators_", [last])
    coef = np.vstack([np.atleast_2d(one.coef_) for one in parts])
    return problem.inner(coef, np.ravel([one.intercept_ for one in parts]))


def _problem(trial, last, Z, y, weight):
    classes = np.arange(trial.y.max() + 1) if y.dtype.kind == "i" else None
    name = type(last).__name__
    params = last.get_params(deep=False)
    if name == "OneVsRestClassifier":
        params = last.estimator.get_params(deep=False)
    return problem_of(name, params, Z, y, weight, classes=classes)


def _held(trial, problem, edited, last):
    """The problem after the edit under what the penalty is held by."""
    mean_form = trial.family in MEAN_FORM
    ratio = LD(1)
    if trial.hold == "lambda" and not mean_form:
        ratio = edited.weights.sum() / problem.weights.sum()
    if trial.hold == "C" and mean_form:
        ratio = problem.weights.sum() / edited.weights.sum()
    return replace(edited, penalty=edited.penalty * ratio)


def _optimum(problem):
    if not problem.has_optimum():
        raise NoModelError("a class, or all counts, without weight")
    try:
        found = minimise(problem)
    except NotPositiveDefiniteError as error:
        raise NoModelError("singular") from error
    if not found.converged:
        raise UnsureError(f"the oracle stopped at {found.error:.1e}")
    return found


def _rounding(problem, optimum):
    return float(rounding_size(problem, optimum.theta, optimum.factor))


def _size(P, problem, edited, before, after, seen, trial):
    """The change in the norm at the start, where columns are the old ones, scaled and shifted."""
    old, new = seen["old rows"][: len(trial.kept)], seen["new"][: len(trial.kept)]
    # Filled cells move on their own.
    full = ~holes(trial.X)[trial.kept]
    old, new = old[full], new[full]
    place = _matched(old, new)
    if len(old) < 3 or place is None:
        return np.nan
    there = old[:, place]
    spread = there.std(axis=0), new.std(axis=0)
    still = (spread[0] <= 1e-12) | (spread[1] <= 1e-12)
    ratio = np.where(still, 1.0, spread[0] / np.where(still, 1.0, spread[1]))
    theta = before.theta[:, place] * ratio
    if edited.intercept:
        shift = before.theta[:, place] @ (there - new * ratio).mean(axis=0)
        theta = np.column_stack([theta, before.theta[:, -1] + shift])
    start = edited.outputs(theta, edited.rows(new))
    kept = problem.outputs(before.theta, problem.rows(old))
    if np.abs(start - kept).max(initial=0) > 1e-6 * (1 + np.abs(kept).max(initial=0)):
        return np.nan
    return float(P.norm((after.theta - theta).ravel()))


def _matched(old, new):
    """Where each new column was among the old ones, by what it is up to a scale and a shift, or None."""
    if not len(old):
        return None
    sizes = []
    for one in (old, new):
        away = one - one.mean(axis=0)
        size = np.sqrt((away**2).sum(axis=0))
        sizes.append(away / np.where(size > 1e-12, size, np.inf))
    place = []
    for column in sizes[1].T:
        k = place[-1] + 1 if place else 0
        while k < old.shape[1] and np.abs(sizes[0][:, k] - column).max() > 1e-8:
            k += 1
        if k == old.shape[1]:
            return None
        place.append(k)
    return place


def holes(X):
    """Which raw rows have missing cells, (n,)."""
    if isinstance(X, list):
        return np.zeros(len(X), dtype=bool)
    if isinstance(X, np.ndarray):
        return np.isnan(X).any(axis=1)
    return X.isna().any(axis=1).to_numpy()


# Kernels -------------------------------------------------------------------------------------


def _of_machine(trial, seen):
    ends = [
        _machine(trial, Z, y, weight, at)
        for (y, weight), Z, at in zip(
            _sides(trial),
            (seen["old"], seen["new"]),
            (seen["old tests"], seen["new tests"]),
            strict=True,
        )
    ]
    (v0, e0), (v1, e1) = ends
    if not (np.isfinite(e0).all() and np.isfinite(e1).all()):
        raise UnsureError("the bias is not unique")
    scale = 1 + np.abs(v0).max() + np.abs(v1).max()
    if np.any(e0 + e1 > 1e-6 * scale):
        raise UnsureError("the oracle's own error counts")
    exact = EXACT * np.abs(v1 - v0).max() + 1e-8 * scale + e0 + e1
    return Truth(*(np.reshape(one, (-1, 1)) for one in (v0, v1, e0 + e1, exact)))


def _machine(trial, Z, y, weight, at):
    params = trial.model.steps[-1][1].get_params()
    s = np.ones(len(y)) if weight is None else weight
    machine = trial.family == "SVC"
    # SVC counts rows, LinearSVC counts weights.
    factors = class_weights(params["class_weight"], [0, 1], y, None if machine else s)
    bounds = LD(params["C"]) * s * factors[y]
    if machine:
        variance = np.asarray(Z, dtype=LD).var()
        gamma = 1.0 / (Z.shape[1] * variance) if variance > 0 else 1.0
        given = {"gamma": gamma, "coef0": params["coef0"], "degree": params["degree"]}
        problem = MachineProblem(Z, 2 * y - 1, bounds, params["kernel"], given, True)
    else:
        offset = params["intercept_scaling"] ** 2 if params["fit_intercept"] else 0.0
        problem = MachineProblem(Z, 2 * y - 1, bounds, "linear", {}, False, offset)
    return problem.values(at)


def _of_kernel_ridge(trial, seen, last):
    params = last.get_params()
    ends, pivots = [], []
    for (y, weight), Z, at in zip(
        _sides(trial),
        (seen["old"], seen["new"]),
        (seen["old tests"], seen["new tests"]),
        strict=True,
    ):
        s = np.ones(len(y)) if weight is None else weight
        problem = KernelRidgeProblem(
            np.asarray(Z, dtype=LD), y, s, params["alpha"], params["kernel"], params
        )
        try:
            values, error, pivot = problem.values(np.asarray(at, dtype=LD))
        except NotPositiveDefiniteError as problem_error:
            raise UnsureError("the kernel matrix is singular") from problem_error
        ends.append((values, error))
        pivots.append(pivot)
    (v0, e0), (v1, e1) = ends
    scale = np.abs(v0).max() + np.abs(v1).max() + np.abs(trial.y).max()
    exact = EXACT * np.abs(v1 - v0).max() + (1e-12 + 10 * EPS / min(pivots)) * scale + e0 + e1
    reshaped = (np.reshape(one, (-1, 1)) for one in (v0, v1, e0 + e1, exact))
    return Truth(*reshaped, pivot=min(pivots))


def _rows(X, rows):
    if isinstance(X, list):
        return [X[i] for i in rows]
    return X[rows] if isinstance(X, np.ndarray) else X.iloc[rows]


def _dense(Z):
    return Z.toarray() if hasattr(Z, "toarray") else np.asarray(Z, dtype=float)
