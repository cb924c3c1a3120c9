"""Kernels with the margin held: how decision values answer a push, per unit of coefficient.

    kappa(x, z) = k(x, z) - k(x, S) v_z - b_z,      (b_z, v_z) = A^-1 (1, k(S, z))

With ``S`` the margin rows this is the derivative of the hinge solution (the Karush-Kuhn-Tucker
system with fixed roles); with a smooth hinge in place of the hinge, ``S`` are the rows where it
curves, and their inverse curvatures stand on the diagonal of ``A``.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit

from skinfluence._utils.memory import check_fits
from skinfluence.active_set import BOUND, MARGIN
from skinfluence.design import design_of
from skinfluence.hinge.losses import AT_MARGIN

# Rows whose curvature is below this share of the largest do not count.
NEGLIGIBLE = 1e-12


class Conditional:
    """The conditional kernel of one binary problem.

    Parameters
    ----------
    kernel : Kernel
    centres : ndarray of int, shape (m,)
        Training rows on the margin, or where the smooth hinge curves.
    X : ndarray or CSR array of shape (m, n_features)
        Their features.
    coefficients : callable
        From k points, rows of features, to ``(b (k,), v (m, k))``.
    push : ndarray of shape (n,)
        What one unit of weight of each training row puts on its coefficient.
    """

    def __init__(self, kernel, centres, X, coefficients, push):
        self.kernel = kernel
        self.centres = centres
        self.X = X
        self.coefficients = coefficients
        self.push = push

    def cross(self, A, B, solved=None):
        """``kappa`` of all pairs of rows, (len(A), len(B)); ``solved`` of B if it is at hand."""
        bias, v = self.coefficients(B) if solved is None else solved
        out = self.kernel(A, B)
        if len(self.centres):
            out -= self.kernel(A, self.X) @ v
        return out - bias

    def diagonal(self, A):
        """``kappa(x, x)`` of rows, (len(A),)."""
        bias, v = self.coefficients(A)
        out = self.kernel.diagonal(A) - bias
        if len(self.centres):
            out -= np.einsum("ij,ji->i", self.kernel(A, self.X), v)
        return out


def at_margin(problem, output, rows, solution, paths):
    """Of the hinge itself: the margin rows, and every row beyond its margin pushes with all of C.

    Rows on the margin push nothing: a little more weight leaves their coefficients where they are.
    """
    codes = problem.y[rows]
    units = problem.units(codes)[:, output]
    # A row of weight zero that is short of its margin would be pushed if it had weight.
    beyond = problem.loss.signs[codes, output] * solution.f < 1.0 - AT_MARGIN
    short = np.where(problem.weights[rows] > 0, solution.role == BOUND, beyond)
    check_margin(problem, solution)
    margin = np.asarray(paths.margin, dtype=np.intp)
    X = problem.design.X[rows[margin]]
    kernel = problem.design.kernel

    def coefficients(B):
        return paths.project(problem.cross(X, B))

    return Conditional(kernel, rows[margin], X, coefficients, _on_all(problem, rows, units * short))


def check_margin(problem, solution):
    """Refuse local questions where the free intercept is not determined."""
    if problem.free_bias and not (solution.role == MARGIN).any():
        low, high = solution.bias_interval
        raise ValueError(
            "Derivatives and one step of a hinge model need a row on the margin, which holds the "
            f"free intercept. Got a binary problem without one, whose intercept may lie anywhere "
            f"between {low:.3g} and {high:.3g}; ask for effects with method='auto', the exact path, "
            "raise smoothing=, or fit with a larger C."
        )


def smoothed(problem, output, rows, solution, temperature):
    """Of the smooth hinge ``t log(1 + exp((1 - y f) / t))`` at the hinge's solution."""
    codes = problem.y[rows]
    units = problem.units(codes)[:, output]
    z = (1.0 - problem.loss.signs[codes, output] * solution.f) / temperature
    curvature = problem.weights[rows] * np.abs(units) * expit(z) * expit(-z) / temperature
    curved = np.flatnonzero(curvature > NEGLIGIBLE * curvature.max(initial=0.0))
    if not len(curved):
        check_margin(problem, solution)
    X, D = problem.design.X[rows[curved]], curvature[curved]
    make = _from_features if _prefers_features(problem, len(curved)) else _from_kernel
    push = _on_all(problem, rows, units * expit(z))
    coefficients = make(problem, X, D) if len(curved) else _nothing
    return Conditional(problem.design.kernel, rows[curved], X, coefficients, push)


def _nothing(B):
    return np.zeros(B.shape[0]), np.zeros((0, B.shape[0]))


def _on_all(problem, rows, values):
    out = np.zeros(problem.n_samples)
    out[rows] = values
    return out


def _prefers_features(problem, m):
    return problem.is_linear and problem.design.n_features < m


def _from_kernel(problem, X, D):
    check_fits((len(D), len(D)), "Use a smaller smoothing=: fewer rows curve.")
    K = problem.design.kernel(X)
    K[np.diag_indices_from(K)] += 1.0 / D
    factor = _cholesky(K)
    ones = cho_solve(factor, np.ones(len(D))) if problem.free_bias else None

    def coefficients(B):
        v = cho_solve(factor, problem.design.kernel(X, B))
        if ones is None:
            return np.zeros(B.shape[0]), v
        bias = (v.sum(axis=0) - 1.0) / ones.sum()
        return bias, v - np.outer(ones, bias)

    return coefficients


def _from_features(problem, X, D):
    """The same through the features of a linear kernel: (H^-1 x_t) with H = I + X' D X."""
    design = design_of(X, problem.intercept)
    H = design.grams(D[None])[0]
    diagonal = np.ones(len(H))
    if problem.free_bias:
        diagonal[-1] = 0.0
    H[np.diag_indices_from(H)] += diagonal
    factor = _cholesky(H)

    def coefficients(B):
        moved = cho_solve(factor, design.like(B).dense_rows().T)
        bias = -moved[-1] if problem.free_bias else np.zeros(B.shape[0])
        return bias, D[:, None] * design.multiply(moved)

    return coefficients


def _cholesky(A):
    try:
        return cho_factor(A, lower=True)
    except LinAlgError:
        raise ValueError(
            "The smoothed problem must have a positive definite Hessian. Its matrix is singular to "
            "round-off: raise smoothing=, or use smoothing=None."
        ) from None


def having(problem, one, beta):
    """The same for moves of the rows: one unit of weight *has* ``beta_i / w_i``, margin rows too."""
    push = one.push.copy()
    weighted = problem.weights > 0
    push[weighted] = beta[weighted] / problem.weights[weighted]
    return Conditional(one.kernel, one.centres, one.X, one.coefficients, push)
