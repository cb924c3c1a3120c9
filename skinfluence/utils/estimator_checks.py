"""Checks of influence for any estimator, where scikit-learn has its own checks.

The names live in the room :mod:`skinfluence.contract`, far above this one, and are looked up when
they are asked for.
"""

from importlib import import_module

__all__ = [
    "ContractError",  # noqa: F822
    "check_influence",  # noqa: F822
    "influence_checks_generator",  # noqa: F822
    "parametrize_with_influence_checks",  # noqa: F822
]


def __getattr__(name):
    if name in __all__:
        return getattr(import_module("skinfluence.contract"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
