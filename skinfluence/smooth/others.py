"""What dropping a row does to all the other rows, each judged by the model that has not seen it."""

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.losses import SumToZero

# Rows that are followed pair by pair: a small part of the price of the rest.
FOLLOWED = 100
# Arrays of a matrix for each row that are alive at once.
ROW_MATRICES = 12
# Of central differences of curvatures, in units of decision values.
STEP = 1e-4


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

    - ``eta_j``, by one Newton step;
    - the Hessian that ``h_j`` is taken in, by the curvature of row i itself, and by the curvature of
      every other row k, whose output moved too.

    The last part is small for each pair and adds up to most of the effect. Losses are followed to
    second order and curvatures to first in what row i moves, so that the sum over j is prepared
    once: a vector of parameters (the adjoint of the mean loss, one solve) and two forms
    ``sum_j J_j' S_j J_j``, taken through the inverse Hessian at every row. The rows that move the others
    the farthest are then followed pair by pair, losses and curvatures as they are where the step
    takes them. O(n p^2) in the primal, n K solves where there are fewer rows than parameters. The
    penalty is held.
    """
    objective = factor.objective.holding("C")
    loss, y = objective.loss, objective.y
    n, (k, d) = objective.n_samples, objective.theta.shape
    check_fits(
        (ROW_MATRICES, n, k, k), "Fit and audit fewer rows or classes.", "Matrices for each row"
    )
    eta, weights = objective.eta, objective.weights
    weight_in_mean = np.where(answered, weights, 0.0) / weights[answered].sum()

    h = factor.leverages()
    gradients = weights[:, None] * objective.gradients
    hessians = weights[:, None, None] * objective.hessians
    # Where leaving a row out leaves no model, I - L h is singular: such rows move nothing.
    step = np.linalg.inv(np.eye(k) - hessians @ h * answered[:, None, None])
    step[~answered] = 0.0
    spread = step.transpose(0, 2, 1)
    removal = _apply(step, gradients)
    alone = eta + _apply(h, removal)
    # How much the loss of j, counted in the mean, grows with a change of h_j: adjoint' dh removal.
    adjoint = _apply(step, weight_in_mean[:, None] * loss.gradient(alone, y))
    # And with the square of a change of eta_j.
    curved = weight_in_mean[:, None, None] * (step @ loss.hessian(alone, y) @ spread)

    crossed = removal[:, :, None] * adjoint[:, None]
    crossed = (crossed + crossed.transpose(0, 2, 1)) / 2
    M, N = _forms(factor, [crossed, curved])
    # A row is not among its others. In place: of many classes each of these is as large as the fit.
    for form, own in ((M, crossed), (N, curved)):
        form -= h @ own @ h
    del crossed, curved, own
    M *= weights[:, None, None]
    pull = adjoint - _slope_of_curvature(loss, eta, y, M)
    u = factor.solve(objective.design.adjoint(pull).T.reshape(-1, 1)).reshape(k, d)
    own = objective.design.multiply(np.ascontiguousarray(u.T)) - _apply(h, pull)
    squared = 0.5 * np.einsum("na,nab,nb->n", removal, N, removal)
    along = np.einsum("na,na->n", removal, own) + squared
    squared[~answered] = 0.0
    far = np.sort(np.argsort(-np.abs(squared), kind="stable")[:FOLLOWED])

    before, curvature = loss.value(alone, y), _CurvatureAlong(loss, y, M)
    straight = curvature(eta[:, None])
    for block in row_blocks(len(far), 8 * k * (2 * objective.n_parameters + 8 * n)):
        rows = far[block]
        moved = _moves(factor, rows, removal[rows])
        after = weight_in_mean @ (
            loss.value(alone[:, None] + moved @ step, y[:, None]) - before[:, None]
        )
        along[rows] = after - (curvature(eta[:, None] + moved) - straight).sum(axis=0)
    effects = along + np.einsum("nab,nba->n", hessians @ spread, M)
    effects[~answered] = np.nan
    return effects


def _moves(factor, rows, coefficients):
    """``J_j H^-1 J_i' c_i`` for all j and some rows i, 0 for j = i: (n, n_rows, K)."""
    design = factor.objective.design
    n, (k, d) = design.n_samples, factor.objective.theta.shape
    Z = np.asarray(factor.solve_rows(design.take(rows), coefficients))
    moved = design.multiply(np.ascontiguousarray(Z.reshape(-1, d).T)).reshape(n, len(rows), k)
    moved[rows, np.arange(len(rows))] = 0.0
    return moved


def _forms(factor, S):
    """``J_i H^-1 (sum_j J_j' S_mj J_j) H^-1 J_i'`` of every row, (n, K, K) for each of some S."""
    objective = factor.objective
    n, (k, d) = objective.n_samples, objective.theta.shape
    if objective.n_parameters > n * k:
        return _forms_by_rows(factor, S)
    pairs = np.tril_indices(k)
    out = [np.empty_like(one) for one in S]
    for some, values in zip(out, S, strict=True):
        grams = objective.design.grams(np.ascontiguousarray(values[:, *pairs].T))
        A = np.empty((k, d, k, d))
        for a, b, gram in zip(*pairs, grams, strict=True):
            A[a, :, b] = gram
            A[b, :, a] = gram
        A = A.reshape(k * d, k * d)
        inner = factor.solve(np.ascontiguousarray(factor.solve(A).T)).reshape(k, d, k, d)
        blocks = [0.5 * (inner[a, :, b] + inner[a, :, b].T) for a, b in zip(*pairs, strict=True)]
        forms = objective.design.quadratics(np.array(blocks))
        some[:, *pairs] = forms
        some[:, *pairs[::-1]] = forms
    return out


def _forms_by_rows(factor, S):
    """As :func:`_forms`, by a solve for each row and output."""
    objective = factor.objective
    n, (k, d) = objective.n_samples, objective.theta.shape
    out = [np.empty_like(one) for one in S]
    for rows in row_blocks(n, 8 * k * (3 * objective.n_parameters + 4 * n)):
        part = objective.design.take(rows)
        moved = np.empty((k, part.n_samples, n, k))
        for a in range(k):
            unit = np.broadcast_to(np.eye(k)[a], (part.n_samples, k))
            Z = np.asarray(factor.solve_rows(part, unit))
            columns = np.ascontiguousarray(Z.reshape(-1, d).T)
            product = objective.design.multiply(columns).reshape(n, part.n_samples, k)
            moved[a] = product.transpose(1, 0, 2)
        for m, values in enumerate(S):
            turned = np.einsum("abnc,ncd->abnd", moved, values, optimize=True)
            out[m][rows] = np.einsum("abnc,ebnc->bae", turned, moved, optimize=True)
    return out


def _slope_of_curvature(loss, eta, y, M):
    """Gradient in ``eta_i`` of ``trace(loss.hessian(eta_i) M_i)``, shape (n, K)."""
    if loss.third is not None:
        return (loss.third(eta, y) * M[:, 0, 0])[:, None]
    if isinstance(loss, SumToZero):
        # The softmax Hessian is diag(p) - p p': no K x K x K array per row is needed.
        full = loss.basis @ M @ loss.basis.T
        p = loss.predict_proba(eta)
        diagonal = np.diagonal(full, axis1=1, axis2=2)
        turned = _apply(full, p)
        along = diagonal - 2.0 * turned
        return (p * (along - np.einsum("na,na->n", p, along)[:, None])) @ loss.basis
    out = np.empty_like(eta)
    for a, unit in enumerate(np.eye(eta.shape[1])):
        ends = [
            np.einsum("nab,nab->n", loss.hessian(eta + side * STEP * unit, y), M)
            for side in (-1.0, 1.0)
        ]
        out[:, a] = (ends[1] - ends[0]) / (2.0 * STEP)
    return out


class _CurvatureAlong:
    """``trace(loss.hessian(eta_jb) M_j)``, shape (n, b), from ``eta`` of shape (n, b, K)."""

    def __init__(self, loss, y, M):
        self.loss, self.y, self.M = loss, y[:, None], M
        # The softmax Hessian is diag(p) - p p': no K x K matrix per pair is needed.
        self.is_softmax = isinstance(loss, SumToZero)
        if self.is_softmax:
            self.M = loss.basis @ M @ loss.basis.T

    def __call__(self, eta):
        if not self.is_softmax:
            return np.einsum("nbac,nac->nb", self.loss.hessian(eta, self.y), self.M, optimize=True)
        p = self.loss.predict_proba(eta)
        diagonal = np.diagonal(self.M, axis1=1, axis2=2)[:, None]
        return np.einsum("nba,nba->nb", p, diagonal - p @ self.M)


def _apply(matrices, vectors):
    """Matrix times vector, row by row."""
    return (matrices @ vectors[..., None])[..., 0]
