"""What dropping a row does to all the other rows, each judged by the model that has not seen it."""

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.losses import SumToZero


def effect_on_others(factor, answered):
    """Predicted change of the mean leave-one-out loss of the other rows when each row is dropped.

    Parameters
    ----------
    factor : Factor
        Of the model's objective.
    answered : ndarray of shape (n_samples,), dtype=bool
        False for rows that have no leave-one-out model: they count for nobody, and get NaN.

    Returns
    -------
    effects : ndarray of shape (n_samples,)
        Of the weighted mean over all rows, in which the row itself does not count; negative:
        dropping the row helps the others.

    Notes
    -----
    The leave-one-out output of row j is ``eta_j + h_j (I - L_j h_j)^-1 g_j`` with leverage ``h_j``,
    gradient ``g_j`` and curvature ``L_j``. Dropping row i moves

    - ``eta_j``, by one Newton step; the loss of j is evaluated where that takes it;
    - the Hessian that ``h_j`` is taken in, by the curvature of row i itself, and by the curvature of
      every other row k, whose output moved too.

    The last part is small for each pair and adds up to most of the effect. The sum over j of its
    consequences is linear in each change of curvature, so it is prepared once as one K x K matrix
    ``M_k`` per row. O(n^2 (d K + K^2)) in blocks; no n x n array is kept. The penalty is held.
    """
    objective = factor.objective.holding("C")
    loss, y = objective.loss, objective.y
    n, (k, d) = objective.n_samples, objective.theta.shape
    eta, weights = objective.eta, objective.weights
    weight_in_mean = np.where(answered, weights, 0.0) / weights[answered].sum()

    h = factor.leverages()
    gradients = weights[:, None] * objective.gradients
    hessians = weights[:, None, None] * objective.hessians
    # Where leaving a row out leaves no model, I - L h is singular: such rows move nothing.
    step = np.linalg.inv(np.eye(k) - hessians @ h * answered[:, None, None])
    step[~answered] = 0.0
    removal = _apply(step, gradients)
    alone = eta + _apply(h, removal)
    before = loss.value(alone, y)
    # How much the loss of j, counted in the mean, grows with a change of h_j: adjoint' dh removal.
    adjoint = _apply(step, weight_in_mean[:, None] * loss.gradient(alone, y))
    spread = step.transpose(0, 2, 1)

    def moves(rows, coefficients):
        """``J_j H^-1 J_i' c_i`` for all j and the rows i of a block, 0 for j = i: (n, b, K)."""
        part = objective.design.take(rows)
        Z = np.asarray(factor.solve_rows(part, coefficients[rows]))
        moved = objective.design.multiply(np.ascontiguousarray(Z.reshape(-1, d).T))
        moved = moved.reshape(n, part.n_samples, k)
        moved[np.arange(n)[rows], np.arange(part.n_samples)] = 0.0
        return moved

    blocks = list(row_blocks(n, 8 * k * (3 * objective.n_parameters + 8 * n)))
    M = np.zeros((n, k, k))
    for rows in blocks:
        M += moves(rows, removal).transpose(0, 2, 1) @ moves(rows, adjoint)
    M = weights[:, None, None] * (M + M.transpose(0, 2, 1)) / 2

    effects = np.einsum("nab,nba->n", objective.hessians @ spread, M)
    unbent = _curvature_along(loss, eta[:, None], y[:, None], M)
    for rows in blocks:
        moved = moves(rows, removal)
        after = loss.value(alone[:, None] + moved @ step, y[:, None])
        after -= before[:, None]
        after[np.arange(n)[rows], np.arange(after.shape[1])] = 0.0
        effects[rows] += weight_in_mean @ after
        bent = _curvature_along(loss, eta[:, None] + moved, y[:, None], M) - unbent
        effects[rows] -= bent.sum(axis=0)
    effects[~answered] = np.nan
    return effects


def _curvature_along(loss, eta, y, M):
    """``trace(loss.hessian(eta_jb) M_j)``, shape (n, b), from ``eta`` of shape (n, b, K)."""
    if not isinstance(loss, SumToZero):
        return np.einsum("nbac,nac->nb", loss.hessian(eta, y), M, optimize=True)
    # The softmax Hessian is diag(p) - p p': no K x K matrix per pair is needed.
    full = loss.basis @ M @ loss.basis.T
    p = loss.predict_proba(eta)
    diagonal = np.diagonal(full, axis1=1, axis2=2)[:, None]
    return np.einsum("nba,nba->nb", p, diagonal - p @ full)


def _apply(matrices, vectors):
    """Matrix times vector, row by row."""
    return (matrices @ vectors[..., None])[..., 0]
