"""Compiled loop that follows the solution of a hinge problem while boxes and targets move.

Every row has one *free* quantity: its decision value while its coefficient sits at a limit, its
coefficient while its decision value sits at the target. All free quantities are ``x``, with limits
``L <= x <= U``; a path runs until one of them hits a limit, the row changes its role, and so on to
``s = 1``. The responses of all free quantities to a change of one row's *given* quantity are a row of
the tableau: ``table[j]`` for the roles that the tableau was built for. Rows whose role differs from
those are ``flipped``; their given quantities are restored by one small linear system.

Index ``n_rows`` of all vectors is the bias; rows of the edit itself come after it, with responses in
``side`` (to the rows of the tableau) and ``own``.
"""

import numpy as np

from skinfluence._compiled.cached import compiled
from skinfluence._compiled.limits import (
    ABSENT,
    AT_HI,
    AT_LO,
    FREE,
    first_hit,
    given_rate,
    limits_of,
)
from skinfluence._compiled.responses import add_row, add_rows, copy_to, entry
from skinfluence._compiled.small_system import append, drop, invert, solve

# What a path ended with.
DONE, TOO_MANY_PIVOTS, NO_ROW_LEFT, FULL, SINGULAR = 0, 1, 2, 3, 4

# Responses below this move nothing within one path (decision values are of size one).
_NO_RATE = 1e-13
# The same for the partner of an exchange, where the given quantity moves by one.
_NO_EXCHANGE = 1e-9
# Conditional kernel, relative to the kernel, of a row that the margin set already spans.
_SPANNED = 1e-10


@compiled(nogil=True, error_model="numpy")
def follow(
    table, side, own, free_bias, scale,
    role, x, L, U, box, movers, moves, slot, true_box, before,
    max_pivots, flipped, place, G, inverse, d, base, steps, delta,
):  # fmt: skip
    """Follow one path from ``s = 0`` to 1.

    Parameters
    ----------
    table, side, own : ndarrays of shape (n, n + 1), (n, n_new), (n_new, n + 1 + n_new)
        Responses.
    free_bias : bool
    scale : ndarray of shape (N,)
        Size of the kernel; ``N = n + 1 + n_new``.
    role, x, L, U : ndarrays of shape (N,)
        State at ``s = 0``; changed in place.
    box : ndarray of shape (3, N)
        Lower limits, upper limits and targets at ``s = 0``.
    movers : ndarray of int, shape (n_moving,)
        Rows whose limits or target move; ``L`` and ``U`` are infinite there.
    moves : ndarray of shape (n_moving, 3)
        By how much, from ``s = 0`` to 1.
    slot : ndarray of int, shape (N,)
        Position of each row in ``movers`` or -1.
    true_box : ndarray of shape (3, N)
        Lower limits, upper limits and targets at ``s = 1``, as the final coefficients see them.
    before : ndarray of shape (2, N)
        Coefficients and decision values before the edit, likewise.
    max_pivots : int
    flipped, place, G, inverse, d, base, steps : work arrays
        ``place`` holds -1 everywhere, and does so again after a return.
    delta : ndarray of shape (N,)
        Receives changes of coefficients and, at ``n``, of the bias.

    Returns
    -------
    code, n_pivots, n_free : int
        ``n_free`` rows are on the margin in the end. Where the code is not `DONE`, ``delta``
        holds coefficients and bias as far as it got.
    """
    n, N = table.shape[0], len(x)
    cap = len(flipped)
    touched = np.empty(len(movers) + max_pivots * 2 + 4, np.int64)
    rhs, z = np.empty(cap), np.empty(cap)
    column, row = np.empty(cap), np.empty(cap)
    given = np.zeros(len(movers))
    n_touched = len(movers)
    for k in range(n_touched):
        touched[k] = movers[k]
    n_free = 0
    for i in range(N):
        base[i] = 0.0
        if role[i] == FREE:
            n_free += 1
    for k in range(len(movers)):
        given[k] = given_rate(role[movers[k]], k, moves)
        if given[k] != 0.0:
            add_row(base, given[k], table, side, own, movers[k])
    # Typed: a literal would compile every function it is passed to twice.
    p, nobody = np.int64(0), np.int64(-1)
    s, n_pivots, code = 0.0, 0, DONE

    while True:
        for a in range(p):
            k = slot[flipped[a]]
            rhs[a] = -base[flipped[a]]
            if k >= 0:
                rhs[a] += given_rate(role[flipped[a]], k, moves)
        if not solve(G, inverse, p, rhs, z):
            code = SINGULAR
            break
        copy_to(d, base)
        add_rows(d, z, flipped, p, table, side, own)
        for a in range(p):
            d[flipped[a]] = z[a]

        q, t = first_hit(x, d, L, U, steps, nobody, _NO_RATE)
        rising = q >= 0 and d[q] > 0
        for k in range(len(movers)):
            i = movers[k]
            low, high, rate_low, rate_high = -np.inf, np.inf, 0.0, 0.0
            if role[i] == FREE:
                low, high = box[0, i] + s * moves[k, 0], box[1, i] + s * moves[k, 1]
                rate_low, rate_high = moves[k, 0], moves[k, 1]
            elif role[i] != ABSENT and true_box[0, i] < true_box[1, i]:
                rate_low = rate_high = moves[k, 2]
                if role[i] == AT_LO:
                    low = box[2, i] + s * rate_low
                else:
                    high = box[2, i] + s * rate_high
            # Both limits may close in on a coefficient at once.
            if d[i] - rate_high > _NO_RATE:
                reached = max((high - x[i]) / (d[i] - rate_high), 0.0)
                if reached < t:
                    q, t, rising = i, reached, True
            if d[i] - rate_low < -_NO_RATE:
                reached = max((low - x[i]) / (d[i] - rate_low), 0.0)
                if reached < t:
                    q, t, rising = i, reached, False

        last = s + t >= 1.0 - 1e-12
        if last:
            t = 1.0 - s
        for i in range(N):
            x[i] += t * d[i]
        s += t
        if last:
            break
        if n_pivots >= max_pivots:
            code = TOO_MANY_PIVOTS
            break
        if p + 2 > cap:
            code = FULL
            break
        n_pivots += 1

        # The row q changes its role. Its limits and target now:
        k = slot[q]
        lo, hi, target = box[0, q], box[1, q], box[2, q]
        if k >= 0:
            lo, hi, target = lo + s * moves[k, 0], hi + s * moves[k, 1], target + s * moves[k, 2]
        leaves = role[q] == FREE
        a = place[q]
        if a >= 0:
            diagonal = inverse[a, a]
        else:
            diagonal = entry(table, side, own, q, q)
            for b in range(p):
                column[b] = entry(table, side, own, flipped[b], q)
                row[b] = entry(table, side, own, q, flipped[b])
            for b in range(p):
                for c in range(p):
                    diagonal -= row[b] * inverse[b, c] * column[c]
        if leaves:
            singular = free_bias and n_free == 1
        else:
            singular = diagonal <= _SPANNED * scale[q]

        partner, shift = -1, 0.0
        if singular:
            # Nothing but q moves along its own column: until another row stops it.
            if a >= 0:
                for b in range(p):
                    z[b] = inverse[b, a]
                d[:] = 0.0
            else:
                for b in range(p):
                    z[b] = 0.0
                    for c in range(p):
                        z[b] -= inverse[b, c] * column[c]
                d[:] = 0.0
                add_row(d, 1.0, table, side, own, q)
            add_rows(d, z, flipped, p, table, side, own)
            for b in range(p):
                d[flipped[b]] = z[b]
            d[q] = 0.0
            # A coefficient moves inwards, a decision value away from the target.
            sign = -1.0 if (rising if leaves else role[q] == AT_HI) else 1.0
            for i in range(N):
                d[i] *= sign
            for j in range(len(movers)):
                i = movers[j]
                L[i], U[i] = limits_of(
                    role[i],
                    box[0, i] + s * moves[j, 0],
                    box[1, i] + s * moves[j, 1],
                    box[2, i] + s * moves[j, 2],
                    true_box[0, i] >= true_box[1, i],
                )
            partner, t = first_hit(x, d, L, U, steps, q, _NO_EXCHANGE)
            room = np.inf if leaves else hi - lo
            flips = room <= t
            t = min(t, room)
            if t == np.inf:
                code = NO_ROW_LEFT
                break
            for i in range(N):
                x[i] += t * d[i]
            for j in range(len(movers)):
                L[movers[j]], U[movers[j]] = -np.inf, np.inf
            shift = sign * t
            if flips:
                role[q] = AT_LO if role[q] == AT_HI else AT_HI
                touched[n_touched] = q
                n_touched += 1
                if k < 0:
                    L[q], U[q] = limits_of(role[q], lo, hi, target, lo >= hi)
                elif a < 0:
                    rate = given_rate(role[q], k, moves)
                    add_row(base, rate - given[k], table, side, own, q)
                    given[k] = rate
                x[q] = target
                continue

        for turn in range(2):
            i = q if turn == 0 else partner
            if i < 0:
                break
            k = slot[i]
            lo, hi, target = box[0, i], box[1, i], box[2, i]
            if k >= 0:
                lo, hi, target = (
                    lo + s * moves[k, 0],
                    hi + s * moves[k, 1],
                    target + s * moves[k, 2],
                )
            if role[i] == FREE:
                up = rising if i == q else d[i] > 0
                role[i] = AT_HI if up else AT_LO
                x[i] = target
                n_free -= 1
            else:
                x[i] = hi if role[i] == AT_HI else lo
                role[i] = FREE
                n_free += 1
            if i == q:
                x[i] += shift
            if k < 0:
                gone = lo >= hi
                L[i], U[i] = limits_of(role[i], lo, hi, target, gone)
            touched[n_touched] = i
            n_touched += 1
            if place[i] >= 0:
                if partner >= 0:
                    # Both at once: the order would pass through a singular system.
                    a, end = place[i], p - 1
                    for b in range(p):
                        G[b, a] = G[b, end]
                    for b in range(p):
                        G[a, b] = G[end, b]
                    place[i] = -1
                    flipped[a] = flipped[end]
                    if a != end:
                        place[flipped[a]] = a
                else:
                    drop(G, inverse, flipped, place, p, place[i])
                p -= 1
                if k >= 0:
                    given[k] = given_rate(role[i], k, moves)
                    if given[k] != 0.0:
                        add_row(base, given[k], table, side, own, i)
            else:
                for b in range(p):
                    column[b] = entry(table, side, own, flipped[b], i)
                    row[b] = entry(table, side, own, i, flipped[b])
                corner = entry(table, side, own, i, i)
                if partner >= 0:
                    G[p, p] = corner
                    for b in range(p):
                        G[b, p] = column[b]
                        G[p, b] = row[b]
                else:
                    append(G, inverse, p, column, row, corner)
                flipped[p] = i
                place[i] = p
                p += 1
                if k >= 0 and given[k] != 0.0:
                    add_row(base, -given[k], table, side, own, i)
                    given[k] = 0.0
        if partner >= 0 and not invert(G, inverse, p):
            code = SINGULAR
            break

    if code != DONE:
        for i in range(N):
            k = slot[i]
            move_lo, move_hi = (moves[k, 0], moves[k, 1]) if k >= 0 else (0.0, 0.0)
            if role[i] == FREE or i == n:
                delta[i] = x[i]
            else:
                delta[i] = box[1, i] + s * move_hi if role[i] == AT_HI else box[0, i] + s * move_lo
    else:
        _finish(
            table, side, own, role, true_box, before, touched, n_touched,
            flipped, place, p, G, inverse, rhs, z, d, base, steps, delta,
        )  # fmt: skip
        if not np.isfinite(delta.sum()):
            code = SINGULAR
    for a in range(p):
        place[flipped[a]] = -1
    return code, n_pivots, n_free


@compiled(nogil=True, error_model="numpy")
def _finish(
    table, side, own, role, true_box, before, touched, n_touched,
    flipped, place, p, G, inverse, rhs, z, d, base, steps, delta,
):  # fmt: skip
    """Coefficients of the final roles from their totals: no error of the way is left in them."""
    n = table.shape[0]
    base[:] = 0.0
    delta[:] = 0.0
    for j in range(n_touched):
        steps[touched[j]] = 1.0
    for j in range(n_touched):
        i = touched[j]
        if steps[i] == 0.0:
            continue
        steps[i] = 0.0
        if role[i] == FREE:
            total = true_box[2, i] - before[1, i]
        else:
            delta[i] = (true_box[1, i] if role[i] == AT_HI else true_box[0, i]) - before[0, i]
            total = delta[i]
        if place[i] >= 0:
            rhs[place[i]] = total
        elif total != 0.0:
            add_row(base, total, table, side, own, i)
    for a in range(p):
        rhs[a] -= base[flipped[a]]
    solve(G, inverse, p, rhs, z)
    copy_to(d, base)
    add_rows(d, z, flipped, p, table, side, own)
    for a in range(p):
        d[flipped[a]] = z[a]
    for i in range(len(d)):
        if role[i] == FREE or i == n:
            delta[i] = d[i]
