"""Transformers made of transformers."""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing

from skinfluence._utils._compat import column_positions
from skinfluence._utils.untouched import transformed
from skinfluence.pullbacks.registry import pull_back_through, pullback


@pullback.register
def _frozen(transformer: FrozenEstimator, X, V):
    return pullback(transformer.estimator, X, V)


@pullback.register
def _pipeline(transformer: Pipeline, X, V):
    return pull_back_through(chain(transformer), X, V)


@pullback.register
def _union(transformer: FeatureUnion, X, V):
    out = np.zeros((*V.shape[:2], X.shape[1]))
    for _, part, outputs, weight in union_parts(transformer, X):
        gradients = weight * V[:, :, outputs]
        out += gradients if part is None else pullback(part, X, gradients)
    return out


@pullback.register
def _columns(transformer: ColumnTransformer, X, V):
    out = np.zeros((*V.shape[:2], X.shape[1]))
    for _, part, inputs, outputs, weight in column_parts(transformer, X):
        gradients = weight * V[:, :, outputs]
        if part is not None:
            gradients = pullback(part, _safe_indexing(X, inputs, axis=1), gradients)
        out[:, :, np.atleast_1d(inputs)] += gradients
    return out


def chain(pipeline):
    """The transformers of a pipeline, those that pass everything through left out."""
    return [step for _, step in pipeline.steps if step is not None and step != "passthrough"]


def union_parts(union, X):
    """``(name, transformer, output columns, weight)`` of a union; None passes through."""
    weights = union.transformer_weights or {}
    start = 0
    for name, part in union.transformer_list:
        if part == "drop":
            continue
        if part == "passthrough":
            part, width = None, X.shape[1]
        else:
            width = transformed([part], _safe_indexing(X, slice(0, 1))).shape[1]
        yield name, part, slice(start, start + width), weights.get(name, 1.0)
        start += width


def column_parts(transformer, X):
    """``(name, transformer, input columns, output columns, weight)``; None passes through.

    Input columns are positions in ``X``, one number where the transformer gets a vector.
    """
    weights = transformer.transformer_weights or {}
    positions = column_positions(transformer, X)
    for name, part, chosen in transformer.transformers_:
        outputs = transformer.output_indices_[name]
        inputs = positions.get(name, [])
        if (isinstance(part, str) and part == "drop") or not len(inputs):
            continue
        if isinstance(part, str):
            part = None
        yield (
            name,
            part,
            inputs[0] if np.isscalar(chosen) else inputs,
            outputs,
            weights.get(name, 1.0),
        )
