"""The response of every row to every other, for one set of rows on the margin."""

import numpy as np
from scipy.linalg import get_lapack_funcs, lu_solve

from skinfluence._utils.memory import check_fits, row_blocks

# Diagonal of a pivoted Cholesky factor, relative to the kernel, below which a row is spanned.
_SPANNED = 1e-9


class Tableau:
    """Responses of rows to one another; the first ``m`` of them are on the margin.

    With ``A = [[0, 1'], [1, K_MM]]`` (``K_MM`` without a free bias) and ``v_j = A^-1 (1, K_Mj)``, the
    row ``table[j]`` holds, for a unit change of what is given at ``j``,

    ========================  ==========================  =====================
    given at ``j``            decision value of ``x``     coefficient of ``k``
    ========================  ==========================  =====================
    coefficient, ``j`` off M  ``k(x, j) - k~_x' v_j``     ``-v_j[k]``
    decision value, j in M    ``v_x[j]``                  ``(A^-1)_kj``
    ========================  ==========================  =====================

    and in its last entry the response of the bias.

    Parameters
    ----------
    problem : HingeProblem
    margin : ndarray of int, shape (m,)
        Rows on the margin; not empty with a free bias, and with a nonsingular ``A``.
    others : ndarray of int, shape (n_others,)

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        ``margin``, then ``others``.
    table : ndarray of shape (n_rows, n_rows + 1)

    Notes
    -----
    O(m^3) for the factor and O(m n_rows^2) for the table, in matrix products.
    """

    def __init__(self, problem, margin, others):
        self.problem = problem
        self.m = m = len(margin)
        self.rows = np.concatenate([margin, others]).astype(np.intp)
        size = len(self.rows)
        check_fits((size, size + 1), "Ask for one-step effects instead.", "The tableau")
        self.table = np.zeros((size, size + 1))
        self._factor = _factored(_bordered(problem, margin)) if m else None
        V = self._solve(_with_ones(problem, problem.block(margin, others)))
        inverse = self._solve(np.eye(m + problem.free_bias, m, -int(problem.free_bias)))
        self.table[:m, :m] = _rows_of(problem, inverse).T
        self.table[:m, m:size] = _rows_of(problem, V)
        self.table[m:, :m] = -_rows_of(problem, V).T
        self._off_margin(slice(m, size), slice(m, size), V)
        if problem.free_bias:
            self.table[:m, -1] = inverse[0]
            self.table[m:, -1] = -V[0]

    def extend(self, rows):
        """A tableau with more rows off the margin, without solving for those it has."""
        rows = np.asarray(rows, dtype=np.intp)
        problem, m, old = self.problem, self.m, len(self.rows)
        new = object.__new__(Tableau)
        new.problem, new.m, new._factor = problem, m, self._factor
        new.rows = np.concatenate([self.rows, rows])
        size = len(new.rows)
        new.table = np.zeros((size, size + 1))
        new.table[:old, :old] = self.table[:, :-1]
        new.table[:old, -1] = self.table[:, -1]
        V = self._solve(_with_ones(problem, problem.block(self.rows[:m], rows)))
        new.table[:m, old:size] = _rows_of(problem, V)
        new.table[old:, :m] = -_rows_of(problem, V).T
        if problem.free_bias:
            new.table[old:, -1] = -V[0]
        new._off_margin(slice(old, size), slice(m, old), V)
        new.table[m:old, old:size] = new.table[old:, m:old].T
        new._off_margin(slice(old, size), slice(old, size), V)
        return new

    def responses(self, cross, among):
        """Responses of rows that are not in the problem.

        Parameters
        ----------
        cross : ndarray of shape (n_rows, n_new)
            Kernel between the rows of the tableau and the new ones.
        among : ndarray of shape (n_new, n_new)

        Returns
        -------
        side : ndarray of shape (n_rows, n_new)
            Of the new rows to those of the tableau.
        own : ndarray of shape (n_new, n_rows + 1 + n_new)
            Of all to the new ones.
        """
        m, size, n_new = self.m, len(self.rows), cross.shape[1]
        V = self._solve(_with_ones(self.problem, cross[:m]))
        coef = _rows_of(self.problem, V)
        own = np.zeros((n_new, size + 1 + n_new))
        own[:, :m] = -coef.T
        own[:, m:size] = cross[m:].T + cross[:m].T @ self.table[m:, :m].T
        own[:, size + 1 :] = among - cross[:m].T @ coef
        if self.problem.free_bias:
            own[:, m:size] += self.table[m:, -1]
            own[:, size] = -V[0]
            own[:, size + 1 :] -= V[0]
        side = own[:, :size].T.copy()
        side[:m] *= -1.0
        return side, own

    def project(self, kernel):
        """``A^-1 (1, k)`` for columns of kernel values on the margin rows: (bias, coefficients)."""
        V = self._solve(_with_ones(self.problem, np.asarray(kernel, dtype=np.float64)))
        if self.problem.free_bias:
            return V[0], V[1:]
        return np.zeros(V.shape[1]), V

    def _solve(self, B):
        return lu_solve(self._factor, B, check_finite=False) if self.m else np.zeros_like(B)

    def _off_margin(self, to, of, V):
        """Conditional kernel of two ranges of rows, written to the table in blocks."""
        problem, m = self.problem, self.m
        K = problem.block(self.rows[:m], self.rows[of])
        bias = int(problem.free_bias)
        for part in row_blocks(to.stop - to.start, 8 * (of.stop - of.start + 1)):
            rows = slice(to.start + part.start, to.start + part.stop)
            block = problem.block(self.rows[rows], self.rows[of])
            block -= V[bias:, part].T @ K
            if bias:
                block -= V[0, part][:, None]
            self.table[rows, of] = block


def solve_margin(problem, margin, beta):
    """Coefficients of the margin rows and the bias, all others as in ``beta``.

    Returns
    -------
    beta : ndarray of shape (n,)
    bias : float
    f : ndarray of shape (n,)
        Decision values of all rows, the targets on the margin. NaN where the system is singular.
    """
    beta, bias = beta.copy(), 0.0
    beta[margin] = 0.0
    if len(margin):
        others = np.flatnonzero(beta)
        wanted = problem.target[margin] - problem.block(margin, others) @ beta[others]
        A = _bordered(problem, margin)
        if problem.free_bias:
            wanted = np.append(-beta.sum(), wanted)
        factor = _factored(A)
        if not np.diagonal(factor[0]).all():
            return beta, np.nan, np.full(len(beta), np.nan)
        found = lu_solve(factor, wanted, check_finite=False)
        for _ in range(2):
            found += lu_solve(factor, wanted - A @ found, check_finite=False)
        if problem.free_bias:
            bias, found = found[0], found[1:]
        beta[margin] = found
    return beta, bias, problem.decision(beta) + bias


def _factored(A):
    """LU factors and pivots, as of scipy's lu_factor, which warns of singular matrices."""
    return get_lapack_funcs("getrf", (A,))(A)[:2]


def independent(problem, places, rows):
    """Some of the places in ``rows``, as many as possible that may all be on the margin at once."""
    if not len(places):
        return places
    K = problem.block(rows[places], rows[places])
    scale = np.abs(np.diag(K)).max()
    if scale == 0.0 and not problem.free_bias:
        return places[:0]
    # On coefficients that sum to zero a constant added to the kernel changes nothing.
    K = K + (scale or 1.0) * problem.free_bias
    pstrf = get_lapack_funcs("pstrf", (K,))
    _, order, rank, _ = pstrf(K, tol=_SPANNED * scale, lower=1)
    return places[np.sort(order[:rank] - 1)]


def _bordered(problem, margin):
    K = problem.block(margin, margin)
    if not problem.free_bias:
        return K
    A = np.ones((len(K) + 1, len(K) + 1))
    A[0, 0] = 0.0
    A[1:, 1:] = K
    return A


def _with_ones(problem, block):
    return np.vstack([np.ones(block.shape[1]), block]) if problem.free_bias else block


def _rows_of(problem, V):
    return V[1:] if problem.free_bias else V
