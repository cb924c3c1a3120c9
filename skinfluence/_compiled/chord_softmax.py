"""The chord pass of :mod:`skinfluence._compiled.chord` for softmax losses.

The remainder is ``p(eta + delta) - p - p (delta - sum p delta)``. With ``d_k = delta_k - sum_m p_m
delta_m``, ``q_k = exp(d_k) - 1 - d_k`` and ``Z = sum_m p_m q_m`` (``= sum_m p_m (exp(d_m) - 1)``, as
``sum p d = 0``),

    rho_k = p_k (q_k - Z (1 + d_k)) / (1 + Z).

Every ``q`` is non-negative, so ``Z`` does not cancel; what may is a third difference, and the error
stays below a few ulp of ``p_k (q_k + Z |1 + d_k|) / (1 + Z)``.
"""

import numpy as np

from skinfluence._compiled.blocks import BLOCK
from skinfluence._compiled.cached import SIGNLESS, compiled
from skinfluence._compiled.chord import PADE, SERIES_BOUND
from skinfluence._compiled.gram import run_tasks
from skinfluence._utils.threads import one_blas_thread


def _far(dtype):
    """Displacement beyond which exp is taken after subtracting the largest output."""
    return 600.0 if dtype == np.float64 else 75.0


@compiled(nogil=True, **SIGNLESS)
def _softmax_remainders(eta, p, weight, delta, base, pade, far, r):
    """Replace delta by weighted remainders."""
    D0, D1, D2, D3, M0, M1, M2, half, one, two, _ = pade
    K = delta.shape[1]
    mean, least, most, Z, q = (
        np.empty(BLOCK, delta.dtype),
        np.empty(BLOCK, delta.dtype),
        np.empty(BLOCK, delta.dtype),
        np.empty(BLOCK, delta.dtype),
        np.empty((K, BLOCK), delta.dtype),
    )
    for j in range(len(weight)):
        w = weight[j]
        if w == 0:
            for k in range(K):
                for b in range(BLOCK):
                    delta[j, k, b] = 0
            continue
        for b in range(BLOCK):
            mean[b] = 0
        for k in range(K):
            d, c, pk = delta[j, k], base[k], p[j, k]
            for b in range(BLOCK):
                d[b] += c[b]
                mean[b] += pk * d[b]
        for b in range(BLOCK):
            least[b] = delta[j, 0, b]
        for b in range(BLOCK):
            most[b] = delta[j, 0, b]
        for k in range(1, K):
            d = delta[j, k]
            for b in range(BLOCK):
                a, x, z = d[b], least[b], most[b]
                least[b] = a if a < x else x
                most[b] = a if a > z else z
        beyond = 0
        for b in range(BLOCK):
            a, old = most[b] - least[b], r[b]
            r[b] = a if a > old else old
            # |d_k| never exceeds the range over the classes.
            beyond |= a > one
        for b in range(BLOCK):
            Z[b] = 0
        for k in range(K):
            d, out, pk = delta[j, k], q[k], p[j, k]
            for b in range(BLOCK):
                d[b] -= mean[b]
                x = half * d[b]
                z = x * x
                D = D0 + z * (D1 + z * (D2 + z * D3))
                M = z * (M0 + z * (M1 + z * M2))
                P = x * (D - M)
                out[b] = two * x * (P - M) / (D - P)
                Z[b] += pk * out[b]
        if beyond:
            for b in range(BLOCK):
                Z[b] = 0
            for k in range(K):
                for b in range(BLOCK):
                    if abs(delta[j, k, b]) > one:
                        q[k, b] = np.expm1(delta[j, k, b]) - delta[j, k, b]
                    Z[b] += p[j, k] * q[k, b]
        if beyond:
            for b in range(BLOCK):
                if most[b] - least[b] > far:
                    # exp would overflow: plain difference of probabilities.
                    top = eta[j, 0] + delta[j, 0, b]
                    for k in range(1, K):
                        top = max(top, eta[j, k] + delta[j, k, b])
                    total = top - top
                    for k in range(K):
                        q[k, b] = np.exp(eta[j, k] + delta[j, k, b] - top)
                        total += q[k, b]
                    for k in range(K):
                        pk, d_kb = p[j, k], delta[j, k, b]
                        # Stored so that the common line below returns it.
                        q[k, b] = (q[k, b] / total - pk - pk * d_kb) * w
                    Z[b] = -one
        for b in range(BLOCK):
            mean[b] = one / (one + Z[b])
        for k in range(K):
            d, out, wp = delta[j, k], q[k], w * p[j, k]
            for b in range(BLOCK):
                d[b] = wp * (out[b] - Z[b] * (one + d[b])) * mean[b]
        if beyond:
            for b in range(BLOCK):
                if Z[b] == -one:
                    for k in range(K):
                        delta[j, k, b] = q[k, b]


def chord_softmax(X, eta, p, weight, U, skip, intercept=None, *, block_bytes=2**20):
    """Chord pass of the softmax loss with all ``K`` outputs.

    ``S_b[:, k] = sum_{j != skip_b} w_j rho_jk x_j`` with the remainder ``rho``, and ``r_b`` the
    largest range over the classes ``max_k delta_jk - min_k delta_jk``.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Design without the intercept column.
    eta, p : ndarray of shape (n_samples, n_classes)
        Outputs and their softmax.
    weight : ndarray of shape (n_samples,)
        Non-negative weights.
    U : ndarray of shape (n_blocks, n_aug, n_classes, 64), float64 or float32
        Displacements, the intercept (if any) last; its dtype is the working precision.
    skip : ndarray of int, shape (n_blocks, 64)
        Sample left out of each displacement, or -1.
    intercept : float or None
        Value of the intercept column.
    block_bytes : int
        Size of the temporary ``delta``, unless that is fewer than ``2 n_aug`` rows; one
        is held by each thread.

    Returns
    -------
    S : ndarray of shape (n_blocks, n_aug, n_classes, 64), float64
    r : ndarray of shape (n_blocks, 64), float64

    Notes
    -----
    ``4 n_features n_classes`` flops per pair in two matrix products, and a division
    per class. Displacements are the fastest axis: classes last would leave lanes idle.
    """
    n_samples = X.shape[0]
    n_blocks, n_aug, K, _ = U.shape
    dtype = U.dtype.type
    n_coef = n_aug if intercept is None else n_aug - 1
    eta, p, weight = (np.asarray(a, dtype=dtype) for a in (eta, p, weight))
    pade = tuple(dtype(c) for c in (*PADE, SERIES_BOUND))
    step = max(2 * n_aug, block_bytes // (K * BLOCK * U.itemsize))
    n_row_blocks = -(-n_samples // step)

    def task(number):
        i, k = divmod(number, n_blocks)
        rows = slice(i * step, min((i + 1) * step, n_samples))
        base = np.zeros((K, BLOCK), dtype)
        if intercept is not None:
            base += dtype(intercept) * U[k, -1]
        X_rows = X[rows]
        delta = X_rows @ U[k, :n_coef].reshape(n_coef, -1)
        delta = delta.astype(dtype, copy=False).reshape(-1, K, BLOCK)
        here = np.flatnonzero((skip[k] >= rows.start) & (skip[k] < rows.stop))
        delta[skip[k, here] - rows.start, :, here] = -base[:, here].T
        r = np.zeros(BLOCK, dtype)
        _softmax_remainders(
            eta[rows], p[rows], weight[rows], delta, base, pade, dtype(_far(U.dtype)), r,
        )  # fmt: skip
        S = (X_rows.T @ delta.reshape(len(delta), -1)).reshape(n_coef, K, BLOCK)
        return k, S, delta.sum(axis=0), r

    S = np.zeros(U.shape)
    r = np.zeros((n_blocks, BLOCK))
    with one_blas_thread():
        for k, S_rows, total, r_rows in run_tasks(task, n_row_blocks * n_blocks):
            S[k, :n_coef] += S_rows
            if intercept is not None:
                S[k, -1] += intercept * total
            np.maximum(r[k], r_rows, out=r[k])
    return S, r
