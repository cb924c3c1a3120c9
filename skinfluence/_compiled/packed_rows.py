"""Rows of a CSR matrix as a prefix tree, in which common beginnings are one."""

from dataclasses import dataclass

import numpy as np

from skinfluence._compiled.cached import compiled

# Packed rows per chunk. Sums of a chunk are kept in the working precision and
# then added to a float64 total, which keeps a float32 pass accurate.
CHUNK = 1024


@dataclass(frozen=True)
class PackedRows:
    """Rows of a CSR matrix as a prefix tree; made by `pack_rows`.

    Attributes
    ----------
    n_features : int
    first, group : ndarray of shape (n_packed,) and (n_samples,)
        A sample of each packed row, and the packed row of each sample.
    level, start, stop, row : ndarray of shape (n_nodes,)
        Nodes in preorder: depth, range of entries, packed row ending there or -1.
    chunk : ndarray of shape (n_chunks + 1,)
        Node ranges between which nothing is shared.
    index, value : ndarray of shape (n_entries,)
        Features and values.
    """

    n_features: int
    first: np.ndarray
    group: np.ndarray
    level: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    row: np.ndarray
    chunk: np.ndarray
    index: np.ndarray
    value: np.ndarray


def pack_rows(X, *keys):
    """Sort CSR rows into a prefix tree that shares common entries.

    Entries of each row are ordered from the most frequent (feature, value) pair to
    the rarest and rows are sorted, so neighbours begin alike. The work shared by a
    common beginning is done once, and equal rows become one. One-hot data shrink
    most: a9a goes from 13.9 entries per row to 2.8.

    Parameters
    ----------
    X : CSR matrix of shape (n_samples, n_features)
    *keys : ndarray of shape (n_samples,)
        Rows are merged only if all keys are equal to the last bit: pass ``eta``, and
        ``y`` for a loss whose remainder depends on it.

    Returns
    -------
    rows : PackedRows

    Notes
    -----
    O(n_entries log n_entries), once for all passes: 0.08 s for a9a (32,561 rows, 452k
    entries), 1.4 s for 101,766 rows of 36 entries. Sorting looks at the 64 most frequent
    entries of a row.
    """
    n_samples, n_features = X.shape
    indptr = X.indptr.astype(np.int64)
    lengths = np.diff(indptr)
    values, value_code = np.unique(X.data, return_inverse=True)
    code = X.indices.astype(np.int64) * len(values) + value_code
    pairs, inverse, count = np.unique(code, return_inverse=True, return_counts=True)
    rank = np.empty(len(pairs), dtype=np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(1, len(pairs) + 1)
    owner = np.repeat(np.arange(n_samples), lengths)
    order = np.argsort(owner * (len(pairs) + 1) + rank[inverse], kind="stable")
    token = rank[inverse][order]

    n_sorted = int(min(64, lengths.max(initial=0)))
    place = np.arange(len(token)) - indptr[owner]
    shown = place < n_sorted
    table = np.zeros((n_sorted, n_samples), dtype=np.int32)
    table[place[shown], owner[shown]] = token[shown]
    perm = np.lexsort((*keys, *table[::-1])) if keys or n_sorted else np.arange(n_samples)

    chunk = max(CHUNK, 4 * n_features)
    key = np.array(keys, dtype=np.float64).reshape(len(keys), n_samples)
    first, group, shared = _merge_rows(perm, indptr, token, key, chunk)
    nodes = _prefix_tree(first, shared, indptr, chunk)
    index = X.indices.astype(np.int64)[order]
    return PackedRows(n_features, first, group, *nodes, index, X.data[order].astype(np.float64))


@compiled()
def _merge_rows(perm, indptr, token, key, chunk):
    """Drop repeats among sorted rows; count the leading entries shared with the last."""
    n = len(perm)
    group = np.empty(n, dtype=np.int64)
    first = np.empty(n, dtype=np.int64)
    shared = np.empty(n, dtype=np.int64)
    m = 0
    for q in range(n):
        i = perm[q]
        k = 0
        same = False
        if m > 0:
            p = first[m - 1]
            n_p, n_i = indptr[p + 1] - indptr[p], indptr[i + 1] - indptr[i]
            while k < min(n_p, n_i) and token[indptr[p] + k] == token[indptr[i] + k]:
                k += 1
            same = k == n_p and k == n_i
            for c in range(key.shape[0]):
                same = same and key[c, p] == key[c, i]
        if not same:
            first[m] = i
            shared[m] = k if m % chunk else 0
            m += 1
        group[i] = m - 1
    return first[:m].copy(), group, shared[:m].copy()


@compiled()
def _prefix_tree(first, shared, indptr, chunk):
    """Nodes of the tree of sorted rows, unbranched runs of entries in one node."""
    m = len(first)
    # below[j]: next row that shares fewer entries with its predecessor than row j.
    below = np.empty(m, dtype=np.int64)
    stack = np.empty(m + 1, dtype=np.int64)
    top = 0
    for j in range(m - 1, -1, -1):
        while top > 0 and shared[stack[top - 1]] >= shared[j]:
            top -= 1
        below[j] = stack[top - 1] if top > 0 else m
        stack[top] = j
        top += 1
    level = np.empty(2 * m, dtype=np.int64)
    start = np.empty(2 * m, dtype=np.int64)
    stop = np.empty(2 * m, dtype=np.int64)
    row = np.empty(2 * m, dtype=np.int64)
    node_of_chunk = np.empty((m + chunk - 1) // chunk + 1, dtype=np.int64)
    longest = 0
    for j in range(m):
        longest = max(longest, indptr[first[j] + 1] - indptr[first[j]])
    depth = np.zeros(longest + 2, dtype=np.int64)
    cuts = np.empty(longest + 2, dtype=np.int64)
    top = 0
    t = 0
    for j in range(m):
        if j % chunk == 0:
            node_of_chunk[j // chunk] = t
        base = indptr[first[j]]
        length = indptr[first[j] + 1] - base
        while depth[top] > shared[j]:
            top -= 1
        # Later rows branch off this one where the running minimum of shared drops.
        n_cuts = 0
        q = j + 1
        while q < m and shared[q] > shared[j]:
            cuts[n_cuts] = shared[q]
            n_cuts += 1
            q = below[q]
        low = shared[j]
        for c in range(n_cuts - 1, -1, -1):
            top += 1
            depth[top] = cuts[c]
            level[t], start[t], stop[t], row[t] = top, base + low, base + cuts[c], -1
            low = cuts[c]
            t += 1
        if n_cuts > 0 and cuts[0] == length:
            row[t - 1] = j
        else:
            level[t], start[t], stop[t], row[t] = top + 1, base + low, base + length, j
            t += 1
    node_of_chunk[-1] = t
    return level[:t].copy(), start[:t].copy(), stop[:t].copy(), row[:t].copy(), node_of_chunk
