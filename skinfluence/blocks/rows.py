"""Rows read a block at a time, from anything with a shape, a dtype and slices."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from skinfluence._utils.memory import check_fits
from skinfluence._utils.untouched import transformed
from skinfluence.blocks.design import BlockedDesign

# Some rows of such an array, up to this size, are read at once too.
HELD = 2**28
# One block: large enough for BLAS and disks, small enough to hold several next to each other.
BLOCK = 2**26
# Runs of wanted rows closer than this are read as one.
GAP = 64


@dataclass(frozen=True)
class Reading:
    """What happens to raw rows on the way to the model, the same checks as for rows in memory.

    Parameters
    ----------
    transformers : tuple of fitted transformers
    model : str
        Its name, for messages.
    absolute : bool
        Whether to take absolute values.
    dtype : {np.float64, np.float32}
        Precision of the rows, after the checks.
    """

    transformers: tuple = ()
    model: str | None = None
    absolute: bool = False
    dtype: type = np.float64

    def __call__(self, raw):
        X = raw if sp.issparse(raw) else np.asarray(raw)
        X = check_array(
            transformed(self.transformers, X),
            accept_sparse="csr",
            dtype=np.float64,
            order="C",
            input_name="X",
            estimator=self.model,
            ensure_min_samples=0,
        )
        X = X.astype(self.dtype, copy=False)
        return abs(X) if self.absolute else X


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of one array and how they are read.

    Parameters
    ----------
    array : array with shape, dtype and slices
    reading : Reading
    rows : range or ndarray of int
    """

    array: object
    reading: Reading
    rows: object

    def __len__(self):
        return len(self.rows)

    def take(self, where):
        """A part of this part: a slice or an index array."""
        if isinstance(where, slice) or not isinstance(self.rows, range):
            return replace(self, rows=self.rows[where])
        return replace(self, rows=self.rows.start + np.asarray(where))

    def raw(self):
        """The rows as the array has them."""
        return _gather(self.array, self.rows)

    def read(self):
        """The rows as the model sees them: an ndarray or a CSR array."""
        return self.reading(self.raw())

    def steps(self, n_features):
        """Lengths of its blocks: whole chunks, where the array has some."""
        step = max(1, BLOCK // (8 * max(1, n_features)))
        chunks = getattr(self.array, "chunks", None)
        if chunks and isinstance(chunks[0], int) and chunks[0] <= 4 * step:
            step = max(1, step // chunks[0]) * chunks[0]
        return [min(step, len(self) - start) for start in range(0, len(self), step)]

    def chunks(self, n_features):
        """Its blocks as the array has them."""
        start = 0
        for step in self.steps(n_features):
            yield self.take(slice(start, start + step)).raw()
            start += step


def _gather(array, rows):
    """Rows of anything that has slices, in the order asked for."""
    if isinstance(rows, range):
        return array[rows.start : rows.stop]
    if isinstance(array, np.ndarray):
        return np.asarray(array[rows])
    wanted, position = np.unique(rows, return_inverse=True)
    edges = np.flatnonzero(np.diff(wanted) > GAP) + 1
    found = []
    for low, high in pairwise([0, *edges, len(wanted)]):
        run = wanted[low:high]
        if len(run):
            found.append(np.asarray(array[int(run[0]) : int(run[-1]) + 1])[run - run[0]])
    return np.concatenate(found)[position] if found else np.asarray(array[0:0])


class Rows:
    """Rows of a model that are read when they are used, by blocks, and dropped.

    Parameters
    ----------
    parts : list of Part
        One after the other.
    n_features : int
    """

    ndim = 2
    dtype = np.dtype(np.float64)

    def __init__(self, parts, n_features):
        self.parts = [part for part in parts if len(part)]
        self._edges = np.cumsum([0, *map(len, self.parts)])
        self.shape = (int(self._edges[-1]), n_features)

    def __len__(self):
        return self.shape[0]

    @property
    def nbytes(self):
        """Size in memory, if all rows were there."""
        return 8 * math.prod(self.shape)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "This question needs all rows in memory at once; rows in blocks are for linear models "
            f"with a smooth loss. Got an array of shape {self.shape} on disk or in dask. Pass "
            "numpy.asarray(X) if it fits."
        )

    def __abs__(self):
        return self._read_as(absolute=True)

    def astype(self, dtype):
        """The same rows in another precision."""
        return self._read_as(dtype=dtype)

    def _read_as(self, **changes):
        parts = [replace(p, reading=replace(p.reading, **changes)) for p in self.parts]
        return self._with(parts)

    def __getitem__(self, rows):
        return self.take(rows).read()

    def _with(self, parts):
        return type(self)(parts, self.shape[1])

    def as_design(self, intercept):
        """The design over these rows."""
        return BlockedDesign(self, intercept)

    def followed_by(self, X):
        """These rows and then those of an array in memory, which the model could see."""
        return self._with([*self.parts, Part(X, Reading(), range(X.shape[0]))])

    def take(self, rows):
        """Some of the rows, a slice or an index array, still to be read."""
        rows = _as_slice(rows, len(self))
        if isinstance(rows, slice):
            low, high, step = rows.indices(len(self))
            if step != 1:
                raise IndexError(f"Rows in blocks are cut with step 1. Got step {step}.")
            pieces = zip(self.parts, pairwise(self._edges), strict=True)
            return self._with(
                [
                    p.take(slice(max(low - a, 0), max(high - a, 0)))
                    for p, (a, b) in pieces
                    if low < b
                ]
            )
        owner = np.searchsorted(self._edges, rows, side="right") - 1
        switches = [0, *(np.flatnonzero(np.diff(owner)) + 1), len(rows)]
        return self._with(
            [
                self.parts[owner[low]].take(rows[low:high] - self._edges[owner[low]])
                for low, high in pairwise(switches)
                if high > low
            ]
        )

    def keep_if_small(self, rows):
        """The rows of a :meth:`take`, read if they are few."""
        return self.read() if self.nbytes <= HELD else self

    def read(self):
        """All rows as the model sees them, in memory: an ndarray or a CSR array."""
        check_fits(self.shape, "Ask about fewer rows.", "The rows")
        found = self._all("read")
        if not found:
            return np.empty(self.shape)
        if len(found) == 1:
            return found[0]
        if any(sp.issparse(X) for X in found):
            return sp.csr_array(sp.vstack(found, format="csr"))
        return np.concatenate(found)

    def raw(self, rows):
        """Some rows as the array has them."""
        found = self.take(rows)._all("raw")
        return np.concatenate([np.asarray(X) for X in found]) if found else np.empty((0, 0))

    def _all(self, how):
        return [getattr(part, how)() for part in self.parts]

    def slices(self, bytes_per_row, budget):
        """Slices to work on one at a time, of at most ``budget`` bytes: blocks or parts of them."""
        step = max(1, budget // max(1, bytes_per_row))
        low = 0
        for part in self.parts:
            for length in part.steps(self.shape[1]):
                for start in range(low, low + length, step):
                    yield slice(start, min(start + step, low + length))
                low += length

    def each(self, work, aligned, axis, width):
        """The work on every block in order, ``(slice, result)``.

        Parameters
        ----------
        work : Work
        aligned : ndarray or None
            An argument with one entry per row, along ``axis``.
        axis : int
        width : int
            Numbers per row of the results, so that few are kept.
        """
        start = 0
        for part in self.parts:
            for raw in part.chunks(self.shape[1]):
                block = slice(start, start + raw.shape[0])
                yield block, work(part.reading, raw, piece(aligned, axis, block))
                start = block.stop

    def total(self, work, aligned, axis):
        """The sum of the work on every block, in the order of the rows."""
        total = 0.0
        for _, result in self.each(work, aligned, axis, 0):
            total = total + result
        return total


def piece(aligned, axis, block):
    """The entries of a block of an argument with one entry per row; None for no argument."""
    return None if aligned is None else aligned[(slice(None),) * axis + (block,)]


def _as_slice(rows, n):
    """Consecutive rows as a slice, others as an array of positions."""
    if isinstance(rows, slice):
        return rows
    rows = np.asarray(rows)
    if rows.dtype == bool:
        rows = np.flatnonzero(rows)
    if not rows.size:
        return slice(0, 0)
    rows = np.where(rows < 0, rows + n, rows) if rows.min() < 0 else rows
    if rows.max() >= n or rows.min() < 0:
        raise IndexError(f"Rows must be below {n}. Got {rows.max()}.")
    consecutive = rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all()
    return slice(int(rows[0]), int(rows[-1]) + 1) if consecutive else rows
