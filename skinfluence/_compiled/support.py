"""Columns that come and go when a row leaves a lasso, one exchange at a time.

On the support A that it had, without row i coefficients are ``b + gamma p`` and the slopes of the other
columns ``s + gamma t``. Let columns L of A lose their coefficient and columns E gain one: with
``(delta, beta)`` from

    [ H_LL   -W_LE ] [ delta ]   [ -b_L          ]
    [ W_LE'   S_EE ] [ beta  ] = [  s_E - l1 sign ]

coefficients are ``b + H_.L delta - W_.E beta`` and slopes ``s - S_.E beta - W_L.' delta``. H is the inverse
on A, ``W = H G_AR`` and S what A leaves of the others' products; without the row ``H + g p p'``,
``W - g p t'`` and ``S - g t t'``.
"""

import numpy as np

from skinfluence._compiled.cached import compiled

# Exchanges of a row, and how many columns may have changed sides at once.
MOST, ROOM = 60, 24
# Of the penalty: by so much slopes of columns without a coefficient may exceed it.
SLACK = 1e-10


@compiled(nogil=True)
def exceed(T, gamma, s1, s2, l1, positive, wrong):
    """Mark rows in which a slope ``s1 - l1 s2 + gamma t`` is above the penalty.

    Parameters
    ----------
    T : ndarray of shape (n, r)
    gamma, l1 : ndarray of shape (n,)
    s1, s2 : ndarray of shape (r,)
    positive : bool
    wrong : ndarray of bool, shape (n,)
        In place.
    """
    for i in range(len(gamma)):
        most, factor, own = l1[i] * (1.0 + SLACK), gamma[i], l1[i]
        least = -np.inf if positive else -most
        for j in range(len(s1)):
            slope = s1[j] - own * s2[j] + factor * T[i, j]
            if slope > most or slope < least:
                wrong[i] = True
                break


@compiled(nogil=True)
def _solved(M, right, n):
    """Gaussian elimination with pivots, in place; False where there is none."""
    for a in range(n):
        best = a
        for b in range(a + 1, n):
            if abs(M[b, a]) > abs(M[best, a]):
                best = b
        if not abs(M[best, a]) > 0.0:
            return False
        if best != a:
            for c in range(n):
                M[a, c], M[best, c] = M[best, c], M[a, c]
            right[a], right[best] = right[best], right[a]
        for b in range(a + 1, n):
            factor = M[b, a] / M[a, a]
            for c in range(a, n):
                M[b, c] -= factor * M[a, c]
            right[b] -= factor * right[a]
    for a in range(n - 1, -1, -1):
        for c in range(a + 1, n):
            right[a] -= M[a, c] * right[c]
        right[a] /= M[a, a]
    return True


@compiled(nogil=True)
def exchange(H, W, S, among, sign, b0, s0, p, t, g, l1, positive, b, entered, beta):
    """Coefficients without a row, from those on the old support.

    Parameters
    ----------
    H : ndarray of shape (k, k)
    W : ndarray of shape (k, r)
    S : ndarray of shape (r, m)
        For the columns that may enter.
    among : ndarray of int, shape (r,)
        Where S has each of the others, -1 for nowhere.
    sign, b0, p : ndarray of shape (k,)
    s0, t : ndarray of shape (r,)
    g, l1 : float
    positive : bool
    b : ndarray of shape (k,)
        Coefficients of the old support.
    entered : ndarray of int, shape (ROOM,)
        Columns that gained a coefficient, -1 for none.
    beta : ndarray of shape (ROOM,)
        Their coefficients.

    Returns
    -------
    found : bool
        False where that takes too many exchanges, or columns that S does not know.
    """
    k, r = len(b0), len(s0)
    out, into, side = np.empty(ROOM, np.int64), np.empty(ROOM, np.int64), np.empty(ROOM)
    is_out, is_in = np.zeros(k, np.bool_), np.zeros(r, np.bool_)
    n_out = n_in = 0
    s = np.empty(r)
    M, x = np.empty((2 * ROOM, 2 * ROOM)), np.empty(2 * ROOM)
    for _ in range(MOST):
        for a in range(n_out):
            x[a] = -b0[out[a]]
            for c in range(n_out):
                M[a, c] = H[out[a], out[c]] + g * p[out[a]] * p[out[c]]
            for c in range(n_in):
                value = W[out[a], into[c]] - g * p[out[a]] * t[into[c]]
                M[a, n_out + c], M[n_out + c, a] = -value, value
        for a in range(n_in):
            x[n_out + a] = s0[into[a]] - l1 * side[a]
            for c in range(n_in):
                M[n_out + a, n_out + c] = S[into[a], among[into[c]]] - g * t[into[a]] * t[into[c]]
        if not _solved(M, x, n_out + n_in):
            return False
        # How far p and t go, and what the columns that changed sides add.
        far = 0.0
        for a in range(n_out):
            far += g * p[out[a]] * x[a]
        for a in range(n_in):
            far += g * t[into[a]] * x[n_out + a]
        for j in range(k):
            b[j] = b0[j] + far * p[j]
        for j in range(r):
            s[j] = s0[j] + far * t[j]
        for a in range(n_out):
            delta, line = x[a], out[a]
            for j in range(k):
                b[j] += H[line, j] * delta
            for j in range(r):
                s[j] -= W[line, j] * delta
        for a in range(n_in):
            step, column = x[n_out + a], into[a]
            for j in range(k):
                b[j] -= W[j, column] * step
            for j in range(r):
                s[j] -= S[j, among[column]] * step
        # The exchange that lowers the objective most.
        most, kind, which = 0.0, 0, -1
        for j in range(k):
            if not is_out[j] and b[j] * sign[j] < 0.0:
                gain = b[j] * b[j] / H[j, j]
                if gain > most:
                    most, kind, which = gain, 1, j
        for a in range(n_out):
            along = x[a] * sign[out[a]]
            if along < -SLACK * l1:
                gain = along * along * H[out[a], out[a]]
                if gain > most:
                    most, kind, which = gain, 2, a
            elif along > 2.0 * l1 * (1.0 + SLACK) and not positive:
                # It comes back with the other sign.
                return False
        for a in range(n_in):
            if x[n_out + a] * side[a] < 0.0:
                gain = x[n_out + a] ** 2 * S[into[a], among[into[a]]]
                if gain > most:
                    most, kind, which = gain, 3, a
        for j in range(r):
            if not is_in[j]:
                excess = (s[j] if positive else abs(s[j])) - l1
                if excess > SLACK * l1:
                    if among[j] < 0:
                        return False
                    gain = excess * excess / S[j, among[j]]
                    if gain > most:
                        most, kind, which = gain, 4, j
        if kind == 0:
            for a in range(n_out):
                b[out[a]] = 0.0
            entered[:] = -1
            for a in range(n_in):
                entered[a], beta[a] = into[a], x[n_out + a]
            return True
        if kind == 1:
            if n_out == ROOM:
                return False
            out[n_out], is_out[which] = which, True
            n_out += 1
        elif kind == 4:
            if n_in == ROOM:
                return False
            into[n_in], is_in[which] = which, True
            side[n_in] = 1.0 if s[which] > 0.0 else -1.0
            n_in += 1
        elif kind == 2:
            is_out[out[which]] = False
            n_out -= 1
            out[which] = out[n_out]
        else:
            is_in[into[which]] = False
            n_in -= 1
            into[which], side[which] = into[n_in], side[n_in]
    return False


@compiled(nogil=True)
def exchange_each(H, W, S, among, sign, b0, s0, P, T, g, l1, positive, B, entered, beta, found):
    """:func:`exchange` for each of several rows."""
    for i in range(len(g)):
        found[i] = exchange(
            H,
            W,
            S,
            among,
            sign,
            b0[i],
            s0[i],
            P[i],
            T[i],
            g[i],
            l1[i],
            positive,
            B[i],
            entered[i],
            beta[i],
        )
