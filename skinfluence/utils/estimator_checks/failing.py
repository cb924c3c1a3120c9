"""How a check fails: the rule, what came, what to do; and how closely answers agree."""

from dataclasses import dataclass
from unittest import SkipTest

import numpy as np
from scipy.stats import rankdata


class ContractError(AssertionError):
    """An estimator breaks the contract.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.utils.estimator_checks import ContractError, check_influence
    >>> from skinfluence import objective_of
    >>> class Wrong(Ridge):
    ...     def predict(self, X):
    ...         return super().predict(X) + 1.0
    ...
    >>> try:
    ...     check_influence(Wrong())
    ... except ContractError:
    ...     print("what it predicts is not what its coefficients say")
    what it predicts is not what its coefficients say
    """


def require(holds, rule, got, remedy):
    """Raise a :class:`ContractError` unless something holds."""
    if not holds:
        raise ContractError(f"{rule} Got {got}. {remedy}")


def skip(reason):
    """Leave a check out, as scikit-learn's checks do."""
    raise SkipTest(reason)


def relative_error(found, expected):
    """Largest error over the largest expected entry; 0 for two arrays of zeros."""
    found, expected = np.asarray(found), np.asarray(expected)
    largest, scale = np.abs(found - expected).max(initial=0.0), np.abs(expected).max(initial=0.0)
    return float(largest / scale) if scale else float(np.inf if largest else 0.0)


@dataclass(frozen=True)
class Agreement:
    """How closely effects follow those of refits.

    Attributes
    ----------
    pearson, spearman : float
        Of all entries; ranks of the entries that are not round-off.
    slope : float
        Of the effects on those of the refits, through the origin.
    relative_l2 : float
    """

    pearson: float
    spearman: float
    slope: float
    relative_l2: float

    def __str__(self):
        return (
            f"Pearson {self.pearson:.4f}, Spearman {self.spearman:.4f}, slope {self.slope:.4f}, "
            f"relative L2 error {self.relative_l2:.1e}"
        )


def agreement(found, expected):
    """The :class:`Agreement` of effects with those of refits."""
    found, expected = np.ravel(found), np.ravel(expected)
    norm = np.linalg.norm(expected)
    if norm == 0.0:
        same = 0.0 if not found.any() else np.inf
        return Agreement(1.0, 1.0, 1.0, same)
    # Ranks of what is below this are those of rounding errors.
    ranked = np.abs(expected) > 1e-6 * np.abs(expected).max()
    return Agreement(
        _correlation(found, expected),
        _correlation(rankdata(found[ranked]), rankdata(expected[ranked])),
        float(found @ expected / norm**2),
        float(np.linalg.norm(found - expected) / norm),
    )


def _correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale else 1.0
