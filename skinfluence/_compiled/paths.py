"""Paths of many edits from one state, and one path along which any row may move."""

import numpy as np

from skinfluence._compiled.cached import compiled
from skinfluence._compiled.limits import ABSENT, AT_HI, AT_LO, FREE, limits_of
from skinfluence._compiled.path import follow
from skinfluence._compiled.responses import copy_to


@compiled(nogil=True, error_model="numpy")
def follow_each(
    table, side, own, free_bias, scale, role, x, box, true_box, before,
    starts, movers, moves, true_moves, max_pivots, cap, first, last, delta, codes, n_pivots, n_free,
):  # fmt: skip
    """`follow` for the edits ``first <= e < last``, each from the same state.

    Edit ``e`` moves the rows ``movers[starts[e] : starts[e + 1]]``. ``delta`` has one row per
    edit. See `follow` for the other arguments; ``box`` and ``true_box`` are those before the edit.
    """
    n, N = table.shape[0], len(x)
    L, U = np.empty(N), np.empty(N)
    for i in range(N):
        L[i], U[i] = limits_of(role[i], box[0, i], box[1, i], box[2, i], box[0, i] >= box[1, i])
    L[n], U[n] = -np.inf, np.inf
    own_role, own_x, own_L, own_U = np.empty_like(role), np.empty(N), np.empty(N), np.empty(N)
    own_box = true_box.copy()
    slot, place = np.full(N, -1), np.full(N, -1)
    flipped = np.empty(cap, np.int64)
    G, inverse = np.empty((cap, cap)), np.empty((cap, cap))
    d, base, steps = np.empty(N), np.empty(N), np.empty(N)
    for e in range(first, last):
        copy_to(own_role, role)
        copy_to(own_x, x)
        copy_to(own_L, L)
        copy_to(own_U, U)
        rows = movers[starts[e] : starts[e + 1]]
        for k in range(len(rows)):
            i = rows[k]
            slot[i] = k
            own_L[i], own_U[i] = -np.inf, np.inf
            for a in range(3):
                own_box[a, i] = true_box[a, i] + true_moves[starts[e] + k, a]
            if role[i] == ABSENT:
                own_role[i] = AT_LO if x[i] > box[2, i] else AT_HI
        codes[e], n_pivots[e], n_free[e] = follow(
            table, side, own, free_bias, scale, own_role, own_x, own_L, own_U, box, rows,
            moves[starts[e] : starts[e + 1]], slot, own_box, before,
            max_pivots, flipped, place, G, inverse, d, base, steps, delta[e],
        )  # fmt: skip
        for i in rows:
            slot[i] = -1
            for a in range(3):
                own_box[a, i] = true_box[a, i]


def follow_all(tableau, problem, role, x, box, end, cap, delta):
    """`follow` where any row may move, from a state to ``end``; ``role`` and ``delta`` are written.

    Parameters
    ----------
    tableau : Tableau
    problem : HingeProblem
    role, x, box, end, delta : ndarrays
        As in `follow`.
    cap : int
        Rows that may change roles before the path gives up with `FULL`.

    Returns
    -------
    code, n_pivots : int
    """
    n, N = len(tableau.rows), len(x)
    movers = np.flatnonzero((box != end).any(axis=0))
    moves = np.ascontiguousarray((end - box)[:, movers].T)
    slot = np.full(N, -1)
    slot[movers] = np.arange(len(movers))
    free, watched = role == FREE, box[0] < box[1]
    L = np.where(free, box[0], np.where(watched & (role == AT_LO), box[2], -np.inf))
    U = np.where(free, box[1], np.where(watched & (role == AT_HI), box[2], np.inf))
    L[movers], U[movers] = -np.inf, np.inf
    given = np.where(free, x, np.where(role == AT_LO, box[0], box[1]))
    before = np.array([given, np.where(free, box[2], x)])
    code, n_pivots, _ = follow(
        tableau.table, np.empty((n, 0)), np.empty((0, N)), problem.free_bias,
        np.append(problem.scale[tableau.rows], 1.0), role, x, L, U, box, movers, moves, slot,
        end, before, 20 * n + 1000, np.empty(cap, np.int64), np.full(N, -1), np.empty((cap, cap)),
        np.empty((cap, cap)), np.empty(N), np.empty(N), np.empty(N), delta,
    )  # fmt: skip
    return code, n_pivots
