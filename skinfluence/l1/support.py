"""Coefficients without each row: on the support there is, where it stays, else by exchanges.

With H the inverse of ``G_A + l2 I``, ``W = H G_AR`` and penalties per unit of weight at their share, the
rest of the rows has on the support coefficients b and slopes s of the other columns; without row i too,

    b + gamma p,     s + gamma t,        p = H v_A,   t = v_R - W' v_A,   gamma = g (v_A'b - e),
    g = f / (1 - f v_A'p)

with v and e the row's distances from the means and f its weight's factor. That is the optimum where
signs stay and no slope exceeds the penalty, which is looked at for every row and column.
"""

from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.l1.optimum import CentredRows, factored, minimise
from skinfluence.solvers import SingularHessianError

# One minus a leverage: with less left the closed form loses digits, and the row is solved for.
CANCELS = 1e-6


class Support:
    """The optimum of a problem, and those of the edited ones.

    Parameters
    ----------
    problem : L1Problem

    Attributes
    ----------
    rows : CentredRows
    b : ndarray of shape (n_features,)
        The optimum, whatever was fitted.
    active : ndarray of int, shape (k,)
    signs : ndarray of shape (k,)

    Raises
    ------
    SingularHessianError
        Where it is not unique.
    """

    def __init__(self, problem):
        self.problem = problem
        design = problem.design
        self.rows = CentredRows.of(design.X, problem.y, problem.weights, bool(design.intercept))
        start = problem.theta[: design.n_features]
        self.b = minimise(self.rows, problem.l1, problem.l2, problem.positive, start)
        self.active = np.flatnonzero(self.b)
        self.rest = np.flatnonzero(self.b == 0)
        self.signs = np.sign(self.b[self.active])

    @cached_property
    def theta(self):
        """Parameters, the intercept last."""
        return self.rows.theta(self.b, self.problem.design.intercept)

    @cached_property
    def products(self):
        """``G_.A``, shape (d, k), of all columns with those of the support."""
        d, k = len(self.b), len(self.active)
        check_fits((d, k), "Fit with a larger alpha.", "The products of columns")
        return self.rows.adjoint(self.rows.columns(self.active))

    @cached_property
    def correlations(self):
        """``q``, of all columns with the targets."""
        return self.rows.adjoint(self.rows.y - self.rows.target)

    # Single rows

    def without_each(self, chosen, checked):
        """Parameters without each of some rows of positive weight, shape (n_rows, n_columns).

        Parameters
        ----------
        chosen : ndarray of int
        checked : bool
            Whether columns may come and go; else the support is held.

        Returns
        -------
        thetas : ndarray of shape (n_rows, n_columns)
            NaN where there is no unique optimum.
        """
        problem, rows = self.problem, self.rows
        w = problem.weights[chosen]
        left = rows.weight - w
        share = problem.share(left)
        B = np.empty((len(chosen), len(self.b)))
        target = np.empty(len(chosen))
        # The shares' factors differ where a ridge has another share of its own.
        groups = [np.arange(len(chosen))]
        if problem.l2 > 0:
            _, group = np.unique(share, return_inverse=True)
            groups = [np.flatnonzero(group == g) for g in range(group.max(initial=-1) + 1)]
        for some in groups:
            base = _Base(self, float(share[some[0]])) if len(some) else None
            for block in row_blocks(len(some), 32 * len(self.b)):
                part = some[block]
                v, e = self._from_means(chosen[part])
                B[part] = base.without_each(v, e, w[part], share[part], checked)
                for i in part[np.isnan(B[part]).any(axis=1)] if checked else ():
                    B[i] = self._solved_without(chosen[i], share[i])
                if rows.centred:
                    # x's distance from the new mean is v plus w v / left.
                    target[part] = rows.target - B[part] @ rows.mean
                    moved = np.einsum("ij,ij->i", B[part], v) - e
                    target[part] += w[part] / left[part] * moved
        if not rows.centred:
            return B
        return np.column_stack([B, target / problem.design.intercept])

    def _from_means(self, chosen):
        X = self.problem.design.X[chosen]
        X = X.toarray() if sp.issparse(X) else X
        return X - self.rows.mean, self.problem.y[chosen] - self.rows.target

    def _solved_without(self, row, share):
        problem = self.problem
        weights = problem.weights.copy()
        weights[row] = 0.0
        if not weights.any():
            return np.full(len(self.b), np.nan)
        left = CentredRows.of(problem.design.X, problem.y, weights, self.rows.centred)
        try:
            return minimise(left, share * problem.l1, share * problem.l2, problem.positive, self.b)
        except SingularHessianError:
            return np.full(len(self.b), np.nan)

    # Any edit

    def after(self, points):
        """Parameters after an edit of any points.

        Raises
        ------
        SingularHessianError
        """
        problem = self.problem
        design, y, weights = points.applied(problem.design, problem.y, problem.weights)
        rows = CentredRows.of(design.X, y, weights, self.rows.centred)
        share = float(problem.share(np.asarray(rows.weight)))
        b = minimise(rows, share * problem.l1, share * problem.l2, problem.positive, self.b)
        return rows.theta(b, design.intercept)


class _Base:
    """What all rows that leave the same share of the penalties have in common.

    Parameters
    ----------
    support : Support
    share : float
        Of the ridge.
    """

    def __init__(self, support, share):
        self.support, problem = support, support.problem
        A, R = support.active, support.rest
        k = len(A)
        self.H = np.empty((0, 0))
        self.cross = np.ascontiguousarray(support.products[R].T)
        if k:
            G = support.products[A] + share * problem.l2 * np.eye(k)
            H = scipy.linalg.cho_solve(factored(0.5 * (G + G.T)), np.eye(k))
            self.H = 0.5 * (H + H.T)
        self.W = self.H @ self.cross
        # What the support leaves of the products of columns that came up, and where each one is.
        self.S, self.among = np.empty((len(R), 0)), np.full(len(R), -1)
        self.ridge = share * problem.l2
        q = support.correlations
        # Coefficients are b1 - l1 b2, slopes s1 - l1 s2, for a penalty l1.
        self.b1, self.b2 = self.H @ q[A], self.H @ support.signs
        self.s1, self.s2 = q[R] - self.b1 @ self.cross, -self.b2 @ self.cross

    def without_each(self, v, e, w, share, checked):
        """Coefficients without rows, NaN where the closed form does not give them, (b, d)."""
        support, problem = self.support, self.support.problem
        A, R, weight = support.active, support.rest, support.rows.weight
        l1 = problem.l1 * share
        b = self.b1 - np.multiply.outer(l1, self.b2)
        inside = v[:, A]
        P = inside @ self.H
        with np.errstate(divide="ignore", invalid="ignore"):
            f = w * weight / (weight - w) if support.rows.centred else w
            left = 1.0 - f * np.einsum("ik,ik->i", inside, P)
            g = f / left
            gamma = g * (np.einsum("ik,ik->i", inside, b) - e)
            b += gamma[:, None] * P
        out = np.zeros((len(v), len(support.b)))
        out[:, A] = b
        lost = ~(left > CANCELS)
        out[lost] = np.nan
        if not checked:
            return out
        from skinfluence._compiled.support import exceed

        T = v[:, R]
        T -= inside @ self.W
        wrong = ~(b * support.signs > 0).all(axis=1)
        exceed(T, gamma, self.s1, self.s2, l1, problem.positive, wrong)
        some = np.flatnonzero(wrong & ~lost)
        if len(some):
            T, own = T[some], l1[some]
            s = self.s1 - np.multiply.outer(own, self.s2) + gamma[some, None] * T
            out[some] = self._exchanged(b[some], s, P[some], T, g[some], own)
        return out

    def _exchanged(self, b, s, P, T, g, l1):
        """Coefficients of rows without which columns come or go, (b, d); NaN where not found."""
        from skinfluence._compiled.support import ROOM, exchange_each

        support, problem = self.support, self.support.problem
        m, R = len(b), support.rest
        size = s if problem.positive else np.abs(s)
        self._know(np.flatnonzero((size > l1[:, None]).any(axis=0)))
        entered, beta = np.full((m, ROOM), -1), np.zeros((m, ROOM))
        found, B = np.zeros(m, dtype=bool), np.empty_like(b)
        fixed = self.H, self.W, self.S, self.among, support.signs
        exchange_each(*fixed, b, s, P, T, g, l1, problem.positive, B, entered, beta, found)
        full = np.zeros((m, len(support.b)))
        full[:, support.active] = B
        i, j = np.nonzero(entered >= 0)
        full[i, R[entered[i, j]]] = beta[i, j]
        full[~found] = np.nan
        return full

    def _know(self, near):
        """Make S hold some of the other columns, too."""
        support = self.support
        new = near[self.among[near] < 0]
        if not len(new):
            return
        products = support.rows.adjoint(support.rows.columns(support.rest[new]))[support.rest]
        products -= self.cross.T @ self.W[:, new]
        products[new, np.arange(len(new))] += self.ridge
        self.among[new] = self.S.shape[1] + np.arange(len(new))
        self.S = np.ascontiguousarray(np.column_stack([self.S, products]))
