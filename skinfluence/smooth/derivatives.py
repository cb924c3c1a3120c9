"""Infinitesimal questions: the influence functions of Koh and Liang (2017), eqs 1, 2 and 5.

Arrays in, arrays out, for one factored objective. Signs and scales are the paper's: the Hessian is
divided by the number of training rows.
"""

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.answers import FEWER_TESTS
from skinfluence.smooth.unanswered import warn_overflowing


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
    gradients = known_gradients(objective, rows)
    for block in row_blocks(len(rows), 24 * k * d):
        step = -factor.solve_rows(objective.design.take(rows[block]), gradients[block])
        if extra is not None:
            step -= extra
        out[block] = objective.loss.expand(step.transpose(0, 2, 1)).transpose(0, 2, 1)
    out *= objective.n_samples
    return objective.design.in_units(out)


def test_gradients(objective, tests, aggregate):
    """``J_t' g_t`` as (n_outputs, n_columns, n_test), or their mean as one column."""
    design = tests.design
    eta = design.multiply(objective.theta.T)
    gradients = _known(objective.loss.gradient(eta, tests.y), eta, "test row")
    if aggregate:
        return design.adjoint(gradients).T[:, :, None] / design.n_samples
    check_fits((objective.n_parameters, design.n_samples), FEWER_TESTS)
    return gradients.T[:, None, :] * design.dense_rows().T[None]


def known_gradients(objective, rows=None):
    """``g_i`` of training rows, NaN and named where a loss overflows: rows without weight may be anywhere.

    Parameters
    ----------
    objective : Objective
    rows : ndarray of int, default=None
        All when None.

    Returns
    -------
    gradients : ndarray of shape (n_rows, n_outputs)
    """
    if rows is None:
        return _known(objective.gradients, objective.eta, "row")
    return _known(objective.gradients[rows], objective.eta[rows], "row", rows)


def _known(gradients, eta, name, rows=None):
    """Gradients in which infinite ones are NaN: numpy warns of infinity times 0, not of NaN."""
    lost = ~np.isfinite(gradients).all(axis=1)
    if not lost.any():
        return gradients
    some = np.flatnonzero(lost)
    warn_overflowing(some if rows is None else rows[some], eta[some], name)
    return np.where(lost[:, None], np.nan, gradients)


def test_pulls(objective, tests):
    """Derivative of the losses of test rows in the model's features, (n_test, n_features)."""
    gradients = objective.loss.gradient(tests.design.multiply(objective.theta.T), tests.y)
    return gradients @ objective.theta[:, : objective.design.n_features]


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
    gradients = known_gradients(objective, rows)
    design = objective.design if rows is None else objective.design.take(rows)
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
        ``pull_back(rows, V)``: from gradients in the model's features to those in the inputs; V
        itself where they are the same.
    out : ndarray of shape (m, n_rows, n_inputs)
        Filled and returned.
    """
    objective = factor.objective
    k, d, m = test_gradients.shape
    f = objective.design.n_features
    S = factor.solve(test_gradients.reshape(k * d, m)).reshape(k, d, m) * -objective.n_samples
    flat = S.transpose(1, 0, 2).reshape(d, k * m)
    # Both terms in one product for each test point: [Lambda_i J_i s_t, g_i] times [theta; s_t].
    right = np.empty((m, 2 * k, f))
    right[:, :k], right[:, k:] = objective.theta[:, :f], S[:, :f].transpose(2, 0, 1)
    gradients = known_gradients(objective, rows)
    lost = np.isnan(gradients).any(axis=1)
    for block in row_blocks(len(rows), 8 * m * (f + 4 * k)):
        part = rows[block]
        moved = objective.design.take(part).multiply(flat).reshape(-1, k, m)
        left = np.empty((m, len(part), 2 * k))
        hessians = objective.hessians[part]
        hessians[lost[block]] = np.nan
        left[:, :, :k] = (hessians @ moved).transpose(2, 0, 1)
        left[:, :, k:] = gradients[block]
        # Written where it belongs if nothing is left to do: the answer is larger than all else.
        value = np.matmul(left, right, out=out[:, block] if out.shape[2] == f else None)
        pulled = pull_back(part, value)
        if pulled is not value:
            out[:, block] = pulled
    return out


def self_influence(factor):
    """Minus the influence of each training row on its own loss, shape (n_samples,)."""
    objective = factor.objective
    h, gradients = factor.leverages(), known_gradients(objective)
    out = np.einsum("ik,ikl,il->i", gradients, h, gradients)
    extra = penalty_gradient(objective)
    if extra is not None:
        moved = factor.solve(extra.reshape(-1, 1)).reshape(extra.shape)
        out += np.einsum("ik,ik->i", gradients, objective.design.multiply(moved.T))
    return objective.n_samples * out


def penalty_gradient(objective):
    """``R0 theta``, each row's share of the penalty; None when C is held."""
    if objective.hold == "C":
        return None
    return objective.unit_penalty * objective.theta
