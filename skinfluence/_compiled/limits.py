"""Roles of rows, the limits of what is free in each, and which limit is hit first."""

import numpy as np

from skinfluence._compiled.cached import WITHOUT_NAN, compiled

AT_LO, AT_HI, FREE, ABSENT = 0, 1, 2, 3


@compiled(nogil=True, **WITHOUT_NAN)
def times_to_limits(steps, x, d, L, U, no_rate):
    """Time until each quantity hits a limit at rate ``d``; returns the least."""
    # No quantity is NaN here; infinite ones are.
    least = np.inf
    for i in range(len(x)):
        rate = d[i]
        moves = abs(rate) > no_rate
        room = (U[i] if rate > 0 else L[i]) - x[i]
        t = room / (rate if moves else 1.0)
        t = t if moves else np.inf
        t = t if t > 0 else 0.0
        steps[i] = t
        least = t if t < least else least
    return least


@compiled(nogil=True, error_model="numpy")
def first_hit(x, d, L, U, steps, skip, no_rate):
    """The quantity that hits a limit first; of ties the one that moves fastest. (row or -1, time)."""
    least = times_to_limits(steps, x, d, L, U, no_rate)
    if skip >= 0 and steps[skip] <= least:
        steps[skip] = np.inf
        least = np.inf
        for i in range(len(x)):
            least = min(least, steps[i])
    if least == np.inf:
        return -1, np.inf
    bar = least * (1.0 + 1e-12) + 1e-15
    best, speed = -1, -1.0
    for i in range(len(x)):
        if steps[i] <= bar and i != skip and abs(d[i]) > speed:
            best, speed = i, abs(d[i])
    return best, steps[best]


@compiled(nogil=True, error_model="numpy")
def limits_of(role, lo, hi, target, gone):
    """Limits of a row's free quantity."""
    if role == FREE:
        return lo, hi
    if gone or role == ABSENT:
        return -np.inf, np.inf
    if role == AT_LO:
        return target, np.inf
    return -np.inf, target


@compiled(nogil=True, error_model="numpy")
def given_rate(role, k, moves):
    """Rate of what is given for the ``k``-th moving row: a limit or the target."""
    if role == FREE:
        return moves[k, 2]
    if role == AT_HI:
        return moves[k, 1]
    return moves[k, 0]
