"""Influence through and of neural networks (optional torch, imported at first use)."""

from skinfluence.neural.featurizer import TorchFeaturizer

__all__ = ["TorchFeaturizer"]
