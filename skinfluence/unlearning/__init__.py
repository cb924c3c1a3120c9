"""Forgetting with a receipt: rows are removed from a fitted model, and it is certified how nearly."""

from skinfluence.unlearning.forgetting import Forgotten, forget, retained
from skinfluence.unlearning.gaussian import GaussianRelease
from skinfluence.unlearning.perturbed import PerturbedLogisticRegression
from skinfluence.unlearning.receipts import Check, Receipt, receipt, verify

__all__ = [
    "Check",
    "Forgotten",
    "GaussianRelease",
    "PerturbedLogisticRegression",
    "Receipt",
    "forget",
    "receipt",
    "retained",
    "verify",
]
