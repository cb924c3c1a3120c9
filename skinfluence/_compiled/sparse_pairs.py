"""Products of sparse rows with dense vectors side by side, a block at a time, in single precision."""

import numpy as np

from skinfluence._compiled.cached import WITHOUT_NAN, compiled


@compiled(nogil=True, **WITHOUT_NAN)
def _add_eight(line, data, indices, first, Z):
    """Add eight entries' products: the line is loaded and stored once for all of them."""
    a, b, c, d = data[first], data[first + 1], data[first + 2], data[first + 3]
    e, f, g, h = data[first + 4], data[first + 5], data[first + 6], data[first + 7]
    A, B = Z[indices[first]], Z[indices[first + 1]]
    C, D = Z[indices[first + 2]], Z[indices[first + 3]]
    E, F = Z[indices[first + 4]], Z[indices[first + 5]]
    G, H = Z[indices[first + 6]], Z[indices[first + 7]]
    for j in range(len(line)):
        one = (a * A[j] + b * B[j]) + (c * C[j] + d * D[j])
        line[j] += one + ((e * E[j] + f * F[j]) + (g * G[j] + h * H[j]))


@compiled(nogil=True, **WITHOUT_NAN)
def _add_two(line, data, indices, first, Z):
    a, b = data[first], data[first + 1]
    A, B = Z[indices[first]], Z[indices[first + 1]]
    for j in range(len(line)):
        line[j] += a * A[j] + b * B[j]


@compiled(nogil=True, **WITHOUT_NAN)
def _add_one(line, a, A):
    for j in range(len(line)):
        line[j] += a * A[j]


@compiled(nogil=True)
def products_of_block(data, indices, indptr, low, Z, K, first):
    """Products of the CSR rows ``low, low + 1, ...`` with the columns of ``Z``.

    Parameters
    ----------
    data : ndarray of float32
    indices, indptr : ndarray of int32
        Of a CSR matrix of p columns.
    low : int
    Z : ndarray of float32, shape (p, width)
        C-ordered and small: it is read once for each row, and should stay in the cache.
    K : ndarray of float32, shape (n_rows, m)
        C-ordered. Its columns from ``first`` on are filled, ``width`` of them or as many as there are.
    first : int
    """
    last = min(first + Z.shape[1], K.shape[1])
    for i in range(len(K)):
        line = K[i, first:last]
        line[:] = 0.0
        # Of one type before and after it is counted up: two compile what is called twice.
        entry, end = np.int64(indptr[low + i]), np.int64(indptr[low + i + 1])
        while entry + 8 <= end:
            _add_eight(line, data, indices, entry, Z)
            entry += 8
        while entry + 2 <= end:
            _add_two(line, data, indices, entry, Z)
            entry += 2
        if entry < end:
            _add_one(line, data[entry], Z[indices[entry]])
