"""Covariance functions, and kernel ridge regression, whose edits have a closed form."""

from skinfluence.kernel.design import KernelDesign
from skinfluence.kernel.functions import (
    RBF,
    Laplacian,
    Linear,
    Poly,
    kernel_of,
)

__all__ = ["RBF", "KernelDesign", "Laplacian", "Linear", "Poly", "kernel_of"]
