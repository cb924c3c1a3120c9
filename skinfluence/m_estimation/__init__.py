"""Fits of any loss written with autograd, with influence methods."""

from skinfluence.m_estimation import answers as _answers  # noqa: F401  registers the answers
from skinfluence.m_estimation import editing as _editing  # noqa: F401  registers edited models
from skinfluence.m_estimation.estimator import MEstimator

__all__ = ["MEstimator"]
