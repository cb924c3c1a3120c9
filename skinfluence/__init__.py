"""What a scikit-learn model would have been without a row of its training data.

For every row, exactly or with a bound, for the price of a few fits.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skinfluence import edits
    from skinfluence.influence import Influence
    from skinfluence.objective import objective_of

# What doc/api.rst lists. Everything is imported when it is asked for: to import scikit-learn takes
# a second, which the command line needs for an answer, and not to say how it is called.
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
_IN_ROOM = {"Influence": "skinfluence.influence", "objective_of": "skinfluence.objective"}


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version

        return version("skinfluence")
    if name in _IN_ROOM:
        # Its registry is complete for whoever looks at it.
        import_module("skinfluence.adapters")
        return getattr(import_module(_IN_ROOM[name]), name)
    if name in __all__:
        return import_module(f"skinfluence.{name}")
    raise AttributeError(f"module 'skinfluence' has no attribute {name!r}")


def __dir__():
    return __all__
