"""The design over rows in blocks: the same products, each block by its own in-memory design."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import BLOCK_BYTES
from skinfluence.design import Design, design_of
from skinfluence.design.dense import DenseDesign

# Slices of lazy rows that answer questions block by block.
SLICE_BYTES = 2**28


class _DenseBlock(DenseDesign):
    """A dense block, seen once: looking for columns of zeros would not pay."""

    used_columns = Design.used_columns

    def _pays_in_lines(self, m):
        return False


def block_design(X, intercept):
    """The design over one block."""
    return design_of(X, intercept) if sp.issparse(X) else _DenseBlock(X, intercept)


@dataclass(frozen=True)
class Work:
    """A method of the design over one block, called where the block is.

    Parameters
    ----------
    method : str
    intercept : float
    shared : tuple
        Arguments that are the same for all blocks.
    """

    method: str
    intercept: float
    shared: tuple

    def __call__(self, reading, raw, aligned):
        own = () if aligned is None else (aligned,)
        return getattr(block_design(reading(raw), self.intercept), self.method)(*own, *self.shared)


class BlockedDesign(Design):
    """Rows that are read, or multiplied on other machines, a block at a time.

    What is kept has one entry per row and output, or the size of a Hessian; never rows.

    Parameters
    ----------
    X : Rows
    intercept : float, default=1.0

    Notes
    -----
    The blocks do not depend on how many workers there are, and their results are added in a fixed
    order: numbers do not depend on who computed them, but for the last bits of a product.
    """

    in_memory = False

    def _each(self, method, *shared, width):
        return self.X.each(Work(method, self.intercept, shared), None, 0, width)

    def _total(self, method, aligned, *shared, axis=0):
        return self.X.total(Work(method, self.intercept, shared), aligned, axis)

    def _rows(self, method, *shared, shape, dtype=np.float64):
        out = np.empty((self.n_samples, *shape), dtype)
        for block, result in self._each(method, *shared, width=int(np.prod(shape))):
            out[block] = result
        return out

    def take(self, rows):
        return design_of(self.X.take(rows).keep_if_small(rows), self.intercept)

    def extended(self, new):
        return type(self)(self.X.followed_by(new.X), self.intercept)

    def slices(self, bytes_per_row, budget=BLOCK_BYTES):
        return self.X.slices(bytes_per_row, max(budget, SLICE_BYTES))

    def multiply(self, V):
        return self._rows("multiply", V, shape=V.shape[1:])

    def adjoint(self, U):
        return self._total("adjoint", U)

    def combine(self, coefficients, S, out):
        k, d, m = S.shape
        flat = S.transpose(1, 0, 2).reshape(d, k * m)
        for block, moved in self._each("multiply", flat, width=k * m):
            moved = moved.reshape(-1, k, m)
            np.einsum("ik,ikm->mi", coefficients[block], moved, out=out[:, block])

    def grams(self, weights, dtype=np.float64):
        return self._total("grams", weights, dtype, axis=1)

    def quadratics(self, A, dtype=np.float64):
        return self._rows("quadratics", A, dtype, shape=A.shape[:1], dtype=dtype)

    def squared_norms(self, scale):
        return self._rows("squared_norms", scale, shape=())

    def squared_columns(self, weights):
        return self._total("squared_columns", weights)

    def _squared_columns(self, weights):
        return self.squared_columns(weights)[: self.n_features]

    def dense_rows(self):
        X = self.X.read()
        return self._add_intercept(X.toarray() if sp.issparse(X) else X)

    def kernel(self, other, scale):
        self._refuse_dual()

    def self_kernel(self, left, scale):
        self._refuse_dual()

    def _refuse_dual(self):
        raise ValueError(
            f"The dual form needs the rows in memory. Got {self.n_samples} rows in blocks. Use "
            "skinfluence.solvers.Exact('primal') or solver='cg', or pass numpy.asarray(X)."
        )
