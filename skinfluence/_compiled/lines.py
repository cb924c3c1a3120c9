"""Gram matrices and quadratic forms of sparse rows for many weights, or many matrices, at once.

One entry of a row times one other is the same for all of them: a vector of LINES numbers is
updated per pair of entries. Columns are the outer loop, so that what is updated stays in the cache.
"""

import numpy as np
import scipy.sparse as sp

from skinfluence._compiled.cached import FINITE, compiled
from skinfluence._compiled.gram import run_tasks
from skinfluence._utils import threads

# Numbers per pair of entries. Fixed when compiled: the loops over it become vector instructions.
LINES = 48


@compiled(nogil=True, **FINITE)
def _grams(data, indices, indptr, rows, places, columns, weights, low, high, A):
    v = np.empty(LINES, weights.dtype)
    for f in range(low, high):
        slab = A[f].ravel()
        for b in range(columns[f], columns[f + 1]):
            i, place = rows[b], places[b]
            for q in range(LINES):
                v[q] = weights[i, q] * data[place]
            for a in range(place, indptr[i + 1]):
                start, z = np.uint64(indices[a]) * np.uint64(LINES), data[a]
                for q in range(LINES):
                    slab[start + np.uint64(q)] += v[q] * z


@compiled(nogil=True, **FINITE)
def _forms(data, indices, indptr, rows, places, columns, A, low, high, out):
    form = np.empty(LINES, A.dtype)
    for f in range(low, high):
        slab = A[f].ravel()
        for b in range(columns[f], columns[f + 1]):
            i, place = rows[b], places[b]
            form[:] = 0
            for a in range(place, indptr[i + 1]):
                start, z = np.uint64(indices[a]) * np.uint64(LINES), data[a]
                for q in range(LINES):
                    form[q] += slab[start + np.uint64(q)] * z
            for q in range(LINES):
                out[i, q] += form[q] * data[place]


class Lines:
    """Sparse rows by row and by column.

    Parameters
    ----------
    X : CSR matrix of shape (n_samples, n_columns), without duplicate entries
        The intercept, if any, a column of its own.
    """

    def __init__(self, X):
        X = sp.csr_array(X)
        X.sort_indices()
        places = sp.csr_array(
            (np.arange(X.nnz, dtype=X.indices.dtype), X.indices, X.indptr), shape=X.shape
        ).tocsc()
        self.shape = X.shape
        self._rows = X.indices, X.indptr
        self._columns = places.indices, places.data, places.indptr
        self._data = X.data
        # Pairs of entries, which is the work, up to each column.
        after = np.cumsum(X.indptr[1:][places.indices] - places.data, dtype=np.int64)
        self._work = np.concatenate([[0], after])[places.indptr]

    def _parts(self, n_parts):
        """Edges of ranges of columns with about equal work."""
        shares = np.linspace(0, self._work[-1], n_parts + 1)
        edges = np.searchsorted(self._work, shares)
        edges[0], edges[-1] = 0, self.shape[1]
        return edges

    def grams(self, weights, dtype=np.float64):
        """``X' diag(w) X`` for each line of weights, of any sign.

        Parameters
        ----------
        weights : ndarray of shape (m, n_samples)
        dtype : {np.float64, np.float32}

        Returns
        -------
        A : ndarray of shape (m, n_columns, n_columns)
        """
        n, d = self.shape
        out = np.empty((len(weights), d, d), dtype)
        data = self._data.astype(dtype, copy=False)
        edges = self._parts(min(d, 8 * threads.allowed()))
        for start in range(0, len(weights), LINES):
            chosen = weights[start : start + LINES]
            lines = np.zeros((n, LINES), dtype)
            lines[:, : len(chosen)] = chosen.T
            A = np.zeros((d, d, LINES), dtype)

            def task(k, lines=lines, A=A):
                _grams(data, *self._rows, *self._columns, lines, edges[k], edges[k + 1], A)

            for _ in run_tasks(task, len(edges) - 1):
                pass
            for m in range(len(chosen)):
                upper = out[start + m]
                upper[:] = A[:, :, m]
                upper += np.triu(upper, 1).T
        return out

    def forms(self, A, dtype=np.float64):
        """``x_i' A_m x_i`` of every row for each symmetric matrix, shape (n_samples, m).

        Parameters
        ----------
        A : ndarray of shape (m, n_columns, n_columns)
        dtype : {np.float64, np.float32}
        """
        n, d = self.shape
        out = np.empty((n, len(A)), dtype)
        data = self._data.astype(dtype, copy=False)
        edges = self._parts(min(d, threads.allowed()))
        for start in range(0, len(A), LINES):
            chosen = A[start : start + LINES]
            folded = np.zeros((d, d, LINES), dtype)
            folded[:, :, : len(chosen)] = chosen.transpose(1, 2, 0)
            folded *= 2.0
            folded[np.arange(d), np.arange(d)] *= 0.5
            sums = np.zeros((len(edges) - 1, n, LINES), dtype)

            def task(k, folded=folded, sums=sums):
                columns = edges[k], edges[k + 1]
                _forms(data, *self._rows, *self._columns, folded, *columns, sums[k])

            for _ in run_tasks(task, len(edges) - 1):
                pass
            out[:, start : start + len(chosen)] = sums.sum(axis=0)[:, : len(chosen)]
        return out
