"""Rows that are never in memory at once: on disk, in zarr or HDF5, or in a dask array."""

from skinfluence.blocks.design import BlockedDesign
from skinfluence.blocks.rows import Rows, is_large, is_lazy, rows_of

__all__ = ["BlockedDesign", "Rows", "is_large", "is_lazy", "rows_of"]
