"""Pointwise losses: value, gradient and Hessian in the decision values eta.

A loss knows nothing of features or parameters. ``eta`` always has the outputs on its last
axis, shape ``(..., n_outputs)``; ``y`` broadcasts against the leading axes.
"""

from skinfluence.losses.base import Loss, SingleOutputLoss
from skinfluence.losses.combined import OneVsRest, SumToZero
from skinfluence.losses.hinges import SmoothHinge, SquaredHinge
from skinfluence.losses.logistic import Binomial, Multinomial
from skinfluence.losses.targets import (
    Gamma,
    Poisson,
    SquaredEpsilonInsensitive,
    SquaredError,
    Tweedie,
)
from skinfluence.losses.written import AutogradLoss

__all__ = [
    "AutogradLoss",
    "Binomial",
    "Gamma",
    "Loss",
    "Multinomial",
    "OneVsRest",
    "Poisson",
    "SingleOutputLoss",
    "SmoothHinge",
    "SquaredEpsilonInsensitive",
    "SquaredError",
    "SquaredHinge",
    "SumToZero",
    "Tweedie",
]
