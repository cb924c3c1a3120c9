"""Leave-one-out along a penalty path: one design, one fit after the other, no refits."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    TweedieRegressor,
)

from skinfluence._utils.weights import weigh
from skinfluence.model_selection.optima import Optima
from skinfluence.objective import Objective
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.newton import polish
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.smooth.stages.solved import ROUND_OFF
from skinfluence.solvers import resolve_solver

# Certified relative errors of the steps of all rows, then of those that hold most of the error.
ROW_TOLS = (0.5, 1e-2, 1e-4, 1e-6)
# One minus a leverage has five digits at least where a step is no more than a step.
FEW_DIGITS = 1e5 * np.finfo(float).eps
# Estimators with a parameter that scales the penalty, and how.
PENALTIES = (
    ((LogisticRegression,), "C", lambda C: 1.0 / C),
    (
        (Ridge, RidgeClassifier, PoissonRegressor, GammaRegressor, TweedieRegressor),
        "alpha",
        lambda alpha: alpha,
    ),
)


def penalty_parameter(model):
    """Name of the parameter that scales the penalty and the scale as its function, or Nones."""
    for classes, name, strength in PENALTIES:
        if isinstance(model, classes) and name in model.get_params(deep=False):
            return name, strength
    return None, None


@dataclass(frozen=True, eq=False)
class Scanned:
    """Leave-one-out decision values of all rows at one value of the penalty.

    Attributes
    ----------
    objective : Objective
        At the optimum.
    eta : ndarray of shape (n_samples, n_outputs)
    bound : ndarray of shape (n_samples,)
        On the error of each row's loss; infinite where nothing is certified.
    method : str
    """

    objective: Objective
    eta: np.ndarray
    bound: np.ndarray
    method: str


def scan(objective, ratios):
    """One-step :class:`Scanned` at each penalty, a multiple of the fitted one.

    Parameters
    ----------
    objective : Objective
        Fitted at the ratio 1.
    ratios : sequence of float
        Falling, so that each optimum is a good start for the next, weaker penalty.

    Yields
    ------
    answers : Scanned
    """
    if objective.loss.self_concordance == 0.0 and _ridge_like(objective):
        yield from _scan_squared(objective, ratios)
        return
    optima = Optima(objective)
    for ratio in ratios:
        yield one_step(*optima.at(ratio))


def one_step(objective, factor):
    """One-step answers of a factored objective."""
    edits = steps.removals(objective, np.arange(objective.n_samples))
    exact = objective.loss.self_concordance == 0.0
    h = steps.row_leverages(factor, edits, digits=steps.MANY_DIGITS if exact else FEW_DIGITS)
    eta = objective.eta + steps.own_eta_steps(factor, edits, "one-step", h)
    bound = np.full(objective.n_samples, 0.0 if exact else np.inf)
    return Scanned(objective.at(objective.theta), eta, bound, "one-step")


def certified(objective, method, tol):
    """What the edit engine says, with bounds on the loss of each row.

    Parameters
    ----------
    objective : Objective
        Near its optimum.
    method : {"auto", "exact"}
    tol : float
        Certified error of the mean loss, relative to it. The bounds of all rows come from loosely
        certified steps; the few rows that hold most of the error are then solved further.
    """
    solver = resolve_solver("auto", objective)
    edit_solver = EditSolver(polish(solver.factor(objective), solver), solver)
    objective = edit_solver.objective
    edits = steps.removals(objective, np.arange(objective.n_samples))
    h = steps.row_leverages(edit_solver.factor, edits)
    eta = np.array(objective.eta)
    bound = np.empty(len(eta))

    def solve(rows, row_tol):
        part = edits if len(rows) == len(eta) else edits.take(rows)
        distance = np.empty(len(rows))
        for block, solved in edit_solver.rows.solve(part, row_tol):
            moved = steps.at_rows(part.design.take(block), solved.steps)
            eta[rows[block]] = objective.eta[rows[block]] + moved
            distance[block] = solved.bound
        bound[rows] = _loss_bound(objective, edits.hessian[rows], h[rows], rows, eta, distance)

    def take_over(rows, found):
        bound[rows] = np.inf
        known = np.isfinite(found.bound)
        rows = rows[known]
        eta[rows] = objective.eta[rows] + found.change[known, None]
        bound[rows] = loss_error(objective, rows, eta, found.bound[known])

    def heaviest(kept):
        """The rows that hold all of the error but a share of ``tol``; none where it is small.

        Those of no bound are among them.
        """
        weights, values = objective.sample_weight, objective.loss.value(eta, objective.y)
        held, loss = weigh(weights, bound), weigh(weights, np.abs(values)).sum()
        order = np.argsort(-held, kind="stable")
        left = np.cumsum(held[order[::-1]])[::-1]
        return np.sort(order[left > kept * tol * loss]) if left[0] > tol * loss else order[:0]

    everything = np.arange(len(eta))
    if method != "exact" and edit_solver.own.knows_values(edits, ROW_TOLS[1]):
        take_over(everything, edit_solver.own.loose_values(edits))
        # Sums over pairs leave next to nothing of the others' error.
        rows = heaviest(0.9)
        if len(rows):
            take_over(rows, edit_solver.own.values(edits.take(rows), ROW_TOLS[1]))
            solve(rows[np.isinf(bound[rows])], ROW_TOLS[1])
    else:
        solve(everything, ROUND_OFF if method == "exact" else ROW_TOLS[0])
    for row_tol in () if method == "exact" else ROW_TOLS[1:]:
        rows = heaviest(0.5)
        rows = rows[np.isfinite(bound[rows])]
        if not len(rows):
            break
        solve(rows, row_tol)
    return Scanned(objective.at(objective.theta), eta, bound, method)


def _loss_bound(objective, hessian, h, rows, eta, distance):
    """Error of the loss of each row when its parameters are wrong by ``distance``, in P's norm."""
    loss = objective.loss
    if loss.self_concordance == 0.0:
        return np.zeros(len(rows))
    # |x_i|_{P^-1} of the row that is removed.
    identity = np.eye(h.shape[1])
    own = h @ np.linalg.inv(identity + hessian @ h)
    size = np.max([np.einsum("ikl,k,l->i", own, v, v) for v in loss.spread_directions()], axis=0)
    with np.errstate(invalid="ignore"):
        spread = np.where(distance > 0, np.sqrt(np.maximum(size, 0.0)) * distance, 0.0)
    return loss_error(objective, rows, eta, spread)


def loss_error(objective, rows, eta, spread):
    """Error of the loss of each row when its decision values are wrong by ``spread``."""
    loss, y, eta = objective.loss, objective.y[rows], eta[rows]
    if loss.n_outputs > 1:
        # Softmax: the loss is 1-Lipschitz in the range of the change over the classes.
        return spread
    # Convex in eta: it rises most at an end, and falls by the slope here at most.
    with np.errstate(over="ignore", invalid="ignore"):
        ends = [loss.value(eta + sign * spread[:, None], y) for sign in (1, -1)]
        rise = np.maximum(*ends) - loss.value(eta, y)
        out = np.maximum(rise, np.abs(loss.gradient(eta, y)[:, 0]) * spread)
    return np.where(np.isnan(out), np.inf, out)


# Squared error --------------------------------------------------------------------------------


def _ridge_like(objective):
    penalty, features = objective.penalty, objective.design.n_features
    uniform = (penalty[:features] == penalty[0]).all() and penalty[0] > 0
    return uniform and (not objective.design.intercept or penalty[-1] == 0.0)


def _scan_squared(objective, ratios):
    """All ridge fits from one eigendecomposition; the one-step answer is exact."""
    w, y = objective.weights, objective.y.reshape(objective.n_samples, -1)
    total, free = objective.total_weight, bool(objective.design.intercept)
    mean = w @ y / total if free else np.zeros(y.shape[1])
    Z, spectrum, back = _principal(objective, w, free)
    moment = Z.T @ (w[:, None] * (y - mean))
    Z2 = Z**2
    rho = objective.penalty[0]
    for ratio in ratios:
        damped = 1.0 / (spectrum + ratio * rho)
        components = damped[:, None] * moment
        eta = mean + Z @ components
        h = Z2 @ damped + (1.0 / total if free else 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            eta = eta + ((w * h) / (1.0 - w * h))[:, None] * (eta - y)
        theta = back(components, mean)
        fitted = replace(objective, penalty=ratio * objective.penalty, theta=theta)
        yield Scanned(fitted, eta, np.zeros(objective.n_samples), "one-step")


def _principal(objective, w, free):
    """Centred features in coordinates where the weighted Gram matrix is diagonal.

    Returns
    -------
    Z : ndarray of shape (n_samples, r)
    spectrum : ndarray of shape (r,)
        ``Z' diag(w) Z``.
    back : callable
        From coefficients of Z to theta.
    """
    X, s = objective.design.X, objective.design.intercept
    n, d = X.shape
    centre = X.T @ w / objective.total_weight if free else np.zeros(d)
    centre = np.asarray(centre).ravel()
    if d <= n:
        gram = _without_intercept(objective.design).grams(w[None])[0]
        gram -= objective.total_weight * np.outer(centre, centre)
        spectrum, basis = linalg.eigh(gram)
    else:
        # The rows span fewer directions than there are features: an orthonormal basis of them.
        kernel = (X @ X.T).toarray() if sp.issparse(X) else X @ X.T
        shift = np.asarray(X @ centre).ravel()
        kernel = kernel - shift[:, None] - shift + centre @ centre
        values, U = linalg.eigh(kernel)
        kept = values > values[-1] * n * np.finfo(float).eps
        U, root = U[:, kept], np.sqrt(values[kept])
        F = U * root
        spectrum, turn = linalg.eigh(F.T @ (w[:, None] * F))
        rows = (U / root) @ turn
        basis = np.asarray(X.T @ rows) - np.outer(centre, rows.sum(axis=0))
    Z = np.asarray(X @ basis) - centre @ basis

    def back(components, mean):
        coef = (basis @ components).T
        if not free:
            return coef
        return np.column_stack([coef, (mean - coef @ centre) / s])

    return Z, np.maximum(spectrum, 0.0), back


def _without_intercept(design):
    """The same rows without the constant column."""
    return type(design)(design.X, 0.0)
