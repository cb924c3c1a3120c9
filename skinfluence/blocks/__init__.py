"""Rows that are never in memory at once: on disk, in zarr or HDF5, in dask, or on a torch device."""

from skinfluence.blocks.design import BlockedDesign
from skinfluence.blocks.device import device_rows, is_tensor
from skinfluence.blocks.opening import is_large, is_lazy, rows_of
from skinfluence.blocks.rows import Rows

__all__ = [
    "BlockedDesign",
    "Rows",
    "device_rows",
    "is_large",
    "is_lazy",
    "is_tensor",
    "rows_of",
]
