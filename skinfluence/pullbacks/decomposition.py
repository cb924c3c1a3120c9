"""Linear maps: decompositions, projections, selections."""

import numpy as np
from sklearn.decomposition import (
    PCA,
    FactorAnalysis,
    FastICA,
    IncrementalPCA,
    TruncatedSVD,
)
from sklearn.feature_selection import SelectorMixin
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from skinfluence.pullbacks.registry import pullback


@pullback.register(PCA)
@pullback.register(IncrementalPCA)
def _pca(transformer, X, V):
    if transformer.whiten:
        V = V / np.sqrt(transformer.explained_variance_)
    return V @ transformer.components_


@pullback.register(TruncatedSVD)
@pullback.register(FastICA)
@pullback.register(GaussianRandomProjection)
@pullback.register(SparseRandomProjection)
def _project(transformer, X, V):
    W = transformer.components_
    return (V.reshape(-1, W.shape[0]) @ W).reshape(*V.shape[:2], W.shape[1])


@pullback.register
def _factors(transformer: FactorAnalysis, X, V):
    # The posterior mean: (I + W P^-1 W')^-1 W P^-1 (x - mean).
    W = transformer.components_
    scaled = W / transformer.noise_variance_
    return V @ np.linalg.solve(np.eye(len(W)) + scaled @ W.T, scaled)


@pullback.register
def _select(transformer: SelectorMixin, X, V):
    chosen = transformer.get_support()
    out = np.zeros((*V.shape[:2], len(chosen)))
    out[:, :, chosen] = V
    return out
