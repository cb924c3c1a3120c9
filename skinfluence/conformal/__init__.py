"""Prediction intervals and sets that hold at finite samples, from one fit.

Jackknife+ asks every model without one row what it says of a new point; full conformal prediction
asks every model with the new point added under each label it could have. Both are edits of one
fit, so neither refits.
"""

from skinfluence.conformal.full import FullConformalClassifier, FullConformalRegressor
from skinfluence.conformal.jackknife import JackknifePlusClassifier, JackknifePlusRegressor

__all__ = [
    "FullConformalClassifier",
    "FullConformalRegressor",
    "JackknifePlusClassifier",
    "JackknifePlusRegressor",
]
