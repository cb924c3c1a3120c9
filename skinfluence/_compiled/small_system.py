"""The small linear system of rows whose roles differ from those of a tableau, and its inverse."""

import numpy as np

from skinfluence._compiled.cached import REORDERED, compiled


@compiled(nogil=True, **REORDERED)
def invert(G, inverse, p):
    """Gauss-Jordan with partial pivoting of the leading ``p`` x ``p`` block; False if singular."""
    work = np.empty((p, 2 * p))
    for a in range(p):
        for b in range(p):
            work[a, b] = G[a, b]
            work[a, p + b] = 0.0
        work[a, p + a] = 1.0
    for c in range(p):
        top = c
        for a in range(c + 1, p):
            if abs(work[a, c]) > abs(work[top, c]):
                top = a
        pivot = work[top, c]
        if abs(pivot) < 1e-300 or not np.isfinite(pivot):
            return False
        for b in range(2 * p):
            kept = work[top, b]
            work[top, b] = work[c, b]
            work[c, b] = kept / pivot
        for a in range(p):
            factor = work[a, c]
            if a != c and factor != 0.0:
                for b in range(c, 2 * p):
                    work[a, b] -= factor * work[c, b]
    for a in range(p):
        for b in range(p):
            inverse[a, b] = work[a, p + b]
    return True


@compiled(nogil=True, **REORDERED)
def append(G, inverse, p, column, row, corner):
    """Border the small system by one flipped row."""
    left = np.empty(p)
    above = np.empty(p)
    schur = corner
    for a in range(p):
        total = 0.0
        other = 0.0
        for b in range(p):
            total += inverse[a, b] * column[b]
            other += row[b] * inverse[b, a]
        left[a] = total
        above[a] = other
        schur -= row[a] * total
    for a in range(p):
        for b in range(p):
            inverse[a, b] += left[a] * above[b] / schur
        inverse[a, p] = -left[a] / schur
        inverse[p, a] = -above[a] / schur
        G[a, p] = column[a]
        G[p, a] = row[a]
    inverse[p, p] = 1.0 / schur
    G[p, p] = corner


@compiled(nogil=True, **REORDERED)
def drop(G, inverse, flipped, place, p, a):
    """Take flipped row number ``a`` out of the small system; the last one moves to its place."""
    last = p - 1
    pivot = inverse[a, a]
    for i in range(p):
        if i != a and inverse[i, a] != 0.0:
            factor = inverse[i, a] / pivot
            for j in range(p):
                if j != a:
                    inverse[i, j] -= factor * inverse[a, j]
    place[flipped[a]] = -1
    if a != last:
        for i in range(p):
            inverse[i, a] = inverse[i, last]
            G[i, a] = G[i, last]
        for j in range(p):
            inverse[a, j] = inverse[last, j]
            G[a, j] = G[last, j]
        flipped[a] = flipped[last]
        place[flipped[a]] = a


@compiled(nogil=True, **REORDERED)
def solve(G, inverse, p, rhs, z):
    """``G z = rhs`` with one step of refinement; False if the inverse had to be given up."""
    for attempt in range(2):
        size = 0.0
        for a in range(p):
            z[a] = 0.0
            size = max(size, abs(rhs[a]))
            for b in range(p):
                z[a] += inverse[a, b] * rhs[b]
        worst = 0.0
        left = np.empty(p)
        for a in range(p):
            left[a] = rhs[a]
            for b in range(p):
                left[a] -= G[a, b] * z[b]
            worst = max(worst, abs(left[a]))
        for a in range(p):
            for b in range(p):
                z[a] += inverse[a, b] * left[b]
        if worst <= 1e-8 * size:
            return True
        if attempt == 0 and not invert(G, inverse, p):
            return False
    return np.isfinite(worst) and worst <= 1e-2 * size
