"""What dropping a row does to all the other rows, each judged by the model that has not seen it."""

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.losses import SumToZero
from skinfluence.smooth.strong_rows import applied, in_small_kinds, strongest, without_each

# Estimated errors are taken twice, of the strongest rows three times. No effect is known better than to
# shares of itself and of the mean loss.
SAFETY, SAFETY_OF_STRONG, OF_ITSELF, OF_ALL = 2.0, 3.0, 1e-2, 1e-9
# Arrays of a matrix for each row that are alive at once.
ROW_MATRICES = 12
# Of central differences of curvatures, in units of decision values.
STEP = 1e-4


def effect_on_others(answers, answered, thorough=False):
    """Predicted change of the mean leave-one-out loss of the other rows when each row is dropped.

    Parameters
    ----------
    answers : SmoothAnswers
    answered : ndarray of shape (n_samples,), dtype=bool
        False for rows that have no leave-one-out model: they count for nobody, and get NaN.
    thorough : bool, default=False
        Follow as many of the strongest rows as help, whatever that costs; as many as are cheap by
        default, which may be none.

    Returns
    -------
    effects : ndarray of shape (n_samples,)
        Of the weighted mean over all rows, in which the row itself does not count; negative:
        dropping the row helps the others. NaN too of a row whose class would be left with one row.
    error : ndarray of shape (n_samples,)
        An estimate of how far they are off, no bound; NaN where there is none.

    Notes
    -----
    The rows whose Newton step is longest, up to eight or, if thorough, 32, are followed by models
    without each of them and without each two, to their optima: see
    :func:`~skinfluence.smooth.strong_rows.without_each`. These rows carry most of the losses where classes
    are all but separated, and move the others too far for what follows.

    Of the others, the leave-one-out output of row j is ``eta_j + h_j (I - L_j h_j)^-1 g_j`` with
    leverage ``h_j``, gradient ``g_j`` and curvature ``L_j``. Dropping row i moves

    - ``eta_j``, by one Newton step;
    - the Hessian that ``h_j`` is taken in, by the curvature of row i itself, and by the curvature of
      every other row k, whose output moved too.

    The last part is small for each pair and adds up to most of the effect. Losses are followed to
    second order and curvatures to first in what row i moves, so that the sum over j is prepared
    once: a vector of parameters (the adjoint of the mean loss, one solve) and two forms
    ``sum_j J_j' S_j J_j``, taken through the inverse Hessian at every row. O(n p^2) in the primal, n K
    solves where there are fewer rows than parameters. The penalty is held.

    Errors come from the strongest rows: each is predicted as if it were not one of them, too. What that
    misses falls at least as fast as the length of the step, so that of a row whose step is a
    third as long a third of the largest miss is feared.
    """
    answers = answers.holding("C")
    factor = answers.factor
    if answers.certifies and not factor.curvature.damping:
        factor = answers.edit_solver().factor
    objective = factor.objective
    loss, y = objective.loss, objective.y
    n, (k, d) = objective.n_samples, objective.theta.shape
    check_fits(
        (ROW_MATRICES, n, k, k), "Fit and audit fewer rows or classes.", "Matrices for each row"
    )
    eta, weights = objective.eta, objective.weights
    weight_in_mean = np.where(answered, weights, 0.0) / weights[answered].sum()

    h = factor.leverages()
    gradients, hessians = objective.weighted_gradients, objective.weighted_hessians
    # Where leaving a row out leaves no model, I - L h is singular: such rows move nothing.
    step = np.linalg.inv(np.eye(k) - hessians @ h * answered[:, None, None])
    step[~answered] = 0.0
    spread = step.transpose(0, 2, 1)
    removal = applied(step, gradients)
    alone = eta + applied(h, removal)
    length = np.sqrt(np.maximum(np.einsum("na,nab,nb->n", removal, h, removal), 0.0))
    unknown = ~answered | in_small_kinds(objective)
    strong = strongest(factor, np.where(unknown, 0.0, length), thorough)
    # Of the others in the mean.
    counted = weight_in_mean.copy()
    counted[strong] = 0.0
    # How much the loss of j, counted in the mean, grows with a change of h_j: adjoint' dh removal.
    adjoint = applied(step, counted[:, None] * loss.gradient(alone, y))
    # And with the square of a change of eta_j.
    curved = counted[:, None, None] * (step @ loss.hessian(alone, y) @ spread)

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
    own = objective.design.multiply(np.ascontiguousarray(u.T)) - applied(h, pull)
    effects = np.einsum("na,na->n", removal, own)
    effects += 0.5 * np.einsum("na,nab,nb->n", removal, N, removal)
    effects += np.einsum("nab,nba->n", hessians @ spread, M)
    error = np.full(n, np.nan)
    without = without_each(factor, strong, removal, alone, weight_in_mean) if len(strong) else None
    if without is not None:
        effects += without.shares.sum(axis=1)
        missed = np.abs(effects[strong] - without.change) / length[strong]
        error = SAFETY * missed.max() * length
        effects[strong], error[strong] = without.change, SAFETY_OF_STRONG * without.error(length)
        error += OF_ITSELF * np.abs(effects)
        error += OF_ALL * np.abs(weight_in_mean @ loss.value(alone, y))
    effects[unknown] = error[unknown] = np.nan
    return effects, error


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
        turned = applied(full, p)
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
