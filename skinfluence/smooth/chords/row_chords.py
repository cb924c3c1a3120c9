"""Accelerated chord iterations of many one-row edits, of any number of outputs.

Iterates are mixed with those of two passes before, in the norm of each edited Hessian.
"""

import numpy as np

from skinfluence.smooth.chords.mixing import BEGIN, FARTHEST, shares

PASSES = 12
# A pass that leaves more than this share of the gradient is no progress; so many of them may be.
PROGRESS, STALLS = 0.5, 2


def by_chords(state, left, is_certified, bound, used, begin=None):
    """Iterate edits until each is certified or gets no nearer.

    Parameters
    ----------
    state : RowBatch
        Whose ``theta_steps``, ``solved`` and ``size`` are written to where an iterate has a smaller
        bound.
    left : ndarray of int
        The edits to begin with.
    is_certified : callable
        ``is_certified(bound, size)``.
    bound, used : ndarray of shape (m,)
        Bounds and names of methods, written to.
    begin : tuple of ndarray, default=None
        Iterates of those edits to begin with, and ``-P`` times them; the state's steps when None.

    Returns
    -------
    left : ndarray of int
        Those that are not certified.
    """
    state.use(left)
    which = left
    w, b = (state.theta_steps[left], state.solved[left]) if begin is None else begin
    mixed = np.ones(len(left))
    before, least, stalls = [], np.full(len(left), np.inf), np.zeros(len(left), dtype=int)
    for number in range(PASSES):
        if not len(which):
            break
        one = state.chord(which, w, b, mixed)
        better = one.bound < bound[which]
        done = which[better]
        state.theta_steps[done], state.solved[done] = one.steps[better], one.solved[better]
        state.size[done], bound[done], used[done] = one.size[better], one.bound[better], "chord"
        far = one.r > FARTHEST
        short = far & (number == 0) & np.isfinite(one.r)
        stalls += ~far & ~(one.gradient <= PROGRESS * least)
        least = np.where(far, least, np.fmin(least, one.gradient))
        go = np.isfinite(one.gradient) & (short | ~far) & (stalls < STALLS)
        go &= ~is_certified(bound[which], state.size[which])
        before = [*before, (w, b, one.after, one.after_solved, ~short)][-3:]
        share = BEGIN / np.maximum(one.r, BEGIN)
        if not go.all():
            which, least, stalls, short, share = (
                part[go] for part in (which, least, stalls, short, share)
            )
            before = [tuple(part[go] for part in kept) for kept in before]
        w, b, mixed = _mixed(before)
        if short.any():
            share = share[short, None, None]
            w[short], b[short] = share * before[-1][0][short], share * before[-1][1][short]
    return left[~is_certified(bound[left], state.size[left])]


# Iterates that overflow end with the pass that sees them.
@np.errstate(over="ignore", invalid="ignore")
def _mixed(before):
    """The combination of what chords gave whose residuals cancel best.

    Parameters
    ----------
    before : list of tuples of ndarray
        Of the last passes: iterates, ``-P`` times them, what chords made of them, ``-P`` times that,
        each of shape (b, n_outputs, n_columns), and which of them count, (b,).

    Returns
    -------
    w, b : ndarray of shape (b, n_outputs, n_columns)
        The next iterates, and ``-P`` times them.
    mixed : ndarray of shape (b,)
        By how much the errors of solves may be larger in them than in one.
    """
    *earlier, (w, b, after, solved, _) = before
    if not earlier:
        return after.copy(), solved.copy(), np.ones(len(w))
    f, g = after - w, b - solved
    df = np.stack([f - (a - v) for v, _, a, _, _ in earlier], axis=1)
    dg = np.stack([g - (c - s) for _, c, _, s, _ in earlier], axis=1)
    counts = np.stack([one[4] for one in earlier], axis=1)
    df[~counts], dg[~counts] = 0.0, 0.0
    normal = np.einsum("bmkd,blkd->bml", df, dg, optimize=True)
    share = shares(normal, np.einsum("bmkd,bkd->bm", df, g))
    out = []
    for last, at in ((after, 2), (solved, 3)):
        mixed = last.copy()
        for one, kept in zip(share.T, earlier, strict=True):
            mixed -= one[:, None, None] * (last - kept[at])
        out.append(mixed)
    return *out, 1.0 + 2.0 * np.abs(share).sum(axis=1)
