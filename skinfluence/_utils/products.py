"""Matrix products with far more digits than float64, made of ordinary ones.

The factors are cut into slices of few bits, so that each product of two slices is exact in
float64 whatever the order of its sums; the products are then added with their rounding errors
[1]_. Only BLAS is needed, and no wider type.

References
----------
.. [1] K. Ozaki, T. Ogita, S. Oishi and S. M. Rump, "Error-free transformations of matrix
   multiplication by using fast routines of matrix multiplication and its applications",
   Numerical Algorithms 59, 2012.
"""

import numpy as np

from skinfluence._utils.memory import row_blocks

# Bits of a float64.
BITS = 53


def subtract_product(C, A, B, bits=80, diagonal=None):
    """``C - (A + diag(diagonal)) B``, rounded to float64 only at the end.

    Parameters
    ----------
    C : ndarray of shape (m, q)
    A : ndarray of shape (m, n)
    B : ndarray of shape (n, q)
    bits : int, default=80
        To how many bits ``A B`` is known, relative to the largest entry of a row of A times that of
        a column of B; float64 has 53, and the sums end at 106.
    diagonal : ndarray of shape (n,), default=None
        For a square A, whose own diagonal would lose the digits of a small number added to it.

    Returns
    -------
    difference : ndarray of shape (m, q)

    Notes
    -----
    Ten products of the size of ``A B`` at 80 bits and a thousand rows.
    """
    spare = int(np.ceil(np.log2(max(A.shape[1], 2))))
    # n products of two slices, each of width - 1 bits and a sign, must stay below 2^53.
    width = (BITS + 2 - spare) // 2
    count = -(-(bits + spare) // width)
    right = list(_slices(B, width, count, axis=0))
    out = np.empty(C.shape)
    for block in row_blocks(len(A), 16 * (count * A.shape[1] + 4 * B.shape[1])):
        left = list(_slices(A[block], width, count, axis=1))
        high, low = np.array(C[block], dtype=np.float64), np.zeros(C[block].shape)
        if diagonal is not None:
            product, error = _two_product(diagonal[block, None], B[block])
            high, low = _two_sum(high, -product)
            low -= error
        for order in range(count):
            for p in range(order + 1):
                if p < len(left) and order - p < len(right):
                    high, error = _two_sum(high, -(left[p] @ right[order - p]))
                    low += error
        out[block] = high + low
    return out


def _slices(A, width, count, axis):
    """Slices of A, ``width`` bits each below the largest entry of a line, the upper ones first."""
    rest = np.array(A, dtype=np.float64)
    largest = np.abs(rest).max(axis=axis, keepdims=True, initial=0.0)
    exponent = np.frexp(largest)[1]
    for k in range(count):
        # Adding and taking away a large number rounds to a multiple of its last bit.
        anchor = np.ldexp(1.5, exponent + BITS - (k + 1) * width)
        part = (rest + anchor) - anchor
        rest -= part
        yield part
        if not rest.any():
            return


def _two_sum(a, b):
    """``a + b`` and its rounding error, exactly."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _two_product(a, b):
    """``a b`` and its rounding error, exactly."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    product = a * b
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _halves(a):
    scaled = (2.0**27 + 1.0) * a
    high = scaled - (scaled - a)
    return high, a - high
