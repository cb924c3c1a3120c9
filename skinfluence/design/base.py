"""What every design does, and which one holds what rows."""

from abc import ABC, abstractmethod

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import BLOCK_BYTES, row_blocks
from skinfluence.design.far import far_from_zero, moved

# The design of rows in an array, and of those in a sparse one: each says so where it is written.
HOLDS = {}


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

    def __init_subclass__(cls, holds=None, **options):
        super().__init_subclass__(**options)
        if holds is not None:
            HOLDS[holds] = cls

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
        return design_of(moved(X, -self.shift), self.intercept, self.shift)

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
        return X if self.shift is None else moved(X, self.shift)

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
        return type(self)(moved(self.X, -shift), self.intercept, shift)

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
        return HOLDS["sparse"](X, intercept, shift)
    return HOLDS["dense"](np.asarray(X, dtype=np.float64), intercept, shift)
