"""What a scikit-learn model would have been without a row of its training data.

For every row, exactly or with a bound, for about the price of one fit.
"""

from skinfluence import adapters, edits
from skinfluence.influence import Influence

__all__ = ["Influence", "edits", "objective_of"]

objective_of = adapters.objective_of


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version

        return version("skinfluence")
    raise AttributeError(f"module 'skinfluence' has no attribute {name!r}")
