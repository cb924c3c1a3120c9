"""Rows in an array."""

from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.threads import in_parts
from skinfluence.design.base import Design
from skinfluence.design.sparse import lines_of, worth_lines

# Rows whose quadratic forms are one small product: blocks and tiles would cost more than they do.
FEW = 4
# Share of entries below which rows stored in an array are multiplied as sparse ones: a quarter of
# the dense products' flops per second, and half of them less squared.
MOSTLY_ZERO = 0.35
# Columns from which ``(V' X')'`` is up to half as fast again as ``X V`` in float64: BLAS wants its
# rows long. On processors without 512-bit registers they are the same.
TURNED_COLUMNS = 200
# Blocks of dense rows for Gram matrices and quadratic forms of many columns, and of few.
GRAM_BYTES, CACHED_BYTES = 2**27, 2**22
# Matrices for each column from which on quadratic forms and Gram matrices are products with pairs of
# columns, and bytes of these.
MANY_FORMS, PAIRS_BYTES = 2, 2**24


class DenseDesign(Design, holds="dense"):
    """A design over an ndarray; products by ranges of rows, one for each thread."""

    def _multiply(self, V):
        out = np.empty((self.n_samples, *V.shape[1:]), np.result_type(self.X, V))
        work = V.size
        turned = V.ndim == 2 and out.dtype == np.float64 and self.n_features >= TURNED_COLUMNS

        def part(rows):
            if turned:
                out[rows] = (V.T @ self.X[rows].T).T
            else:
                np.matmul(self.X[rows], V, out=out[rows])

        in_parts(part, self.n_samples, work)
        return out

    def _adjoint(self, U):
        m = U.size // max(1, len(U))
        turned = U.ndim == 2 and 2 * m <= self.n_features

        def part(rows):
            return (U[rows].T @ self.X[rows]).T if turned else self.X[rows].T @ U[rows]

        return sum(in_parts(part, self.n_samples, m * self.n_features))

    @cached_property
    def used_columns(self):
        used = np.zeros(self.n_columns, dtype=bool)
        used[self.n_features :] = True
        for block in row_blocks(self.n_samples, 8 * self.n_features):
            used[: self.n_features] |= self.X[block].any(axis=0)
        return np.flatnonzero(used)

    def _pays_in_lines(self, m):
        """Whether the zeros save more than dense products are faster."""
        return worth_lines(m, self.n_samples, len(self.used_columns)) and self._is_mostly_zero

    @cached_property
    def _is_mostly_zero(self):
        return np.count_nonzero(self.X) < MOSTLY_ZERO * self.n_samples * len(self.used_columns)

    @cached_property
    def _lines(self):
        columns = self.used_columns[: len(self.used_columns) - (self.intercept != 0.0)]
        blocks = row_blocks(self.n_samples, 8 * len(columns))
        X = sp.vstack([sp.csr_array(self.X[block][:, columns]) for block in blocks], format="csr")
        return lines_of(X, self.intercept)

    def _blocks(self, dtype, part):
        """Blocks of the used columns in another precision, the intercept one of them."""
        columns = self.used_columns
        all_used = len(columns) == self.n_columns
        features = columns[columns < self.n_features]
        # In the cache where that costs the products nothing: rows several times the columns.
        budget = min(GRAM_BYTES, max(CACHED_BYTES, 64 * len(columns) ** 2))
        for block in row_blocks(part, 16 * len(columns), budget):
            X = self.X[block]
            if all_used and not self.intercept and X.dtype == dtype:
                yield block, X
                continue
            rows = np.empty((block.stop - block.start, len(columns)), dtype)
            rows[:, : len(features)] = X if all_used else X[:, features]
            if self.intercept:
                rows[:, -1] = self.intercept
            yield block, rows

    def grams(self, weights, dtype=np.float64):
        d, used = self.n_columns, self.used_columns
        if self._pays_in_lines(len(weights)):
            inner = self._lines.grams(weights, dtype)
        else:
            inner = self._dense_grams(weights, dtype)
        if len(used) == d:
            return inner
        out = np.zeros((len(weights), d, d), dtype)
        for whole, part in zip(out, inner, strict=True):
            whole[np.ix_(used, used)] = part
        return out

    def _dense_grams(self, weights, dtype):
        if len(weights) >= MANY_FORMS * len(self.used_columns):
            return self._many_grams(weights.astype(dtype, copy=False))
        size = len(weights) * len(self.used_columns) ** 2
        if 8 * size > GRAM_BYTES:
            return self._grams_of(weights, dtype, slice(0, self.n_samples))
        return sum(in_parts(partial(self._grams_of, weights, dtype), self.n_samples, size / 2))

    def _many_grams(self, weights):
        """As :meth:`grams` of the used columns: one product with all pairs of columns."""
        d = len(self.used_columns)
        above = np.triu_indices(d)

        def part(some):
            folded = np.zeros((len(weights), len(above[0])), weights.dtype)
            for block, pairs in self._pairs_of_columns(weights.dtype, some):
                folded += weights[:, block] @ pairs
            return folded

        folded = sum(in_parts(part, self.n_samples, len(weights) * len(above[0])))
        out = np.empty((len(weights), d, d), weights.dtype)
        out[:, above[0], above[1]] = folded
        out[:, above[1], above[0]] = folded
        return out

    def _grams_of(self, weights, dtype, part):
        used = self.used_columns
        inner = np.zeros((len(weights), len(used), len(used)), dtype)
        signed = weights.min(axis=1, initial=0.0) < 0.0
        for block, rows in self._blocks(dtype, part):
            # One buffer for all lines of weights: fresh memory costs as much as the scaling.
            half = np.empty_like(rows)
            for m, w in enumerate(weights[:, block].astype(dtype)):
                if signed[m]:
                    inner[m] += rows.T @ (w[:, None] * rows)
                else:
                    # numpy sees A.T @ A and calls syrk: half the flops of a general product.
                    np.multiply(rows, np.sqrt(w)[:, None], out=half)
                    inner[m] += half.T @ half
        return inner

    def _squared_columns(self, weights):
        out = np.zeros((self.n_features, weights.shape[1]))
        for block in row_blocks(self.n_samples, 8 * self.n_features):
            out += (self.X[block] ** 2).T @ weights[block]
        return out

    def dense_rows(self):
        return self._add_intercept(self.X)

    def combine(self, coefficients, S, out):
        k, d, m = S.shape
        if 2 * m <= d:
            super().combine(coefficients, S, out)
            return
        # One product of (m, K d) with (K d, rows): the coefficients go to the smaller side, and
        # the output is written once.
        left = np.ascontiguousarray(S.reshape(k * d, m).T)

        def part(some):
            for block in row_blocks(some, 16 * (k + 1) * d):
                rows = self._add_intercept(self.X[block])
                scaled = (coefficients[block, :, None] * rows[:, None, :]).reshape(len(rows), -1)
                np.matmul(left, scaled.T, out=out[:, block])

        in_parts(part, self.n_samples, left.size)

    def quadratics(self, A, dtype=np.float64):
        if self.n_samples <= FEW:
            rows = self.dense_rows().astype(dtype, copy=False)
            return np.einsum("mij,ij->im", rows @ A.astype(dtype, copy=False), rows)
        used = self.used_columns
        d = len(used)
        if d < self.n_columns:
            A = A[:, used[:, None], used]
        if self._pays_in_lines(len(A)):
            return self._lines.forms(A, dtype)
        if len(A) >= MANY_FORMS * d:
            return self._many_quadratics(A, dtype)
        out = np.empty((self.n_samples, len(A)), dtype)
        folded = (2.0 * np.triu(A, 1)).astype(dtype)
        folded[:, np.arange(d), np.arange(d)] = A[:, np.arange(d), np.arange(d)]
        # Upper triangles in four tiles of columns: 62 % of the flops of the full product.
        edges = np.linspace(0, d, 5).astype(int) if d >= 128 else np.array([0, d])

        def part(some):
            for block, rows in self._blocks(dtype, some):
                buffer = np.empty((len(edges) - 1, len(rows), np.diff(edges).max()), dtype)
                for m, T in enumerate(folded):
                    form = out[block, m]
                    form[:] = 0.0
                    for tile, (low, high) in zip(buffer, pairwise(edges), strict=True):
                        product = tile[:, : high - low]
                        np.matmul(rows[:, :high], T[:high, low:high], out=product)
                        form += np.einsum("ij,ij->i", product, rows[:, low:high])

        in_parts(part, self.n_samples, folded.size)
        return out

    def _many_quadratics(self, A, dtype):
        """As :meth:`quadratics`: one product with all pairs of columns, half the flops."""
        d = A.shape[1]
        above = np.triu_indices(d)
        folded = A[:, above[0], above[1]].astype(dtype, copy=False)
        folded[:, above[0] < above[1]] *= 2.0
        out = np.empty((self.n_samples, len(A)), dtype)

        def part(some):
            for block, pairs in self._pairs_of_columns(dtype, some):
                np.matmul(pairs, folded.T, out=out[block])

        in_parts(part, self.n_samples, folded.size)
        return out

    def _pairs_of_columns(self, dtype, part):
        """Yield ``(slice, products)`` of blocks of rows, of all pairs of their used columns."""
        for block, rows in self._blocks(dtype, part):
            size = rows.itemsize * rows.shape[1] * (rows.shape[1] + 1) // 2
            for some in row_blocks(block, size, PAIRS_BYTES):
                inside = slice(some.start - block.start, some.stop - block.start)
                yield some, _products_of_columns(rows[inside])

    def self_kernel(self, left, scale):
        scaled = left[:, None] * self.X * np.sqrt(scale)
        return scaled @ scaled.T

    def kernel(self, other, scale):
        if sp.issparse(other.X):
            return np.asarray((other.X @ (scale[:, None] * self.X.T)).T)
        return (self.X * scale) @ other.X.T

    def squared_norms(self, scale):
        d = self.n_features
        out = np.einsum("ij,ij,j->i", self.X, self.X, scale[:d])
        return out + self.intercept**2 * scale[d] if self.intercept else out


def _products_of_columns(rows):
    """``x_ia x_ib`` of columns ``a <= b``, in the order of ``np.triu_indices``."""
    n, d = rows.shape
    out = np.empty((n, d * (d + 1) // 2), rows.dtype)
    start = 0
    for a in range(d):
        np.multiply(rows[:, a:], rows[:, a : a + 1], out=out[:, start : start + d - a])
        start += d - a
    return out
