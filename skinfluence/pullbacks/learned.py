"""Gradients back through what transformers learned: a row moves the columns of all others.

Of a scaler ``(x - m) / s`` the mean and the scale move with each row, and with them the transformed
rows of everybody, test points included.
"""

import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import RBFSampler, SkewedChi2Sampler
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import _safe_indexing, get_tags

from skinfluence._utils.calls import level_outside
from skinfluence._utils.dispatch import dispatched, rewrites
from skinfluence.pullbacks.composition import chain, column_parts, union_parts
from skinfluence.pullbacks.imputing import _kept, _missing
from skinfluence.pullbacks.registry import NoDerivativeError, dense, pullback, stages

# Statistics of the rows are those of the transformer to this share of their size.
SAME = 1e-6


@dispatched
def learned_pullback(transformer, X, V, X_new, V_new):
    """Gradients in a transformer's outputs, as gradients in its inputs by way of its statistics.

    What :func:`~skinfluence.pipeline.pullback` leaves out.

    Parameters
    ----------
    transformer : transformer
        Fitted on all rows of X.
    X : array-like of shape (n_samples, n_inputs)
    V : ndarray of shape (n_vectors, n_samples, n_outputs)
        Gradients in the outputs of all training rows.
    X_new : array-like of shape (n_new, n_inputs)
        Other rows that go through the transformer.
    V_new : ndarray of shape (n_vectors, n_new, n_outputs)

    Returns
    -------
    V : ndarray of shape (n_vectors, n_samples, n_inputs) or None
        None where it learns nothing.

    Raises
    ------
    NoDerivativeError
        A ``TypeError``: for a class that learns from the rows and is not registered.
    """
    try:
        learns = rewrites(type(transformer)) or get_tags(transformer).requires_fit
    except (AttributeError, TypeError):
        learns = True
    if not learns:
        return None
    raise NoDerivativeError(
        "influence_pert moves what the transformers learned from the rows. Got "
        f"{type(transformer).__name__}, of which it is not known how that moves. Pass frozen='accept' for "
        "the derivative with the transformers as fitted."
    )


def pull_back_in_full(transformers, X, V, X_new, V_new):
    """Gradients pulled back through a chain and through what it learned from the rows.

    Parameters
    ----------
    transformers : list of transformers
    X : array-like of shape (n_samples, n_inputs)
        All training rows.
    V : ndarray of shape (n_vectors, n_samples, n_outputs)
    X_new, V_new
        The same of other rows that go through the chain.

    Returns
    -------
    V : ndarray of shape (n_vectors, n_samples, n_inputs)
    """
    inputs, new = stages(transformers, X), stages(transformers, X_new)
    for transformer, one, other in zip(transformers[::-1], inputs[::-1], new[::-1], strict=True):
        learned = learned_pullback(transformer, one, V, other, V_new)
        V = pullback(transformer, one, V)
        V_new = pullback(transformer, other, V_new)
        if learned is not None:
            V = V + learned
    return V


@learned_pullback.register(FrozenEstimator)
@learned_pullback.register(PolynomialFeatures)
@learned_pullback.register(RBFSampler)
@learned_pullback.register(SkewedChi2Sampler)
@learned_pullback.register(SelectorMixin)
@learned_pullback.register(TfidfTransformer)
def _(transformer, X, V, X_new, V_new):
    """They look at no cell, or move in steps: which columns are kept, which words a text has."""
    return None


@learned_pullback.register
def _(transformer: Pipeline, X, V, X_new, V_new):
    steps = chain(transformer)
    inputs, new = stages(steps, X), stages(steps, X_new)
    total = None
    for step, one, other in zip(steps[::-1], inputs[::-1], new[::-1], strict=True):
        # What later steps learned is part of what this one's outputs do.
        full = V if total is None else V + total
        learned = learned_pullback(step, one, full, other, V_new)
        if total is not None:
            total = pullback(step, one, total)
        V, V_new = pullback(step, one, V), pullback(step, other, V_new)
        if learned is not None:
            total = learned if total is None else total + learned
    return total


@learned_pullback.register
def _(transformer: FeatureUnion, X, V, X_new, V_new):
    total = None
    for _, part, outputs, weight in union_parts(transformer, X):
        if part is None:
            continue
        learned = learned_pullback(
            part, X, weight * V[:, :, outputs], X_new, weight * V_new[:, :, outputs]
        )
        if learned is not None:
            total = learned if total is None else total + learned
    return total


@learned_pullback.register
def _(transformer: ColumnTransformer, X, V, X_new, V_new):
    total = np.zeros((*V.shape[:2], X.shape[1]))
    for _, part, inputs, outputs, weight in column_parts(transformer, X):
        if part is None:
            continue
        own, new = (_safe_indexing(one, inputs, axis=1) for one in (X, X_new))
        learned = learned_pullback(
            part, own, weight * V[:, :, outputs], new, weight * V_new[:, :, outputs]
        )
        if learned is not None:
            total[:, :, np.atleast_1d(inputs)] += learned
    return total


@learned_pullback.register
def _(transformer: StandardScaler, X, V, X_new, V_new):
    X, X_new = _numbers(transformer, X), _numbers(transformer, X_new)
    n, mean = len(X), X.mean(axis=0)
    scale = np.ones(X.shape[1])
    _same(transformer, transformer.mean_, mean, np.abs(X).max(axis=0))
    if transformer.with_std:
        scale = transformer.scale_
        deviation = np.sqrt(np.mean((X - mean) ** 2, axis=0))
        constant = (scale == 1.0) & (deviation <= 10.0 * np.finfo(float).eps * np.abs(mean))
        _same(transformer, scale[~constant], deviation[~constant], scale[~constant])
    shift = mean if transformer.with_mean else 0.0
    total = np.zeros((len(V), n, X.shape[1]))
    if transformer.with_mean:
        total -= ((V.sum(axis=1) + V_new.sum(axis=1)) / (scale * n))[:, None]
    if transformer.with_std:
        pull = np.einsum("mnf,nf->mf", V, X - shift) + np.einsum("mnf,nf->mf", V_new, X_new - shift)
        total -= (pull / scale**2)[:, None] * ((X - mean) / (n * scale))
        if constant.any():
            total[:, :, constant] = np.nan
            _warn_constant(transformer, constant)
    return total


@learned_pullback.register
def _(transformer: MinMaxScaler, X, V, X_new, V_new):
    X, X_new = _numbers(transformer, X), _numbers(transformer, X_new)
    low, high = X.min(axis=0), X.max(axis=0)
    _same(transformer, transformer.data_min_, low, np.abs(X).max(axis=0))
    _same(transformer, transformer.data_max_, high, np.abs(X).max(axis=0))
    span = high - low
    constant = span == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        share, share_new = (X - low) / span, (X_new - low) / span
        if transformer.clip:
            outside = (share_new < 0) | (share_new > 1)
            V_new = np.where(outside, 0.0, V_new)
        both = np.einsum("mnf,nf->mf", V, share) + np.einsum("mnf,nf->mf", V_new, share_new)
    # z = a + (b - a) (x - low) / (high - low).
    slope = transformer.scale_
    towards_high = -both * slope
    towards_low = -(V.sum(axis=1) + V_new.sum(axis=1)) * slope - towards_high
    total = _at_rank(X, 0, towards_low, transformer) + _at_rank(X, -1, towards_high, transformer)
    if constant.any():
        total[:, :, constant] = np.nan
        _warn_constant(transformer, constant)
    return total


@learned_pullback.register
def _(transformer: MaxAbsScaler, X, V, X_new, V_new):
    X, X_new = _numbers(transformer, X), _numbers(transformer, X_new)
    size = np.abs(X)
    _same(transformer, transformer.max_abs_, size.max(axis=0), size.max(axis=0))
    scale = transformer.scale_
    if getattr(transformer, "clip", False):
        V_new = np.where(np.abs(X_new) > scale, 0.0, V_new)
    pull = np.einsum("mnf,nf->mf", V, X) + np.einsum("mnf,nf->mf", V_new, X_new)
    total = _at_rank(size, -1, -pull / scale**2, transformer) * np.sign(X)
    constant = size.max(axis=0) == 0
    if constant.any():
        total[:, :, constant] = np.nan
        _warn_constant(transformer, constant)
    return total


@learned_pullback.register
def _(transformer: RobustScaler, X, V, X_new, V_new):
    X, X_new = _numbers(transformer, X), _numbers(transformer, X_new)
    total = np.zeros((len(V), *X.shape))
    scale = np.ones(X.shape[1]) if transformer.scale_ is None else transformer.scale_
    center = np.zeros(X.shape[1]) if transformer.center_ is None else transformer.center_
    if transformer.with_centering:
        _same(transformer, center, np.median(X, axis=0), np.abs(X).max(axis=0))
        pull = -(V.sum(axis=1) + V_new.sum(axis=1)) / scale
        total += _at_quantile(X, 0.5, pull, transformer)
    if transformer.with_scaling:
        low, high = np.array(transformer.quantile_range) / 100.0
        spread = np.quantile(X, high, axis=0) - np.quantile(X, low, axis=0)
        constant = spread == 0
        with np.errstate(divide="ignore", invalid="ignore"):
            # The unit variance of a normal column divides by a constant more.
            unit = np.where(constant, 1.0, scale / spread)
        if not (
            np.ptp(unit[~constant]) <= SAME * np.abs(unit).max() if (~constant).any() else True
        ):
            _refuse_others(transformer)
        pull = np.einsum("mnf,nf->mf", V, X - center)
        pull = -(pull + np.einsum("mnf,nf->mf", V_new, X_new - center)) / scale**2 * unit
        total += _at_quantile(X, high, pull, transformer)
        total -= _at_quantile(X, low, pull, transformer)
        if constant.any():
            total[:, :, constant] = np.nan
            _warn_constant(transformer, constant)
    return total


@learned_pullback.register
def _(transformer: SimpleImputer, X, V, X_new, V_new):
    if transformer.strategy not in ("mean", "median"):
        # A constant, or a value that is there most often: neither moves with a small change.
        return None
    missing, missing_new = _missing(transformer, X), _missing(transformer, X_new)
    kept = _kept(transformer)
    out = np.zeros((*V.shape[:2], missing.shape[1]))
    values = np.array(dense(X), dtype=np.float64)
    for output, column in enumerate(kept):
        pull = V[:, missing[:, column], output].sum(axis=1)
        pull = pull + V_new[:, missing_new[:, column], output].sum(axis=1)
        there = np.flatnonzero(~missing[:, column])
        if not pull.any() or not len(there):
            continue
        if transformer.strategy == "mean":
            out[:, there, column] = (pull / len(there))[:, None]
        else:
            one = values[there, column][:, None]
            out[:, there, column] = _at_quantile(one, 0.5, pull[:, None], transformer)[:, :, 0]
    return out


def _numbers(transformer, X):
    X = X.toarray() if sp.issparse(X) else dense(X)
    if not np.isfinite(X).all():
        raise NoDerivativeError(
            "The derivative through what a transformer learned is known for columns without missing "
            f"cells. Got some before {type(transformer).__name__}; impute first, or pass "
            "frozen='accept'."
        )
    return X


def _at_quantile(X, q, pull, transformer):
    """Gradients in a quantile of each column, (n_vectors, n_columns), as those in its rows."""
    position = q * (len(X) - 1)
    low = int(np.floor(position))
    share = position - low
    out = (1.0 - share) * _at_rank(X, low, pull, transformer)
    if share > 0:
        out += share * _at_rank(X, low + 1, pull, transformer)
    return out


def _at_rank(X, rank, pull, transformer):
    """Gradients in the value of a rank of each column, as those in the row that has it.

    NaN, with a warning, at rows that share the value: it moves one way and not the other.
    """
    columns = np.arange(X.shape[1])
    order = np.argsort(X, axis=0, kind="stable")[rank]
    out = np.zeros((len(pull), *X.shape))
    out[:, order, columns] = pull
    ties = X == X[order, columns]
    ties &= ties.sum(axis=0) > 1
    ties &= pull.any(axis=0)
    if ties.any():
        out[:, ties] = np.nan
        warnings.warn(
            f"{int(ties.sum())} cells share a value that {type(transformer).__name__} learned from the "
            "rows with others: it follows them one way and not the other, so their derivatives are "
            "NaN. Pass frozen='accept' for those with the transformers as fitted.",
            UserWarning,
            stacklevel=level_outside(),
        )
    return out


def _same(transformer, learned, now, size):
    """Refuse a transformer that was fitted on other rows, or with weights."""
    if not (np.abs(learned - now) <= SAME * np.maximum(size, np.finfo(float).tiny)).all():
        _refuse_others(transformer)


def _refuse_others(transformer):
    raise NoDerivativeError(
        "influence_pert moves what the transformers learned from the training rows. Got "
        f"{type(transformer).__name__}, fitted on other rows or with weights. Pass frozen='accept' for the "
        "derivative with the transformers as fitted."
    )


def _warn_constant(transformer, constant):
    warnings.warn(
        f"{int(constant.sum())} columns are constant: the scale that {type(transformer).__name__} learned "
        "jumps where one of their cells moves, so their derivatives are NaN. Drop the columns, or pass "
        "frozen='accept'.",
        UserWarning,
        stacklevel=level_outside(),
    )
