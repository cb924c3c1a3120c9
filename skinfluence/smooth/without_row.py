"""One step of rows that alone decide a parameter but for its penalty.

Their leverage is 1 to round-off, and no factor of the whole knows what is left of 1.
"""

from dataclasses import replace

import numpy as np

from skinfluence.curvature import Curvature
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.cholesky import cho_solved, cholesky

# Parameters up to which the Hessian without a row is factored for it.
MOST_PARAMETERS = 200
# Its reciprocal condition number from which on a step has nine digits.
LEAST_RCOND = 1e9 * np.finfo(float).eps


def coefficients(factor, edits):
    """The ``a_i`` of one Newton step on each edited problem, by its own Hessian and gradient.

    With these, ``P`` and ``G``, ``d = -P^-1 G`` and ``a = c + D J d``. Both are sums over what the
    edit leaves: taken from the whole, rounding, and what the fit stopped short of its optimum, would
    be divided by one minus the leverage.

    Parameters
    ----------
    factor : Factor
    edits : RowEdits of m rows
        Of leverage 1 to round-off.

    Returns
    -------
    a : ndarray of shape (m, n_outputs)
        NaN where that Hessian is singular, too, or has too many parameters, and where steps are not
        taken at the parameters of the factor. One factorisation each.
    """
    objective, eps = factor.objective, np.finfo(float).eps
    a = np.full(edits.gradient.shape, np.nan)
    if objective.n_parameters > MOST_PARAMETERS or not objective.penalty.any():
        return a
    loss, eta = objective.loss, objective.eta
    for i, (row, x) in enumerate(zip(edits.rows, edits.design.dense_rows(), strict=True)):
        before, after = objective.weights[row], edits.weight[i]
        push = after * loss.gradient(eta[[row]], edits.y[[i]])[0]
        gone = before * objective.gradients[row]
        if (
            np.abs(edits.gradient[i] + gone - push) > 4 * eps * (np.abs(gone) + np.abs(push))
        ).any():
            continue
        shift = 0.0 if objective.hold == "C" else edits.shift[i]
        weights = objective.weights.copy()
        weights[row] = 0.0
        penalty = objective.penalty + shift * objective.unit_penalty
        others = replace(objective, weights=weights, penalty=penalty, sample_weight=None)
        P = Curvature(others, damping=factor.curvature.damping).dense()
        P += np.kron(after * loss.hessian(eta[[row]], edits.y[[i]])[0], np.outer(x, x))
        try:
            L, scale, rcond = cholesky(P, "The edited Hessian")
        except SingularHessianError:
            continue
        if rcond > LEAST_RCOND:
            G = others.gradient() + np.kron(push, x)
            step = -scale * cho_solved(L, (scale * G)[:, None])[:, 0]
            a[i] = edits.gradient[i] + edits.hessian[i] @ (step.reshape(objective.theta.shape) @ x)
    return a
