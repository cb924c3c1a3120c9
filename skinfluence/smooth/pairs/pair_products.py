"""Cosines of all pairs of rows in the norm of the inverse Hessian, in single precision, by blocks.

``c_ij = K_ij / (|a_i| |a_j|)`` with ``K_ij = x_i' H^-1 x_j = a_i'a_j``. Both kinds have ``block``, which
fills one, and ``blur``: rounding moves ``K_ij`` by at most ``blur_i blur_j``.
"""

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from skinfluence._utils.threads import small_blas

# Rows of a block; columns are a multiple of these.
ROWS = 256
EPS = 2.0**-24
# What an entry of a sparse row costs, in multiplications of a dense product, and a pair besides.
ENTRY, PAIR = 4.0, 10.0
# How much more rounding than a dense product has is let in.
BLURRED = 4.0


def rounding(terms):
    """What a product of so many terms loses of the lengths of both factors, one of them rounded before."""
    return (terms + 4) * EPS


class DenseCosines:
    """Products of rows that are dense.

    Parameters
    ----------
    rows : ndarray of shape (m, n_parameters)
        ``a_i``.
    norm : ndarray of shape (m,)
        Their lengths.

    Attributes
    ----------
    blur : ndarray of shape (m,)
    """

    def __init__(self, rows, norm):
        self._cosines = (rows / np.where(norm > 0, norm, 1.0)[:, None]).astype(np.float32)
        self.blur = np.sqrt(rounding(rows.shape[1])) * norm

    def __len__(self):
        return len(self._cosines)

    def block(self, low, start, K):
        """Fill ``K`` with the cosines of the rows from ``low`` on with those from ``start`` on."""
        right = self._cosines[start : start + K.shape[1]]
        np.matmul(self._cosines[low : low + K.shape[0]], right.T, out=K)


class SparseCosines:
    """Products of sparse rows with what the Hessian's inverse makes of them.

    Parameters
    ----------
    factor : PrimalFactor
        Of a sparse design.
    rows : ndarray of shape (n_samples, n_parameters)
        ``a_i`` of all rows.
    norm : ndarray of shape (m,)
        The lengths of those that are multiplied.
    unique : ndarray of shape (m,)
        Which ones they are.

    Attributes
    ----------
    blur : ndarray of shape (m,)

    Notes
    -----
    With the columns on the factor's scale, ``x``, in which the Hessian has ones on its diagonal,
    ``K_ij = x_i'z_j`` with ``z_j = L'^-1 a_j``. Rounding loses ``gamma |x_i| |z_j|``, where a dense
    product loses ``gamma |a_i| |a_j|`` with as many terms as there are columns.
    """

    def __init__(self, factor, rows, norm, unique):
        L, scale = factor.cholesky
        m, p = len(unique), rows.shape[1]
        length = np.where(norm > 0, norm, 1.0)
        X = with_constant(factor.objective.design, unique, scale)
        x = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
        X.data /= np.repeat(length, np.diff(X.indptr))
        self._data = X.data.astype(np.float32)
        self._indices, self._indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
        # Columns by tiles that stay in the cache.
        self._tiles = np.zeros((-(-m // ROWS), p, ROWS), dtype=np.float32)
        z = np.empty(m)
        for k, low in enumerate(range(0, m, ROWS)):
            some = slice(low, low + ROWS)
            with small_blas(p):
                Z = linalg.solve_triangular(
                    L, rows[unique[some]].T, lower=True, trans="T", check_finite=False
                )
            z[some] = np.sqrt(np.einsum("ji,ji->i", Z, Z))
            self._tiles[k, :, : Z.shape[1]] = Z / length[some]
        # And what the solve in double precision loses.
        lost = rounding(np.diff(X.indptr)) * x + 2.0 * p**1.5 * 2.0**-53 * norm
        balance = np.sqrt(z.sum() / lost.sum()) if lost.any() else 1.0
        self.blur = np.maximum(lost * balance, z / balance)

    def __len__(self):
        return len(self.blur)

    def block(self, low, start, K):
        """Fill ``K`` with the cosines of the rows from ``low`` on with those from ``start`` on."""
        from skinfluence._compiled.sparse_pairs import products_of_block

        for first in range(0, K.shape[1], ROWS):
            tile = self._tiles[(start + first) // ROWS]
            products_of_block(self._data, self._indices, self._indptr, low, tile, K, first)


def cosines_of(factor, rows, norm, unique):
    """The cheaper of both, where it is accurate enough.

    Parameters
    ----------
    factor : PrimalFactor
    rows, norm, unique
        As for :class:`SparseCosines`.
    """
    design, p = factor.objective.design, rows.shape[1]
    if width_of(design, p) < p:
        sparse = SparseCosines(factor, rows, norm, unique)
        if sparse.blur @ sparse.blur <= BLURRED * rounding(p) * (norm @ norm):
            return sparse
    return DenseCosines(rows[unique], norm)


def width_of(design, p):
    """Columns of a dense product that costs as much as one of two rows of a design of p columns."""
    entries = design.X.nnz / design.n_samples if design.is_sparse else p
    return min(ENTRY * entries + PAIR, p)


def with_constant(design, rows, scale):
    """Some rows of a sparse design, the constant column among them, with scaled columns, CSR."""
    X = sp.csr_array(design.X[rows])
    if design.intercept:
        constant = np.full((X.shape[0], 1), design.intercept)
        X = sp.hstack([X, sp.csr_array(constant)], format="csr")
    return sp.csr_array((X.data * scale[X.indices], X.indices, X.indptr), X.shape)
