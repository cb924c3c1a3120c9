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
# Refinements of a step below it at most, and what the last one may change of it.
MAX_REFINEMENTS, REFINED = 8, 1e-9


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
        curve = after * loss.hessian(eta[[row]], edits.y[[i]])[0]
        P = _Edited(others, factor.curvature.damping, x, curve)
        step = P.step(others.gradient() + np.kron(push, x))
        if step is not None:
            a[i] = edits.gradient[i] + edits.hessian[i] @ (step.reshape(objective.theta.shape) @ x)
    return a


class _Edited:
    """The Hessian of the other rows and of what an edit leaves of its own, by sums over the rows."""

    def __init__(self, others, damping, x, curve):
        self.curvature, self.x, self.curve = Curvature(others, damping=damping), x, curve

    def _product(self, step):
        own = self.curve @ (step.reshape(len(self.curve), -1) @ self.x)
        return self.curvature.product(step[:, None])[:, 0] + np.kron(own, self.x)

    def step(self, gradient):
        """Newton's step, or None where no nine digits of it are known.

        What rounding moves in products with the rows it moves little of the step in the norm of their
        Hessian, where in the entries of that Hessian it moves the condition number times as much.
        """
        P = self.curvature.dense() + np.kron(self.curve, np.outer(self.x, self.x))
        try:
            L, scale, rcond = cholesky(P, "The edited Hessian")
        except SingularHessianError:
            return None

        def solve(right):
            return scale * cho_solved(L, (scale * right)[:, None])[:, 0]

        step = -solve(gradient)
        if rcond > LEAST_RCOND:
            return step
        for _ in range(MAX_REFINEMENTS):
            change = -solve(gradient + self._product(step))
            step = step + change
            size, moved = (max(float(one @ self._product(one)), 0.0) for one in (step, change))
            if moved <= REFINED**2 * size:
                return step
        return None
