"""Weighted sums of powers over all pairs of rows, from blocks of one symmetric matrix.

A block is computed once and used for its rows and its columns.
"""

import numpy as np
from numba import njit

_FAST = {"fastmath": {"contract", "nsz", "nnan", "reassoc"}, "error_model": "numpy"}


@njit(cache=True, nogil=True, **_FAST)
def line(K, size, third, fourth):
    """Of one row of cosines: the largest ``size |K|``, ``sum third K^3``, ``sum fourth K^4``."""
    largest = np.float32(0.0)
    cubes = np.float32(0.0)
    quarts = np.float32(0.0)
    for j in range(len(K)):
        k = K[j]
        square = k * k
        largest = max(largest, size[j] * abs(k))
        cubes += third[j] * square * k
        quarts += fourth[j] * square * square
    return largest, cubes, quarts


@njit(cache=True, nogil=True)
def rows_of_block(K, start, size, third, fourth, largest, cubes, quarts):
    """Add what a block says of its rows, its columns being ``start, start + 1, ...``."""
    stop = start + K.shape[1]
    for i in range(K.shape[0]):
        one, two, three = line(K[i], size[start:stop], third[start:stop], fourth[start:stop])
        largest[i] = max(largest[i], one)
        cubes[i] += two
        quarts[i] += three


@njit(cache=True, nogil=True, **_FAST)
def _add_line(K, size, third, fourth, largest, cubes, quarts):
    for j in range(len(K)):
        k = K[j]
        square = k * k
        largest[j] = max(largest[j], size * abs(k))
        cubes[j] += third * square * k
        quarts[j] += fourth * square * square


@njit(cache=True, nogil=True)
def columns_of_block(K, size, third, fourth, largest, cubes, quarts):
    """Add what a block says of its columns; ``size``, ``third``, ``fourth`` are of its rows."""
    m = K.shape[1]
    part = np.zeros((3, m), dtype=np.float32)
    for i in range(K.shape[0]):
        _add_line(K[i], size[i], third[i], fourth[i], part[0], part[1], part[2])
    for j in range(m):
        largest[j] = max(largest[j], part[0, j])
        cubes[j] += part[1, j]
        quarts[j] += part[2, j]
