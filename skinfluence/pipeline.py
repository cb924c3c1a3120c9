"""Influence through pipelines: the registry of pullbacks."""

from skinfluence.pullbacks import pullback

__all__ = ["pullback"]
