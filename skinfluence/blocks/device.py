"""Rows in a torch tensor: products run where the tensor is; what comes back is in numpy.

Nothing of the size of the rows ever leaves the device. torch is whoever made the tensor's: it is
never imported before there is one.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.blocks.design import BlockedDesign
from skinfluence.blocks.rows import Part, Reading, Rows, piece

# Float64 copies of a block of rows: enough to keep a device busy, or what a CPU's cache holds.
BLOCK, CPU_BLOCK = 2**27, 2**23
# Column tiles of symmetric products: with four, five eighths of the flops of the full ones.
TILED, TILES = 256, 4


def is_tensor(X):
    """Whether ``X`` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.Tensor)


def device_rows(X):
    """The :class:`DeviceRows` over a tensor.

    Raises
    ------
    TypeError
        For tensors of integers or complex numbers, sparse ones, and devices without float64.
    ValueError
        For a tensor that has not two dimensions.
    """
    if not X.dtype.is_floating_point or X.layout is not _torch().strided:
        raise TypeError(
            f"A tensor of rows must be dense and of floats. Got {X.dtype}, {X.layout}. Convert it "
            "with X.to_dense().double(), or pass a sparse matrix of scipy."
        )
    if X.device.type == "mps":
        raise TypeError(
            f"The device of a tensor must know float64. Got {X.device}; pass X.cpu().numpy()."
        )
    if X.ndim != 2:
        raise ValueError(
            f"X must have rows and columns. Got a tensor of shape {tuple(X.shape)}. Reshape one row "
            "with X[None], pictures with X.flatten(1)."
        )
    X = X.detach()
    return DeviceRows([DevicePart(X, Reading(), range(len(X)))], X.shape[1])


def _torch():
    return require("torch", extra="torch")


def _dtype(dtype):
    return _torch().float32 if dtype == np.float32 else _torch().float64


@dataclass(frozen=True, eq=False)
class DevicePart(Part):
    """Some rows of one tensor and how they are read.

    Parameters
    ----------
    array : tensor of shape (n, n_features)
    reading : Reading
        Of which the sign and the precision are looked at.
    rows : range or ndarray of int
    """

    def steps(self, n_features):
        size = CPU_BLOCK if self.array.device.type == "cpu" else BLOCK
        step = max(1, size // (8 * max(1, n_features)))
        return [min(step, len(self) - start) for start in range(0, len(self), step)]

    def raw(self):
        if isinstance(self.rows, range):
            return self.array[self.rows.start : self.rows.stop]
        # Tensors have no negative strides.
        return self.array[_torch().as_tensor(np.array(self.rows), device=self.array.device)]

    def tensor(self):
        """The rows on their device, converted."""
        X = self.raw().to(_dtype(self.reading.dtype))
        return X.abs() if self.reading.absolute else X

    def read(self):
        return self.tensor().cpu().numpy()


class DeviceRows(Rows):
    """Rows of tensors, all on the device of the first."""

    @property
    def device(self):
        """Where products run."""
        return self.parts[0].array.device if self.parts else _torch().device("cpu")

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Tensors stay on their device for linear models with a smooth loss only. Got a tensor of "
            f"shape {self.shape} on {self.device} for another one. Pass X.cpu().numpy()."
        )

    def __matmul__(self, V):
        return self.as_design(0.0).multiply(V)

    @property
    def T(self):
        """What multiplies columns with one number per row."""
        return _Transposed(self)

    def as_design(self, intercept):
        return DeviceDesign(self, intercept)

    def followed_by(self, X):
        if isinstance(X, DeviceRows):
            return self._with([*self.parts, *X.parts])
        new = _torch().as_tensor(np.array(X), device=self.device)
        return self._with([*self.parts, DevicePart(new, Reading(), range(len(new)))])

    def keep_if_small(self, rows):
        return self

    def raw(self, rows):
        return self[rows]

    def blocks(self):
        """The rows a block at a time, ``(slice, tensor)``."""
        start = 0
        for part in self.parts:
            edges = np.cumsum([0, *part.steps(self.shape[1])])
            for low, high in pairwise(edges):
                yield slice(start + low, start + high), part.take(slice(low, high)).tensor()
            start += len(part)

    def suspect(self):
        """The first row that is not finite, else the first, as a list; empty without rows."""
        for block, X in self.blocks():
            finite = X.isfinite().all(dim=1)
            if not finite.all():
                return [block.start + int(finite.int().argmin())]
        return [0] if len(self) else []


class _Transposed:
    """The rows as columns."""

    def __init__(self, rows):
        self._rows = rows

    def __matmul__(self, U):
        return self._rows.as_design(0.0).adjoint(U)


class DeviceDesign(BlockedDesign):
    """A design over rows on a device.

    Products with the parameters, and whatever is asked for in float64, are taken in float64, block
    by block, whatever the precision of the tensor. ``dtype=np.float32``, which ``precision="mixed"``
    asks for, is that of Gram matrices and quadratic forms.
    """

    def _placed(self, argument):
        if not isinstance(argument, np.ndarray):
            return argument
        return _torch().as_tensor(np.array(argument), device=self.X.device)

    def _each(self, method, *shared, width):
        shared = [self._placed(one) for one in shared]
        for block, rows in self.X.blocks():
            found = getattr(_Block(rows, self.intercept), method)(*shared)
            yield block, found.cpu().numpy()

    def _total(self, method, aligned, *shared, axis=0):
        total = 0.0
        for block, rows in self.X.blocks():
            own = self._placed(piece(aligned, axis, block))
            total = total + getattr(_Block(rows, self.intercept), method)(own, *shared)
        return total.cpu().numpy()

    def combine(self, coefficients, S, out):
        S = self._placed(S)
        for block, rows in self.X.blocks():
            c = self._placed(coefficients[block])
            out[:, block] = _Block(rows, self.intercept).combine(c, S).cpu().numpy()

    def kernel(self, other, scale):
        rows = other.X
        if isinstance(rows, DeviceRows):
            Z = _torch().cat([block.to(self.X.device) for _, block in rows.blocks()])
        else:
            Z = self._placed(other.dense_rows()[:, : self.n_features])
        out = np.empty((self.n_samples, len(Z)))
        scaled = Z * self._placed(scale)
        for block, own in self.X.blocks():
            out[block] = (own @ scaled.T).cpu().numpy()
        return out

    def self_kernel(self, left, scale):
        kernel = self.kernel(self, scale)
        kernel *= left[:, None]
        kernel *= left
        return kernel


class _Block:
    """What a design does, on one block of rows; tensors in, tensors out."""

    def __init__(self, X, intercept):
        self.X, self.intercept = X, intercept

    def _with_intercept(self, dtype):
        X = self.X.to(dtype)
        if not self.intercept:
            return X
        return _torch().cat([X, X.new_full((len(X), 1), self.intercept)], dim=1)

    def _completed(self, inner, last):
        """Columns and then that of the intercept."""
        if not self.intercept:
            return inner
        return _torch().cat([inner, last])

    def multiply(self, V):
        V = V.to(self.X.dtype)
        if not self.intercept:
            return self.X @ V
        return (self.X @ V[:-1]).add_(self.intercept * V[-1])

    def adjoint(self, U):
        U = U.to(self.X.dtype)
        return self._completed(self.X.T @ U, self.intercept * U.sum(dim=0, keepdim=True))

    def combine(self, coefficients, S):
        rows = self._with_intercept(S.dtype)
        out = 0.0
        for c, s in zip(coefficients.T, S, strict=True):
            out = out + s.T @ (c * rows.T)
        return out

    def grams(self, weights, dtype):
        rows = self._with_intercept(_product_dtype(dtype))
        d = rows.shape[1]
        out = rows.new_empty((len(weights), d, d))
        for gram, w in zip(out, weights.to(rows.dtype), strict=True):
            scaled = w[:, None] * rows
            for low, high in _tiles(d):
                gram[low:high, low:] = rows[:, low:high].T @ scaled[:, low:]
                gram[high:, low:high] = gram[low:high, high:].T
        return out

    def quadratics(self, A, dtype):
        rows = self._with_intercept(_product_dtype(dtype))
        out = rows.new_zeros((len(rows), len(A)))
        # Upper triangles, the entries off the diagonal twice.
        folded = (A.triu() + A.triu(1)).to(rows.dtype)
        for form, T in zip(out.T, folded, strict=True):
            for low, high in _tiles(rows.shape[1]):
                form += ((rows[:, :high] @ T[:high, low:high]) * rows[:, low:high]).sum(dim=1)
        return out

    def squared_norms(self, scale):
        return self._with_intercept(scale.dtype).square() @ scale

    def squared_columns(self, weights):
        squares = self._with_intercept(weights.dtype).square()
        return squares.T @ weights


def _product_dtype(dtype):
    torch = _torch()
    if dtype == np.float32 and torch.get_float32_matmul_precision() != "highest":
        raise ValueError(
            "precision='mixed' needs products with all digits of float32. Got torch's "
            f"float32_matmul_precision {torch.get_float32_matmul_precision()!r}. Call "
            "torch.set_float32_matmul_precision('highest')."
        )
    return _dtype(dtype)


def _tiles(d):
    """Ranges of columns for symmetric products."""
    return pairwise(np.linspace(0, d, TILES + 1).astype(int) if d >= TILED else (0, d))
