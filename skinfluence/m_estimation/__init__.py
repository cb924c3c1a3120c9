"""Fits of any loss written with autograd, with influence methods."""

from skinfluence.m_estimation import deletions as _deletions  # noqa: F401  registers what answers
from skinfluence.m_estimation.estimator import MEstimator

__all__ = ["MEstimator"]
