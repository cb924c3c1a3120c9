"""Pulling gradients back through fitted transformers, one module per family."""

from skinfluence.pullbacks import (
    approximation,
    composition,
    decomposition,
    discrete,
    expansion,
    imputing,
    scaling,
    text,
)
from skinfluence.pullbacks.learned import learned_pullback, pull_back_in_full
from skinfluence.pullbacks.registry import NoDerivativeError, pull_back_through, pullback

__all__ = [
    "NoDerivativeError",
    "approximation",
    "composition",
    "decomposition",
    "discrete",
    "expansion",
    "imputing",
    "learned_pullback",
    "pull_back_in_full",
    "pull_back_through",
    "pullback",
    "scaling",
    "text",
]
