"""Designs: how the decision values move with the parameters, ``eta = [X s] theta'``.

The intercept lives only here: it is the last column, of constant value ``intercept`` (1, or
liblinear's ``intercept_scaling``; 0 when there is none), and is never stored.

A free intercept takes up any shift of the other columns. Columns far from zero, compared with their
spread, are held as distances from their middle (:meth:`Design.centred`), as the sums of their
squares lose the spread.
"""

from abc import ABC, abstractmethod
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import BLOCK_BYTES, row_blocks
from skinfluence._utils.threads import in_parts

__all__ = ["Design", "design_of"]

# Rows whose quadratic forms are one small product: blocks and tiles would cost more than they do.
FEW = 4
# Stored entries and columns between which the compiled Gram kernels beat scipy's products.
COMPILED_ENTRIES = 200_000
COMPILED_COLUMNS = 4_096
# Share of entries below which rows stored in an array are multiplied as sparse ones: a quarter of
# the dense products' flops per second, and half of them less squared.
MOSTLY_ZERO = 0.35
# Columns from which ``(V' X')'`` is up to half as fast again as ``X V`` in float64: BLAS wants its
# rows long. On processors without 512-bit registers they are the same.
TURNED_COLUMNS = 200
# A Gram matrix loses the square of how many spreads a column is from zero: six digits.
FAR = 1e3
# Rows by which columns far from zero are looked for.
SEEN = 64
# Blocks of dense rows for Gram matrices and quadratic forms of many columns, and of few.
GRAM_BYTES, CACHED_BYTES = 2**27, 2**22
# Matrices for each column from which on quadratic forms and Gram matrices are products with pairs of
# columns, and bytes of these.
MANY_FORMS, PAIRS_BYTES = 2, 2**24


class Design(ABC):
    """``n_samples`` rows ``[x_i, intercept]`` that are multiplied but never copied.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features), float64
    intercept : float, default=1.0
        Value of the constant last column; 0.0 for no such column.
    shift : ndarray of shape (n_features,), default=None
        What was taken from each column of ``X``.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.design import Design, design_of
    >>> design = design_of(np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> isinstance(design, Design), design.n_columns
    (True, 3)
    >>> design.dense_rows()
    array([[1., 2., 1.],
           [3., 4., 1.]])
    """

    is_sparse = False
    # Whether all rows are in one array, as compiled kernels want them.
    in_memory = True
    # Whether columns are combinations of those that were given.
    turned = False

    def __init__(self, X, intercept=1.0, shift=None):
        self.X = X
        self.intercept = float(intercept)
        self.shift = shift

    @property
    def n_samples(self):
        """Number of rows."""
        return self.X.shape[0]

    @property
    def n_features(self):
        """Number of columns without the intercept."""
        return self.X.shape[1]

    @property
    def n_columns(self):
        """Number of columns, the intercept included."""
        return self.X.shape[1] + (self.intercept != 0.0)

    def take(self, rows):
        """The design of some rows (a slice or an index array)."""
        return type(self)(self.X[rows], self.intercept, self.shift)

    def like(self, X):
        """A design of the same kind for other rows (edits, test points), as they were given."""
        if self.shift is None:
            return design_of(X, self.intercept)
        X = X.read() if hasattr(X, "as_design") else X
        return design_of(_moved(X, -self.shift), self.intercept, self.shift)

    def held(self, X):
        """A design of the same kind for rows as this one holds them."""
        return design_of(X, self.intercept, self.shift)

    def extended(self, new):
        """These rows and then those of another design."""
        stack = sp.vstack if sp.issparse(self.X) else np.vstack
        X = stack([self.X, new.X])
        return self.held(X.tocsr() if sp.issparse(X) else X)

    def given(self, rows):
        """Some rows as they were given."""
        X = self.X[rows]
        return X if self.shift is None else _moved(X, self.shift)

    def far_columns(self):
        """As ``far_from_zero``; none are known of rows in blocks."""
        if self.in_memory:
            return far_from_zero(self.X)
        return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)

    def centred(self):
        """The same rows with columns far from zero as distances from their middle.

        Itself where there are none. For a free intercept, see ``skinfluence.objective.centred``.
        """
        columns, middles, _ = self.far_columns()
        if self.shift is not None or not len(columns):
            return self
        shift = np.zeros(self.n_features)
        shift[columns] = middles
        return type(self)(_moved(self.X, -shift), self.intercept, shift)

    def in_units(self, theta):
        """Parameters, or changes of them, in the units of ``coef_`` and ``intercept_``.

        Parameters
        ----------
        theta : ndarray of shape (..., n_columns)
        """
        if self.intercept in (0.0, 1.0) and self.shift is None:
            return theta
        out = np.array(theta)
        out[..., -1] *= self.intercept
        if self.shift is not None:
            out[..., -1] -= out[..., :-1] @ self.shift
        return out

    def slices(self, bytes_per_row, budget=BLOCK_BYTES):
        """Slices of the rows to work on one at a time, of about ``budget`` bytes each."""
        return row_blocks(self.n_samples, bytes_per_row, budget)

    def multiply(self, V):
        """``[X s] V``: (n_columns, m) to (n_samples, m)."""
        if not self.intercept:
            return self._multiply(V)
        out = self._multiply(V[:-1])
        out += self.intercept * V[-1]
        return out

    def adjoint(self, U):
        """``[X s]' U``: (n_samples, m) to (n_columns, m)."""
        out = self._adjoint(U)
        if not self.intercept:
            return out
        return np.concatenate([out, self.intercept * U.sum(axis=0, keepdims=True)])

    def _multiply(self, V):
        return self.X @ V

    def _adjoint(self, U):
        return self.X.T @ U

    @property
    def used_columns(self):
        """Columns that are not zero in every row (unlike unused pixels), the intercept included."""
        return np.arange(self.n_columns)

    @abstractmethod
    def grams(self, weights, dtype=np.float64):
        """``[X s]' diag(w) [X s]`` for each line of weights, (m, n_samples) to (m, d, d).

        ``dtype`` is the precision of the products; columns included, the intercept is the last.
        """

    @abstractmethod
    def quadratics(self, A, dtype=np.float64):
        """``x_i' A_m x_i`` of every row for symmetric matrices (m, d, d): (n_samples, m)."""

    @abstractmethod
    def dense_rows(self):
        """All rows as one dense array of shape (n_samples, n_columns); for few rows."""

    @abstractmethod
    def self_kernel(self, left, scale):
        """``diag(left) X diag(scale) X' diag(left)``, the intercept left out.

        Shape (n_samples, n_samples), C-ordered; at least its upper triangle is filled.
        """

    @abstractmethod
    def kernel(self, other, scale):
        """``X diag(scale) Z'`` without the intercept column, dense, shape (n, n_other)."""

    def combine(self, coefficients, S, out):
        """``out[m, i] = sum_k coefficients[i, k] [x_i s] S[k, :, m]``.

        Parameters
        ----------
        coefficients : ndarray of shape (n_samples, K)
        S : ndarray of shape (K, n_columns, m)
        out : ndarray of shape (m, n_samples)
        """
        k, d, m = S.shape
        flat = S.transpose(1, 0, 2).reshape(d, k * m)
        for block in row_blocks(self.n_samples, 16 * (d + k * m)):
            moved = self.take(block).multiply(flat).reshape(-1, k, m)
            np.einsum("ik,ikm->mi", coefficients[block], moved, out=out[:, block])

    @abstractmethod
    def squared_norms(self, scale):
        """``x_i' diag(scale) x_i`` of every row, intercept included, shape (n_samples,)."""

    @abstractmethod
    def _squared_columns(self, weights): ...

    def squared_columns(self, weights):
        """``sum_i weights[i, m] x_ij^2``: (n_samples, m) to (n_columns, m)."""
        out = self._squared_columns(weights)
        if not self.intercept:
            return out
        return np.concatenate([out, self.intercept**2 * weights.sum(axis=0, keepdims=True)])

    def _add_intercept(self, rows):
        if not self.intercept:
            return rows
        return np.concatenate([rows, np.full((len(rows), 1), self.intercept)], axis=1)


class DenseDesign(Design):
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
        return _worth_lines(m, self.n_samples, len(self.used_columns)) and self._is_mostly_zero

    @cached_property
    def _is_mostly_zero(self):
        return np.count_nonzero(self.X) < MOSTLY_ZERO * self.n_samples * len(self.used_columns)

    @cached_property
    def _lines(self):
        columns = self.used_columns[: len(self.used_columns) - (self.intercept != 0.0)]
        blocks = row_blocks(self.n_samples, 8 * len(columns))
        X = sp.vstack([sp.csr_array(self.X[block][:, columns]) for block in blocks], format="csr")
        return _lines_of(X, self.intercept)

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


class SparseDesign(Design):
    """A design over a CSR array."""

    is_sparse = True

    def _pays_in_lines(self, m):
        return _worth_lines(m, self.n_samples, self.n_columns) and self._compiled

    @cached_property
    def _lines(self):
        return _lines_of(self.X, self.intercept)

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


def _worth_lines(m, n, d):
    # The kernels keep d x d x 48 numbers.
    return m >= 8 and 16 <= d <= 1024 and n >= 4 * d


def _lines_of(X, intercept):
    from skinfluence._compiled.lines import Lines

    if intercept:
        X = sp.hstack([X, np.full((X.shape[0], 1), intercept)], format="csr")
    return Lines(X)


def _products_of_columns(rows):
    """``x_ia x_ib`` of columns ``a <= b``, in the order of ``np.triu_indices``."""
    n, d = rows.shape
    out = np.empty((n, d * (d + 1) // 2), rows.dtype)
    start = 0
    for a in range(d):
        np.multiply(rows[:, a:], rows[:, a : a + 1], out=out[:, start : start + d - a])
        start += d - a
    return out


def far_from_zero(X):
    """Columns whose mean is more than FAR times their spread, and constants beyond FAR.

    Parameters
    ----------
    X : ndarray or CSR array

    Returns
    -------
    columns : ndarray of int
    middles : ndarray
        Their means.
    spreads : ndarray
        Their standard deviations.
    """
    n, d = X.shape
    if not n or not d:
        return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)
    # Only columns that are far in a few rows are looked at in all.
    some, columns = X[np.linspace(0, n - 1, min(n, SEEN)).astype(int)], np.arange(d)
    if sp.issparse(some):
        columns = np.flatnonzero(np.bincount(some.indices, minlength=d) == some.shape[0])
        some = some[:, columns]
    some = _dense(some)
    columns = columns[np.ptp(some, axis=0) < np.abs(some[0]) * 10.0 / FAR]
    middles, spreads = np.empty(len(columns)), np.empty(len(columns))
    for block in row_blocks(len(columns), 16 * n):
        values = _dense(X[:, columns[block]])
        # Distances from one of them, which are exact, are summed.
        moved = values - values[0]
        middles[block] = values[0] + moved.mean(axis=0)
        spreads[block] = moved.std(axis=0)
    far = np.where(spreads > 0, np.abs(middles) > FAR * spreads, np.abs(middles) > FAR)
    return columns[far], middles[far], spreads[far]


def _moved(X, shift):
    """``X + shift``; columns of a sparse array that are moved are stored whole."""
    if not sp.issparse(X):
        return np.asarray(X, dtype=np.float64) + shift
    columns = np.flatnonzero(shift)
    rest = np.flatnonzero(shift == 0)
    whole = sp.csr_array(_dense(X[:, columns]) + shift[columns])
    order = np.argsort(np.concatenate([rest, columns]))
    return sp.csr_array(sp.hstack([X[:, rest], whole], format="csc")[:, order])


def _dense(X):
    return X.toarray() if sp.issparse(X) else np.asarray(X, dtype=np.float64)


def design_of(X, intercept=1.0, shift=None):
    """The design for ``X``, dense, sparse or in blocks, in float64.

    Parameters
    ----------
    X : ndarray, sparse matrix or rows in blocks, of shape (n_samples, n_features)
    intercept : float, default=1.0
        The value of the last column; 0 for none.
    shift : ndarray of shape (n_features,), default=None
        What was taken from each column of ``X`` already.

    Returns
    -------
    design : Design

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from skinfluence.design import design_of
    >>> design = design_of(csr_array(np.eye(3)), intercept=0.0)
    >>> design.n_samples, design.n_columns
    (3, 3)
    """
    if hasattr(X, "as_design"):
        return X.as_design(intercept)
    if sp.issparse(X):
        X = sp.csr_array(X, dtype=np.float64)
        if not X.has_canonical_format:
            # An entry stored in parts has no square until the parts are summed; in a copy.
            X = X.copy()
            X.sum_duplicates()
        return SparseDesign(X, intercept, shift)
    return DenseDesign(np.asarray(X, dtype=np.float64), intercept, shift)
