"""Pulling gradients back through fitted transformers: a registry, one function per class."""

from functools import singledispatch

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler


@singledispatch
def pullback(transformer, X, V):
    """Gradients in a transformer's outputs, as gradients in its inputs.

    Register a class with ``pullback.register``::

        @pullback.register
        def _(transformer: MyScaler, X, V):
            return V * transformer.factor_

    Parameters
    ----------
    transformer : transformer
        Fitted.
    X : array-like of shape (n_rows, n_inputs)
        The inputs at which to differentiate.
    V : ndarray of shape (n_vectors, n_rows, n_outputs)

    Returns
    -------
    V : ndarray of shape (n_vectors, n_rows, n_inputs)

    Raises
    ------
    TypeError
        For a class without a registered pullback.
    """
    raise TypeError(
        "influence_pert goes through transformers whose derivative is registered. Got "
        f"{type(transformer).__name__}. Register it with skinfluence.pipeline.pullback.register, "
        "or ask on the transformed features: Influence(pipeline[-1], pipeline[:-1].transform(X), "
        "y)."
    )


@pullback.register(StandardScaler)
@pullback.register(MaxAbsScaler)
@pullback.register(RobustScaler)
def _divide(transformer, X, V):
    scale = transformer.scale_
    return V if scale is None else V / scale


@pullback.register
def _min_max(transformer: MinMaxScaler, X, V):
    if transformer.clip:
        raise TypeError("influence_pert cannot go through MinMaxScaler(clip=True): it has kinks.")
    return V * transformer.scale_


@pullback.register
def _pca(transformer: PCA, X, V):
    if transformer.whiten:
        V = V / np.sqrt(transformer.explained_variance_)
    return V @ transformer.components_
