"""Batched chord pass: second-order remainders of many displacements at once.

One pass over the rows gives, for each displacement ``u``, the sum ``S`` of the
gradient remainders and the largest change ``r`` of a linear predictor: all that
the next chord iterate and its certificate need. Each compiled function has a
numpy twin; choosing displacements and reading certificates happens elsewhere.

Every loss with one output and a generalised self-concordant form is, up to a
scale, a sum of *tilted logistics*. With ``T = tanh(eta / 2)``,

    g_T(d) = -(d - 2 tanh(d / 2) + T d tanh(d / 2)) / (1 + T tanh(d / 2))

is the logistic remainder divided by the logistic curvature; ``T = -1`` gives
``exp(d) - 1 - d`` and ``T = +1`` gives ``-(exp(-d) - 1 + d)``. So one loop
serves logistic, smooth hinge, Poisson, Gamma and Tweedie losses.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from skinfluence._compiled.cached import compiled
from skinfluence._compiled.gram import run_tasks
from skinfluence._utils.threads import one_blas_thread

# Displacements per block. A compile-time constant: with a runtime width the
# loops below are 2-3 times slower; 16 and 32 were slower too, 128 no faster.
BLOCK = 64

# Packed rows per chunk. Sums of a chunk are kept in the working precision and
# then added to a float64 total, which keeps a float32 pass accurate.
_CHUNK = 1024

# Row ranges a call is cut into when it has fewer blocks than this. Fixed, so that
# results do not depend on the number of threads.
_MIN_TASKS = 8

_SERIES_BOUND = 0.05
_N_SERIES = 8

# tanh(x) = x N(z) / D(z), z = x^2: the seventh convergent of the continued
# fraction. Relative error below 1e-14 in D - N = z M(z) for |x| <= 1/2. D - N has
# positive coefficients, so nothing cancels:  g_T(2x) = -2x (zM + T xN) / (D + T xN).
_PADE = (135135.0, 62370.0, 3150.0, 28.0, 45045.0, 2772.0, 27.0, 0.5, 1.0, 2.0)  # fmt: skip

_FAST = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}


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
    return Terms(np.ones(len(sign), dtype=bool), scale, tilt, mass * np.exp(arg), arg, mass)


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


def _series(tilt):
    """Taylor coefficients of ``g_T(d) / d**2``, shape ``tilt.shape + (8,)``.

    ``g_T(d) = sum_{k >= 2} q_k(T) d^k / k!`` with ``q_1 = 1`` and
    ``q_{k+1} = q_k' (1 - T^2) / 2 - T q_k``.
    """
    return np.moveaxis(np.polynomial.polynomial.polyval(tilt, _series_polynomials()), 0, -1).copy()


def remainder_numpy(terms, delta):
    """Remainder ``l'(eta + delta) - l'(eta) - l''(eta) delta`` of each row.

    Parameters
    ----------
    terms : Terms
        Loss of the rows.
    delta : ndarray of shape (n_samples, n)
        Changes of the linear predictor.

    Returns
    -------
    rho : ndarray of shape (n_samples, n)
    """
    rho = np.zeros_like(delta)
    series = _series(terms.tilt)
    for t in range(len(terms.scale)):
        tilt, curv, arg, mass = (
            a[t][:, None] for a in (terms.tilt, terms.curv, terms.arg, terms.mass)
        )
        d = terms.scale[t] * delta
        a = np.abs(d)
        small = np.zeros_like(d)
        for k in reversed(range(_N_SERIES)):
            small = small * d + series[t, :, k][:, None]
        small *= d * d
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            h = np.tanh(0.5 * d)
            # d - 2 tanh(d/2) loses at most two digits between the two bounds.
            middle = -(d - 2.0 * h + tilt * d * h) / (1.0 + tilt * h)
            one = -np.expm1(-a)
            if terms.exponential[t]:
                up = -tilt * d
                large = np.where(
                    up > 0,
                    mass * np.exp(arg + a) * one - curv * up,
                    curv * (np.expm1(up) - up),
                )
                large = -tilt * large
            else:
                sign = np.sign(d)
                other = 1.0 / (1.0 + np.exp(sign * arg))
                new = 1.0 / (1.0 + np.exp(-(sign * arg + a)))
                large = sign * mass * other * one * new - curv * d
        rho += np.where(a <= _SERIES_BOUND, curv * small, np.where(a <= 1, curv * middle, large))
    return rho


def chord_numpy(X, terms, weight, U, skip, intercept=None):
    """Chord pass in numpy; see `chord_sparse` for shapes and meaning."""
    n_blocks, n_aug, width = U.shape
    U2 = U.transpose(1, 0, 2).reshape(n_aug, -1)
    delta = X @ U2 if intercept is None else X @ U2[:-1] + intercept * U2[-1]
    columns = np.flatnonzero(skip.ravel() >= 0)
    delta[skip.ravel()[columns], columns] = 0.0
    used = weight > 0
    rho = np.zeros_like(delta)
    rho[used] = weight[used, None] * remainder_numpy(_take(terms, used), delta[used])
    S = X.T @ rho
    if intercept is not None:
        S = np.vstack([S, intercept * rho.sum(axis=0)])
    S = np.ascontiguousarray(S.reshape(n_aug, n_blocks, width).transpose(1, 0, 2))
    r = np.abs(delta[used]).max(axis=0, initial=0.0).reshape(n_blocks, width)
    return S, r


def _take(terms, rows):
    return terms._replace(
        tilt=terms.tilt[:, rows],
        curv=terms.curv[:, rows],
        arg=terms.arg[:, rows],
        mass=terms.mass[:, rows],
    )


# --------------------------------------------------------------------- sparse rows


@dataclass(frozen=True)
class PackedRows:
    """Rows of a CSR matrix as a prefix tree; made by `pack_rows`.

    Attributes
    ----------
    n_features : int
    first, group : ndarray of shape (n_packed,) and (n_samples,)
        A sample of each packed row, and the packed row of each sample.
    level, start, stop, row : ndarray of shape (n_nodes,)
        Nodes in preorder: depth, range of entries, packed row ending there or -1.
    chunk : ndarray of shape (n_chunks + 1,)
        Node ranges between which nothing is shared.
    index, value : ndarray of shape (n_entries,)
        Features and values.
    """

    n_features: int
    first: np.ndarray
    group: np.ndarray
    level: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    row: np.ndarray
    chunk: np.ndarray
    index: np.ndarray
    value: np.ndarray


def pack_rows(X, *keys):
    """Sort CSR rows into a prefix tree that shares common entries.

    Entries of each row are ordered from the most frequent (feature, value) pair to
    the rarest and rows are sorted, so neighbours begin alike. The work shared by a
    common beginning is done once, and equal rows become one. One-hot data shrink
    most: a9a goes from 13.9 entries per row to 2.8.

    Parameters
    ----------
    X : CSR matrix of shape (n_samples, n_features)
    *keys : ndarray of shape (n_samples,)
        Rows are merged only if all keys are equal to the last bit: pass ``eta``, and
        ``y`` for a loss whose remainder depends on it.

    Returns
    -------
    rows : PackedRows

    Notes
    -----
    O(n_entries log n_entries), once for all passes: 0.08 s for a9a (32,561 rows, 452k
    entries), 1.4 s for 101,766 rows of 36 entries. Sorting looks at the 64 most frequent
    entries of a row.
    """
    n_samples, n_features = X.shape
    indptr = X.indptr.astype(np.int64)
    lengths = np.diff(indptr)
    values, value_code = np.unique(X.data, return_inverse=True)
    code = X.indices.astype(np.int64) * len(values) + value_code
    pairs, inverse, count = np.unique(code, return_inverse=True, return_counts=True)
    rank = np.empty(len(pairs), dtype=np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(1, len(pairs) + 1)
    owner = np.repeat(np.arange(n_samples), lengths)
    order = np.argsort(owner * (len(pairs) + 1) + rank[inverse], kind="stable")
    token = rank[inverse][order]

    n_sorted = int(min(64, lengths.max(initial=0)))
    place = np.arange(len(token)) - indptr[owner]
    shown = place < n_sorted
    table = np.zeros((n_sorted, n_samples), dtype=np.int32)
    table[place[shown], owner[shown]] = token[shown]
    perm = np.lexsort((*keys, *table[::-1])) if keys or n_sorted else np.arange(n_samples)

    chunk = max(_CHUNK, 4 * n_features)
    key = np.array(keys, dtype=np.float64).reshape(len(keys), n_samples)
    first, group, shared = _merge_rows(perm, indptr, token, key, chunk)
    nodes = _prefix_tree(first, shared, indptr, chunk)
    index = X.indices.astype(np.int64)[order]
    return PackedRows(n_features, first, group, *nodes, index, X.data[order].astype(np.float64))


@compiled()
def _merge_rows(perm, indptr, token, key, chunk):
    """Drop repeats among sorted rows; count the leading entries shared with the last."""
    n = len(perm)
    group = np.empty(n, dtype=np.int64)
    first = np.empty(n, dtype=np.int64)
    shared = np.empty(n, dtype=np.int64)
    m = 0
    for q in range(n):
        i = perm[q]
        k = 0
        same = False
        if m > 0:
            p = first[m - 1]
            n_p, n_i = indptr[p + 1] - indptr[p], indptr[i + 1] - indptr[i]
            while k < min(n_p, n_i) and token[indptr[p] + k] == token[indptr[i] + k]:
                k += 1
            same = k == n_p and k == n_i
            for c in range(key.shape[0]):
                same = same and key[c, p] == key[c, i]
        if not same:
            first[m] = i
            shared[m] = k if m % chunk else 0
            m += 1
        group[i] = m - 1
    return first[:m].copy(), group, shared[:m].copy()


@compiled()
def _prefix_tree(first, shared, indptr, chunk):
    """Nodes of the tree of sorted rows, unbranched runs of entries in one node."""
    m = len(first)
    # below[j]: next row that shares fewer entries with its predecessor than row j.
    below = np.empty(m, dtype=np.int64)
    stack = np.empty(m + 1, dtype=np.int64)
    top = 0
    for j in range(m - 1, -1, -1):
        while top > 0 and shared[stack[top - 1]] >= shared[j]:
            top -= 1
        below[j] = stack[top - 1] if top > 0 else m
        stack[top] = j
        top += 1
    level = np.empty(2 * m, dtype=np.int64)
    start = np.empty(2 * m, dtype=np.int64)
    stop = np.empty(2 * m, dtype=np.int64)
    row = np.empty(2 * m, dtype=np.int64)
    node_of_chunk = np.empty((m + chunk - 1) // chunk + 1, dtype=np.int64)
    longest = 0
    for j in range(m):
        longest = max(longest, indptr[first[j] + 1] - indptr[first[j]])
    depth = np.zeros(longest + 2, dtype=np.int64)
    cuts = np.empty(longest + 2, dtype=np.int64)
    top = 0
    t = 0
    for j in range(m):
        if j % chunk == 0:
            node_of_chunk[j // chunk] = t
        base = indptr[first[j]]
        length = indptr[first[j] + 1] - base
        while depth[top] > shared[j]:
            top -= 1
        # Later rows branch off this one where the running minimum of shared drops.
        n_cuts = 0
        q = j + 1
        while q < m and shared[q] > shared[j]:
            cuts[n_cuts] = shared[q]
            n_cuts += 1
            q = below[q]
        low = shared[j]
        for c in range(n_cuts - 1, -1, -1):
            top += 1
            depth[top] = cuts[c]
            level[t], start[t], stop[t], row[t] = top, base + low, base + cuts[c], -1
            low = cuts[c]
            t += 1
        if n_cuts > 0 and cuts[0] == length:
            row[t - 1] = j
        else:
            level[t], start[t], stop[t], row[t] = top + 1, base + low, base + length, j
            t += 1
    node_of_chunk[-1] = t
    return level[:t].copy(), start[:t].copy(), stop[:t].copy(), row[:t].copy(), node_of_chunk


def _row_intrinsic(formula, name):
    """Make ``name(dst, i, src, j, value)``: ``dst[i] = formula(dst[i], src[j], value)``.

    Rows of C-contiguous arrays with ``BLOCK`` columns, as explicit vector instructions.
    The compiler cannot know that two rows do not overlap: its guarded loops were 2 to 3
    times slower, and a view per row costs atomic reference counts inside the tree walk.
    """

    def typing(typing_context, dst, i, src, j, value):
        signature = types.void(dst, types.intp, src, types.intp, dst.dtype)

        def codegen(context, builder, sig, args):
            scalar = context.get_data_type(sig.args[0].dtype)
            size = 8 if sig.args[0].dtype == types.float64 else 4
            lanes = 64 // size
            vector = ir.VectorType(scalar, lanes)
            undefined = ir.Constant(vector, ir.Undefined)
            zero = ir.Constant(ir.IntType(32), 0)
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            value = builder.insert_element(undefined, args[4], zero)
            value = builder.shuffle_vector(value, undefined, mask)
            width = ir.Constant(ir.IntType(64), BLOCK)
            rows = []
            for array, row in ((0, 1), (2, 3)):
                make = context.make_array(sig.args[array])
                data = make(context, builder, args[array]).data
                rows.append(builder.gep(data, [builder.mul(args[row], width)]))
            for b in range(0, BLOCK, lanes):
                at = ir.Constant(ir.IntType(64), b)
                to, fro = (builder.bitcast(builder.gep(p, [at]), vector.as_pointer()) for p in rows)
                old, other = builder.load(to), builder.load(fro)
                # Rows need not be aligned to more than one element.
                old.align = other.align = size
                builder.store(formula(builder, old, other, value), to).align = size
            return context.get_dummy_value()

        return signature, codegen

    typing.__name__ = typing.__qualname__ = name
    return intrinsic(typing)


def _ir_add_scaled(builder, old, other, value):
    product = builder.fmul(value, other, flags=["contract"])
    return builder.fadd(old, product, flags=["contract"])


def _ir_scale(builder, old, other, value):
    return builder.fmul(other, value)


def _ir_fold_abs(builder, old, other, value):
    # value is -1: |x| as the larger of x and -x.
    negative = builder.fmul(other, value)
    a = builder.select(builder.fcmp_ordered(">", other, negative), other, negative)
    return builder.select(builder.fcmp_ordered(">", a, old), a, old)


_add_scaled = _row_intrinsic(_ir_add_scaled, "_add_scaled")
_scale = _row_intrinsic(_ir_scale, "_scale")
_fold_abs = _row_intrinsic(_ir_fold_abs, "_fold_abs")


@compiled()
def _aligned(n_rows, like):
    """Zeros of shape (n_rows, BLOCK) on a cache line: split loads cost up to 2x."""
    raw = np.zeros(n_rows * BLOCK + 64 // like.itemsize, like.dtype)
    off = (-raw.ctypes.data % 64) // like.itemsize
    return raw[off : off + n_rows * BLOCK].reshape(n_rows, BLOCK)


@compiled(**_FAST)
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


@compiled(**_FAST)
def _add_remainders(
    exponential, scale, tilt, curv, arg, mass, series, t, j, pade, delta, i, rho, o
):
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


@compiled(nogil=True, **_FAST)
def _tree_pass(
    level, start, stop, row, chunk, first_chunk, last_chunk, index, value, intercept,
    weight, exponential, scale, tilt, curv, arg, mass, series, pade,
    U, skip, order, kept, S, r,
):  # fmt: skip
    """Add one block of displacements over some chunks of the tree to ``S`` and ``r``."""
    n_aug = len(U)
    has_intercept = intercept != 0
    depth = 2
    for t in range(len(level)):
        depth = max(depth, level[t] + 1)
    Ua = _aligned(n_aug, U)
    for f in range(n_aug):
        for b in range(BLOCK):
            Ua[f, b] = U[f, b]
    Sa = _aligned(n_aug, U)
    # delta and rho of the nodes on the current path; the root holds the intercept and
    # the last row is scratch.
    delta = _aligned(depth + 1, U)
    rho = _aligned(depth + 1, U)
    biggest = _aligned(1, U)
    one = delta.dtype.type(1)
    at = np.zeros(depth, dtype=np.int64)
    if has_intercept:
        for b in range(BLOCK):
            delta[0, b] = intercept * Ua[n_aug - 1, b]
    s = 0
    for c in range(first_chunk, last_chunk):
        top = 0
        for b in range(BLOCK):
            rho[0, b] = 0
        for t in range(chunk[c], chunk[c + 1] + 1):
            here = level[t] if t < chunk[c + 1] else 1
            while top >= here:
                node = at[top]
                for e in range(start[node], stop[node]):
                    _add_scaled(Sa, index[e], rho, top, value[e])
                _add_scaled(rho, top - 1, rho, top, one)
                top -= 1
            if t == chunk[c + 1]:
                break
            _scale(delta, here, delta, here - 1, one)
            for b in range(BLOCK):
                rho[here, b] = 0
            for e in range(start[t], stop[t]):
                _add_scaled(delta, here, Ua, index[e], value[e])
            at[here] = t
            top = here
            j = row[t]
            if j < 0 or weight[j] == 0:
                continue
            while s < BLOCK and skip[order[s]] < j:
                s += 1
            use = here
            q = s
            while q < BLOCK and skip[order[q]] == j:
                # The path below needs delta as it is: work on a copy.
                if use == here:
                    use = depth
                    _scale(delta, use, delta, here, one)
                    for b in range(BLOCK):
                        rho[use, b] = 0
                if kept[order[q]] < 0:
                    delta[use, order[q]] = 0
                q += 1
            _fold_abs(biggest, 0, delta, use, -one)
            for i in range(len(scale)):
                _add_remainders(
                    exponential[i], scale[i], tilt[i, j], curv[i, j], arg[i, j],
                    mass[i, j], series, i, j, pade, delta, use, rho, use,
                )  # fmt: skip
            while s < q:
                if kept[order[s]] >= 0:
                    rho[use, order[s]] *= kept[order[s]]
                s += 1
            if use != here:
                _add_scaled(rho, here, rho, use, one)
        if has_intercept:
            for b in range(BLOCK):
                Sa[n_aug - 1, b] += intercept * rho[0, b]
        for f in range(n_aug):
            for b in range(BLOCK):
                S[f, b] += Sa[f, b]
                Sa[f, b] = 0
    for b in range(BLOCK):
        r[b] = biggest[0, b]


def chord_sparse(rows, terms, weight, U, skip, intercept=None):
    """Chord pass over packed sparse rows.

    For each displacement ``U_b``, with ``delta_jb = x_j' U_b`` and ``rho_jb`` the
    remainder ``l'(eta_j + delta) - l'(eta_j) - l''(eta_j) delta``::

        S_b = sum_{j != skip_b} w_j rho_jb x_j
        r_b = max_{j != skip_b, w_j > 0} |delta_jb|

    Parameters
    ----------
    rows : PackedRows
        Design without the intercept column.
    terms : Terms
        Loss of the ``n_samples`` rows.
    weight : ndarray of shape (n_samples,)
        Non-negative weights.
    U : ndarray of shape (n_blocks, n_aug, 64), float64 or float32
        Displacements, the intercept (if any) last; pad the last block with zeros.
        Its dtype is the working precision.
    skip : ndarray of int, shape (n_blocks, 64)
        Sample left out of each displacement, or -1.
    intercept : float or None
        Value of the intercept column.

    Returns
    -------
    S : ndarray of shape (n_blocks, n_aug, 64), float64
    r : ndarray of shape (n_blocks, 64), float64

    Notes
    -----
    Two passes over the entries of the prefix tree and about ten flops per pair of
    row and displacement; memory ``2 n_aug`` numbers of 64 columns per thread. Does
    not depend on the number of threads. In float32 ``delta`` has an error of about
    ``6e-8 sum_f |x_f U_f|`` times the length of the row; the caller adds it to its
    certificate.
    """
    n_packed = len(rows.first)
    total = np.bincount(rows.group, weight, minlength=n_packed)
    members = np.bincount(rows.group, weight > 0, minlength=n_packed)
    sample = np.maximum(skip, 0)
    packed = np.where(skip >= 0, rows.group[sample], -1)
    # A merged row stays, with less weight, when one of several samples is left out.
    rest = np.maximum(total[packed] - weight[sample], 0.0)
    alone = members[packed] - (weight[sample] > 0) < 1
    kept = np.where(alone, -1.0, rest / np.where(alone, 1.0, total[packed]))
    order = np.argsort(packed, axis=1, kind="stable")

    dtype = U.dtype.type
    own = _take(terms, rows.first)
    n_blocks = len(U)
    n_chunks = len(rows.chunk) - 1
    n_parts = min(max(n_chunks, 1), -(-_MIN_TASKS // max(n_blocks, 1)))
    tree = (rows.level, rows.start, rows.stop, rows.row, rows.chunk)
    loss = (
        own.exponential, own.scale.astype(dtype), own.tilt.astype(dtype),
        (total * own.curv).astype(dtype), own.arg.astype(dtype),
        (total * own.mass).astype(dtype), _series(own.tilt).astype(dtype),
        tuple(dtype(c) for c in (*_PADE, _SERIES_BOUND)),
    )  # fmt: skip
    entries = (rows.index, rows.value.astype(dtype))
    constant = dtype(0.0 if intercept is None else intercept)
    kept = kept.astype(dtype)
    S = np.zeros((n_parts, *U.shape))
    r = np.zeros((n_parts, n_blocks, BLOCK))

    def task(number):
        p, k = divmod(number, n_blocks)
        _tree_pass(
            *tree, n_chunks * p // n_parts, n_chunks * (p + 1) // n_parts, *entries,
            constant, total, *loss, U[k], packed[k], order[k], kept[k], S[p, k], r[p, k],
        )  # fmt: skip

    for _ in run_tasks(task, n_parts * n_blocks):
        pass
    return S.sum(axis=0), r.max(axis=0)


# ---------------------------------------------------------------------- dense rows


@compiled(nogil=True, **_FAST)
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
            _add_scaled(delta, i, base, k, one)
            _fold_abs(r, k, delta, i, -one)
            for t in range(len(scale)):
                _add_remainders(
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
    n_samples = len(X)
    n_blocks, n_aug, _ = U.shape
    dtype = U.dtype.type
    wide = np.ascontiguousarray(U.transpose(1, 0, 2)).reshape(n_aug, -1)
    n_coef = n_aug if intercept is None else n_aug - 1
    base = np.zeros((n_blocks, BLOCK), dtype)
    if intercept is not None:
        base += dtype(intercept) * U[:, -1]
    weight = np.asarray(weight, dtype=np.float64)
    loss = (
        terms.tilt, weight * terms.curv, terms.arg, weight * terms.mass,
        _series(terms.tilt),
    )  # fmt: skip
    loss = tuple(a.astype(dtype) for a in loss)
    scale = terms.scale.astype(dtype)
    pade = tuple(dtype(c) for c in (*_PADE, _SERIES_BOUND))
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
            delta.reshape(-1, BLOCK), base, weight[rows], terms.exponential, scale, *own,
            pade, rho.reshape(-1, BLOCK), r,
        )  # fmt: skip
        return X[rows].T @ rho, rho.sum(axis=0), r

    S = np.zeros((n_aug, n_blocks * BLOCK))
    r = np.zeros((n_blocks, BLOCK))
    # Row blocks are spread over our threads, with products that stay in cache. A
    # threaded X' @ rho instead was 20 times slower as soon as another process ran.
    with one_blas_thread():
        for S_rows, total, r_rows in run_tasks(task, -(-n_samples // step)):
            S[:n_coef] += S_rows
            if intercept is not None:
                S[-1] += intercept * total
            np.maximum(r, r_rows, out=r)
    S = S.reshape(n_aug, n_blocks, BLOCK).transpose(1, 0, 2)
    return np.ascontiguousarray(S), r


# ------------------------------------------------------------------------- softmax


def softmax_remainder_numpy(eta, p, delta):
    """Softmax remainder ``p(eta + delta) - p - p (delta - sum p delta)``.

    With ``d_k = delta_k - sum_m p_m delta_m``, ``q_k = exp(d_k) - 1 - d_k`` and
    ``Z = sum_m p_m q_m`` (``= sum_m p_m (exp(d_m) - 1)``, as ``sum p d = 0``),

        rho_k = p_k (q_k - Z (1 + d_k)) / (1 + Z).

    Every ``q`` is non-negative, so ``Z`` does not cancel; what may is a third
    difference, and the error stays below a few ulp of ``p_k (q_k + Z |1 + d_k|) / (1 + Z)``.

    Parameters
    ----------
    eta, p : ndarray of shape (n_samples, n_classes)
        Outputs and their softmax.
    delta : ndarray of shape (n_samples, n_classes, n)

    Returns
    -------
    rho : ndarray of shape (n_samples, n_classes, n)
    """
    p = p[..., None]
    d = delta - np.sum(p * delta, axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        q = np.where(np.abs(d) < 0.5, _exp_remainder_series(d), np.expm1(d) - d)
        Z = np.sum(p * q, axis=1, keepdims=True)
        rho = p * (q - Z * (1.0 + d)) / (1.0 + Z)
    far = np.broadcast_to(np.abs(d).max(axis=1, keepdims=True) > _far(d.dtype), d.shape)
    new = eta[..., None] + delta
    new = np.exp(new - new.max(axis=1, keepdims=True))
    new /= new.sum(axis=1, keepdims=True)
    return np.where(far, new - p - p * d, rho)


def _exp_remainder_series(d):
    out = np.zeros_like(d)
    for k in range(18, 1, -1):
        out = (out + 1.0) * d / k
    return out * d


def _far(dtype):
    """Displacement beyond which exp is taken after subtracting the largest output."""
    return 600.0 if dtype == np.float64 else 75.0


@compiled(nogil=True, **_FAST)
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

    ``S_b[:, k] = sum_{j != skip_b} w_j rho_jk x_j`` with the remainder of
    `softmax_remainder_numpy`, and ``r_b`` the largest range over the classes
    ``max_k delta_jk - min_k delta_jk``.

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
    pade = tuple(dtype(c) for c in (*_PADE, _SERIES_BOUND))
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
