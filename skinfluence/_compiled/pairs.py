"""Weighted sums of powers over all pairs of rows, from blocks of one symmetric matrix.

A block is computed once and used for its rows and its columns.
"""

import numpy as np

from skinfluence._compiled.cached import compiled

# How many sums of a row run side by side, of few terms and of many.
LANES, MANY_LANES = 64, 256
_FAST = {"fastmath": {"contract", "nsz", "nnan", "reassoc"}, "error_model": "numpy"}


@compiled(nogil=True, **_FAST)
def _fold_line(K, size, third, fourth, largest, cubes, quarts):
    """Add some cosines of one row, each to a sum of its own: those run in vectors.

    A maximum over the row itself would not.
    """
    for j in range(len(K)):
        k = K[j]
        square = k * k
        largest[j] = max(largest[j], size[j] * abs(k))
        cubes[j] += third[j] * square * k
        quarts[j] += fourth[j] * square * square


@compiled(nogil=True)
def rows_of_block(K, start, size, third, fourth, largest, cubes, quarts):
    """Add what a block says of its rows, its columns being ``start, start + 1, ...``.

    The largest ``size |K|``, ``sum third K^3`` and ``sum fourth K^4``.
    """
    width = K.shape[1]
    part = np.empty((3, LANES), dtype=np.float32)
    for i in range(K.shape[0]):
        part[:] = 0.0
        for low in range(0, width, LANES):
            high = min(low + LANES, width)
            mine = slice(start + low, start + high)
            _fold_line(
                K[i, low:high], size[mine], third[mine], fourth[mine], part[0], part[1], part[2]
            )
        largest[i] = max(largest[i], part[0].max())
        cubes[i] += part[1].sum()
        quarts[i] += part[2].sum()


@compiled(nogil=True, **_FAST)
def _add_line(K, size, third, fourth, largest, cubes, quarts):
    for j in range(len(K)):
        k = K[j]
        square = k * k
        largest[j] = max(largest[j], size * abs(k))
        cubes[j] += third * square * k
        quarts[j] += fourth * square * square


@compiled(nogil=True)
def columns_of_block(K, size, third, fourth, largest, cubes, quarts):
    """Add what a block says of its columns; ``size``, ``third``, ``fourth`` are of its rows."""
    m = K.shape[1]
    part = np.zeros((3, m), dtype=np.float32)
    for i in range(K.shape[0]):
        _add_line(K[i], size[i], third[i], fourth[i], part[0], part[1], part[2])
    for j in range(m):
        largest[j] = max(largest[j], part[0, j])
        cubes[j] += part[1, j]
        quarts[j] += part[2, j]


@compiled(nogil=True, **_FAST)
def _logistic_lanes(
    delta, Z, p, s, mass, size, scale, far, rho, largest, left, bent, carried, turned, fell, rose
):
    """Of one edit and some rows: weighted remainders, and sums in lanes that run in vectors."""
    one, two, zero = np.float32(1.0), np.float32(2.0), np.float32(0.0)
    below, above = one - far, one + far
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
        largest[j] = max(largest[j], abs(d))
        left[j] += weighted * rest
        bent[j] += turn * square
        carried[j] += mass[j] * q * q * square
        turned[j] += turn * size[j]
        heavy = mass[j] * size[j]
        fell[j] += heavy * max(below - q, zero)
        rose[j] += heavy * max(q - above, zero)


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
    lanes = np.empty((7, MANY_LANES), dtype=np.float32)
    for i in range(len(delta)):
        lanes[:] = 0.0
        for low in range(0, n, MANY_LANES):
            high = min(low + MANY_LANES, n)
            _logistic_lanes(
                delta[i, low:high],
                Z[i, low:high],
                p[low:high],
                s[low:high],
                mass[low:high],
                size[low:high],
                scale,
                far,
                rho[i, low:high],
                lanes[0],
                lanes[1],
                lanes[2],
                lanes[3],
                lanes[4],
                lanes[5],
                lanes[6],
            )
        sums[0, i] = max(sums[0, i], lanes[0].max())
        for k in range(1, 7):
            sums[k, i] += lanes[k].sum()
