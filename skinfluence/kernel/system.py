"""The linear system of kernel ridge regression, solved beyond its condition number.

    (K + alpha W^-1) beta = y        over the rows of positive weight

The kernel matrix is factored as it is: forming ``K' K``, as the primal problem does, would square
its condition number. Even so a float64 factor is only as good as ``eps / rcond``, 1e-7 for a
smooth kernel at ``alpha = 1e-8``. Where that is not enough, solutions are refined with residuals
that know all their digits: the kernel values are exact numbers, and each refinement gains as many
digits as the factor had.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dpocon, dpotri

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.products import subtract_product
from skinfluence.solvers import SingularHessianError

EPS = np.finfo(np.float64).eps
# Below this reciprocal condition number solutions are refined (errors above about 1e-11).
REFINE_BELOW = 1e-5
# Below this one the factor has too few digits for refinement to gain some.
SINGULAR_BELOW = 1e-14
MOST_REFINEMENTS = 10


class KernelSystem:
    """``A = K + alpha W^-1`` over the rows of positive weight, factored once.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric kernel matrix of all rows.
    weights : ndarray of shape (n,)
    alpha : float

    Attributes
    ----------
    rows : ndarray of int, shape (n_active,)
        Rows of positive weight; the system's own order.
    ridge : ndarray of shape (n_active,)
        ``alpha / w``.
    rcond : float
        Reciprocal condition estimate of A, scaled to a diagonal of ones.
    refines : bool
        Whether solutions are refined.
    accuracy : float
        Expected relative error of a solution.

    Raises
    ------
    SingularHessianError
        When float64 cannot tell the matrix from a singular one.
    """

    def __init__(self, K, weights, alpha):
        self.rows = np.flatnonzero(weights > 0)
        self.ridge = alpha / weights[self.rows]
        every = len(self.rows) == len(weights)
        self.K = K if every else np.ascontiguousarray(K[np.ix_(self.rows, self.rows)])
        # Scaled to a diagonal of ones: rows in other units, or with a weight near zero, are harmless.
        diagonal = self.K.diagonal() + self.ridge
        self._root = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        scaled = self._root[:, None] * self.K * self._root
        np.fill_diagonal(scaled, np.sign(diagonal))
        norm = np.abs(scaled).sum(axis=0).max()
        try:
            self._factor = cho_factor(scaled, lower=True, overwrite_a=True, check_finite=False)
            self.rcond = float(dpocon(self._factor[0], norm, uplo="L")[0])
        except LinAlgError:
            self.rcond = 0.0
        if self.rcond < SINGULAR_BELOW:
            raise SingularHessianError(
                "The kernel matrix plus alpha must be positive definite in float64. Got reciprocal "
                f"condition {self.rcond:.0e} at alpha={alpha:g}. Raise alpha, or drop repeated rows."
            )
        self.refines = self.rcond < REFINE_BELOW
        self.accuracy = 1e-13 if self.refines else 10 * EPS / self.rcond

    def solve(self, B):
        """``A^-1 B`` for B of shape (n_active, m).

        Raises
        ------
        SingularHessianError
            When refinement does not converge.
        """
        X = self.plain(B)
        if not self.refines or not B.size:
            return X
        for _ in range(MOST_REFINEMENTS):
            step = self.plain(self.residual(B, X))
            X += step
            relative = np.abs(step).max(axis=0) / np.maximum(np.abs(X).max(axis=0), 1e-300)
            # What is left is smaller by this factor again.
            if relative.max() < 1e-7:
                return X
        raise SingularHessianError(
            "The kernel matrix plus alpha must be positive definite in float64. Solutions were "
            f"still changing by {relative.max():.0e} at reciprocal condition {self.rcond:.0e}. "
            "Raise alpha."
        )

    def residual(self, B, X):
        """``B - A X``, with all digits where solutions are refined."""
        if not self.refines:
            return B - self.K @ X - self.ridge[:, None] * X
        # The ridge is kept apart from the diagonal of K, where its digits would be lost.
        return subtract_product(B, self.K, X, self._bits, diagonal=self.ridge)

    @property
    def _bits(self):
        # 1e-12 of the solution, below the growth of the inverse.
        return int(np.ceil(40 - np.log2(self.rcond)))

    def apply(self, columns, coef, start=0.0):
        """``start + columns' coef``, with all digits where solutions are refined.

        Parameters
        ----------
        columns : ndarray of shape (n_active, m)
            Kernel values, one column per point.
        coef : ndarray of shape (n_active, q)
        start : ndarray of shape (m, q), default=0.0
        """
        if not self.refines:
            return start + columns.T @ coef
        start = np.broadcast_to(start, (columns.shape[1], coef.shape[1]))
        return subtract_product(start, columns.T, -coef, self._bits)

    def solved(self, right):
        """A :class:`SolvedSide` right-hand side of shape (n_active, m)."""
        return SolvedSide(self, right, self.solve(right))

    def plain(self, B):
        """``A^-1 B`` as the float64 factor gives it."""
        if not B.size:
            return np.zeros(B.shape)
        scaled = cho_solve(self._factor, self._root[:, None] * B, check_finite=False)
        return self._root[:, None] * scaled

    @cached_property
    def inverse(self):
        """``A^-1``, shape (n_active, n_active)."""
        if not self.refines:
            # A third of the work of solving for all columns.
            lower, _ = dpotri(self._factor[0], lower=True)
            X = np.tril(lower) + np.tril(lower, -1).T
            return self._root[:, None] * X * self._root
        X = self.solve(np.eye(len(self.rows)))
        return 0.5 * (X + X.T)


@dataclass(frozen=True, eq=False)
class SolvedSide:
    """Right-hand sides and their solutions, rounded to float64.

    Attributes
    ----------
    system : KernelSystem
    right, solution : ndarray of shape (n_active, m)
    """

    system: KernelSystem
    right: np.ndarray
    solution: np.ndarray

    @cached_property
    def residual(self):
        """What rounding the solutions leaves of the right-hand sides."""
        return self.system.residual(self.right, self.solution)

    @cached_property
    def low(self):
        """What rounding took from the solutions, shape (n_active, m)."""
        return self.system.plain(self.residual)

    def left_of(self, start, other):
        """``start - right' A^-1 right_other``, shape (m, m_other).

        For kernel values, what conditioning on the training rows leaves of them: differences down
        to ``alpha`` times the values, so that even the rounding of the solutions counts.
        """
        out = self.system.apply(self.right, -other.solution, start)
        if self.system.refines:
            out -= self.solution.T @ other.residual
        return out

    def own_left(self, start):
        """The diagonal of :meth:`left_of` itself, from that of ``start``, (m,)."""
        if not self.system.refines:
            return start - np.einsum("nm,nm->m", self.right, self.solution)
        out = np.empty(len(start))
        # All entries of a few points at a time.
        for some in row_blocks(len(start), 1, budget=64):
            part = SolvedSide(self.system, self.right[:, some], self.solution[:, some])
            out[some] = part.left_of(np.diag(start[some]), part).diagonal()
        return out
