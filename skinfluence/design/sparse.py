"""Rows of which the entries that are not zero are stored."""

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import row_blocks
from skinfluence.design.base import Design

# Stored entries and columns between which the compiled Gram kernels beat scipy's products.
COMPILED_ENTRIES = 200_000
COMPILED_COLUMNS = 4_096


class SparseDesign(Design, holds="sparse"):
    """A design over a CSR array."""

    is_sparse = True

    def _pays_in_lines(self, m):
        return worth_lines(m, self.n_samples, self.n_columns) and self._compiled

    @cached_property
    def _transposed(self):
        # It shares the entries; to make and check one takes as long as a product of few.
        return self.X.T

    def _adjoint(self, U):
        return self._transposed @ U

    @cached_property
    def _lines(self):
        return lines_of(self.X, self.intercept)

    @property
    def _compiled(self):
        # Loading the compiled kernels takes a moment, and they keep a dense Gram per thread.
        return self.X.nnz >= COMPILED_ENTRIES and self.n_columns <= COMPILED_COLUMNS

    def grams(self, weights, dtype=np.float64):
        if self._pays_in_lines(len(weights)):
            return self._lines.grams(weights, dtype)
        return np.array([self._gram(w) for w in weights], dtype)

    def _gram(self, weights):
        if self._compiled:
            from skinfluence._compiled.gram import sandwich

            return sandwich(self.X, weights, self.intercept or None)
        inner = (self.X.T @ self.X.multiply(weights[:, None]).tocsr()).toarray()
        if not self.intercept:
            return inner
        edge = self.intercept * (self.X.T @ weights)[:, None]
        corner = np.array([[self.intercept**2 * weights.sum()]])
        return np.block([[inner, edge], [edge.T, corner]])

    def _squared_columns(self, weights):
        return self.X.power(2).T @ weights

    def dense_rows(self):
        return self._add_intercept(self.X.toarray())

    def quadratics(self, A, dtype=np.float64):
        if self._pays_in_lines(len(A)):
            return self._lines.forms(A, dtype)
        return np.column_stack([self._quadratic(one) for one in A]).astype(dtype, copy=False)

    def _quadratic(self, A):
        if self._compiled:
            from skinfluence._compiled.gram import quadratic_forms

            return quadratic_forms(self.X, A, self.intercept or None)
        out = np.empty(self.n_samples)
        for block in row_blocks(self.n_samples, 8 * self.n_columns):
            rows = self.take(block)
            product = rows.multiply(A)
            inner = rows.X.multiply(product[:, : self.n_features])
            out[block] = np.asarray(inner.sum(axis=1)).ravel()
            if self.intercept:
                out[block] += self.intercept * product[:, -1]
        return out

    def self_kernel(self, left, scale):
        from skinfluence._compiled.gram import row_products

        return row_products(self.X.multiply(left[:, None]).multiply(np.sqrt(scale)).tocsr())

    def kernel(self, other, scale):
        Z = other.X if sp.issparse(other.X) else sp.csr_array(other.X)
        from skinfluence._compiled.gram import row_products

        return row_products(self.X.multiply(scale[None, :]).tocsr(), Z)

    def squared_norms(self, scale):
        d = self.n_features
        out = np.asarray(self.X.power(2) @ scale[:d]).ravel()
        return out + self.intercept**2 * scale[d] if self.intercept else out


def worth_lines(m, n, d):
    """Whether products with many lines of weights pay for their pairs of entries."""
    # The kernels keep d x d x 48 numbers.
    return m >= 8 and 16 <= d <= 1024 and n >= 4 * d


def lines_of(X, intercept):
    """Rows for products with many lines of weights at once, the intercept a column of them."""
    from skinfluence._compiled.lines import Lines

    if intercept:
        X = sp.hstack([X, np.full((X.shape[0], 1), intercept)], format="csr")
    return Lines(X)
