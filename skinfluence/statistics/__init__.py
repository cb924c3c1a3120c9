"""What transformers learned from the rows, and how it changes when a row leaves."""

from skinfluence.statistics import composition, discrete, scaling
from skinfluence.statistics.balanced import moving, weights_of
from skinfluence.statistics.draws import fitted_leaves
from skinfluence.statistics.registry import NOTHING, Moves, chain_moves, statistics
from skinfluence.statistics.whole import BUDGET, OverBudgetError, WholePipeline, any_learns, why_not

__all__ = [
    "BUDGET",
    "NOTHING",
    "Moves",
    "OverBudgetError",
    "WholePipeline",
    "any_learns",
    "chain_moves",
    "composition",
    "discrete",
    "fitted_leaves",
    "moving",
    "scaling",
    "statistics",
    "weights_of",
    "why_not",
]
