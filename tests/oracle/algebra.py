"""Positive definite systems in long double, scaled to unit diagonal."""

import numpy as np

LD = np.longdouble
EPS = np.finfo(LD).eps


class NotPositiveDefiniteError(ArithmeticError):
    """A matrix without a Cholesky factor in long double."""


class Factor:
    """Cholesky factor of a symmetric positive definite matrix, with refined solves."""

    def __init__(self, A):
        self.A = np.asarray(A, dtype=LD)
        diagonal = np.diagonal(self.A)
        if not (np.isfinite(self.A).all() and (diagonal > 0).all()):
            raise NotPositiveDefiniteError("the diagonal is not positive and finite")
        self.scale = 1 / np.sqrt(diagonal)
        B = self.A * self.scale[:, None] * self.scale
        p = len(B)
        L = np.zeros_like(B)
        smallest = LD(1)
        for j in range(p):
            column = B[j:, j] - L[j:, :j] @ L[j, :j]
            smallest = min(smallest, column[0])
            if not column[0] > 4 * p * EPS:
                raise NotPositiveDefiniteError(f"pivot {float(column[0]):.1e} of a unit diagonal")
            L[j:, j] = column / np.sqrt(column[0])
        self.L = L
        # The smallest pivot is no condition number, but within p of one for what is used here.
        self.smallest = float(smallest)

    @property
    def rcond(self):
        """Reciprocal condition number in the 1-norm, of unit diagonal."""
        B = self.A * self.scale[:, None] * self.scale
        inverse = self.solve(np.diag(1 / self.scale)) / self.scale[:, None]
        return float(1 / (np.abs(B).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max()))

    @property
    def pivot_in_double(self):
        """The smallest pivot, 0 where the condition number is beyond float64.

        Of columns that only a penalty tells apart the pivot is far larger.
        """
        if self.smallest < 1e-8 and self.rcond < 10 * np.finfo(float).eps:
            return 0.0
        return self.smallest

    def _rough(self, B):
        Y = B * self.scale[:, None]
        L, p = self.L, len(self.L)
        for j in range(p):
            Y[j] = (Y[j] - L[j, :j] @ Y[:j]) / L[j, j]
        for j in range(p - 1, -1, -1):
            Y[j] = (Y[j] - L[j + 1 :, j] @ Y[j + 1 :]) / L[j, j]
        return Y * self.scale[:, None]

    def solve(self, B):
        """``A^-1 B`` for (p,) or (p, m)."""
        B = np.asarray(B, dtype=LD)
        right = B.reshape(len(B), -1)
        X = self._rough(right.copy())
        X = X + self._rough(right - self.A @ X)
        return X.reshape(B.shape)

    def half_solve(self, B):
        """``L^-1 S B``: its squared columns sum to ``b' A^-1 b``."""
        Y = np.asarray(B, dtype=LD).reshape(len(B), -1) * self.scale[:, None]
        for j in range(len(self.L)):
            Y[j] = (Y[j] - self.L[j, :j] @ Y[:j]) / self.L[j, j]
        return Y

    def inverse_norms(self, B):
        """``|b|_{A^-1}`` of each column."""
        return np.sqrt((self.half_solve(B) ** 2).sum(axis=0))

    def norm(self, v):
        """``|v|_A``."""
        return np.sqrt(max(v @ (self.A @ v), LD(0)))
