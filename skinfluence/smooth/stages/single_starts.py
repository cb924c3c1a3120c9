"""Where chords in double precision begin that go on to round-off: chords in single precision before them.

What is found is certified by those in double precision, so that nothing is known of it here, and nothing
is bounded: a pass is two products in single precision and the remainders between them.
"""

import numpy as np

from skinfluence._utils.weights import weigh
from skinfluence.smooth.batches.remainders import COMPILED
from skinfluence.smooth.chords.mixing import FARTHEST, accelerated, length
from skinfluence.smooth.pairs.tall_sums import TallSums

PASSES = 6
# Steps that gain less, relative to where they end, are rounding.
ROUNDED = 1e-8
# What a second pass leaves of the first chord, over that chord relative to the step: 2 to 2.5 on heavy
# tails, one-hot and random rows.
BEGUN = 3.0
# Share of a tolerance that what is expected may take.
SHARE = 0.25
# Passes that leave more than this share of a chord go nowhere.
PROGRESS = 0.5


def serves(objective):
    """Whether the loss has compiled remainders of one output, and the rows are dense."""
    design = objective.design
    return isinstance(objective.loss, COMPILED) and design.in_memory and not design.is_sparse


def near_optima(at, own, remainders, tol):
    """Iterates from which one chord in double precision is expected to be within a tolerance.

    Parameters
    ----------
    at : Whitened
        Of an objective that :func:`serves`.
    own : OneRowEdits of m rows
    remainders : RemainderPass
        Of the objective.
    tol : float
        Error relative to the size of a step.

    Returns
    -------
    steps, sums : ndarray of shape (m, n_parameters)
        In the coordinates of ``at``: the iterates, and the sums of remainders whose chords they are.
    found : ndarray of bool, shape (m,)
        Which edits have one that is nearer than their whole step.

    Notes
    -----
    ``4 n p`` flops in single precision for each edit and pass. The first pass of a tall table is its
    tensor to second order, where that is cheaper.
    """
    m, a = len(own), own.a
    w = own.begin(a)
    steps, nearer = w.copy(), np.zeros(m, dtype=bool)
    which, history = np.flatnonzero(own.are_bounded), []
    last, first = np.full(m, np.inf), np.full(m, np.inf)
    w = w[which]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for number in range(PASSES):
            if not len(which):
                break
            some, rows = own.take(which), a[which]
            if number == 0 and TallSums.pays_for_steps(at.rows, 2 * len(which)):
                S, r = _to_second_order(at, some, rows, w)
            else:
                S, r = _remainders(at, some, rows, w, remainders)
            after = some.solved(rows, S)
            f = after - w
            left, size = length(f), length(w)
            if number == 0:
                first[which], ratio = left, BEGUN * left / size
            else:
                ratio = left / last[which]
            w, history = accelerated(w, f, history)
            last[which] = left
            better = np.isfinite(w).all(axis=1) & (r < FARTHEST)
            steps[which[better]] = w[better]
            # One more chord is off by so much, and the next one by the change of curvatures less.
            enough = left * np.minimum(ratio, 1.0) * np.expm1(r) <= SHARE * tol * size
            nearer[which] = better & (enough | (left < PROGRESS * first[which]))
            go = better & ~enough & (left > ROUNDED * size)
            if number:
                go &= ratio < PROGRESS
            which, w = which[go], w[go]
            history = [(p[go], q[go]) for p, q in history]
        return steps, own.remaining(a, steps), nearer


def _remainders(at, some, rows, w, remainders):
    """Sums of remainders after some edits, and how far rows moved."""
    S, r = remainders.in_single(at.single_rows, w, some.rows)
    loss, moved = some.objective.loss, np.einsum("bd,bd->b", rows, w)
    there = some.weight > 0
    rest = loss.remainder(some.eta, some.y, moved[:, None])[:, 0]
    S += np.where(there, some.weight * rest, 0.0)[:, None] * rows
    return S, some.M * np.maximum(r, np.where(there, np.abs(moved), 0.0))


def _to_second_order(at, some, rows, w):
    """As :func:`_remainders` from the tensor of the columns."""
    tall, loss = at.tall, some.objective.loss
    S, _ = tall.turned(w)
    moved = np.einsum("bd,bd->b", rows, w)
    # Without the row as it was, with the row as it is.
    own = weigh(some.weight, loss.third(some.eta, some.y)) - tall.third[some.rows]
    S += (own * moved**2)[:, None] * rows
    return 0.5 * S, some.M * tall.moved_by(w, some.rows)
