"""Rows of a dask array: the work goes to where the chunks are."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.blocks.rows import Reading, Rows, piece

# Results gathered at a time, and results added up in one task.
GATHERED = 2**28
FAN_IN = 8


@dataclass(frozen=True, eq=False)
class DaskPart:
    """Rows of one dask array and how they are read.

    Parameters
    ----------
    array : dask array of shape (n, n_raw_features)
        All columns in one chunk.
    reading : Reading
    """

    array: object
    reading: Reading

    def __len__(self):
        return self.array.shape[0]

    def take(self, where):
        """A part of this part, still a dask array."""
        whole = isinstance(where, slice) and where.indices(len(self)) == (0, len(self), 1)
        return self if whole else replace(self, array=self.array[where])

    def raw(self):
        """The rows as the array has them."""
        return self.array.compute()

    def read(self):
        """The rows as the model sees them."""
        return self.reading(self.raw())

    def steps(self, n_features):
        """Lengths of its chunks."""
        return self.array.chunks[0]

    def chunks(self, n_features):
        """Its chunks as they are, each to be computed by the scheduler."""
        return self.array.to_delayed().ravel()


class DaskRows(Rows):
    """Rows whose blocks are the chunks of dask arrays.

    Nothing but results is gathered, in a fixed order; the scheduler that is active does the work.
    """

    def keep_if_small(self, rows):
        # Slices are asked for products, which chunks answer where they are.
        return self if isinstance(rows, slice) else super().keep_if_small(rows)

    def slices(self, bytes_per_row, budget):
        # Several chunks together, for work in parallel; parts of a chunk only where it is too large.
        step, start = max(1, budget // max(1, bytes_per_row)), 0
        edges = np.cumsum([s for part in self.parts for s in part.steps(self.shape[1])])
        for low, high in pairwise([0, *edges.tolist()]):
            if high - start > step and low > start:
                yield slice(start, low)
                start = low
            while high - start > step:
                yield slice(start, start + step)
                start += step
        if start < len(self):
            yield slice(start, len(self))

    def each(self, work, aligned, axis, width):
        pending, rows = [], 0
        for block, task in self._tasks(work, aligned, axis):
            pending.append((block, task))
            rows += block.stop - block.start
            if 8 * width * rows >= GATHERED:
                yield from _gathered(pending)
                pending, rows = [], 0
        yield from _gathered(pending)

    def total(self, work, aligned, axis):
        add = _dask().delayed(_sum)
        left = [task for _, task in self._tasks(work, aligned, axis)]
        while len(left) > 1:
            left = [add(left[i : i + FAN_IN]) for i in range(0, len(left), FAN_IN)]
        return _compute(left)[0] if left else 0.0

    def _tasks(self, work, aligned, axis):
        start = 0
        for part in self.parts:
            job = _dask().delayed(partial(work, part.reading), traverse=False)
            steps = part.steps(self.shape[1])
            for chunk, step in zip(part.chunks(self.shape[1]), steps, strict=True):
                if step:
                    block = slice(start, start + step)
                    yield block, job(chunk, piece(aligned, axis, block))
                    start += step


def _dask():
    return require("dask", extra="dask")


def _compute(tasks):
    # Weights travel with their tasks, so that a lost worker loses nothing: large graphs.
    dask = _dask()
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        return dask.compute(*tasks)


def _gathered(pending):
    results = _compute([task for _, task in pending])
    return zip([block for block, _ in pending], results, strict=True)


def _sum(results):
    """In the order given, on the worker."""
    total = results[0]
    for result in results[1:]:
        total = total + result
    return total
