"""Batched chord pass: second-order remainders of many displacements at once.

One pass over the rows gives, for each displacement ``u``, the sum ``S`` of the
gradient remainders and the largest change ``r`` of a linear predictor: all that
the next chord iterate and its certificate need. Choosing displacements and reading
certificates happens elsewhere.

Every loss with one output and a generalised self-concordant form is, up to a
scale, a sum of *tilted logistics*. With ``T = tanh(eta / 2)``,

    g_T(d) = -(d - 2 tanh(d / 2) + T d tanh(d / 2)) / (1 + T tanh(d / 2))

is the logistic remainder divided by the logistic curvature; ``T = -1`` gives
``exp(d) - 1 - d`` and ``T = +1`` gives ``-(exp(-d) - 1 + d)``. So one loop
serves logistic, smooth hinge, Poisson, Gamma and Tweedie losses.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from skinfluence._compiled.blocks import BLOCK, add_scaled, fold_abs
from skinfluence._compiled.cached import SIGNLESS, compiled
from skinfluence._compiled.gram import run_tasks
from skinfluence._utils.threads import one_blas_thread
from skinfluence._utils.weights import weigh

# Where the series of eight terms has the digits of double and of single precision.
SERIES_BOUND, SINGLE_SERIES_BOUND = 0.05, 0.5
_N_SERIES = 8
# Blocks of displacements side by side: more of them leave the cache.
WIDE = 36

# tanh(x) = x N(z) / D(z), z = x^2: the seventh convergent of the continued
# fraction. Relative error below 1e-14 in D - N = z M(z) for |x| <= 1/2. D - N has
# positive coefficients, so nothing cancels:  g_T(2x) = -2x (zM + T xN) / (D + T xN).
PADE = (135135.0, 62370.0, 3150.0, 28.0, 45045.0, 2772.0, 27.0, 0.5, 1.0, 2.0)  # fmt: skip


class Terms(NamedTuple):
    """A loss at its current linear predictor, as a sum of tilted logistics.

    The remainder of row ``j`` is ``sum_t curv[t, j] * g(scale[t] * delta_j)`` with
    ``g`` tilted by ``tilt[t, j]``.

    Attributes
    ----------
    exponential : ndarray of bool, shape (n_terms,)
        Whether the term is an exponential (``tilt`` = -1 or 1) or a logistic.
    scale : ndarray of shape (n_terms,)
        Factor of ``delta``.
    tilt, curv, arg, mass : ndarray of shape (n_terms, n_samples)
        ``curv`` is ``mass * exp(arg)`` for an exponential and
        ``mass * sigmoid(arg) * sigmoid(-arg)`` for a logistic. ``arg`` and ``mass``
        are kept because ``curv`` may underflow where the remainder does not.
    """

    exponential: np.ndarray
    scale: np.ndarray
    tilt: np.ndarray
    curv: np.ndarray
    arg: np.ndarray
    mass: np.ndarray


def logistic_terms(eta):
    """Terms of the logistic loss, whose remainder does not depend on y."""
    return _logistic(np.asarray(eta, dtype=np.float64), 1.0)


def smooth_hinge_terms(eta, y, temperature):
    """Terms of ``t log(1 + exp((1 - y eta) / t))`` with y in {-1, 1}.

    The remainder is the logistic one at ``(eta - y) / t``, displaced by ``delta / t``.
    """
    return _logistic((np.asarray(eta) - y) / temperature, 1.0 / temperature)


def _logistic(arg, scale):
    s = np.exp(-np.abs(arg))
    return Terms(
        np.array([False]),
        np.array([scale]),
        np.tanh(0.5 * arg)[None],
        (s / (1.0 + s) ** 2)[None],
        arg[None],
        np.ones((1, len(arg))),
    )


def tweedie_terms(eta, y, power):
    """Terms of half the Tweedie deviance with log link, ``1 <= power <= 2``.

    The gradient is ``exp((2 - power) eta) - y exp((1 - power) eta)``; ``power`` = 1
    is Poisson and 2 is Gamma. The exponential that is constant is left out.
    """
    eta = np.asarray(eta, dtype=np.float64)
    parts = []
    if power < 2:
        parts.append((-1.0, 2.0 - power, (2.0 - power) * eta, np.ones_like(eta)))
    if power > 1:
        mass = np.broadcast_to(np.asarray(y, dtype=np.float64), eta.shape)
        parts.append((1.0, power - 1.0, (1.0 - power) * eta, mass))
    sign, scale, arg, mass = (np.array(part) for part in zip(*parts, strict=True))
    tilt = np.repeat(sign[:, None], len(eta), axis=1)
    # Rows without weight may be where that overflows.
    with np.errstate(over="ignore"):
        curv = mass * np.exp(arg)
    return Terms(np.ones(len(sign), dtype=bool), scale, tilt, curv, arg, mass)


@cache
def _series_polynomials():
    """Coefficients of the polynomials of :func:`_series`, in T, by rising powers of it."""
    # Eight terms: relative truncation error 1e-14 for |d| <= 0.05 at any tilt.
    out = np.zeros((_N_SERIES + 2, _N_SERIES))
    q, factorial = np.polynomial.Polynomial([1.0]), 1.0
    rate, minus_t = np.polynomial.Polynomial([0.5, 0.0, -0.5]), [0.0, -1.0]
    for k in range(2, _N_SERIES + 2):
        q = q.deriv() * rate + q * np.polynomial.Polynomial(minus_t)
        factorial *= k
        out[: len(q.coef), k - 2] = q.coef / factorial
    return out


def series_of(tilt):
    """Taylor coefficients of ``g_T(d) / d**2``, shape ``tilt.shape + (8,)``.

    ``g_T(d) = sum_{k >= 2} q_k(T) d^k / k!`` with ``q_1 = 1`` and
    ``q_{k+1} = q_k' (1 - T^2) / 2 - T q_k``.
    """
    return np.moveaxis(np.polynomial.polynomial.polyval(tilt, _series_polynomials()), 0, -1).copy()


def take(terms, rows):
    return terms._replace(
        tilt=terms.tilt[:, rows],
        curv=terms.curv[:, rows],
        arg=terms.arg[:, rows],
        mass=terms.mass[:, rows],
    )


# --------------------------------------------------------------------- sparse rows


@compiled(**SIGNLESS)
def _large(exponential, tilt, curv, arg, mass, d):
    """One remainder for ``|d| > 1``, by exp; finite unless the true value overflows."""
    a = abs(d)
    one = -np.expm1(-a)
    if exponential:
        up = -tilt * d
        if up > 0:
            return -tilt * (mass * np.exp(arg + a) * one - curv * up)
        return -tilt * curv * (np.expm1(up) - up)
    sign = 1.0 if d > 0 else -1.0
    other = 1.0 / (1.0 + np.exp(sign * arg))
    new = 1.0 / (1.0 + np.exp(-(sign * arg + a)))
    return sign * mass * other * one * new - curv * d


@compiled(**SIGNLESS)
def add_remainders(exponential, scale, tilt, curv, arg, mass, series, t, j, pade, delta, i, rho, o):
    """``rho[o] += curv g_tilt(scale delta[i])`` for one row and one block."""
    D0, D1, D2, D3, M0, M1, M2, half, one, two, short = pade
    short /= scale
    wide = 0
    for b in range(BLOCK):
        wide |= abs(delta[i, b]) > short
    if not wide:
        # No division: a third of the time of the rational form.
        c0, c1, c2, c3 = series[t, j, 0], series[t, j, 1], series[t, j, 2], series[t, j, 3]
        c4, c5, c6, c7 = series[t, j, 4], series[t, j, 5], series[t, j, 6], series[t, j, 7]
        for b in range(BLOCK):
            x = scale * delta[i, b]
            tail = c3 + x * (c4 + x * (c5 + x * (c6 + x * c7)))
            rho[o, b] += curv * (x * x) * (c0 + x * (c1 + x * (c2 + x * tail)))
        return
    # Beyond |x| = 1 the rational form is replaced below: it is only approximate there.
    factor = -two * curv
    half *= scale
    limit = one / scale
    beyond = 0
    for b in range(BLOCK):
        beyond |= abs(delta[i, b]) > limit
    for b in range(BLOCK):
        inside = delta[i, b] if abs(delta[i, b]) <= limit else limit - limit
        x = half * inside
        z = x * x
        D = D0 + z * (D1 + z * (D2 + z * D3))
        M = z * (M0 + z * (M1 + z * M2))
        P = x * (D - M)
        rho[o, b] += factor * x * (M + tilt * P) / (D + tilt * P)
    if beyond:
        for b in range(BLOCK):
            if not abs(delta[i, b]) <= limit:
                rho[o, b] += _large(exponential, tilt, curv, arg, mass, scale * delta[i, b])


@compiled(nogil=True, **SIGNLESS)
def _dense_remainders(
    delta, base, weight, exponential, scale, tilt, curv, arg, mass, series, pade,
    rho, r,
):  # fmt: skip
    """Remainders of some rows; ``base`` is added to delta in place."""
    n_blocks = len(base)
    one = delta.dtype.type(1)
    for j in range(len(weight)):
        for k in range(n_blocks):
            i = j * n_blocks + k
            for b in range(BLOCK):
                rho[i, b] = 0
            if weight[j] == 0:
                continue
            add_scaled(delta, i, base, k, one)
            fold_abs(r, k, delta, i, -one)
            for t in range(len(scale)):
                add_remainders(
                    exponential[t], scale[t], tilt[t, j], curv[t, j], arg[t, j],
                    mass[t, j], series, t, j, pade, delta, i, rho, i,
                )  # fmt: skip


def chord_dense(X, terms, weight, U, skip, intercept=None, *, block_bytes=2**20):
    """Chord pass by matrix products; same meaning as `chord_sparse`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Design without the intercept column, in the dtype of ``U``.
    terms, weight, U, skip, intercept
        As in `chord_sparse`.
    block_bytes : int
        Size of one temporary of ``delta``, unless that is fewer than ``2 n_aug`` rows;
        two are held by each thread.

    Returns
    -------
    S : ndarray of shape (n_blocks, n_aug, 64), float64
    r : ndarray of shape (n_blocks, 64), float64

    Notes
    -----
    ``4 n_features`` flops per pair in two matrix products plus about ten. Does not
    depend on the number of threads.
    """
    n_blocks, n_aug, _ = U.shape
    dtype = U.dtype.type
    weight = np.asarray(weight, dtype=np.float64)
    loss = (
        terms.tilt, weigh(weight, terms.curv), terms.arg, weigh(weight, terms.mass),
        series_of(terms.tilt),
    )  # fmt: skip
    loss = tuple(a.astype(dtype) for a in loss)
    short = SERIES_BOUND if dtype is np.float64 else SINGLE_SERIES_BOUND
    pade = tuple(dtype(c) for c in (*PADE, short))
    held = weight, terms.exponential, terms.scale.astype(dtype), loss, pade
    S, r = np.empty((n_blocks, n_aug, BLOCK)), np.empty((n_blocks, BLOCK))
    with one_blas_thread():
        for low in range(0, n_blocks, WIDE):
            some = slice(low, low + WIDE)
            S[some], r[some] = _side_by_side(X, held, U[some], skip[some], intercept, block_bytes)
    return S, r


def _side_by_side(X, held, U, skip, intercept, block_bytes):
    """`chord_dense` of few blocks, with what is made of the rows once."""
    n_samples = len(X)
    n_blocks, n_aug, _ = U.shape
    dtype = U.dtype.type
    weight, exponential, scale, loss, pade = held
    wide = np.ascontiguousarray(U.transpose(1, 0, 2)).reshape(n_aug, -1)
    n_coef = n_aug if intercept is None else n_aug - 1
    base = np.zeros((n_blocks, BLOCK), dtype)
    if intercept is not None:
        base += dtype(intercept) * U[:, -1]
    flat_skip = skip.ravel()
    step = max(2 * n_aug, block_bytes // (n_blocks * BLOCK * U.itemsize))

    def task(i):
        rows = slice(i * step, min((i + 1) * step, n_samples))
        delta = X[rows] @ wide[:n_coef]
        here = np.flatnonzero((flat_skip >= rows.start) & (flat_skip < rows.stop))
        delta[flat_skip[here] - rows.start, here] = -base.ravel()[here]
        rho = np.empty_like(delta)
        r = np.zeros((n_blocks, BLOCK), dtype)
        own = (a[:, rows] for a in loss)
        _dense_remainders(
            delta.reshape(-1, BLOCK), base, weight[rows], exponential, scale, *own,
            pade, rho.reshape(-1, BLOCK), r,
        )  # fmt: skip
        return X[rows].T @ rho, rho.sum(axis=0), r

    S = np.zeros((n_aug, n_blocks * BLOCK))
    r = np.zeros((n_blocks, BLOCK))
    # Row blocks are spread over our threads, with products that stay in cache. A
    # threaded X' @ rho instead was 20 times slower as soon as another process ran.
    for S_rows, total, r_rows in run_tasks(task, -(-n_samples // step)):
        S[:n_coef] += S_rows
        if intercept is not None:
            S[-1] += intercept * total
        np.maximum(r, r_rows, out=r)
    return S.reshape(n_aug, n_blocks, BLOCK).transpose(1, 0, 2), r


# ------------------------------------------------------------------------- softmax
