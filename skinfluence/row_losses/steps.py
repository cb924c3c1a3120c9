"""Steps of the parameters that answer edits: first order, one Newton step, or a refit.

An edit adds ``b`` to the gradient and ``D`` to the Hessian of the objective at the parameters;
every row brings its whole Hessian, so no Woodbury formula helps and each edit is a dense solve.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from skinfluence.edits.points import edited
from skinfluence.row_losses.newton import factored, minimise
from skinfluence.solvers import SingularHessianError


@dataclass(frozen=True, eq=False)
class AddedTerms:
    """What edits add to the objective, to second order at the parameters.

    Attributes
    ----------
    gradient : ndarray of shape (m, n_params)
    hessian : ndarray of shape (m, n_params, n_params) or None
        None where the first order is enough.
    """

    gradient: np.ndarray
    hessian: np.ndarray | None


def row_changes(problem, rows, y, second=True):
    """Removing each of ``rows`` on its own (``y`` None), or giving it the target ``y[i]``."""
    X, old, weights = problem.design.X[rows], problem.y[rows], problem.weights[rows]
    row_loss, theta = problem.row_loss, problem.theta
    gradient, hessian = -problem.gradients[rows], None
    if second:
        hessian = -row_loss.row_hessians(theta, X, old)
    if y is None:
        share = -weights[:, None] * problem.unit_penalty
        gradient = weights[:, None] * gradient + share * theta
        if second:
            hessian *= weights[:, None, None]
            hessian += share[:, :, None] * np.eye(len(theta))
        return AddedTerms(gradient, hessian)
    weights = np.where(y == old, 0.0, weights)
    gradient = weights[:, None] * (gradient + row_loss.gradients(theta, X, y))
    if second:
        hessian = weights[:, None, None] * (hessian + row_loss.row_hessians(theta, X, y))
    return AddedTerms(gradient, hessian)


def points_changes(problem, points):
    """One edit of any points, and the Hessian of the weight that it takes away."""
    row_loss, theta, p = problem.row_loss, problem.theta, problem.n_parameters
    X, y = problem.design.X[points.rows], problem.y[points.rows]
    share = points.shift * problem.unit_penalty
    gradient = points.row_changes @ problem.gradients[points.rows] + share * theta
    losing = points.row_changes < 0
    lost = np.zeros((p, p))
    if losing.any():
        lost = row_loss.hessian(theta, X[losing], y[losing], -points.row_changes[losing])
    hessian = np.diag(share) - lost
    if not losing.all():
        hessian += row_loss.hessian(theta, X[~losing], y[~losing], points.row_changes[~losing])
    if points.new is not None:
        new = points.new.X, points.new_y, points.new_weights
        gradient = gradient + row_loss.gradient(theta, *new)
        hessian = hessian + row_loss.hessian(theta, *new)
    return AddedTerms(gradient[None], hessian[None]), lost


def newton_steps(H, changes):
    """One Newton step on each edited problem, ``-(H + D)^-1 b``; NaN unless ``H + D > 0``."""
    P = H + changes.hessian
    positive = _positive(P, np.linalg.cholesky(H))
    steps = np.full_like(changes.gradient, np.nan)
    # Parameters of one size first: pivots are chosen by size.
    P, scale = P[positive], 1.0 / np.sqrt(np.einsum("ijj->ij", P[positive]))
    P *= scale[:, :, None]
    P *= scale[:, None, :]
    right = scale * changes.gradient[positive]
    steps[positive] = -scale * np.linalg.solve(P, right[..., None])[..., 0]
    return steps


def _positive(P, root):
    """Which of the edited Hessians are positive definite, beyond what rounding makes of zero.

    A pivot over that of the Hessian before the edit, whose Cholesky factor ``root`` is, is what
    the edit leaves of a parameter: one minus a leverage.
    """
    try:
        pivots = np.einsum("ijj->ij", np.linalg.cholesky(P))
    except np.linalg.LinAlgError:
        if len(P) == 1:
            return np.zeros(1, dtype=bool)
        half = len(P) // 2
        return np.concatenate([_positive(P[:half], root), _positive(P[half:], root)])
    return (pivots**2 > 1e-11 * np.diagonal(root) ** 2).all(axis=1)


def refit(problem, edited_problem, step, P):
    """From a step to the minimum of the edited problem, without damping; NaN if there is none.

    Parameters
    ----------
    problem : Problem
        Before the edit.
    edited_problem : Problem
        After it, at the same parameters.
    step : ndarray of shape (n_params,)
        Where to start; from the parameters as they are if it is NaN or no improvement.
    P : ndarray of shape (n_params, n_params)
        The Hessian of the edited problem at the parameters.
    """
    started = not np.isnan(step).any()
    begin = edited_problem.at(problem.theta + step) if started else edited_problem
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if not begin.value() <= edited_problem.value():
            begin = edited_problem
    found = minimise(begin, P, problem.theta)
    if not found.converged or not (started or _is_minimum(found.problem)):
        return np.full_like(step, np.nan)
    return found.problem.theta - problem.theta


def _is_minimum(problem):
    try:
        factored(problem.hessian())
    except SingularHessianError:
        return False
    return True


def with_row(problem, row, y):
    """The problem without a row (``y`` None), or with another target for it."""
    if y is not None:
        targets = problem.y.copy()
        targets[row] = y
        return replace(problem, y=targets)
    weights = problem.weights.copy()
    gone, weights[row] = weights[row], 0.0
    return replace(problem, weights=weights, penalty=problem.penalty - gone * problem.unit_penalty)


def points_step(problem, H, points, method):
    """The step of one edit of any points, shape (n_params,), and its leverage."""
    changes, lost = points_changes(problem, points)
    leverage = 0.0
    if lost.any():
        leverage = float(linalg.eigh(lost, H, eigvals_only=True)[-1])
    if method == "influence":
        return -factored(H)[0](changes.gradient[0]), leverage
    step = newton_steps(H, changes)[0]
    if method != "one-step":
        step = refit(problem, edited(problem, points), step, H + changes.hessian[0])
    return step, max(leverage, 0.0)
