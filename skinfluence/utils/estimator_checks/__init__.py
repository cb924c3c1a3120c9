"""The contract that every estimator's influence keeps, as checks that anyone can run.

Users import it from :mod:`skinfluence.utils.estimator_checks`, where scikit-learn has its own.
"""

from skinfluence.utils.estimator_checks.failing import ContractError
from skinfluence.utils.estimator_checks.running import (
    check_influence,
    influence_checks_generator,
    parametrize_with_influence_checks,
)

__all__ = [
    "ContractError",
    "check_influence",
    "influence_checks_generator",
    "parametrize_with_influence_checks",
]
