"""Weighted Gram matrices and row quadratic forms of CSR designs."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skinfluence._compiled.cached import FUSED, compiled
from skinfluence._utils import threads


def run_tasks(task, n_tasks):
    """Yield ``task(0), ..., task(n_tasks - 1)``, on as many threads as BLAS may use.

    Threads of our own around kernels that release the GIL: they compile in half the
    time of prange, and leave no idle pool spinning beside the one of BLAS.
    """
    n_threads = threads.allowed()
    if n_threads == 1:
        # Memory of a thread's own is given back when it ends: twice the time of small tasks.
        yield from map(task, range(n_tasks))
        return
    with ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(task, range(n_tasks))


@compiled(nogil=True, **FUSED)
def _sandwich(data, indices, indptr, weight, intercept, low, high, A):
    # Of one line and unsigned places, which are not asked whether they count from the end: .4 of the time.
    n, flat = np.uint64(len(A)), A.reshape(-1)
    edge = n - np.uint64(1)
    for i in range(low, high):
        w = weight[i]
        if w == 0:
            continue
        first, last = np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        for a in range(first, last):
            f = np.uint64(indices[a])
            v = w * data[a]
            A_f = f * n
            # Whichever of (f, g), (g, f) comes up: the triangles are added at the end.
            for b in range(first, a):
                flat[A_f + np.uint64(indices[b])] += v * data[b]
            flat[A_f + f] += 0.5 * v * data[a]
            if intercept != 0:
                flat[A_f + edge] += intercept * v
        if intercept != 0:
            flat[edge * n + edge] += 0.5 * intercept * intercept * w


def sandwich(X, weight, intercept=None):
    """Weighted Gram matrix ``[X, s]' diag(weight) [X, s]``.

    Parameters
    ----------
    X : CSR matrix of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
        Any sign.
    intercept : float or None
        Value ``s`` of a constant last column.

    Returns
    -------
    A : ndarray of shape (n_aug, n_aug), float64

    Notes
    -----
    Half the square of the entries of each row, and one n_aug x n_aug array per thread.
    """
    n_aug = X.shape[1] + (intercept is not None)
    n_parts = max(1, min(threads.allowed(), X.shape[0]))
    parts = np.zeros((n_parts, n_aug, n_aug))
    bounds = np.searchsorted(X.indptr, np.linspace(0, X.nnz, n_parts + 1))
    bounds[0], bounds[-1] = 0, X.shape[0]
    weight = np.asarray(weight, dtype=np.float64)
    data = np.asarray(X.data, dtype=np.float64)
    constant = 0.0 if intercept is None else float(intercept)

    def task(k):
        _sandwich(data, X.indices, X.indptr, weight, constant, bounds[k], bounds[k + 1], parts[k])

    for _ in run_tasks(task, n_parts):
        pass
    A = parts.sum(axis=0)
    return A + A.T


@compiled(nogil=True, **FUSED)
def _quadratic_forms(data, indices, indptr, A, intercept, low, high, h):
    # As in _sandwich.
    n, flat = np.uint64(len(A)), A.reshape(-1)
    edge = n - np.uint64(1)
    for i in range(low, high):
        first, last = np.uint64(indptr[i]), np.uint64(indptr[i + 1])
        total = 0.0
        for a in range(first, last):
            f = np.uint64(indices[a])
            A_f = f * n
            half = 0.5 * data[a] * flat[A_f + f]
            for b in range(first, a):
                half += data[b] * flat[A_f + np.uint64(indices[b])]
            if intercept != 0:
                half += intercept * flat[A_f + edge]
            total += data[a] * half
        h[i] = 2.0 * total
        if intercept != 0:
            h[i] += intercept * intercept * flat[edge * n + edge]


def quadratic_forms(X, A, intercept=None):
    """``h_i = [x_i, s]' A [x_i, s]`` for symmetric ``A``.

    Parameters
    ----------
    X : CSR matrix of shape (n_samples, n_features)
    A : ndarray of shape (n_aug, n_aug)
        Symmetric, C-contiguous.
    intercept : float or None
        Value ``s`` of a constant last column.

    Returns
    -------
    h : ndarray of shape (n_samples,), float64

    Notes
    -----
    Half the square of the entries of each row; no n_samples x n_aug temporary.
    """
    n_samples = X.shape[0]
    n_parts = max(1, min(4 * threads.allowed(), n_samples))
    bounds = np.searchsorted(X.indptr, np.linspace(0, X.nnz, n_parts + 1))
    bounds[0], bounds[-1] = 0, n_samples
    h = np.zeros(n_samples)
    A = np.ascontiguousarray(A, dtype=np.float64)
    data = np.asarray(X.data, dtype=np.float64)
    constant = 0.0 if intercept is None else float(intercept)

    def task(k):
        _quadratic_forms(data, X.indices, X.indptr, A, constant, bounds[k], bounds[k + 1], h)

    for _ in run_tasks(task, n_parts):
        pass
    return h


@compiled(nogil=True, **FUSED)
def _row_products(data, indices, indptr, other_data, other_rows, columns, own, low, high, out):
    n_columns = len(columns) - 1
    # Where the rows to meet begin in each column: all of them, or those from the own row on.
    start = columns[:n_columns].copy()
    if own:
        for f in range(n_columns):
            first, last = columns[f], columns[f + 1]
            start[f] = first + np.searchsorted(other_rows[first:last], low)
    for i in range(low, high):
        line = out[i]
        for a in range(indptr[i], indptr[i + 1]):
            f, v = indices[a], data[a]
            for b in range(start[f], columns[f + 1]):
                line[other_rows[b]] += v * other_data[b]
            if own:
                start[f] += 1


def row_products(X, Z=None):
    """Inner products of the rows of CSR matrices, ``X Z'``, in an array.

    Parameters
    ----------
    X : CSR matrix of shape (n_samples, n_features), without duplicate entries
    Z : CSR matrix of shape (n_others, n_features), default=None
        X when None.

    Returns
    -------
    K : ndarray of shape (n_samples, n_others)
        Without Z the upper triangle only; zeros below.

    Notes
    -----
    Each column adds the products of its entries: a fifth of the time of a sparse product, whose
    pattern has to be found first.
    """
    own = Z is None
    n = X.shape[0]
    C = (X if own else Z).tocsc()
    K = np.zeros((n, C.shape[0]))
    n_parts = max(1, min(4 * threads.allowed(), n))
    # With itself row i meets n - i others: parts of about equal areas.
    edges = (
        n - np.sqrt(np.linspace(n**2, 0, n_parts + 1)) if own else np.linspace(0, n, n_parts + 1)
    )
    edges = np.rint(edges).astype(int)

    def task(k):
        columns = C.data, C.indices, C.indptr
        low, high = edges[k], edges[k + 1]
        _row_products(X.data, X.indices, X.indptr, *columns, own, low, high, K)

    for _ in run_tasks(task, n_parts):
        pass
    return K
