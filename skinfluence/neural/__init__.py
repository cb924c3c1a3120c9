"""Influence through and of neural networks (optional torch, imported at first use)."""

from skinfluence.neural.featurizer import TorchFeaturizer
from skinfluence.neural.module_influence import ModuleInfluence

__all__ = ["ModuleInfluence", "TorchFeaturizer"]
