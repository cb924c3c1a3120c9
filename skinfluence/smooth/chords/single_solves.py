"""Solves with a Cholesky factor in single precision, where what they are off by is counted."""

from functools import cached_property

import numpy as np

from skinfluence.smooth.optimum.accuracy import solve_error
from skinfluence.solvers.cholesky import single_solved
from skinfluence.solvers.primal import PrimalFactor


class SingleSolves:
    """``H^-1 B`` by a single-precision copy of a factor: half the time of its own solves.

    Parameters
    ----------
    factor : PrimalFactor
        For its own shift.
    sizes : ndarray of shape (n_samples,)
        ``|x_j|^2`` in the norm of the inverse of the Hessian.
    """

    rtol = 0.0

    def __init__(self, factor, sizes):
        self.objective, self.curvature = factor.objective, factor.curvature
        self._sizes = sizes
        L, self._scale = factor.cholesky
        self._L = L.astype(np.float32)

    @staticmethod
    def serves(factor):
        """Whether a factor has a Cholesky factor in double precision to copy."""
        return type(factor) is PrimalFactor

    def solve(self, B):
        """``H^-1 B`` of columns (n_parameters, m), in double precision but for its digits."""
        return single_solved(self._L, self._scale, B)

    @cached_property
    def error(self):
        """Relative error of a solve in the norm of H, measured on a few rows."""
        return solve_error(self, self._sizes)
