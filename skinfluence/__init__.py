"""What a scikit-learn model would have been without a row of its training data.

For every row, exactly or with a bound, for the price of a few fits.
"""

import importlib

from skinfluence import adapters as _adapters  # noqa: F401  registers what is known
from skinfluence import edits
from skinfluence.influence import Influence
from skinfluence.objective import objective_of

# What doc/api.rst lists; the rooms are imported when they are asked for.
__all__ = [
    "Influence",
    "adapters",
    "answers",
    "attack",
    "cleaning",
    "conformal",
    "curvature",
    "datasets",
    "design",
    "diagnostics",
    "distributed",
    "editing",
    "edits",
    "gaussian_process",
    "hinge",
    "inference",
    "inspection",
    "kernel_ridge",
    "linear_model",
    "losses",
    "m_estimation",
    "metrics",
    "mixin",
    "model_selection",
    "neural",
    "objective",
    "objective_of",
    "pipeline",
    "problem",
    "quantity",
    "robustness",
    "solvers",
    "svm",
    "unlearning",
    "utils",
    "values",
]


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version

        return version("skinfluence")
    if name in __all__:
        return importlib.import_module(f"skinfluence.{name}")
    raise AttributeError(f"module 'skinfluence' has no attribute {name!r}")


def __dir__():
    return __all__
