"""Imputers: a row that leaves moves what missing cells are filled with, all of a column alike."""

import numpy as np
import scipy.sparse as sp
from sklearn.impute import SimpleImputer

from skinfluence.smooth.one_step.fills import Fills
from skinfluence.statistics.registry import Moves, statistics


@statistics.register
def _(transformer: SimpleImputer, X, rows):
    missing = missing_cells(transformer, X)
    if missing is None or transformer.strategy not in ("constant", *FILLS):
        return None
    n, d = missing.shape
    seen = (~missing).sum(axis=0)
    if not seen.all() or n < 3:
        # Columns without any value are dropped, or kept as zeros.
        return None
    other, gone = (~missing[rows] & (seen == 1)).any(axis=1), None
    if transformer.add_indicator:
        shown = np.zeros(d, dtype=bool)
        shown[transformer.indicator_.features_] = True
        gone = (missing[rows] & shown & (seen == n - 1)).any(axis=1)
    if transformer.strategy == "constant":
        return Moves(other=other, gone=gone)
    values = _numbers(X)
    if values is None:
        if transformer.strategy != "most_frequent":
            return None
        return Moves(other=other | _another_mode(X, missing, rows), gone=gone)
    fill_without, by = FILLS[transformer.strategy], np.zeros((len(rows), d))
    for j in range(d):
        there = np.flatnonzero(~missing[:, j])
        position = np.full(n, -1)
        position[there] = np.arange(len(there))
        asked = np.flatnonzero(position[rows] >= 0)
        if len(there) > 1:
            fills = fill_without(values[there, j], position[rows[asked]])
            by[asked, j] = fills - transformer.statistics_[j]
    fills = Fills(np.arange(d), by, missing, _Holes(transformer))
    return Moves(other=other, gone=gone, fills=fills if by.any() else None)


class _Holes:
    """Which cells of other rows an imputer fills."""

    def __init__(self, transformer):
        self.transformer = transformer

    def __call__(self, X):
        return missing_cells(self.transformer, X)


def missing_cells(transformer, X):
    """Which cells an imputer fills, (n_rows, n_columns), or None where that is not known."""
    marker = transformer.missing_values
    if sp.issparse(X):
        return None
    if hasattr(X, "dtypes") and not _kinds(X) <= set("fiub"):
        X = X.to_numpy(dtype=object)
    X = np.asarray(X)
    if X.ndim != 2:
        return None
    if not _is_nan(marker):
        known = isinstance(marker, int | float) and X.dtype.kind in "fiu"
        return X == marker if known else None
    if X.dtype.kind == "f":
        return np.isnan(X)
    if X.dtype != object:
        return np.zeros(X.shape, dtype=bool)
    try:
        return np.array(X != X, dtype=bool)
    except TypeError:
        # NA says neither.
        return None


def _kinds(X):
    if hasattr(X, "dtypes"):
        return {one.kind for one in X.dtypes}
    return {np.asarray(X).dtype.kind}


def _is_nan(value):
    return isinstance(value, float) and np.isnan(value)


def _numbers(X):
    """Columns in float64, or None."""
    if not _kinds(X) <= set("fiub"):
        return None
    X = np.asarray(X)
    # In single precision the fill is rounded anew.
    return None if X.dtype == np.float32 else X.astype(np.float64)


def _mean_without(values, own):
    mean = values.mean()
    return mean - (values[own] - mean) / (len(values) - 1)


def _median_without(values, own):
    order = np.argsort(values, kind="stable")
    place = np.empty(len(values), dtype=np.intp)
    place[order] = np.arange(len(values))
    ranked, place, left = values[order], place[own], len(values) - 1
    low, high = (left - 1) // 2, left // 2
    return 0.5 * (ranked[low + (place <= low)] + ranked[high + (place <= high)])


def _mode_without(values, own):
    distinct, counts = np.unique(values, return_counts=True)
    best = np.argmax(counts)
    mode = np.full(len(own), distinct[best])
    if len(distinct) > 1:
        counts[best] -= 1
        mode[values[own] == distinct[best]] = distinct[np.argmax(counts)]
    return mode


FILLS = {"mean": _mean_without, "median": _median_without, "most_frequent": _mode_without}


def _another_mode(X, missing, rows):
    """Rows without which the most frequent value of a column may be another one, a mask."""
    cells = X.to_numpy(dtype=object) if hasattr(X, "to_numpy") else np.asarray(X, dtype=object)
    out = np.zeros(len(rows), dtype=bool)
    for j in range(cells.shape[1]):
        there = ~missing[:, j]
        texts = np.where(there, cells[:, j], "").astype(str)
        distinct, counts = np.unique(texts[there], return_counts=True)
        first, second = np.sort(np.append(counts, 0))[::-1][:2]
        if second >= first - 1:
            # So close that the order of values may decide.
            out |= there[rows] & np.isin(texts[rows], distinct[counts == first])
    return out
