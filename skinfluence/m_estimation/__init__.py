"""Fits of any loss written with autograd, with influence methods."""

from skinfluence.m_estimation.estimator import MEstimator
from skinfluence.row_losses import answers as _answers  # noqa: F401  registers the answers

__all__ = ["MEstimator"]
