"""Which arrays are read in blocks, and the rows of a model over them."""

import math

import numpy as np
import scipy.sparse as sp

from skinfluence.blocks.remote import DaskPart, DaskRows
from skinfluence.blocks.rows import Part, Reading, Rows

# Arrays up to this size, in float64, are read at once and kept.
READ_AT_ONCE = 2**28


def is_lazy(X):
    """Whether ``X`` is an array whose rows are read when they are asked for.

    True for two-dimensional memory-mapped arrays and for anything else with a shape, a dtype and
    slices that is not an array in memory: zarr, HDF5, dask.

    Raises
    ------
    TypeError
        For a dask dataframe.
    ValueError
        For a dask array that does not know its own length.
    """
    if hasattr(X, "to_dask_array"):
        raise TypeError(
            f"X must be an array. Got a dask {type(X).__name__}. Pass "
            "X.to_dask_array(lengths=True)."
        )
    if isinstance(X, np.ndarray):
        return isinstance(X, np.memmap) and X.ndim == 2
    # Arrays in the memory of another library hand it over; those on disk have nothing to hand over.
    if sp.issparse(X) or hasattr(X, "iloc") or (hasattr(X, "__dlpack__") and not is_dask(X)):
        return False
    if not all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__")):
        return False
    if any(isinstance(size, float) and math.isnan(size) for size in X.shape):
        raise ValueError(
            "X must know its length. Got a dask array with chunks of unknown size. Call "
            "X.compute_chunk_sizes() first."
        )
    return len(X.shape) == 2


def is_large(X):
    """Whether a lazy array is read in blocks: above 256 MB in float64."""
    return 8 * math.prod(X.shape) > READ_AT_ONCE


def is_dask(X):
    """Whether ``X`` belongs to dask, without importing it."""
    return type(X).__module__.partition(".")[0] in ("dask", "dask_expr")


def rows_of(X, transformers, model, n_features):
    """The :class:`Rows` of a model over a raw array.

    Parameters
    ----------
    X : array of shape (n_samples, n_raw_features)
        A lazy one.
    transformers : sequence of fitted transformers
        Applied to each block; they must treat each row by itself.
    model : str
        Its name, for messages.
    n_features : int
        After the transformers.
    """
    reading = Reading(tuple(transformers), model)
    if is_dask(X):
        return DaskRows([DaskPart(X.rechunk({1: -1}), reading)], n_features)
    return Rows([Part(X, reading, range(X.shape[0]))], n_features)
