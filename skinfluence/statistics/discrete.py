"""Transformers that look at the columns only, and selectors that few rows move."""

import numpy as np
from sklearn.feature_selection import VarianceThreshold
from sklearn.kernel_approximation import RBFSampler, SkewedChi2Sampler
from sklearn.preprocessing import KBinsDiscretizer, PolynomialFeatures

from skinfluence.statistics.registry import NOTHING, Moves, statistics
from skinfluence.statistics.scaling import extremes_without, finite_numbers, variances_without

# Variances this close to a threshold are on either side of it, as they are summed.
ROUNDED = 1e-9


@statistics.register(PolynomialFeatures)
@statistics.register(RBFSampler)
@statistics.register(SkewedChi2Sampler)
def _columns_only(transformer, X, rows):
    """They look at how many columns there are; a random state of None is noticed elsewhere."""
    return NOTHING


@statistics.register
def _(transformer: VarianceThreshold, X, rows):
    """Rows without which another column is chosen."""
    X = finite_numbers(X)
    if X is None or X.shape[0] < 3:
        return None
    after = variances_without(X, rows)[0]
    if transformer.threshold == 0:
        # A column that is constant, whatever rounding makes of its variance.
        dense = X.toarray() if hasattr(X, "toarray") else X
        spans = extremes_without(dense, rows, -1) - extremes_without(dense, rows, 0)
        after = np.where(spans == 0, 0.0, np.maximum(after, np.finfo(float).tiny))
    changed = (after > transformer.threshold) != transformer.get_support()
    changed |= np.abs(after - transformer.threshold) < ROUNDED * transformer.threshold
    return Moves(other=changed.any(axis=1))


@statistics.register
def _(transformer: KBinsDiscretizer, X, rows):
    """Edges at equal distances move with the extremes only."""
    X = finite_numbers(X)
    if X is None or transformer.strategy != "uniform" or X.shape[0] < 3:
        return None
    before = X.min(axis=0), X.max(axis=0)
    moved = [
        (extremes_without(X, rows, end) != one).any(axis=1)
        for end, one in zip((0, -1), before, strict=True)
    ]
    return Moves(other=moved[0] | moved[1])
