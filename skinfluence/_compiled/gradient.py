"""One pass over dense rows: where their decision values are, and the gradient of the data there.

Each row is read once. A product for the decision values and another one for the gradient read all
rows twice, which is what a gradient of more rows than the cache holds costs.
"""

import numpy as np

from skinfluence._compiled.cached import REORDERED, SIGNLESS, compiled

# Kinds of losses, whose derivatives are written out below.
LOGISTIC, EXPONENTIAL = 0, 1
# Rows whose decision values are in memory at once: with their features, what the nearest cache holds.
ROWS = 64

# exp(x) = 2^k exp(r), |r| <= log(2) / 2: log(2) in two parts, of which k times the first is exact.
_LOG2_E, _LN_2, _LN_2_REST = 1.4426950408889634, 0.693147180369123816490, 1.90821492927058770002e-10
# Added to a number it leaves the nearest integer in the last bits.
_ROUND = 6755399441055744.0
_LARGEST = 700.0


@compiled(nogil=True, **SIGNLESS)
def exponentials(x, m, held, bits, power, power_bits):
    """The first m numbers of x become their exponentials, to two units in the last place.

    Written so that it runs in vectors, which the function of the library does not: it takes a fifth
    of the time. Beyond 700 in absolute value it is that of 700.

    Parameters
    ----------
    x : ndarray of shape (n,)
    m : int
    held, power : ndarray of shape (n,)
        Room for what is in between.
    bits, power_bits : ndarray of int64, shape (n,)
        The same memory as ``held`` and ``power``.
    """
    for i in range(m):
        # Written so that what is no number stays none.
        t = _LARGEST if x[i] > _LARGEST else x[i]
        x[i] = -_LARGEST if t < -_LARGEST else t
        held[i] = x[i] * _LOG2_E + _ROUND
    for i in range(m):
        power_bits[i] = (bits[i] << 52) + 4607182418800017408
    for i in range(m):
        k = held[i] - _ROUND
        r = (x[i] - k * _LN_2) - k * _LN_2_REST
        # Taylor's series: the next term is below 3e-17.
        t = 1.0 / 39916800.0 + r * (1.0 / 479001600.0 + r * (1.0 / 6227020800.0))
        t = 1.0 / 362880.0 + r * (1.0 / 3628800.0 + r * t)
        t = 1.0 / 5040.0 + r * (1.0 / 40320.0 + r * t)
        t = 1.0 / 120.0 + r * (1.0 / 720.0 + r * t)
        t = 1.0 / 6.0 + r * (1.0 / 24.0 + r * t)
        x[i] = power[i] * (1.0 + r * (1.0 + r * (0.5 + r * t)))


@compiled(nogil=True, **REORDERED)
def _slopes(kind, first, second, eta, y, start, m, pull, rooms):
    """First derivatives of a loss of one decision value at m rows.

    ``-s / (1 + exp((s eta - second) / first))`` with ``s`` the sign of y, for the logistic kind, and
    ``exp(first eta) - y exp(second eta)``. ``rooms`` are those of :func:`exponentials`, and one more.
    """
    held, bits, power, power_bits, other = rooms
    if kind == LOGISTIC:
        for i in range(m):
            sign = 1.0 if y[start + i] > 0.0 else -1.0
            pull[i] = (sign * eta[i] - second) / first
        exponentials(pull, m, held, bits, power, power_bits)
        for i in range(m):
            sign = 1.0 if y[start + i] > 0.0 else -1.0
            pull[i] = -sign / (1.0 + pull[i])
        return
    for i in range(m):
        pull[i] = first * eta[i]
    exponentials(pull, m, held, bits, power, power_bits)
    if second == 0.0:
        for i in range(m):
            pull[i] -= y[start + i]
        return
    for i in range(m):
        other[i] = second * eta[i]
    exponentials(other, m, held, bits, power, power_bits)
    for i in range(m):
        pull[i] -= y[start + i] * other[i]


@compiled(nogil=True, **REORDERED)
def add_rows(X, coef, offset, y, weights, at, kind, first, second, low, high, out):
    """Add the gradient of the rows from ``low`` to ``high`` to ``out``.

    Four rows at a time: the coefficients, and the sums, are read and written once for them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), C order
    coef : ndarray of shape (n_features,)
    offset : float
        Of every decision value.
    y, weights : ndarray of shape (n_samples,)
        Rows of weight zero are left out.
    at : ndarray of shape (n_samples,)
        Decision values to measure from.
    kind : int
    first, second : float
        As in the derivative of the kind.
    low, high : int
    out : ndarray of shape (n_features,)
        ``sum_i w_i l'(eta_i, y_i) x_i`` is added to it.

    Returns
    -------
    total : float
        ``sum_i w_i l'(eta_i, y_i)``.
    moved : float
        Largest ``|eta_i - at_i|``.
    largest : float
        Largest ``|eta_i|``.
    """
    d = X.shape[1]
    eta, pull, held, power = np.empty(ROWS), np.empty(ROWS), np.empty(ROWS), np.empty(ROWS)
    rooms = held, held.view(np.int64), power, power.view(np.int64), np.empty(ROWS)
    total, moved, largest = 0.0, 0.0, 0.0
    for start in range(low, high, ROWS):
        m = min(ROWS, high - start)
        fours = m - m % 4
        for i in range(0, fours, 4):
            p, q, r, s = X[start + i], X[start + i + 1], X[start + i + 2], X[start + i + 3]
            a, b, c, e = offset, offset, offset, offset
            for j in range(d):
                t = coef[j]
                a += p[j] * t
                b += q[j] * t
                c += r[j] * t
                e += s[j] * t
            eta[i], eta[i + 1], eta[i + 2], eta[i + 3] = a, b, c, e
        for i in range(fours, m):
            p, a = X[start + i], offset
            for j in range(d):
                a += p[j] * coef[j]
            eta[i] = a
        _slopes(kind, first, second, eta, y, start, m, pull, rooms)
        for i in range(m):
            w = weights[start + i]
            pull[i] = w * pull[i] if w > 0.0 else 0.0
            total += pull[i]
            moved = max(moved, abs(eta[i] - at[start + i]) if w > 0.0 else 0.0)
            largest = max(largest, abs(eta[i]) if w > 0.0 else 0.0)
        for i in range(0, fours, 4):
            a, b, c, e = pull[i], pull[i + 1], pull[i + 2], pull[i + 3]
            p, q, r, s = X[start + i], X[start + i + 1], X[start + i + 2], X[start + i + 3]
            for j in range(d):
                out[j] += a * p[j] + b * q[j] + c * r[j] + e * s[j]
        for i in range(fours, m):
            p, a = X[start + i], pull[i]
            for j in range(d):
                out[j] += a * p[j]
    return total, moved, largest


@compiled(nogil=True, **REORDERED)
def slopes_of_steps(kind, first, second, eta, y, weights, moved, largest):
    """Weighted first derivatives after each of many changes of the decision values of some rows.

    Parameters
    ----------
    kind, first, second
        As above.
    eta, y, weights : ndarray of shape (n,)
    moved : ndarray of shape (n, m), C order
        Changes of the decision values; overwritten with ``w_i l'(eta_i + moved_ij, y_i)``.
    largest : ndarray of shape (m,)
        Becomes the largest ``|moved_ij|`` over rows of positive weight, if that is larger.
    """
    n, m = moved.shape
    held, power, other = np.empty(m), np.empty(m), np.ones(m)
    rooms = held, held.view(np.int64), power, power.view(np.int64)
    for i in range(n):
        line, at, w = moved[i], eta[i], weights[i]
        if not w > 0.0:
            line[:] = 0.0
            continue
        for j in range(m):
            largest[j] = max(largest[j], abs(line[j]))
        if kind == LOGISTIC:
            sign = 1.0 if y[i] > 0.0 else -1.0
            for j in range(m):
                line[j] = (sign * (at + line[j]) - second) / first
            exponentials(line, m, *rooms)
            for j in range(m):
                line[j] = -sign * w / (1.0 + line[j])
        else:
            if second != 0.0:
                for j in range(m):
                    other[j] = second * (at + line[j])
                exponentials(other, m, *rooms)
            for j in range(m):
                line[j] = first * (at + line[j])
            exponentials(line, m, *rooms)
            for j in range(m):
                line[j] = w * (line[j] - y[i] * other[j])
