"""Unions, columns and chains of transformers move as their parts do."""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing

from skinfluence._utils.untouched import transformed
from skinfluence.statistics.registry import NOTHING, Moves, chain_moves, statistics


@statistics.register
def _(transformer: Pipeline, X, rows):
    steps = [step for _, step in transformer.steps if step not in (None, "passthrough")]
    return chain_moves(steps, X, rows)


@statistics.register
def _(transformer: FeatureUnion, X, rows):
    parts = []
    for _, step in transformer.transformer_list:
        if step is None or (isinstance(step, str) and step == "drop"):
            continue
        if isinstance(step, str):
            parts.append((NOTHING, X.shape[1]))
            continue
        width = transformed([step], _safe_indexing(X, [0])).shape[1]
        parts.append((statistics(step, X, rows), width))
    return _side_by_side(parts, rows)


@statistics.register
def _(transformer: ColumnTransformer, X, rows):
    parts = []
    for name, step, columns in transformer.transformers_:
        where = transformer.output_indices_[name]
        width = where.stop - where.start
        if not width:
            continue
        if isinstance(step, str):
            parts.append((NOTHING, width))
            continue
        parts.append((statistics(step, _safe_indexing(X, columns, axis=1), rows), width))
    return _side_by_side(parts, rows)


def _side_by_side(parts, rows):
    """The moves of outputs that stand side by side, in order; parts are (moves, width)."""
    if any(moves is None for moves, _ in parts):
        return None
    scale, other = None, np.zeros(len(rows), dtype=bool)
    if any(moves.scale is not None for moves, _ in parts):
        ones = [
            np.ones((len(rows), width)) if moves.scale is None else moves.scale
            for moves, width in parts
        ]
        scale = np.hstack(ones)
    for moves, _ in parts:
        if moves.other is not None:
            other |= moves.other
    return Moves(scale, any(moves.shifted for moves, _ in parts), other)
