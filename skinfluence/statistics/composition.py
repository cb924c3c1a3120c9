"""Unions, columns and chains of transformers move as their parts do."""

from dataclasses import replace

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing

from skinfluence._utils.untouched import transformed
from skinfluence.smooth.one_step.fills import Fills
from skinfluence.statistics.registry import NOTHING, Moves, chain_moves, either, statistics


@statistics.register
def _(transformer: Pipeline, X, rows):
    steps = [step for _, step in transformer.steps if step not in (None, "passthrough")]
    return chain_moves(steps, X, rows)


@statistics.register
def _(transformer: FeatureUnion, X, rows):
    parts, weights = [], transformer.transformer_weights or {}
    for name, step in transformer.transformer_list:
        if step is None or (isinstance(step, str) and step == "drop"):
            continue
        if isinstance(step, str):
            parts.append((NOTHING, X.shape[1]))
            continue
        width = transformed([step], _safe_indexing(X, [0])).shape[1]
        moves = _weighted(statistics(step, X, rows), width, weights.get(name, 1.0))
        parts.append((moves, width))
    return side_by_side(parts)


@statistics.register
def _(transformer: ColumnTransformer, X, rows):
    parts, weights = [], transformer.transformer_weights or {}
    for name, step, columns in transformer.transformers_:
        where = transformer.output_indices_[name]
        width = where.stop - where.start
        if not width:
            continue
        if isinstance(step, str):
            parts.append((NOTHING, width))
            continue
        moves = statistics(step, _safe_indexing(X, columns, axis=1), rows)
        if moves is not None and moves.fills is not None:
            moves = replace(moves, fills=moves.fills.of_columns(columns))
        moves = _weighted(moves, width, weights.get(name, 1.0))
        parts.append((moves, width))
    return side_by_side(parts)


def _weighted(moves, width, weight):
    """The moves of outputs that a union multiplies by a weight: fills are in the units of the outputs."""
    if moves is None or moves.fills is None or weight == 1.0:
        return moves
    return replace(moves, fills=moves.fills.times(np.full(width, float(weight))))


def side_by_side(parts):
    """The moves of outputs that stand side by side, in order; parts are (moves, width)."""
    if any(moves is None for moves, _ in parts):
        return None
    every = [moves for moves, _ in parts]
    scale, fills, before = None, [], 0
    if any(moves.scale is not None for moves in every):
        n = next(len(moves.scale) for moves in every if moves.scale is not None)
        scale = np.hstack(
            [np.ones((n, width)) if one.scale is None else one.scale for one, width in parts]
        )
    for moves, width in parts:
        if moves.fills is not None:
            fills.append(moves.fills.right_of(before))
        before += width
    return Moves(
        scale,
        any(moves.shifted for moves in every),
        either(*(moves.other for moves in every)),
        either(*(moves.gone for moves in every)),
        Fills.side_by_side(fills) if fills else None,
    )
