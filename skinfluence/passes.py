"""One pass over the training rows for many steps at once: remainders and largest changes."""

import numpy as np

from skinfluence.utils.memory import row_blocks


def remainder_pass(objective, theta_steps, skip):
    """Gradient remainders and largest spreads of many steps.

    Parameters
    ----------
    objective : Objective
    theta_steps : ndarray of shape (m, n_outputs, n_columns)
    skip : ndarray of int, shape (m,)
        The training row that does not count for each step.

    Returns
    -------
    S : ndarray of shape (m, n_outputs, n_columns)
        ``sum_j w_j J_j' rho_j`` with ``rho`` the loss's remainder at ``J_j v``.
    r : ndarray of shape (m,)
        Largest spread of ``J_j v`` over the rows of positive weight.

    Notes
    -----
    O(n m d K).
    """
    m, k, d = theta_steps.shape
    flat = np.ascontiguousarray(theta_steps.reshape(m * k, d).T)
    S = np.zeros((d, m * k))
    r = np.zeros(m)
    loss, weights = objective.loss, objective.weights
    for block in row_blocks(objective.n_samples, 40 * (m * k * (k + 2) + d)):
        rows = objective.design.take(block)
        moved = rows.multiply(flat).reshape(-1, m, k)
        inside = np.flatnonzero((skip >= block.start) & (skip < block.stop))
        moved[skip[inside] - block.start, inside] = 0.0
        eta, y = objective.eta[block][:, None], objective.y[block][:, None]
        rho = weights[block][:, None, None] * loss.remainder(eta, y, moved)
        S += rows.adjoint(rho.reshape(-1, m * k))
        spread = loss.spread(moved)
        spread[weights[block] <= 0] = 0.0
        np.maximum(r, spread.max(axis=0, initial=0.0), out=r)
    return S.T.reshape(m, k, d), r
