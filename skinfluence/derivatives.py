"""Infinitesimal questions: the influence functions of Koh and Liang (2017), eqs 1, 2 and 5.

Arrays in, arrays out, for one factored objective. Signs and scales are the paper's: the Hessian is
divided by the number of training rows.
"""

import numpy as np

from skinfluence.utils.memory import row_blocks


def up_params(factor, rows):
    """Derivative of the parameters in the weight of training rows, eq. 1.

    Returns
    -------
    influence : ndarray of shape (n_rows, n_outputs, n_columns)
        In the outputs the user sees, the intercept last and in the units of ``intercept_``.
    """
    objective = factor.objective
    k, d = objective.theta.shape
    outputs = objective.loss.expand(np.zeros(k)).shape[0]
    out = np.empty((len(rows), outputs, d))
    extra = penalty_gradient(objective)
    if extra is not None:
        extra = factor.solve(extra.reshape(-1, 1)).reshape(k, d)
    for block in row_blocks(len(rows), 24 * k * d):
        part = rows[block]
        step = -factor.solve_rows(objective.design.take(part), objective.gradients[part])
        if extra is not None:
            step -= extra
        out[block] = objective.loss.expand(step.transpose(0, 2, 1)).transpose(0, 2, 1)
    out *= objective.n_samples
    if objective.design.intercept:
        out[:, :, -1] *= objective.design.intercept
    return out


def up_loss(factor, test_gradients, rows=None):
    """Derivative of test losses in the weight of training rows, eq. 2.

    Parameters
    ----------
    factor : Factor
    test_gradients : ndarray of shape (n_outputs, n_columns, m)
        ``J_t' g_t``.
    rows : ndarray of int, default=None
        All when None.

    Returns
    -------
    influence : ndarray of shape (m, n_rows)
    """
    objective = factor.objective
    design, gradients = objective.design, objective.gradients
    if rows is not None:
        design, gradients = design.take(rows), gradients[rows]
    m = test_gradients.shape[-1]
    S = factor.solve(test_gradients.reshape(-1, m)).reshape(test_gradients.shape)
    S *= -objective.n_samples
    out = np.empty((m, design.n_samples))
    design.combine(gradients, S, out)
    extra = penalty_gradient(objective)
    if extra is not None:
        out += np.einsum("kd,kdm->m", extra, S)[:, None]
    return out


def pert_loss(factor, test_gradients, rows, pull_back, out):
    """Derivative of test losses in the features of training rows, eq. 5.

    ``-(Lambda_i J_i s_t . d eta/dx + g_i . d(J(x) s_t)/dx)``, both terms.

    Parameters
    ----------
    factor : Factor
    test_gradients : ndarray of shape (n_outputs, n_columns, m)
        ``J_t' g_t``.
    rows : ndarray of int
    pull_back : callable
        ``pull_back(rows, V)``: from gradients in the model's features to those in the inputs.
    out : ndarray of shape (m, n_rows, n_inputs)
        Filled and returned.
    """
    objective = factor.objective
    k, d, m = test_gradients.shape
    f = objective.design.n_features
    S = factor.solve(test_gradients.reshape(k * d, m)).reshape(k, d, m) * -objective.n_samples
    features = np.ascontiguousarray(S[:, :f].transpose(0, 2, 1))
    flat = S.transpose(1, 0, 2).reshape(d, k * m)
    for block in row_blocks(len(rows), 8 * m * (2 * f + 2 * k)):
        part = rows[block]
        moved = objective.design.take(part).multiply(flat).reshape(-1, k, m)
        curved = (objective.hessians[part] @ moved).transpose(2, 0, 1)
        value = curved @ objective.theta[:, :f]
        value += np.einsum("ik,kmf->mif", objective.gradients[part], features)
        out[:, block] = pull_back(part, value)
    return out


def self_influence(factor):
    """Minus the influence of each training row on its own loss, shape (n_samples,)."""
    objective = factor.objective
    h = factor.leverages()
    out = np.einsum("ik,ikl,il->i", objective.gradients, h, objective.gradients)
    extra = penalty_gradient(objective)
    if extra is not None:
        moved = factor.solve(extra.reshape(-1, 1)).reshape(extra.shape)
        out += np.einsum("ik,ik->i", objective.gradients, objective.design.multiply(moved.T))
    return objective.n_samples * out


def penalty_gradient(objective):
    """``R0 theta``, each row's share of the penalty; None when C is held."""
    if objective.hold == "C":
        return None
    return objective.unit_penalty * objective.theta
