"""Weighted sums of powers over all pairs of rows, from blocks of one symmetric matrix.

A block is computed once and used for its rows and its columns.
"""

import numpy as np

from skinfluence._compiled.cached import WITHOUT_NAN, compiled
from skinfluence._compiled.larger import larger

# Terms of a sum in single precision.
TERMS = 512


@compiled(nogil=True, **WITHOUT_NAN)
def _fold_line(K, size, third, fourth):
    """The largest ``size |K|``, ``sum third K^3`` and ``sum fourth K^4`` of some cosines of one row."""
    zero = np.float32(0.0)
    largest, cubes, quarts = zero, zero, zero
    for j in range(len(K)):
        k = K[j]
        square = k * k
        largest = larger(largest, size[j] * abs(k))
        cubes += third[j] * square * k
        quarts += fourth[j] * square * square
    return largest, cubes, quarts


@compiled(nogil=True)
def rows_of_block(K, start, size, third, fourth, largest, cubes, quarts):
    """Add what a block says of its rows, its columns being ``start, start + 1, ...``.

    The largest ``size |K|``, ``sum third K^3`` and ``sum fourth K^4``.
    """
    width = K.shape[1]
    for i in range(K.shape[0]):
        for low in range(0, width, TERMS):
            high = min(low + TERMS, width)
            mine = slice(start + low, start + high)
            far, third_power, fourth_power = _fold_line(
                K[i, low:high], size[mine], third[mine], fourth[mine]
            )
            largest[i] = max(largest[i], far)
            cubes[i] += third_power
            quarts[i] += fourth_power


@compiled(nogil=True, **WITHOUT_NAN)
def _fold_both(K, size, third, fourth, own, largest, cubes, quarts):
    """As :func:`_fold_line`, and add to the sums of the columns what this row, with ``own``, is to them."""
    zero = np.float32(0.0)
    far, third_power, fourth_power = zero, zero, zero
    own_size, own_third, own_fourth = own
    for j in range(len(K)):
        k = K[j]
        square = k * k
        far = larger(far, size[j] * abs(k))
        third_power += third[j] * square * k
        fourth_power += fourth[j] * square * square
        largest[j] = larger(largest[j], own_size * abs(k))
        cubes[j] += own_third * square * k
        quarts[j] += own_fourth * square * square
    return far, third_power, fourth_power


@compiled(nogil=True)
def sums_of_block(K, low, start, size, third, fourth, largest, cubes, quarts):
    """Add what a block of rows ``low, low + 1, ...`` and columns ``start, start + 1, ...`` says of both.

    As :func:`rows_of_block`; all arrays are those of all rows. At most TERMS rows.
    """
    m, width = K.shape
    part = np.empty((3, TERMS), dtype=np.float32)
    for first in range(0, width, TERMS):
        last = min(first + TERMS, width)
        there = slice(start + first, start + last)
        part[:] = 0.0
        for i in range(m):
            own = size[low + i], third[low + i], fourth[low + i]
            far, third_power, fourth_power = _fold_both(
                K[i, first:last],
                size[there],
                third[there],
                fourth[there],
                own,
                part[0],
                part[1],
                part[2],
            )
            largest[low + i] = max(largest[low + i], far)
            cubes[low + i] += third_power
            quarts[low + i] += fourth_power
        for j in range(last - first):
            at = start + first + j
            largest[at] = max(largest[at], part[0, j])
            cubes[at] += part[1, j]
            quarts[at] += part[2, j]


@compiled(nogil=True, **WITHOUT_NAN)
def _logistic_line(delta, Z, p, s, mass, size, scale, far, rho):
    """Of one edit and some rows: weighted remainders, and their sums."""
    one, two, zero = np.float32(1.0), np.float32(2.0), np.float32(0.0)
    below, above = one - far, one + far
    largest, left, bent, carried, turned, fell, rose = zero, zero, zero, zero, zero, zero, zero
    for j in range(len(delta)):
        d = delta[j] * scale
        x = np.float32(0.125) * d
        # e^x - 1 by its series and three doublings: no call.
        E = np.float32(1 / 40320)
        E = E * x + np.float32(1 / 5040)
        E = E * x + np.float32(1 / 720)
        E = E * x + np.float32(1 / 120)
        E = E * x + np.float32(1 / 24)
        E = E * x + np.float32(1 / 6)
        E = E * x + np.float32(0.5)
        E = E * x * x + x
        F = one + E
        E = E * (two + E)
        E = E * (two + E)
        E = E * (two + E)
        F = F * F
        F = F * F
        F = F * F
        part = one / (s[j] + p[j] * F)
        rest = E * part - d
        q = F * part * part
        weighted = mass[j] * rest
        rho[j] = weighted
        turn = mass[j] * (q - one) * (q - one)
        square = Z[j] * Z[j]
        largest = larger(largest, abs(d))
        left += weighted * rest
        bent += turn * square
        carried += mass[j] * q * q * square
        turned += turn * size[j]
        heavy = mass[j] * size[j]
        fell += heavy * larger(below - q, zero)
        rose += heavy * larger(q - above, zero)
    return largest, left, bent, carried, turned, fell, rose


@compiled(nogil=True)
def logistic_remainders(delta, Z, p, s, mass, size, scale, far, rho, sums):
    """Remainders of the logistic loss under many steps, with sums over the rows.

    Parameters
    ----------
    delta, Z : ndarray of float32, shape (m, n_samples)
        Changes of decision values; what the sums are weighted with.
    p, s, mass, size : ndarray of float32, shape (n_samples,)
        Probabilities of the two sides, weights times ``p s``, and squared sizes of the rows.
    scale : float32
        Factor of ``delta``.
    far : float32
        Change of a curvature, relative to it, beyond which it is added up.
    rho : ndarray of float32, shape (m, n_samples)
        Filled with the weighted remainders.
    sums : ndarray of shape (7, m)
        Joined by the largest ``|scale delta|``, ``sum rho^2 / mass`` and, with q the ratio of the
        curvature after a step to the one before, ``sum mass Z^2 (q - 1)^2``, ``sum mass Z^2 q^2``,
        ``sum mass size (q - 1)^2``, and ``sum mass size`` times what q is below ``1 - far`` and
        above ``1 + far``.
    """
    n = delta.shape[1]
    for i in range(len(delta)):
        for low in range(0, n, TERMS):
            high = min(low + TERMS, n)
            found = _logistic_line(
                delta[i, low:high],
                Z[i, low:high],
                p[low:high],
                s[low:high],
                mass[low:high],
                size[low:high],
                scale,
                far,
                rho[i, low:high],
            )
            sums[0, i] = max(sums[0, i], found[0])
            for k in range(1, 7):
                sums[k, i] += found[k]
