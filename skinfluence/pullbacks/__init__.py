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
from skinfluence.pullbacks.registry import NoDerivativeError, pull_back_through, pullback

__all__ = [
    "NoDerivativeError",
    "approximation",
    "composition",
    "decomposition",
    "discrete",
    "expansion",
    "imputing",
    "pull_back_through",
    "pullback",
    "scaling",
    "text",
]
