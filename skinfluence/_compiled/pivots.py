"""Compiled loop that moves few rows of a hinge problem, one after the other, from its optimum to the next.

One coefficient at a time is driven to where the problem wants it. The rows on the margin answer by the
inverse of the system among them, which is kept from one edit to the next: a row that comes borders it,
one that goes is taken out. Each pivot reads the rows of the kernel matrix that are on the margin once.
"""

import numpy as np

from skinfluence._compiled.cached import REORDERED, compiled
from skinfluence._compiled.limits import ABSENT, AT_HI, AT_LO, FREE
from skinfluence._compiled.small_system import append, drop, solve

# What a path ended with.
DONE, TOO_MANY_PIVOTS, NO_ROW_LEFT, FULL, SINGULAR = 0, 1, 2, 3, 4

# Rates below this, per unit of the coefficient that is driven and of its kernel's size, move nothing.
_NO_RATE = 1e-13
# Conditional kernel, relative to the kernel, of a row that the margin spans already.
_SPANNED = 1e-10
# A decision value this close to its target meets it: refinement does the rest.
_MET = 1e-9
# Rounds of refinement.
_ROUNDS = 3


@compiled(nogil=True, **REORDERED)
def add_scaled(out, scale, row):
    """Add a row of the kernel matrix to every copy of the rows."""
    m = len(row)
    for start in range(0, len(out), m):
        part = out[start : start + m]
        for i in range(m):
            part[i] += scale * row[i]


@compiled(nogil=True, **REORDERED)
def first_off_margin(d, f, target, role, skip, no_rate):
    """The row off the margin whose decision value meets its target first. (row or -1, time)."""
    best, least, speed = -1, np.inf, 0.0
    for i in range(len(d)):
        rate = d[i] if role[i] == AT_HI else -d[i]
        if rate > no_rate and (role[i] == AT_LO or role[i] == AT_HI) and i != skip:
            room = target[i] - f[i] if role[i] == AT_HI else f[i] - target[i]
            t = max(room, 0.0) / rate
            if t < least or (t == least and rate > speed):
                best, least, speed = i, t, rate
    return best, least


@compiled(nogil=True, **REORDERED)
def first_on_margin(v, flipped, p, beta, lo, hi, no_rate):
    """The row on the margin whose coefficient meets its box first. (position or -1, time)."""
    best, least, speed = -1, np.inf, 0.0
    for a in range(p):
        j, rate = flipped[a], v[a]
        if j < len(beta) and abs(rate) > no_rate:
            room = hi[j] - beta[j] if rate > 0 else beta[j] - lo[j]
            t = max(room, 0.0) / abs(rate)
            if t < least or (t == least and abs(rate) > speed):
                best, least, speed = a, t, abs(rate)
    return best, least


@compiled(nogil=True, **REORDERED)
def among(kernel, n, flipped, p, i, column):
    """What row ``i`` is to those on the margin: 1 for the bias, else kernel values."""
    m = len(kernel)
    for a in range(p):
        column[a] = kernel[i % m, flipped[a] % m] if flipped[a] < n else 1.0


@compiled(nogil=True, error_model="numpy")
def join(kernel, G, inverse, flipped, place, p, i, column):
    """A row comes to the margin; its code."""
    if p >= len(flipped):
        return FULL
    among(kernel, len(place) - 1, flipped, p, i, column)
    own = kernel[i % len(kernel), i % len(kernel)]
    schur = own
    for a in range(p):
        total = 0.0
        for b in range(p):
            total += inverse[a, b] * column[b]
        schur -= column[a] * total
    if not schur > _SPANNED * own:
        return SINGULAR
    append(G, inverse, p, column, column, own)
    flipped[p], place[i] = i, p
    return DONE


@compiled(nogil=True, error_model="numpy")
def leave(G, inverse, flipped, place, p, a, free_bias):
    """A row goes from the margin; its code."""
    if free_bias and p <= 2:
        return NO_ROW_LEFT
    if not abs(inverse[a, a]) > 1e-300:
        return SINGULAR
    drop(G, inverse, flipped, place, p, a)
    return DONE


@compiled(nogil=True, error_model="numpy")
def drive(
    kernel, free_bias, lo, hi, target, beta, f, role, i, goal, to_target, max_pivots,
    G, inverse, flipped, place, p, v, d, column,
):  # fmt: skip
    """Drive the coefficient of one row to a value, or until its decision value is its target.

    Returns
    -------
    code, p, n_pivots : int
    bias : float
        By how much it moved.
    """
    bias, n_pivots, code = 0.0, 0, DONE
    sign = 1.0 if goal > beta[i] else -1.0
    m = len(kernel)
    own = kernel[i % m, i % m]
    no_rate = _NO_RATE * max(1.0, own)
    while True:
        among(kernel, len(d), flipped, p, i, column)
        for x in range(len(d)):
            d[x] = 0.0
        add_scaled(d, sign, kernel[i % m])
        for a in range(p):
            v[a] = 0.0
            for b in range(p):
                v[a] -= inverse[a, b] * column[b]
            v[a] *= sign
        for a in range(p):
            j = flipped[a]
            if j < len(d):
                add_scaled(d, v[a], kernel[j % m])
            else:
                for x in range(len(d)):
                    d[x] += v[a]
        t, event = abs(goal - beta[i]), 0
        if to_target and sign * d[i] > _SPANNED * own:
            meets = max((target[i] - f[i]) / d[i], 0.0)
            if meets < t:
                t, event = meets, 1
        a, hit = first_on_margin(v, flipped, p, beta, lo, hi, _NO_RATE)
        if hit < t:
            t, event = hit, 2
        x, hit = first_off_margin(d, f, target, role, i, no_rate)
        if hit < t:
            t, event = hit, 3
        for b in range(p):
            j = flipped[b]
            if j < len(d):
                beta[j] += t * v[b]
            else:
                bias += t * v[b]
        beta[i] += t * sign
        add_scaled(f, t, d)
        n_pivots += 1
        if event == 0:
            beta[i] = goal
            break
        if n_pivots >= max_pivots:
            code = TOO_MANY_PIVOTS
            break
        if event == 1:
            f[i] = target[i]
            code = join(kernel, G, inverse, flipped, place, p, i, column)
            role[i] = FREE
            p += 1
            break
        if event == 2:
            j = flipped[a]
            role[j] = AT_HI if v[a] > 0 else AT_LO
            beta[j] = hi[j] if v[a] > 0 else lo[j]
            f[j] = target[j]
            code = leave(G, inverse, flipped, place, p, a, free_bias)
            p -= 1
        else:
            f[x] = target[x]
            code = join(kernel, G, inverse, flipped, place, p, x, column)
            role[x] = FREE
            p += 1
        if code != DONE:
            break
    return code, p, n_pivots, bias


@compiled(nogil=True, error_model="numpy")
def refined(kernel, target, beta, f, bias, G, inverse, flipped, p):
    """Decision values afresh, and coefficients of the margin that meet the targets; (code, bias)."""
    rhs, z = np.empty(p), np.empty(p)
    for turn in range(_ROUNDS):
        total = 0.0
        for x in range(len(f)):
            f[x] = bias
        for j in range(len(beta)):
            if beta[j] != 0.0:
                total += beta[j]
                add_scaled(f, beta[j], kernel[j % len(kernel)])
        if turn == _ROUNDS - 1:
            break
        for a in range(p):
            j = flipped[a]
            rhs[a] = target[j] - f[j] if j < len(beta) else -total
        if not solve(G, inverse, p, rhs, z):
            return SINGULAR, bias
        for a in range(p):
            j = flipped[a]
            if j < len(beta):
                beta[j] += z[a]
            else:
                bias += z[a]
    return DONE, bias


@compiled(nogil=True, error_model="numpy")
def move_rows(
    kernel, free_bias, lo, hi, target, beta, f, bias, movers, max_pivots,
    G, inverse, flipped, place, p,
):  # fmt: skip
    """From the optimum of a hinge problem to that of one whose boxes or targets differ in few rows.

    Parameters
    ----------
    kernel : ndarray of shape (m, m)
        Row ``i`` is row ``i % m`` of it.
    free_bias : bool
    lo, hi, target : ndarray of shape (n,)
        Of the problem that is wanted.
    beta, f : ndarray of shape (n,)
        Coefficients and decision values at the optimum before; overwritten.
    bias : float
    movers : ndarray of int
        Rows whose box or target is another one.
    max_pivots : int
    G, inverse : ndarray of shape (cap, cap)
        The system among the rows on the margin, bordered by ones for a free bias; overwritten.
    flipped : ndarray of int, shape (cap,)
        Who is in it: rows, and ``n`` for the bias, which comes first; overwritten.
    place : ndarray of int, shape (n + 1,)
        Position of each in ``flipped``, or -1; overwritten.
    p : int
        Size of the system.

    Returns
    -------
    code, p, n_pivots : int
    bias : float
    """
    n = len(beta)
    role = np.empty(n, np.int64)
    v, column, d = np.empty(len(flipped)), np.empty(len(flipped)), np.empty(n)
    for i in range(n):
        if place[i] >= 0:
            role[i] = FREE
        elif lo[i] >= hi[i]:
            role[i] = ABSENT
        else:
            role[i] = AT_LO if beta[i] <= lo[i] else AT_HI
    n_pivots, code = 0, DONE
    for k in range(len(movers)):
        i = movers[k]
        if place[i] >= 0:
            if lo[i] < beta[i] < hi[i] and abs(f[i] - target[i]) <= _MET:
                continue
            code = leave(G, inverse, flipped, place, p, place[i], free_bias)
            if code != DONE:
                return code, p, n_pivots, bias
            p -= 1
        # Until its turn a row stays where it is.
        role[i] = ABSENT
    for k in range(len(movers)):
        i = movers[k]
        if place[i] >= 0:
            continue
        goal = min(max(beta[i], lo[i]), hi[i])
        role[i] = ABSENT
        to_target = False
        for _ in range(2):
            if goal != beta[i]:
                code, p, taken, moved = drive(
                    kernel, free_bias, lo, hi, target, beta, f, role, i, goal, to_target,
                    max_pivots - n_pivots, G, inverse, flipped, place, p, v, d, column,
                )  # fmt: skip
                n_pivots += taken
                bias += moved
            if code != DONE or lo[i] >= hi[i] or role[i] == FREE:
                break
            slack = f[i] - target[i]
            if beta[i] <= lo[i] and slack >= 0.0:
                role[i] = AT_LO
                break
            if beta[i] >= hi[i] and slack <= 0.0:
                role[i] = AT_HI
                break
            goal = hi[i] if slack < 0.0 else lo[i]
            to_target = True
        if code != DONE:
            break
    if code == DONE:
        code, bias = refined(kernel, target, beta, f, bias, G, inverse, flipped, p)
    return code, p, n_pivots, bias
