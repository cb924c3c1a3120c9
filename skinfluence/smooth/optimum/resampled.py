"""Optima of a problem under other weights of all its rows, many at once by Newton's method."""

from dataclasses import replace

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.weights import weigh
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers.primal import PrimalFactor

# Steps of problems that are solved together; what takes more is solved alone, with steps that are damped.
TOGETHER = 12
# Decrement before the last step, as a share of the way from the start: Newton's method squares it.
CLOSE = 1e-6
# Numbers per problem and row alive at a time.
ARRAYS = 6


def optima(factor, solver, weights, starts):
    """Parameters at the optimum under each line of weights.

    Parameters
    ----------
    factor : Factor
        Of the objective at its optimum under its own weights.
    solver : solver object
        For those that are solved alone: of several outputs, with kinks, in the dual, or far away.
    weights : ndarray of shape (m, n_samples)
        Class weights included. What penalties are per unit of weight moves with their sums.
    starts : ndarray of shape (m, n_outputs, n_columns)
        Parameters to begin at.

    Returns
    -------
    theta : ndarray of shape (m, n_outputs, n_columns)

    Raises
    ------
    SingularHessianError, SeparableError
        Where there is no optimum.
    """
    objective, theta = factor.objective, starts.copy()
    shift = weights.sum(axis=1) - objective.total_weight
    penalty = objective.penalty + np.outer(shift, objective.unit_penalty)
    alone = np.ones(len(weights), dtype=bool)
    if (
        objective.loss.n_outputs == 1
        and type(factor) is PrimalFactor
        and not piecewise.is_piecewise(objective.loss)
    ):
        n, d = objective.n_samples, objective.design.n_columns
        for block in row_blocks(len(weights), 8 * (ARRAYS * n + 3 * d * d)):
            parts = weights[block], penalty[block], theta[block, 0]
            theta[block, 0], alone[block] = _newton(objective, *parts)
    for i in np.flatnonzero(alone):
        one = {"weights": weights[i], "penalty": penalty[i], "theta": starts[i]}
        theta[i] = _solved(replace(objective, sample_weight=None, **one), solver)
    return theta


def _solved(objective, solver):
    if piecewise.is_piecewise(objective.loss):
        return piecewise.minimise(objective, solver)[0].theta
    return minimise(objective, solver).objective.theta


def _newton(objective, weights, penalty, starts):
    """Where full steps end, (m, d), and whether they did not end at the optimum, (m,)."""
    design, loss, y = objective.design, objective.loss, objective.y
    theta, open_ = starts.copy(), np.arange(len(starts))
    missed, last = np.ones(len(starts), dtype=bool), np.full(len(starts), np.inf)
    diagonal = np.arange(theta.shape[1])
    # A step too far overflows, and is no step: its problem is solved alone.
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(TOGETHER):
            now, w, R = theta[open_], weights[open_], penalty[open_]
            eta = design.multiply(now.T).T[..., None]
            curved = weigh(w, loss.hessian(eta, y)[..., 0, 0])
            G = design.adjoint(weigh(w, loss.gradient(eta, y)[..., 0]).T).T + R * now
            H = design.grams(curved)
            H[:, diagonal, diagonal] += R
            try:
                step = np.linalg.solve(H, G[..., None])[..., 0]
            except np.linalg.LinAlgError:
                break
            left = np.einsum("bd,bd->b", G, step)
            theta[open_] = now - step
            way = theta[open_] - objective.theta[0]
            size = np.einsum("bd,bde,be->b", way, H, way)
            done = (left >= 0) & (left <= CLOSE**2 * size)
            missed[open_[done]] = False
            goes_on = ~done & (left > 0) & (left < last[open_])
            last[open_] = left
            open_ = open_[goes_on]
            if not len(open_):
                break
    return theta, missed
