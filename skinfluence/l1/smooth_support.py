"""Smooth losses with an L1 penalty without each row: on the support there is, where it stays, else solved.

All rows at once, by Newton steps with the Hessian of all rows less the row's own part. Where the signs stay
and no other column's slope exceeds its penalty, which is looked at for every row and column, the end is the
optimum of the problem without the row; elsewhere columns come and go (:mod:`skinfluence.l1.newton`).
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
import scipy.linalg

from skinfluence._utils.memory import row_blocks
from skinfluence.l1.newton import columns_of, minimise
from skinfluence.l1.optimum import SLACK, factored
from skinfluence.solvers import SingularHessianError

MOST_STEPS = 60
# Of the whole change, and of the parameters: the last step, in the norm of the Hessian.
SETTLED, ROUNDING = 1e-12, 1e-15
# One minus a leverage: with less left the steps are no guide.
CANCELS = 1e-6
# Of the Hessian in all columns that guides steps.
MOST_COLUMNS = 3000


class SmoothSupport:
    """The optimum of a problem, and those of the edited ones.

    Parameters
    ----------
    problem : SmoothL1Problem

    Attributes
    ----------
    theta : ndarray of shape (n_columns,)
        The optimum, whatever was fitted.
    active : ndarray of int, shape (k,)
        Columns with a coefficient, and an intercept that is not penalised.
    signs : ndarray of shape (k,)
        Zero where nothing is penalised.
    """

    def __init__(self, problem):
        self.problem = problem
        self.theta = self._solved(problem.design, problem.y, problem.weights, problem.theta)
        self.active = np.flatnonzero((self.theta != 0) | (problem.l1 == 0))
        self.signs = np.sign(self.theta[self.active]) * (problem.l1[self.active] > 0)
        self.rest = np.setdiff1d(np.arange(len(self.theta)), self.active)

    def _solved(self, design, y, w, start, guide=None):
        problem = self.problem
        share = float(problem.share(np.asarray(w.sum())))
        penalties = share * problem.l1, share * problem.l2
        return minimise(problem.loss, design, y, w, *penalties, start, guide)

    @cached_property
    def guide(self):
        """The Hessian of the loss in all columns, where that is not too large; else None."""
        problem = self.problem
        if problem.design.n_columns > MOST_COLUMNS:
            return None
        curved = problem.weights * problem.loss.hessian(self.eta[:, None], problem.y)[:, 0, 0]
        return problem.design.grams(curved[None])[0]

    @cached_property
    def columns(self):
        """The columns of the support of all rows, (n_samples, k)."""
        return columns_of(self.problem.design, self.active)

    @cached_property
    def hessian(self):
        """On the support, (k, k)."""
        problem, Z = self.problem, self.columns
        curved = problem.weights * problem.loss.hessian(self.eta[:, None], problem.y)[:, 0, 0]
        H = (curved[:, None] * Z).T @ Z
        H[np.arange(len(H)), np.arange(len(H))] += problem.l2[self.active]
        return H

    @cached_property
    def inverse(self):
        """Of the Hessian on the support, (k, k)."""
        if not len(self.active):
            return np.empty((0, 0))
        return scipy.linalg.cho_solve(factored(self.hessian), np.eye(len(self.active)))

    @cached_property
    def eta(self):
        """Decision values of the training rows at the optimum, (n_samples,)."""
        return self.columns @ self.theta[self.active]

    # Single rows

    def after_each(self, chosen, y, w, checked):
        """Parameters when each of some rows has another target and weight, (n_rows, n_columns).

        Parameters
        ----------
        chosen : ndarray of int, shape (m,)
        y, w : ndarray of shape (m,)
            Of weight zero: without the row.
        checked : bool
            Whether columns may come and go; else one step on the support.

        Returns
        -------
        thetas : ndarray of shape (m, n_columns)
            NaN where there is no unique optimum.
        """
        out = np.zeros((len(chosen), len(self.theta)))
        for block in row_blocks(len(chosen), 40 * self.problem.n_samples):
            rows = chosen[block]
            found, good = self._on_support(rows, y[block], w[block], checked)
            part = np.zeros((len(rows), len(self.theta)))
            part[:, self.active] = found
            for i in np.flatnonzero(~good) if checked else ():
                start = self._start(found[i])
                part[i] = self._solved_for(rows[i], y[block][i], w[block][i], start)
            if not checked:
                part[~good] = np.nan
            out[block] = part
        return out

    def _guide_for(self, row, target, weight):
        """The guide where a row has another target and weight; None where it has a great part in it."""
        if self.guide is None:
            return None
        problem, at = self.problem, self.eta[[row]][:, None]
        c = weight * problem.loss.hessian(at, target)[0, 0, 0]
        c -= problem.weights[row] * problem.loss.hessian(at, problem.y[row])[0, 0, 0]
        x = _dense_columns(problem.design.take([row]))[0]
        inside = x[self.active]
        if 1.0 + c * (inside @ self.inverse @ inside) < 0.5:
            return None
        return self.guide + c * np.outer(x, x)

    def _start(self, found):
        """Where columns come and go from: what was found on the support, as far as its signs are right."""
        start = self.theta.copy()
        if np.isfinite(found).all():
            start[self.active] = np.where((found * self.signs > 0) | (self.signs == 0), found, 0.0)
        return start

    def _solved_for(self, row, target, weight, start):
        problem = self.problem
        weights, y = problem.weights.copy(), problem.y.copy()
        weights[row], y[row] = weight, target
        after = replace(problem, y=y, weights=weights)
        if not after.value(start) <= after.value(self.theta):
            # Steps that went astray.
            start = self.theta
        try:
            return self._solved(
                problem.design, y, weights, start, self._guide_for(row, target, weight)
            )
        except SingularHessianError:
            return np.full(len(self.theta), np.nan)

    def _on_support(self, rows, y, w, checked):
        """Parameters on the support, (m, k), and whether they are the optimum's, (m,)."""
        problem, A = self.problem, self.active
        loss, x = problem.loss, self.columns[rows]
        before, target = problem.weights[rows], problem.y[rows]
        share = problem.share(problem.total_weight - before + w)[:, None]
        at = self.eta[rows][:, None]
        c = w * loss.hessian(at, y)[:, 0, 0] - before * loss.hessian(at, target)[:, 0, 0]
        P = x @ self.inverse
        left = 1.0 + c * np.einsum("ik,ik->i", x, P)
        good = left > CANCELS
        turn = np.where(good, c / np.where(good, left, 1.0), 0.0)
        start = self.theta[A]
        theta = np.tile(start, (len(rows), 1))
        floor = ROUNDING * np.sqrt(max(float(start @ self.hessian @ start), 0.0))
        going, slopes = np.arange(len(rows)), None
        ended = np.zeros(len(rows), dtype=bool)
        if checked:
            slopes = np.zeros((len(rows), len(self.rest)))
        for _ in range(MOST_STEPS if checked else 1):
            some = going
            pull, own = self._pulls(theta[some], rows[some], y[some], w[some])
            slope = pull.T @ self.columns + own[:, None] * x[some]
            slope += share[some] * (problem.l2[A] * theta[some] + problem.l1[A] * self.signs)
            step = slope @ self.inverse
            step -= (turn[some] * np.einsum("ik,ik->i", x[some], step))[:, None] * P[some]
            theta[some] -= step
            size = _sizes(step, self.hessian)
            whole = _sizes(theta[some] - start, self.hessian)
            done = size <= SETTLED * whole + floor
            done |= ~good[some] | ~np.isfinite(size)
            ended[some[done]] = True
            going = some[~done]
            if not len(going):
                break
        if not checked:
            return theta, good
        good &= ended & np.isfinite(theta).all(axis=1)
        good &= ((theta * self.signs > 0) | (self.signs == 0)).all(axis=1)
        some = np.flatnonzero(good)
        if len(some) and len(self.rest):
            pull, own = self._pulls(theta[some], rows[some], y[some], w[some])
            slopes = problem.design.adjoint(pull)[self.rest].T
            own_columns = _dense_columns(problem.design.take(rows[some]))[:, self.rest]
            slopes = slopes + own[:, None] * own_columns
            limit = share[some] * problem.l1[self.rest]
            good[some] = (np.abs(slopes) <= limit * (1.0 + SLACK)).all(axis=1)
        return theta, good

    def _pulls(self, theta, rows, y, w):
        """Weighted gradients of all rows at each parameters, (n, m), and what an edit adds to a row's."""
        problem, loss = self.problem, self.problem.loss
        eta = self.columns @ theta.T
        pull = problem.weights[:, None] * loss.gradient(eta[..., None], problem.y[:, None])[..., 0]
        at = eta[rows, np.arange(len(rows))][:, None]
        own = w * loss.gradient(at, y)[:, 0] - pull[rows, np.arange(len(rows))]
        return pull, own

    # Any edit

    def after(self, points):
        """Parameters after an edit of any points.

        Raises
        ------
        SingularHessianError
        """
        problem = self.problem
        design, y, weights = points.applied(problem.design, problem.y, problem.weights)
        return self._solved(design, y, weights, self.theta)


def _sizes(steps, H):
    return np.sqrt(np.maximum(np.einsum("ik,kl,il->i", steps, H, steps, optimize=True), 0.0))


def _dense_columns(design):
    return columns_of(design, np.arange(design.n_columns))
