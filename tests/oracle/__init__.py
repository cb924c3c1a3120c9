"""An independent oracle: the optima that answers are compared with, in extended precision.

Objectives are written down from scikit-learn's documentation, minimised in long double, and come with a
bound on their own error. Nothing here imports the package, or scikit-learn.
"""

from tests.oracle.kernels import KernelRidgeProblem, MachineProblem, kernel_matrix
from tests.oracle.optimum import Optimum, minimise
from tests.oracle.problem import Problem
from tests.oracle.problems import class_weights, problem_of

__all__ = [
    "KernelRidgeProblem",
    "MachineProblem",
    "Optimum",
    "Problem",
    "class_weights",
    "kernel_matrix",
    "minimise",
    "problem_of",
]
