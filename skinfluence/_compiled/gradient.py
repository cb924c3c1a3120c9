"""One pass over dense rows: where their decision values are, and the gradient of the data there.

Each row is read once. A product for the decision values and another one for the gradient read all
rows twice, which is what a gradient of more rows than the cache holds costs.
"""

import numpy as np

from skinfluence._compiled.cached import compiled

# Kinds of losses: the derivative of each is written out in `_slope`.
LOGISTIC, EXPONENTIAL = 0, 1
# Rows whose decision values are in memory at once: with their features, what the nearest cache holds.
ROWS = 64
_FAST = {"fastmath": {"contract", "nsz", "reassoc"}, "error_model": "numpy"}


@compiled(nogil=True, inline="always", **_FAST)
def _slope(kind, first, second, eta, y):
    """First derivative of a loss of one decision value.

    ``-s / (1 + exp((s eta - second) / first))`` with ``s`` the sign of y, for the logistic kind, and
    ``exp(first eta) - y exp(second eta)``.
    """
    if kind == LOGISTIC:
        sign = 1.0 if y > 0.0 else -1.0
        return -sign / (1.0 + np.exp((sign * eta - second) / first))
    if second == 0.0:
        return np.exp(first * eta) - y
    return np.exp(first * eta) - y * np.exp(second * eta)


@compiled(nogil=True, **_FAST)
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
    eta, pull = np.empty(ROWS), np.empty(ROWS)
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
        for i in range(m):
            w, pull[i] = weights[start + i], 0.0
            if w > 0.0:
                pull[i] = w * _slope(kind, first, second, eta[i], y[start + i])
                total += pull[i]
                moved = max(moved, abs(eta[i] - at[start + i]))
                largest = max(largest, abs(eta[i]))
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
