"""Least squares with the rows of a set held short of their margin, to round-off."""

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.products import subtract_product
from skinfluence.solvers.base import SingularHessianError
from skinfluence.solvers.cholesky import cho_solved, cholesky

EPS = np.finfo(np.float64).eps
MOST_REFINEMENTS = 12
# Reciprocal condition of normal equations below which orthogonal factors replace theirs.
FEW_DIGITS = 1e-9
# Rows in wider numbers that are alive at a time.
WIDE_BYTES = 2**20

UNDETERMINED = (
    "The optimum must be determined by rows and penalty. Got parameters that neither decides. Penalise "
    "the model, or drop columns that are constant or linearly dependent."
)


class Normal:
    """``min_u 1/2 sum_i c_i (t_i - z_i' u)^2 + 1/2 u' R u`` by its normal equations.

    Raises
    ------
    SingularHessianError
        Where they have few digits.
    """

    has_digits = True

    def __init__(self, rows, c, targets, penalty):
        self.rows, self.c, self.targets, self.penalty = rows, c, targets, penalty
        weighted = np.sqrt(c)[:, None] * rows
        H = weighted.T @ weighted
        H.flat[:: len(H) + 1] += penalty
        self.L, self.scale, rcond = cholesky(H, "The Hessian")
        if rcond < FEW_DIGITS:
            raise SingularHessianError(UNDETERMINED)

    def _solve(self, b):
        return self.scale * cho_solved(self.L, (self.scale * b)[:, None])[:, 0]

    def solution(self):
        """The solution to the digits of the factor."""
        return self._solve(self.rows.T @ (self.c * self.targets))

    def refined(self):
        """The solution and its residuals ``t - z' u``, both to round-off."""
        u = self.solution()
        push, last = self.c * (self.targets - self.rows @ u), np.inf
        for _ in range(MOST_REFINEMENTS):
            left, g = _residuals(self.targets, self.rows, u, push, wide=True)
            f = self.c * left - push
            step = self._solve(self.rows.T @ f - g - self.penalty * u)
            size, whole = np.linalg.norm(step), np.linalg.norm(u)
            if not size < 0.5 * last:
                break
            u, last = u + step, size
            push = push + f - self.c * (self.rows @ step)
            # Each step takes off as many digits as the first solution had.
            if size**2 <= EPS * whole**2:
                break
        return u, push / self.c


class Orthogonal:
    """The same by orthogonal factors, which have twice the digits.

    Rows and columns are brought to one size by powers of two, which rounds nothing: what is refined
    is the problem itself.

    Raises
    ------
    SingularHessianError
        Where neither rows nor penalty determine a parameter.
    """

    has_digits = False

    def __init__(self, rows, c, targets, penalty):
        held = np.flatnonzero(penalty > 0)
        ridge = np.zeros((len(held), rows.shape[1]))
        ridge[np.arange(len(held)), held] = 1.0
        self.n_rows, root = len(rows), np.sqrt(np.append(c, penalty[held]))
        self.lift = power_of_two(root)
        self.share = root / self.lift
        self.rows = self.lift[:, None] * np.concatenate([rows, ridge])
        self.targets = np.append(targets, np.zeros(len(held)))
        sizes = np.sqrt(np.einsum("ij,ij->j", self.rows, self.rows))
        if not (sizes > 0).all() or len(self.rows) < len(sizes):
            raise SingularHessianError(UNDETERMINED)
        # Columns of one size: their scale says nothing about whether they are determined.
        self.scale = power_of_two(sizes)
        self.rows /= self.scale
        weighted = self.share[:, None] * self.rows
        self.Q, self.T = linalg.qr(weighted, mode="economic", check_finite=False)
        diagonal = np.abs(np.diag(self.T))
        if not diagonal.min() > 4 * EPS * len(diagonal):
            raise SingularHessianError(UNDETERMINED)

    def _back(self, b, trans="N"):
        return linalg.solve_triangular(self.T, b, trans=trans, check_finite=False)

    def solution(self, targets=None):
        """The solution to the digits of the factors, of other targets if they are given."""
        lifted = self.lift * (self.targets if targets is None else targets)
        return self._back(self.Q.T @ (self.share * lifted)) / self.scale

    def refined(self):
        """The solution and its residuals ``t - z' u``, both to round-off.

        Parameters and weighted residuals are the unknowns of one system, refined with products that
        know all their digits (Bjorck): residuals keep theirs where rows are heavy.
        """
        targets, x = self.lift * self.targets, self.scale * self.solution()
        push, last = self.share**2 * (targets - self.rows @ x), np.inf
        for _ in range(MOST_REFINEMENTS):
            left, g = _residuals(targets, self.rows, x, push, wide=False)
            f = self.share * left - push / self.share
            inside = self.Q.T @ f - self._back(g, trans="T")
            step = self._back(inside)
            size = np.linalg.norm(step)
            if not size < 0.5 * last:
                break
            x, last = x + step, size
            push = push + self.share * (f - self.Q @ inside)
            if size <= EPS * np.linalg.norm(x):
                break
        rest = push / self.share**2 / self.lift
        return x / self.scale, rest[: self.n_rows]


def _residuals(targets, rows, x, push, wide):
    """``targets - rows x`` and ``-rows' push`` with more digits than float64, rounded at the end.

    ``wide`` asks for those of the machine's wider numbers, where it has some; else for all.
    """
    if not wide or np.finfo(np.longdouble).eps > 1e-18:
        left = subtract_product(targets[:, None], rows, x[:, None], bits=100)[:, 0]
        return left, subtract_product(np.zeros((len(x), 1)), rows.T, push[:, None], bits=100)[:, 0]
    left, total = np.empty(len(rows)), np.zeros(len(x), dtype=np.longdouble)
    x, push = x.astype(np.longdouble), push.astype(np.longdouble)
    for block in row_blocks(len(rows), 16 * len(x), WIDE_BYTES):
        part = rows[block].astype(np.longdouble)
        left[block] = targets[block] - part @ x
        total -= push[block] @ part
    return left, total.astype(np.float64)


def power_of_two(sizes):
    return np.exp2(np.round(np.log2(sizes)))
