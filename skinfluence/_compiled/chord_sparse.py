"""The chord pass of :mod:`skinfluence._compiled.chord` over packed sparse rows."""

import numpy as np

from skinfluence._compiled.blocks import BLOCK, add_scaled, aligned, fold_abs, scale_row
from skinfluence._compiled.cached import SIGNLESS, compiled
from skinfluence._compiled.chord import (
    PADE,
    SERIES_BOUND,
    add_remainders,
    series_of,
    take,
)
from skinfluence._compiled.gram import run_tasks
from skinfluence._utils.weights import weigh

# Row ranges a call is cut into when it has fewer blocks than this. Fixed, so that
# results do not depend on the number of threads.
_MIN_TASKS = 8


@compiled(nogil=True, **SIGNLESS)
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
    Ua = aligned(n_aug, U)
    for f in range(n_aug):
        for b in range(BLOCK):
            Ua[f, b] = U[f, b]
    Sa = aligned(n_aug, U)
    # delta and rho of the nodes on the current path; the root holds the intercept and
    # the last row is scratch.
    delta = aligned(depth + 1, U)
    rho = aligned(depth + 1, U)
    biggest = aligned(np.int64(1), U)
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
                    add_scaled(Sa, index[e], rho, top, value[e])
                add_scaled(rho, top - 1, rho, top, one)
                top -= 1
            if t == chunk[c + 1]:
                break
            scale_row(delta, here, delta, here - 1, one)
            for b in range(BLOCK):
                rho[here, b] = 0
            for e in range(start[t], stop[t]):
                add_scaled(delta, here, Ua, index[e], value[e])
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
                    scale_row(delta, use, delta, here, one)
                    for b in range(BLOCK):
                        rho[use, b] = 0
                if kept[order[q]] < 0:
                    delta[use, order[q]] = 0
                q += 1
            fold_abs(biggest, 0, delta, use, -one)
            for i in range(len(scale)):
                add_remainders(
                    exponential[i], scale[i], tilt[i, j], curv[i, j], arg[i, j],
                    mass[i, j], series, i, j, pade, delta, use, rho, use,
                )  # fmt: skip
            while s < q:
                if kept[order[s]] >= 0:
                    rho[use, order[s]] *= kept[order[s]]
                s += 1
            if use != here:
                add_scaled(rho, here, rho, use, one)
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
    own = take(terms, rows.first)
    n_blocks = len(U)
    n_chunks = len(rows.chunk) - 1
    n_parts = min(max(n_chunks, 1), -(-_MIN_TASKS // max(n_blocks, 1)))
    tree = (rows.level, rows.start, rows.stop, rows.row, rows.chunk)
    loss = (
        own.exponential, own.scale.astype(dtype), own.tilt.astype(dtype),
        weigh(total, own.curv).astype(dtype), own.arg.astype(dtype),
        weigh(total, own.mass).astype(dtype), series_of(own.tilt).astype(dtype),
        tuple(dtype(c) for c in (*PADE, SERIES_BOUND)),
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
