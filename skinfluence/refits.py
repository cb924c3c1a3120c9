"""Newton's method on many edited problems at once: one pass over the data serves all of them.

For models of one output and few parameters, where the work of one refit is the overhead of its
passes. What does not converge here is left to :func:`skinfluence.newton.minimise`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.exact import PrimalFactor, cholesky
from skinfluence.utils.memory import row_blocks

MAX_STEPS = 30
MAX_PARAMETERS = 512
# Decrements relative to the step below which one that no longer falls is round-off.
ROUND_OFF = 1e-6
# Arrays of (edits, rows) alive at a time.
ARRAYS = 8


@dataclass(frozen=True, eq=False)
class Refits:
    """Where Newton's method ended, for each edit.

    Attributes
    ----------
    theta : ndarray of shape (m, n_columns)
    decrement : ndarray of shape (m,)
        ``sqrt(G' H^-1 G)`` of the edited problem with the gradient at ``theta`` and the Hessian of
        the last step; infinite where the iteration failed.
    moved : ndarray of shape (m,)
        Largest change of a decision value since that Hessian.
    shifted : ndarray of shape (m,)
        Largest difference of a decision value between that Hessian and the unedited fit.
    size : ndarray of shape (m,)
        The change of the parameters, in the norm of the edited Hessian at the unedited fit.
    noise : ndarray of shape (m,)
        Rounding of the gradient as a distance, for leverages ``sizes`` of one.
    """

    theta: np.ndarray
    decrement: np.ndarray
    moved: np.ndarray
    shifted: np.ndarray
    size: np.ndarray
    noise: np.ndarray


def can_refit_together(factor):
    """Whether :func:`refit` applies: one output, few parameters, an exact primal factor."""
    objective = factor.objective
    one = objective.loss.n_outputs == 1 and objective.n_parameters <= MAX_PARAMETERS
    return one and type(factor) is PrimalFactor


def refit(objective, edits, starts, size, tol, sizes):
    """Solve the problems after one-row edits.

    Parameters
    ----------
    objective : Objective
        The unedited one, of one output.
    edits : RowEdits of m rows
    starts : ndarray of shape (m, 1, n_columns)
        Steps to start from.
    size : ndarray of shape (m,)
        Of those steps, in the norm of the edited Hessian.
    tol : float
        Stop at decrements this far below the size.
    sizes : callable
        ``sizes(i)``: leverages of the rows in the norm of the i-th edited Hessian.

    Yields
    ------
    block : slice
        Of the edits.
    refits : Refits
    """
    for block in row_blocks(len(edits.rows), 8 * ARRAYS * objective.n_samples):
        batch = _Batch(objective, edits.take(block))
        batch.run(starts[block, 0], tol * size[block], ROUND_OFF * size[block])
        where = range(len(edits.rows))[block]
        yield block, batch.result(np.array([sizes(i) for i in where]))


class _Batch:
    def __init__(self, objective, edits):
        self.objective, self.edits = objective, edits
        self.base = objective.theta[0]
        self.penalty = objective.penalty + np.outer(edits.shift, objective.unit_penalty)
        self.m = len(edits.rows)
        self.decrement = np.full(self.m, np.inf)
        self.factors = [None] * self.m
        self.solve_error = np.zeros(self.m)

    def _eta(self, theta):
        return np.ascontiguousarray(self.objective.design.multiply(theta.T).T)

    def _weighted(self, derivative, eta, which):
        """``w l'`` or ``w l''`` of every row of some edited problems, shape (b, n)."""
        edits, y = self.edits, self.objective.y
        tail = (...,) + (0,) * (2 if derivative == self.objective.loss.hessian else 1)
        out = derivative(eta[..., None], y)[tail] * self.objective.weights
        at = np.arange(len(which)), edits.rows[which]
        out[at] = edits.weight[which] * derivative(eta[at][:, None], edits.y[which])[tail]
        return out

    def _gradient(self, theta, eta, which):
        weighted = self._weighted(self.objective.loss.gradient, eta, which)
        return self.objective.design.adjoint(weighted.T).T + self.penalty[which] * theta

    def _factor(self, eta, which):
        """Factors of the Hessians; a mask of those that have one."""
        weights = self._weighted(self.objective.loss.hessian, eta, which)
        d = np.arange(len(self.base))
        solid = np.ones(len(which), dtype=bool)
        for j, (i, H) in enumerate(zip(which, self.objective.design.grams(weights), strict=True)):
            H[d, d] += self.penalty[i]
            try:
                diagonal = np.diagonal(H).copy()
                L, s, rcond = cholesky(H, "The edited Hessian")
                self.factors[i] = L, s, diagonal
                self.solve_error[i] = len(H) * np.finfo(float).eps / rcond
            except SingularHessianError:
                solid[j] = False
        return solid

    def _solve(self, G, which):
        out = np.empty_like(G)
        for j, i in enumerate(which):
            L, s, _ = self.factors[i]
            out[j] = s * linalg.cho_solve((L, True), s * G[j], check_finite=False)
        return out

    def run(self, starts, accuracy, round_off):
        """Newton's method with steps halved until they do not overshoot."""
        which = np.arange(self.m)
        G = self._begin(starts, which)
        self.at = self.eta.copy()
        for _ in range(MAX_STEPS):
            solid = self._factor(self.eta[which], which)
            self.decrement[which[~solid]] = np.inf
            which, G = which[solid], G[solid]
            if not len(which):
                return
            self.at[which] = self.eta[which]
            step = -self._solve(G, which)
            slope = -np.einsum("bd,bd->b", G, step)
            self.theta[which], self.eta[which], G = self._shorten(
                self.theta[which], step, which, 0.9 * np.abs(slope)
            )
            after = np.einsum("bd,bd->b", G, self._solve(G, which))
            after = np.sqrt(np.maximum(after, 0.0))
            stuck = (after > 0.5 * np.sqrt(np.abs(slope))) & (after <= round_off[which])
            self.decrement[which] = after * (1.0 + self.solve_error[which])
            left = ~(after <= accuracy[which]) & ~stuck
            which, G = which[left], G[left]
            if not len(which):
                return
        self.decrement[which] = np.inf

    def _begin(self, starts, which):
        """As far along the given steps as they do not overshoot; the gradient there."""
        starts = np.where(np.isfinite(starts).all(axis=1)[:, None], starts, 0.0)
        theta = np.tile(self.base, (self.m, 1))
        eta = np.tile(self.objective.eta[:, 0], (self.m, 1))
        slope = np.einsum("bd,bd->b", self._gradient(theta, eta, which), starts)
        self.theta, self.eta, G = self._shorten(theta, starts, which, np.abs(slope))
        return G

    def _shorten(self, theta, step, which, allowed):
        """Steps halved until the slope at their end is at most ``allowed``.

        The objective is convex: a slope that is not positive yet means that it fell all the way.
        """
        scale = np.ones(len(which))
        new_theta = theta + step
        eta = self._eta(new_theta)
        with np.errstate(over="ignore", invalid="ignore"):
            G = self._gradient(new_theta, eta, which)
            for _ in range(60):
                slope = np.einsum("bd,bd->b", G, step)
                long = np.flatnonzero(~(slope <= allowed) & (scale > 0))
                if not len(long):
                    break
                scale[long] = np.where(scale[long] > 1e-9, 0.5 * scale[long], 0.0)
                new_theta[long] = theta[long] + scale[long, None] * step[long]
                eta[long] = self._eta(new_theta[long])
                G[long] = self._gradient(new_theta[long], eta[long], which[long])
        return new_theta, eta, G

    def result(self, sizes):
        """What :class:`Refits` holds."""
        objective, edits = self.objective, self.edits
        which = np.arange(self.m)
        there = np.broadcast_to(objective.weights > 0, self.eta.shape).copy()
        there[which, edits.rows] = edits.weight > 0
        base = objective.eta[:, 0]
        step = self.eta - base
        hessian = self._weighted(objective.loss.hessian, np.broadcast_to(base, step.shape), which)
        moved = self.theta - self.base
        square = np.einsum("bn,bn,bn->b", hessian, step, step)
        square += np.einsum("bd,bd,bd->b", self.penalty, moved, moved)
        return Refits(
            self.theta,
            self.decrement,
            np.abs(self.eta - self.at).max(axis=1, where=there, initial=0.0),
            np.abs(self.at - base).max(axis=1, where=there, initial=0.0),
            np.sqrt(np.maximum(square, 0.0)),
            self._noise(sizes, which),
        )

    def _noise(self, sizes, which):
        """As :attr:`EditSolver.noise`, at the points of the last Hessians."""
        design, eps = self.objective.design, np.finfo(float).eps
        absolute = type(design)(abs(design.X), abs(design.intercept))
        eta = absolute.multiply(np.abs(self.theta).T).T
        terms = np.abs(self._weighted(self.objective.loss.gradient, self.at, which))
        terms += np.abs(self._weighted(self.objective.loss.hessian, self.at, which)) * eta
        own = np.array(
            [0.0 if f is None else f[2] @ t**2 for f, t in zip(self.factors, self.theta)]
        )
        return 2.0 * eps * (np.einsum("bn,bn->b", terms, np.sqrt(sizes)) + np.sqrt(own))
