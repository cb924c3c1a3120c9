"""Products of many dense rows with few vectors, where BLAS reaches a seventh of its speed.

Four rows meet three vectors at a time: what is loaded is used three or four times, and the sums stay
in registers.
"""

import numpy as np
from numba import njit

# Rows and vectors that meet.
ROWS, VECTORS = 4, 3


def padded(V):
    """Vectors as lines, (d, m) to (m', d), with lines of zeros up to a multiple of VECTORS."""
    lines = np.zeros((-(-V.shape[1] // VECTORS) * VECTORS, len(V)))
    lines[: V.shape[1]] = V.T
    return lines


def multiply(X, lines):
    """``X V``.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous
    lines : ndarray of shape (m', d)
        V as :func:`padded` makes it.

    Returns
    -------
    out : ndarray of shape (n, m')
    """
    out = np.empty((len(X), len(lines)))
    whole = len(X) - len(X) % ROWS
    _multiply(X[:whole], lines, out)
    out[whole:] = X[whole:] @ lines.T
    return out


def add_adjoint(X, U, total):
    """Add ``U' X`` to ``total``.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous
    U : ndarray of shape (n, m')
    total : ndarray of shape (m', d)
    """
    whole = len(X) - len(X) % ROWS
    _add_adjoint(X[:whole], U, total)
    total += U[whole:].T @ X[whole:]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _multiply(X, lines, out):
    for i in range(0, len(X), 4):
        x0, x1, x2, x3 = X[i], X[i + 1], X[i + 2], X[i + 3]
        for a in range(0, len(lines), 3):
            v0, v1, v2 = lines[a], lines[a + 1], lines[a + 2]
            s00 = s01 = s02 = s10 = s11 = s12 = 0.0
            s20 = s21 = s22 = s30 = s31 = s32 = 0.0
            for j in range(X.shape[1]):
                p0, p1, p2 = v0[j], v1[j], v2[j]
                z0, z1, z2, z3 = x0[j], x1[j], x2[j], x3[j]
                s00 += z0 * p0
                s01 += z0 * p1
                s02 += z0 * p2
                s10 += z1 * p0
                s11 += z1 * p1
                s12 += z1 * p2
                s20 += z2 * p0
                s21 += z2 * p1
                s22 += z2 * p2
                s30 += z3 * p0
                s31 += z3 * p1
                s32 += z3 * p2
            out[i, a], out[i, a + 1], out[i, a + 2] = s00, s01, s02
            out[i + 1, a], out[i + 1, a + 1], out[i + 1, a + 2] = s10, s11, s12
            out[i + 2, a], out[i + 2, a + 1], out[i + 2, a + 2] = s20, s21, s22
            out[i + 3, a], out[i + 3, a + 1], out[i + 3, a + 2] = s30, s31, s32


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _add_adjoint(X, U, total):
    for i in range(0, len(X), 4):
        x0, x1, x2, x3 = X[i], X[i + 1], X[i + 2], X[i + 3]
        u0, u1, u2, u3 = U[i], U[i + 1], U[i + 2], U[i + 3]
        for a in range(0, len(total), 3):
            t0, t1, t2 = total[a], total[a + 1], total[a + 2]
            c00, c01, c02 = u0[a], u0[a + 1], u0[a + 2]
            c10, c11, c12 = u1[a], u1[a + 1], u1[a + 2]
            c20, c21, c22 = u2[a], u2[a + 1], u2[a + 2]
            c30, c31, c32 = u3[a], u3[a + 1], u3[a + 2]
            for j in range(X.shape[1]):
                z0, z1, z2, z3 = x0[j], x1[j], x2[j], x3[j]
                t0[j] += c00 * z0 + c10 * z1 + c20 * z2 + c30 * z3
                t1[j] += c01 * z0 + c11 * z1 + c21 * z2 + c31 * z3
                t2[j] += c02 * z0 + c12 * z1 + c22 * z2 + c32 * z3
