"""Scalers, power transforms, norms and functions of one feature at a time."""

import numpy as np
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from skinfluence._utils._compat import power_scale
from skinfluence.pullbacks.registry import (
    dense,
    no_derivative,
    pullback,
    undefined_rows,
    warn_kinks,
)

SLOPES = {
    np.log: lambda x: 1.0 / x,
    np.log1p: lambda x: 1.0 / (1.0 + x),
    np.log2: lambda x: 1.0 / (x * np.log(2.0)),
    np.log10: lambda x: 1.0 / (x * np.log(10.0)),
    np.exp: np.exp,
    np.expm1: np.exp,
    np.sqrt: lambda x: 0.5 / np.sqrt(x),
    np.square: lambda x: 2.0 * x,
    np.arcsinh: lambda x: 1.0 / np.hypot(1.0, x),
    np.tanh: lambda x: 1.0 / np.cosh(x) ** 2,
}


@pullback.register(StandardScaler)
@pullback.register(RobustScaler)
def _divide(transformer, X, V):
    scale = transformer.scale_
    return V if scale is None else V / scale


@pullback.register
def _max_abs(transformer: MaxAbsScaler, X, V):
    V = V / transformer.scale_
    if not getattr(transformer, "clip", False):
        return V
    return _clipped(transformer, dense(X) / transformer.scale_, V, -1.0, 1.0)


@pullback.register
def _min_max(transformer: MinMaxScaler, X, V):
    V = V * transformer.scale_
    if not transformer.clip:
        return V
    moved = dense(X) * transformer.scale_ + transformer.min_
    return _clipped(transformer, moved, V, *transformer.feature_range)


def _clipped(transformer, moved, V, low, high):
    """Zero outside the range; its ends, where fitted extremes lie, count as inside."""
    near = 1e-12 * (high - low)
    ends = (np.abs(moved - low) <= near) | (np.abs(moved - high) <= near)
    warn_kinks(transformer, ends, "the inside of the range")
    return V * (ends | ((moved > low) & (moved < high)))


@pullback.register
def _power(transformer: PowerTransformer, X, V):
    X, powers = dense(X), transformer.lambdas_
    if transformer.method == "box-cox":
        slope = X ** (powers - 1.0)
    else:
        # Both branches have the slope 1 at 0.
        slope = (1.0 + np.abs(X)) ** np.where(X >= 0, powers - 1.0, 1.0 - powers)
    return V * (slope / power_scale(transformer))


@pullback.register
def _normalizer(transformer: Normalizer, X, V):
    X = dense(X)
    if transformer.norm == "l1":
        warn_kinks(transformer, X == 0, "neither side but their mean")
    if transformer.norm == "max":
        size = np.abs(X)
        ties = (size == size.max(axis=1, keepdims=True)).sum(axis=1) > 1
        warn_kinks(transformer, ties & size.any(axis=1), "the first of the largest entries")
    V, empty = through_norm(X, V, transformer.norm)
    return undefined_rows(transformer, V, empty, "all their entries are 0, so they have no norm")


def through_norm(X, V, norm, at_zero=0.0):
    """Pull back through ``x / |x|``, row by row.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    V : ndarray of shape (n_vectors, n_rows, n_features)
    norm : {"l1", "l2", "max"}
    at_zero : float, default=0.0
        Slope of the absolute value at 0.

    Returns
    -------
    V : ndarray of shape (n_vectors, n_rows, n_features)
    empty : ndarray of bool, shape (n_rows,)
        Rows without a norm; they are not divided.
    """
    if norm == "l2":
        size = np.sqrt(np.einsum("bf,bf->b", X, X))
    else:
        size = np.abs(X).sum(axis=1) if norm == "l1" else np.abs(X).max(axis=1)
    empty = size == 0
    size = np.where(empty, 1.0, size)[:, None]
    unit = X / size
    if norm == "l2":
        slope = unit
    elif norm == "l1":
        slope = np.where(X == 0, at_zero, np.sign(X))
    else:
        slope = np.zeros_like(X)
        rows, largest = np.arange(len(X)), np.abs(X).argmax(axis=1)
        slope[rows, largest] = np.sign(X[rows, largest])
    along = np.einsum("mbf,bf->mb", V, unit)
    return (V - along[:, :, None] * slope) / size, empty


@pullback.register
def _function(transformer: FunctionTransformer, X, V):
    function = transformer.func
    if function is None:
        return V
    if function in SLOPES and not transformer.kw_args:
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = SLOPES[function](dense(X))
            V = V * slope
        steep = ~np.isfinite(slope).all(axis=1)
        return undefined_rows(transformer, V, steep, "its slope there is infinite")
    known = ", ".join(f"numpy.{one.__name__}" for one in SLOPES)
    raise no_derivative(
        transformer,
        f"it applies {function!r}, whose derivative is not known (known: none, {known}). Make it a "
        "subclass of FunctionTransformer and register that",
    )
