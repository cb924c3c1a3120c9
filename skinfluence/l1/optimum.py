"""The optimum of a squared error with an L1 penalty, by its active set, to round-off.

On columns A with signs s it is ``(G_A + l2 I)^-1 (q_A - l1 s)``. On the way there the first coefficient
that comes to zero takes its column out; at the end, the column whose slope is most above the penalty
comes in. The objective falls at each step, so that no set comes twice.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from skinfluence.solvers import SingularHessianError

MOST_SETS = 100_000
# Of the penalty: by so much slopes of columns without a coefficient may exceed it.
SLACK = 1e-10
# What columns leave of each other's squares; with less they are dependent.
DEPENDENT = 1e-12
REFINEMENTS = 3
# Times their spread: columns so far from zero lose their slopes among the digits of their mean.
FAR = 1e3

NOT_UNIQUE = (
    "The columns that have a coefficient must not be combinations of each other. Got columns that are: "
    "the optimum is not unique, and neither are answers. Drop duplicates, or fit ElasticNet."
)


@dataclass(frozen=True, eq=False)
class CentredRows:
    """Weighted rows and targets, about their means where there is an intercept.

    Attributes
    ----------
    X : ndarray or CSR array of shape (n, d)
    y, w : ndarray of shape (n,)
    centred : bool
    weight : float
    mean : ndarray of shape (d,)
    target : float
    about : ndarray of shape (d,)
        The mean of ``X`` as it is held: of columns far from zero without their mean.
    """

    X: object
    y: np.ndarray
    w: np.ndarray
    centred: bool
    weight: float
    mean: np.ndarray
    target: float
    about: np.ndarray

    @classmethod
    def of(cls, X, y, w, centred):
        """Rows with positive weight among some."""
        there = w > 0
        if not there.all():
            X, y, w = X[there], y[there], w[there]
        weight, mean, target = float(w.sum()), np.zeros(X.shape[1]), 0.0
        if centred:
            mean, target = np.asarray(w @ X).ravel() / weight, float(w @ y / weight)
        about = mean
        if not sp.issparse(X) and (np.abs(mean) > FAR * np.abs(X[:2] - mean).max(axis=0)).any():
            X = X - mean
            about = w @ X / weight
        return cls(X, y, w, centred, weight, mean, target, about)

    def columns(self, A):
        """Some columns about their means, dense."""
        X = self.X[:, A]
        return (X.toarray() if sp.issparse(X) else X) - self.about[A]

    def adjoint(self, r):
        """``sum_i w_i r_i (x_i - mean)``, shape (d, ...)."""
        scaled = (self.w * r.T).T
        found = np.asarray(self.X.T @ scaled)
        return found - np.multiply.outer(self.about, scaled.sum(axis=0))

    def residual(self, A, b):
        """Targets about their mean, less what columns A give."""
        return self.y - self.target - self.columns(A) @ b

    def theta(self, b, intercept):
        """Parameters with the factor of the intercept's column last, where it has one."""
        if not self.centred:
            return b
        return np.append(b, (self.target - self.mean @ b) / intercept)


def minimise(rows, l1, l2, positive, start):
    """Coefficients at the optimum, from a start.

    Parameters
    ----------
    rows : CentredRows
    l1, l2 : float
    positive : bool
    start : ndarray of shape (d,)

    Raises
    ------
    SingularHessianError
        Where it is not unique.
    """
    try:
        return _followed(rows, l1, l2, positive, np.array(start, dtype=float))
    except SingularHessianError:
        # Columns of the start may be combinations of each other here; those of the end need not be.
        return _followed(rows, l1, l2, positive, np.zeros(len(start)))


def _followed(rows, l1, l2, positive, b):
    """The optimum from ``b``, in place."""
    A = np.flatnonzero(b)
    signs = np.sign(b[A])
    H, q, known = _products(rows, A)
    for _ in range(MOST_SETS):
        if not np.array_equal(known, A):
            H, q, known = _kept(rows, H, q, known, A)
        goal = _on_set(H, q - l1 * signs, l2)
        with np.errstate(divide="ignore", invalid="ignore"):
            reached = np.where(goal * signs < 0, b[A] / (b[A] - goal), np.inf)
        leaves = int(reached.argmin()) if len(A) else 0
        if len(A) and reached[leaves] < 1.0:
            b[A] += reached[leaves] * (goal - b[A])
            b[A[leaves]] = 0.0
            A, signs = np.delete(A, leaves), np.delete(signs, leaves)
            continue
        b[A] = goal
        r = rows.residual(A, goal)
        slope = rows.adjoint(r)
        if len(A):
            # What squaring the columns' condition left, from the residuals.
            for _ in range(REFINEMENTS):
                left = slope[A] - l1 * signs - l2 * b[A]
                b[A] += _on_set(H, left, l2)
                slope = rows.adjoint(rows.residual(A, b[A]))
        excess = (slope if positive else np.abs(slope)) - l1
        excess[A] = -np.inf
        j = int(excess.argmax()) if len(excess) else 0
        if not len(excess) or not excess[j] > SLACK * l1:
            return b
        A, signs = np.append(A, j), np.append(signs, np.sign(slope[j]))
    raise SingularHessianError(NOT_UNIQUE)


def _products(rows, A):
    Z = rows.columns(A)
    scaled = rows.w[:, None] * Z
    return scaled.T @ Z, scaled.T @ (rows.y - rows.target), A


def _kept(rows, H, q, known, A):
    """The products of columns A from those of others: one is gone, or one is new, last."""
    if len(A) < len(known):
        stay = np.flatnonzero(np.isin(known, A))
        return H[np.ix_(stay, stay)], q[stay], A
    Z = rows.columns(A)
    new = rows.w * Z[:, -1]
    edge = Z.T @ new
    out = np.empty((len(A), len(A)))
    out[:-1, :-1], out[-1], out[:, -1] = H, edge, edge
    return out, np.append(q, new @ (rows.y - rows.target)), A


def _on_set(H, right, l2):
    if not len(right):
        return right
    H = H + l2 * np.eye(len(H))
    return scipy.linalg.cho_solve(factored(H), right)


def factored(H):
    """The Cholesky factor of products of columns.

    Raises
    ------
    SingularHessianError
        Where columns are combinations of others.
    """
    try:
        L, lower = scipy.linalg.cho_factor(H, lower=True)
    except np.linalg.LinAlgError:
        raise SingularHessianError(NOT_UNIQUE) from None
    if len(H) and (L.diagonal() ** 2 <= DEPENDENT * H.diagonal()).any():
        raise SingularHessianError(NOT_UNIQUE)
    return L, lower
