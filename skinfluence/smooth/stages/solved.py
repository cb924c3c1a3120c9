"""Steps of the parameters with their trust."""

from dataclasses import dataclass

import numpy as np

from skinfluence import certificate
from skinfluence._utils.validation import check_tol

# Relative error that counts as solved to round-off by method="exact".
ROUND_OFF = 1e-9


@dataclass(frozen=True, eq=False)
class SolvedSteps:
    """Steps of the parameters with their trust.

    Attributes
    ----------
    steps : ndarray of shape (m, n_outputs, n_columns)
    bound : ndarray of shape (m,)
        On the error of each step, in the norm of the edited Hessian.
    size : ndarray of shape (m,)
        The steps' own size in that norm.
    method_used : ndarray of str, shape (m,)
    leverage : ndarray of shape (m,)
        Largest eigenvalue of the weight taken away times ``h``.
    round_off : ndarray of shape (m,)
        What of the bound is round-off.
    """

    steps: np.ndarray
    bound: np.ndarray
    size: np.ndarray
    method_used: np.ndarray
    leverage: np.ndarray
    round_off: np.ndarray

    def within(self, tol):
        """Whether each step is certified to ``tol`` or to round-off."""
        return certificate.within(self.bound, self.size, tol, self.round_off)


def relative_tol(method, tol):
    """The relative error that a method asks for."""
    if method == "exact":
        return ROUND_OFF
    check_tol(tol)
    return tol
