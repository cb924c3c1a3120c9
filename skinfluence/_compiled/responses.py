"""Responses to what is given of a row: rows of the tableau, and of those of the edit beside it."""

from skinfluence._compiled.cached import REORDERED, compiled


@compiled(nogil=True, **REORDERED)
def copy_to(out, values):
    """``out[:] = values``: numba compiles for seconds what that says where shapes differ."""
    for i in range(len(out)):
        out[i] = values[i]


@compiled(nogil=True, **REORDERED)
def entry(table, side, own, i, j):
    """Response of ``i`` to the given quantity of ``j``."""
    n = table.shape[0]
    if j <= n:
        return table[j, i] if i <= n else side[j, i - n - 1]
    return own[j - n - 1, i]


@compiled(nogil=True, **REORDERED)
def add_row(out, scale, table, side, own, j):
    n = table.shape[0]
    if j > n:
        row = own[j - n - 1]
        for i in range(len(row)):
            out[i] += scale * row[i]
        return
    row = table[j]
    for i in range(n + 1):
        out[i] += scale * row[i]
    for i in range(side.shape[1]):
        out[n + 1 + i] += scale * side[j, i]


@compiled(nogil=True, **REORDERED)
def add_rows(out, scales, rows, m, table, side, own):
    """``out += sum_k scales[k] * response of rows[k]``; four rows of the tableau at a time."""
    n = table.shape[0]
    k = 0
    while k < m:
        if k + 4 <= m and max(max(rows[k], rows[k + 1]), max(rows[k + 2], rows[k + 3])) < n:
            a, b, c, e = table[rows[k]], table[rows[k + 1]], table[rows[k + 2]], table[rows[k + 3]]
            p, q, r, t = scales[k], scales[k + 1], scales[k + 2], scales[k + 3]
            for i in range(n + 1):
                out[i] += p * a[i] + q * b[i] + r * c[i] + t * e[i]
            for i in range(side.shape[1]):
                for o in range(4):
                    out[n + 1 + i] += scales[k + o] * side[rows[k + o], i]
            k += 4
        else:
            add_row(out, scales[k], table, side, own, rows[k])
            k += 1
