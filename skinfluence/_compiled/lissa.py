"""LiSSA's recursion on rows drawn beforehand, dense or CSR; nothing here chooses a scale or a depth.

    v <- v + t (b - sum_{i in batch} s_i [x_i s]' Lambda_i [x_i s] v - R v)

``t`` is a step per column and ``s_i`` what makes the sum over a batch an unbiased estimate of the
data's part of the Hessian. Parameters are ``(K, d)`` arrays, the intercept the last column.
"""

import numpy as np
from numba import njit

from skinfluence._compiled.cached import FINITE, compiled


def walk(X, intercept, curved, drawn, step, penalty, b, v, every):
    """Take the steps of ``drawn`` from ``v``, in place, adding up iterates on the way.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    intercept : float
        Value of the constant last column, 0.0 for none.
    curved : ndarray of shape (n_samples, K, K)
        ``s_i Lambda_i``.
    drawn : ndarray of int of shape (n_steps, batch_size)
        Rows of each step.
    step : ndarray of shape (d,)
    penalty : ndarray of shape (d,)
    b, v : ndarray of shape (K, d)
    every : int
        Every that many steps the iterate is added up.

    Returns
    -------
    total : ndarray of shape (K, d)
        Sum of the iterates added up.
    count : int
        How many they are.

    Notes
    -----
    Releases the GIL. CSR: columns that a batch does not touch follow a recursion in closed form,
    which is caught up with when they are touched or added up, so a step costs O(K nnz of its rows).
    """
    total = np.zeros_like(v)
    if hasattr(X, "indptr"):
        arrays = X.data, X.indices, X.indptr
        count = _walk_csr(*arrays, intercept, curved, drawn, step, penalty, b, v, every, total)
    else:
        count = _walk_dense(X, intercept, curved, drawn, step, penalty, b, v, every, total)
    return total, count


@compiled(nogil=True, **FINITE)
def _walk_dense(X, intercept, curved, drawn, step, penalty, b, v, every, total):
    k, d = v.shape
    f = X.shape[1]
    kept, added = 1.0 - step * penalty, b * step
    pull = np.empty((drawn.shape[1], k))
    eta = np.empty(k)
    count = 0
    for t in range(len(drawn)):
        for place, i in enumerate(drawn[t]):
            x = X[i]
            for a in range(k):
                v_a, dot = v[a], 0.0
                for j in range(f):
                    dot += x[j] * v_a[j]
                if f < d:
                    dot += intercept * v_a[f]
                eta[a] = dot
            _curve(curved[i], eta, pull[place])
        for place, i in enumerate(drawn[t]):
            x = X[i]
            for a in range(k):
                v_a, added_a, p = v[a], added[a], pull[place, a]
                # The first row of a batch moves the iterate on, for one pass over it.
                if place == 0:
                    for j in range(f):
                        v_a[j] = kept[j] * v_a[j] + (added_a[j] - p * step[j] * x[j])
                    if f < d:
                        v_a[f] = kept[f] * v_a[f] + (added_a[f] - p * step[f] * intercept)
                else:
                    for j in range(f):
                        v_a[j] -= p * step[j] * x[j]
                    if f < d:
                        v_a[f] -= p * step[f] * intercept
        if (t + 1) % every == 0:
            total += v
            count += 1
    return count


@compiled(nogil=True, **FINITE)
def _walk_csr(data, indices, indptr, intercept, curved, drawn, step, penalty, b, v, every, total):
    k, d = v.shape
    # By column: what a row touches lies together.
    V, B = v.T.copy(), b.T.copy()
    when = np.zeros(d, np.int64)
    pull = np.empty((drawn.shape[1], k))
    eta = np.empty(k)
    count = 0
    for t in range(len(drawn)):
        for place, i in enumerate(drawn[t]):
            eta[:] = 0.0
            for z in range(indptr[i], indptr[i + 1]):
                j = indices[z]
                _catch_up(V[j], B[j], step[j], penalty[j], t - when[j])
                when[j] = t
                for a in range(k):
                    eta[a] += data[z] * V[j, a]
            if intercept != 0:
                _catch_up(V[d - 1], B[d - 1], step[d - 1], penalty[d - 1], t - when[d - 1])
                when[d - 1] = t
                for a in range(k):
                    eta[a] += intercept * V[d - 1, a]
            _curve(curved[i], eta, pull[place])
        for place, i in enumerate(drawn[t]):
            for z in range(indptr[i], indptr[i + 1]):
                j = indices[z]
                # A column that two rows of the batch share moves on once.
                _catch_up(V[j], B[j], step[j], penalty[j], t + 1 - when[j])
                when[j] = t + 1
                for a in range(k):
                    V[j, a] -= step[j] * data[z] * pull[place, a]
            if intercept != 0:
                _catch_up(V[d - 1], B[d - 1], step[d - 1], penalty[d - 1], t + 1 - when[d - 1])
                when[d - 1] = t + 1
                for a in range(k):
                    V[d - 1, a] -= step[d - 1] * intercept * pull[place, a]
        if (t + 1) % every == 0 or t + 1 == len(drawn):
            for j in range(d):
                _catch_up(V[j], B[j], step[j], penalty[j], t + 1 - when[j])
                when[j] = t + 1
        if (t + 1) % every == 0:
            for j in range(d):
                for a in range(k):
                    total[a, j] += V[j, a]
            count += 1
    v[:] = V.T
    return count


@njit(inline="always")
def _curve(curved, eta, pull):
    for a in range(len(eta)):
        dot = 0.0
        for c in range(len(eta)):
            dot += curved[a, c] * eta[c]
        pull[a] = dot


@njit(inline="always")
def _catch_up(v, b, step, penalty, n):
    """``n`` steps ``v <- v + step (b - penalty v)`` at once."""
    if n == 0:
        return
    if n == 1 or penalty == 0.0:
        for a in range(len(v)):
            v[a] += n * step * (b[a] - penalty * v[a])
        return
    shrink = step * penalty
    # 1 - (1 - shrink)^n, without cancellation where steps are short.
    if shrink < 0.5:
        moved = -np.expm1(n * np.log1p(-shrink))
    else:
        moved = 1.0 - (1.0 - shrink) ** n
    for a in range(len(v)):
        v[a] += moved * (b[a] / penalty - v[a])
