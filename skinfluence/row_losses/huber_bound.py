"""How far the end of a Huber regression is from its optimum, by what is left of the gradient.

Along a line in coefficients and scale the second derivative of a row that stays within epsilon is that at
the start over ``(1 + t b / s)^3``, where ``b`` is what the scale moves by: the objective is nearly quadratic
(``doc/certificate.md``).
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.cholesky import cho_inverse, cholesky

EPS = np.finfo(float).eps
# Sets that are tried: each leaves out the rows that the one before could not hold.
MOST_SETS = 8
# Reciprocal condition below which solves have too few digits, and how far the scale may move.
FEW_DIGITS, LARGEST_SHARE = 1e-10, 0.5


@dataclass(frozen=True, eq=False)
class Distance:
    """``|theta - theta*|_K <= radius`` of the parameters where a solver ended.

    Attributes
    ----------
    radius : float
    hessian : ndarray of shape (n_params, n_params)
        K: that of the rows that stay within epsilon, and of the penalty.
    inverse : ndarray of shape (n_params, n_params)
    """

    radius: float
    hessian: np.ndarray
    inverse: np.ndarray

    def in_norm(self, P):
        """The same in the norm of another matrix."""
        # All of them: the search for one ends without it where they are all equal, as of one matrix twice.
        largest = linalg.eigh(P, self.hessian, eigvals_only=True)[-1]
        return self.radius * float(np.sqrt(np.maximum(largest, 0.0)))

    def reach(self, Z):
        """``|z|`` of rows (m, n_params) in the norm of the inverse of K."""
        return np.sqrt(np.maximum(np.einsum("ij,ij->i", Z @ self.inverse, Z), 0.0))


def distance(problem):
    """Of a :class:`~skinfluence.row_losses.huber.HuberProblem` at its parameters.

    Returns
    -------
    distance : Distance or None
        None where nothing is known: the rows within epsilon do not decide, or the end is far away.
    """
    X, y, weights = problem.weighted
    Z, theta, epsilon = problem.row_loss.columns(X), problem.theta, problem.row_loss.epsilon
    scale, rest = theta[-1], y - Z @ theta[:-1]
    u, rounded = rest / scale, np.abs(y) + np.abs(Z) @ np.abs(theta[:-1]) + epsilon * scale
    rows, gradient = np.column_stack([Z, u]), problem.gradient()
    held = np.abs(u) <= epsilon
    # How far each row is from either edge of epsilon, beyond round-off.
    room = [epsilon * scale - side * rest - 4.0 * EPS * rounded for side in (1.0, -1.0)]
    for _ in range(MOST_SETS):
        found = _factored(rows[held], 2.0 * weights[held] / scale, problem.penalty)
        if found is None:
            return None
        lost, ball = found
        across, turned, own = _lengths(Z, ball.inverse)
        noise = _rounding(problem, u, weights, rounded / scale, across, own)
        left = lost * float(np.sqrt(np.maximum(gradient @ ball.inverse @ gradient, 0.0))) + noise
        # What the scale may move by, relative to itself, within twice what is left.
        share = 2.0 * left * lost * own / scale
        if not share <= LARGEST_SHARE:
            return None
        radius = left * 2.0 * (1.0 + share) ** 2 / (2.0 + share)
        stays = True
        for space, side in zip(room, (epsilon, -epsilon), strict=True):
            edge = np.maximum(across**2 + 2.0 * side * turned + (side * own) ** 2, 0.0)
            stays = stays & (space > radius * lost * np.sqrt(edge))
        if stays[held].all():
            return Distance(radius, ball.hessian, ball.inverse)
        held &= stays
    return None


def _factored(rows, weights, penalty):
    """K as a :class:`Distance` of nothing, and what its solves may be off by as a factor."""
    root = np.sqrt(weights)[:, None] * rows
    K = root.T @ root + np.diag(penalty)
    try:
        L, scale, rcond = cholesky(K, "The Hessian")
    except SingularHessianError:
        return None
    if rcond < FEW_DIGITS:
        return None
    return 1.0 + 4.0 * len(K) * EPS / rcond, Distance(0.0, K, cho_inverse(L, scale))


def _lengths(Z, inverse):
    """``|(z, 0)|`` of rows, their products with the scale, and its own length, in the norm of an inverse."""
    lengths = np.einsum("ij,ij->i", Z @ inverse[:-1, :-1], Z)
    return np.sqrt(np.maximum(lengths, 0.0)), Z @ inverse[:-1, -1], float(np.sqrt(inverse[-1, -1]))


def _rounding(problem, u, weights, rounded, across, own):
    """What rounding makes of the terms of the gradient, as a distance."""
    u = np.minimum(np.abs(u), problem.row_loss.epsilon)
    of_rows = 2.0 * (u + rounded) * across + (1.0 + u * (u + 2.0 * rounded)) * own
    of_penalty = np.sqrt((problem.penalty * problem.theta**2).sum())
    return 4.0 * EPS * float(weights @ of_rows + of_penalty)
