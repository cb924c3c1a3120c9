"""Conjugate gradients in one space for many right-hand sides."""

import numpy as np
from scipy import linalg

from skinfluence._utils.threads import one_blas_thread

# What must be left of a direction beside the others.
INDEPENDENT = 1e-10


def block_cg(multiply, B, precondition, target, max_iter, last=None):
    """Conjugate gradients on the columns of ``B`` in one space that grows for all of them.

    Parameters
    ----------
    multiply, precondition : callable
        Of arrays of columns.
    B : ndarray of shape (p, m)
    target : ndarray of shape (m,)
        Norm of the residual at which a column has converged.
    max_iter : int
    last : tuple, default=None
        Of an earlier call whose residuals, computed again, are ``B``: it goes on from there.

    Returns
    -------
    X : ndarray of shape (p, m)
    iterations : ndarray of int of shape (m,)
        Products each column took part in.
    last : tuple or None
        The last directions, their products and the factor of their curvature; None where they
        broke down.
    R : ndarray of shape (p, m)
        Residuals as the recurrence has them.

    Notes
    -----
    The directions of an iteration are those of all columns that have not converged, without what
    depends on the others [1]_; each column takes the best step in their span.

    References
    ----------
    .. [1] H. Ji and Y. Li, "A breakdown-free block conjugate gradient method", BIT Numerical
       Mathematics 57, 2017.
    """
    X, R = np.zeros_like(B, dtype=float), B.astype(float, copy=True)
    iterations = np.zeros(B.shape[1], dtype=int)
    left = np.flatnonzero(np.linalg.norm(R, axis=0) > target)
    while len(left) and iterations[left[0]] < max_iter:
        Z = precondition(R[:, left])
        # Few vectors: threads of BLAS would wait for each other.
        with one_blas_thread():
            P = _independent(Z if last is None else _conjugate(Z, *last))
        if not P.shape[1]:
            return X, iterations, None, R
        AP = multiply(P)
        with one_blas_thread():
            factor, failed = linalg.lapack.dpotrf(P.T @ AP, lower=1)
            if failed:
                # Not positive definite along these directions: whoever asked sees the residual.
                return X, iterations, None, R
            last = P, AP, factor
            step = linalg.cho_solve((factor, True), P.T @ R[:, left], check_finite=False)
            X[:, left] += P @ step
            R[:, left] -= AP @ step
        iterations[left] += 1
        left = left[np.linalg.norm(R[:, left], axis=0) > target[left]]
    return X, iterations, last, R


def _conjugate(Z, P, AP, factor):
    """``Z`` without its part along earlier directions, in the curvature's inner product."""
    return Z - P @ linalg.cho_solve((factor, True), AP.T @ Z, check_finite=False)


def _independent(Z):
    """An orthonormal basis of columns, whatever their sizes, without directions of round-off."""
    size = np.linalg.norm(Z, axis=0)
    Z = Z[:, size > 0] / size[size > 0]
    if Z.shape[1] < 2:
        return Z
    Q, R, _ = linalg.qr(Z, mode="economic", pivoting=True, check_finite=False)
    size = np.abs(np.diagonal(R))
    return Q[:, size > INDEPENDENT * size[0]]
