"""What transformers learned from the rows, and how it changes when a row leaves."""

from skinfluence.statistics import composition, discrete, estimating, scaling
from skinfluence.statistics.draws import fitted_leaves
from skinfluence.statistics.edited_rows import rows_after
from skinfluence.statistics.gamma import moving
from skinfluence.statistics.registry import NOTHING, Moves, chain_moves, statistics
from skinfluence.statistics.total import fill_total, moves_with_features, warn_held
from skinfluence.statistics.whole import (
    BUDGET,
    HELD,
    REFITTED,
    RESCALED,
    UNMOVED,
    OverBudgetError,
    WholePipeline,
    any_learns,
    why_not,
)

__all__ = [
    "BUDGET",
    "HELD",
    "NOTHING",
    "REFITTED",
    "RESCALED",
    "UNMOVED",
    "Moves",
    "OverBudgetError",
    "WholePipeline",
    "any_learns",
    "chain_moves",
    "composition",
    "discrete",
    "estimating",
    "fill_total",
    "fitted_leaves",
    "moves_with_features",
    "moving",
    "rows_after",
    "scaling",
    "statistics",
    "warn_held",
    "why_not",
]
