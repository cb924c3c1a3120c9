"""What transformers learned from the rows, and how it changes when a row leaves."""

from skinfluence.statistics import (
    categories,
    composition,
    discrete,
    estimating,
    filling,
    scaling,
    texts,
)
from skinfluence.statistics.budget import BUDGET, OverBudgetError
from skinfluence.statistics.edited_rows import rows_after
from skinfluence.statistics.gamma import moving
from skinfluence.statistics.leaves import fitted_leaves
from skinfluence.statistics.refits import Refits
from skinfluence.statistics.registry import NOTHING, Moves, chain_moves, statistics
from skinfluence.statistics.removals import (
    FILLED,
    HELD,
    REFITTED,
    RESCALED,
    UNMOVED,
    any_learns,
    why_not,
)
from skinfluence.statistics.rows_left import Left, PipelineOfLeft
from skinfluence.statistics.targets import (
    in_old_units,
    learns_from_rows,
    moving_curve,
    names_of_parts,
)
from skinfluence.statistics.total import fill_total, moves_with_features, warn_held
from skinfluence.statistics.whole import WholePipeline

__all__ = [
    "BUDGET",
    "FILLED",
    "HELD",
    "NOTHING",
    "REFITTED",
    "RESCALED",
    "UNMOVED",
    "Left",
    "Moves",
    "OverBudgetError",
    "PipelineOfLeft",
    "Refits",
    "WholePipeline",
    "any_learns",
    "categories",
    "chain_moves",
    "composition",
    "discrete",
    "estimating",
    "fill_total",
    "filling",
    "fitted_leaves",
    "in_old_units",
    "learns_from_rows",
    "moves_with_features",
    "moving",
    "moving_curve",
    "names_of_parts",
    "rows_after",
    "scaling",
    "statistics",
    "texts",
    "warn_held",
    "why_not",
]
