"""Scalers: a row that leaves changes what columns are divided by, and shifts them."""

from dataclasses import replace
from functools import singledispatch

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from skinfluence.statistics.registry import NOTHING, Moves, followed, statistics

# Below this share of a variance, what a row leaves of it is summed anew: a difference would cancel.
LITTLE = 1e-3
EPS = np.finfo(np.float64).eps


@statistics.register(StandardScaler)
@statistics.register(MinMaxScaler)
@statistics.register(MaxAbsScaler)
@statistics.register(RobustScaler)
def _scaler(transformer, X, rows):
    return _scaled(transformer, X, rows, None)


@followed.register(StandardScaler)
@followed.register(MinMaxScaler)
@followed.register(MaxAbsScaler)
@followed.register(RobustScaler)
def _scaler_behind(transformer, X, rows, moves):
    """Behind fills that move: a column takes them along; one that is gone was one of zeros."""
    if moves.scale is not None or moves.shifted:
        return None
    after = _scaled(transformer, X, rows, moves.fills)
    return after and replace(after, gone=moves.gone)


@singledispatch
def _scaled(transformer, X, rows, fills):
    """The moves of a scaler, where what stands in missing cells of its inputs moves, too."""


@_scaled.register
def _(transformer: StandardScaler, X, rows, fills):
    if not transformer.with_std:
        return Moves(shifted=transformer.with_mean, fills=fills)
    X = finite_numbers(X)
    if X is None or X.shape[0] < 3:
        return None
    after, mean_after = variances_without(X, rows, fills)
    n, scale = X.shape[0], np.sqrt(after)
    # A column counts as constant where its variance is round-off; it is then divided by 1.
    constant = after <= (n - 1) * EPS * after + ((n - 1) * mean_after * EPS) ** 2
    scale[constant] = 1.0
    fills = fills and fills.divided(transformer.scale_)
    return Moves(scale / transformer.scale_, shifted=transformer.with_mean, fills=fills)


def variances_without(X, rows, fills=None):
    """Variances and means of columns without each row, twice (n_rows, n_columns)."""
    n = X.shape[0]
    mean = np.asarray(X.mean(axis=0)).ravel()
    if sp.issparse(X):
        # Of few stored values: the squares of the others are those of the mean.
        variance = np.asarray(X.multiply(X).mean(axis=0)).ravel() - mean**2
        variance = np.maximum(variance, 0.0)
        away = X[rows].toarray() - mean
    else:
        variance = np.mean((X - mean) ** 2, axis=0)
        away = X[rows] - mean
    # Row i takes its square along, and moves the mean.
    after = (n * variance - away**2 * (n / (n - 1.0))) / (n - 1.0)
    mean_after = mean - away / (n - 1.0)
    if fills is not None:
        # Filled cells are all the same, and move by the same, those of other rows only.
        many, at = fills.holes.sum(axis=0), fills.columns
        moved, gap = many * fills.by, (_filled_with(X, fills) - mean[at]) * fills.by
        after[:, at] += (2.0 * many * gap + moved * fills.by) / (n - 1.0)
        after[:, at] -= (moved - 2.0 * away[:, at]) * moved / (n - 1.0) ** 2
        mean_after[:, at] += moved / (n - 1.0)
    for i, j in zip(*np.nonzero(after < LITTLE * variance), strict=True):
        column = X[:, [j]].toarray().ravel() if sp.issparse(X) else np.array(X[:, j])
        if fills is not None and j in fills.columns:
            place = np.flatnonzero(fills.columns == j)[0]
            column[fills.holes[:, place]] += fills.by[i, place]
        left = np.delete(column, rows[i])
        mean_after[i, j] = left.mean()
        after[i, j] = np.mean((left - mean_after[i, j]) ** 2)
    return np.maximum(after, 0.0), mean_after


def _filled_with(X, fills):
    """What stands in the filled cells of each column; 0 where there are none."""
    first = fills.holes.argmax(axis=0)
    cells = X[first, fills.columns]
    return np.where(fills.holes.any(axis=0), np.asarray(cells).ravel(), 0.0)


def _seen(X, fills, instead):
    """The columns with something else in filled cells: what is filled lies between what was seen."""
    if fills is None:
        return X
    X = np.array(X)
    rows, places = np.nonzero(fills.holes)
    X[rows, fills.columns[places]] = instead
    return X


@_scaled.register
def _(transformer: MinMaxScaler, X, rows, fills):
    X = finite_numbers(X)
    if X is None or sp.issparse(X) or X.shape[0] < 3:
        return None
    lowest = extremes_without(_seen(X, fills, np.inf), rows, 0)
    highest = extremes_without(_seen(X, fills, -np.inf), rows, -1)
    span = highest - lowest
    span[~(span >= _little(transformer))] = 1.0
    before = (transformer.feature_range[1] - transformer.feature_range[0]) / transformer.scale_
    moved = (lowest != transformer.data_min_) | (highest != transformer.data_max_)
    fills = fills and fills.times(transformer.scale_)
    if not moved.any():
        return Moves(fills=fills)
    scale = np.where(moved, span / before, 1.0)
    # Left out, such a row may be clipped itself.
    other = moved.any(axis=1) if transformer.clip else None
    return Moves(scale, shifted=True, other=other, fills=fills)


@_scaled.register
def _(transformer: MaxAbsScaler, X, rows, fills):
    X = finite_numbers(X)
    if X is None or X.shape[0] < 3:
        return None
    if sp.issparse(X):
        if fills is not None:
            return None
        size = abs(X)
        first = size.max(axis=0).toarray().ravel()
        own = size[rows].toarray()
        second = _second_largest(size.tocsc())
        largest = np.where(own == first, second, first)
    else:
        largest = extremes_without(_seen(abs(X), fills, 0.0), rows, -1)
    largest[largest < _little(transformer)] = 1.0
    scale = largest / transformer.scale_
    fills = fills and fills.divided(transformer.scale_)
    if (scale == 1.0).all():
        return Moves(fills=fills)
    other = (scale != 1.0).any(axis=1) if getattr(transformer, "clip", False) else None
    return Moves(scale, other=other, fills=fills)


@_scaled.register
def _(transformer: RobustScaler, X, rows, fills):
    if fills is not None:
        # Filled cells are among the quantiles.
        return None
    if not transformer.with_scaling:
        return Moves(shifted=True) if transformer.with_centering else NOTHING
    X = finite_numbers(X)
    if X is None or sp.issparse(X) or X.shape[0] < 3:
        return None
    low, high = np.array(transformer.quantile_range) / 100.0
    order = np.argsort(X, axis=0, kind="stable")
    ranked, place = np.take_along_axis(X, order, axis=0), np.argsort(order, axis=0)[rows]
    spread = _quantile_without(ranked, place, high) - _quantile_without(ranked, place, low)
    spread[spread < _little(transformer)] = 1.0
    if transformer.unit_variance:
        spread /= norm.ppf(high) - norm.ppf(low)
    return Moves(spread / transformer.scale_, shifted=transformer.with_centering)


def _little(transformer):
    """Columns that are divided by less are divided by 1: what counts as round-off in the units of the fit."""
    return 10.0 * np.finfo(transformer.scale_.dtype).eps


def _quantile_without(ranked, place, q):
    """A quantile of each sorted column without the value at each place, (n_rows, n_columns)."""
    position = q * (len(ranked) - 2)
    below = int(np.floor(position))
    above, columns = min(below + 1, len(ranked) - 2), np.arange(ranked.shape[1])
    first, second = (ranked[k + (place <= k), columns] for k in (below, above))
    return first + (position - below) * (second - first)


def finite_numbers(X):
    """Finite float64 columns, or None: missing values are counted by column."""
    if sp.issparse(X):
        X = sp.csr_array(X, dtype=np.float64)
        return X if np.isfinite(X.data).all() else None
    try:
        X = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return X if X.ndim == 2 and np.isfinite(X).all() else None


def extremes_without(X, rows, end):
    """The smallest (end 0) or largest (end -1) of each column without each of the rows."""
    ranked = np.sort(X, axis=0)
    first, second = ranked[end], ranked[1 if end == 0 else -2]
    # Where two rows share the extreme the second is the first.
    return np.where(X[rows] == first, second, first)


def _second_largest(size):
    second = np.zeros(size.shape[1])
    for j in range(size.shape[1]):
        stored = size.data[size.indptr[j] : size.indptr[j + 1]]
        stored = np.concatenate([stored, np.zeros(min(2, size.shape[0] - len(stored)))])
        second[j] = np.sort(stored)[-2]
    return second
