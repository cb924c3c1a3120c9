"""Newton's method on many edited problems at once: one pass over the data serves all of them.

What does not converge here is left to :func:`skinfluence.smooth.optimum.newton.minimise`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.weights import weigh
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.cholesky import cholesky
from skinfluence.solvers.primal import PrimalFactor

MAX_STEPS = 30
# Up to how many parameters a Hessian of its own is factored for each edit: beyond, it costs more than
# the steps of conjugate gradients that it saves.
MAX_PARAMETERS = 24
# Steps of conjugate gradients per Newton step, and what they leave of the gradient.
MAX_INNER = 60
FORCING = 0.03
# Decrements relative to the step below which one that no longer falls is round-off.
ROUND_OFF = 1e-6
# Numbers per edit and row alive at a time, next to the Hessians.
ARRAYS = 8


@dataclass(frozen=True, eq=False)
class EditedOptima:
    """Where Newton's method ended, for each edit.

    Distances are in the norm of a Hessian of the edited problem somewhere near: ``shifted`` says
    how far it may differ from the one at the unedited fit, and ``moved`` from the one at the end.

    Attributes
    ----------
    steps : ndarray of shape (m, n_outputs, n_columns)
    decrement : ndarray of shape (m,)
        ``sqrt(G' H^-1 G)`` of what is left of the gradient; infinite where the iteration failed.
    moved, shifted : ndarray of shape (m,)
        Largest spread of a change of decision values.
    size : ndarray of shape (m,)
        Of the steps, in the norm of the edited Hessian at the unedited fit.
    noise : ndarray of shape (m,)
        Rounding of the gradient, as a distance.
    largest : ndarray of shape (m,)
        Of the leverages of all rows after the edit.
    """

    steps: np.ndarray
    decrement: np.ndarray
    moved: np.ndarray
    shifted: np.ndarray
    size: np.ndarray
    noise: np.ndarray
    largest: np.ndarray


def refit(factor, edits, starts, size, tol, sizes, edited_solve, precondition=None):
    """Solve the problems after one-row edits.

    Parameters
    ----------
    factor : Factor
        Of the unedited objective.
    edits : RowEdits of m rows
    starts : ndarray of shape (m, n_outputs, n_columns)
        Steps to start from.
    size : ndarray of shape (m,)
        Of those steps, in the norm of the edited Hessian.
    tol : float
        Errors to reach, relative to the size.
    sizes : callable
        ``sizes(i)``: leverages of all rows in the norm of the i-th edited Hessian.
    edited_solve : callable
        ``edited_solve(B, which)``: ``P^-1 B`` for edited Hessians P at the unedited fit, with B of
        shape (b, n_outputs, n_columns).
    precondition : callable, default=None
        Like ``edited_solve``, which it is by default, but for its digits.

    Yields
    ------
    block : slice
        Of the edits.
    refits : EditedOptima
    """
    objective = factor.objective
    k = objective.loss.n_outputs
    own_factors = (
        k == 1 and objective.n_parameters <= MAX_PARAMETERS and type(factor) is PrimalFactor
    )
    held = ARRAYS + (0 if _has_products(objective.loss) else k)
    solves = edited_solve, edited_solve if precondition is None else precondition
    for block in row_blocks(len(edits.rows), 8 * k * held * objective.n_samples):
        part = edits.take(block)
        if own_factors:
            batch = _OwnFactors(objective, part)
        else:
            offset = block.start
            inside = [
                lambda B, which, solve=solve, offset=offset: solve(B, which + offset)
                for solve in solves
            ]
            batch = _Preconditioned(objective, part, *inside)
        batch.run(starts[block], tol * size[block], ROUND_OFF * size[block])
        where = range(len(edits.rows))[block]
        yield block, batch.result(np.array([sizes(i) for i in where]))


def _has_products(loss):
    """Whether weighted Hessians of rows are vectors in the place of (K, K) matrices."""
    return loss.n_outputs > 1 and loss.hessian_product is not None


def _dot(a, b):
    return np.einsum("bkd,bkd->b", a, b)


class _Batch:
    """Iterates ``theta`` of many edited problems with their decision values ``eta``.

    ``at`` are the decision values where the Hessian was taken that distances are measured with.
    """

    def __init__(self, objective, edits):
        self.objective, self.edits = objective, edits
        self.penalty = (objective.penalty + np.outer(edits.shift, objective.unit_penalty))[:, None]
        if edits.ratio is not None:
            self.penalty = self.penalty * edits.ratio[:, None]
        self.m = len(edits.rows)
        self.decrement = np.full(self.m, np.inf)
        there = np.broadcast_to(objective.weights > 0, (self.m, objective.n_samples)).copy()
        there[np.arange(self.m), edits.rows] = edits.weight > 0
        self._there = there

    def _eta(self, theta, design=None):
        design = self.objective.design if design is None else design
        b, k, d = theta.shape
        eta = design.multiply(np.ascontiguousarray(theta.reshape(b * k, d).T))
        return np.ascontiguousarray(eta.reshape(-1, b, k).transpose(1, 0, 2))

    def _adjoint(self, U):
        b, n, k = U.shape
        out = self.objective.design.adjoint(U.transpose(1, 0, 2).reshape(n, b * k))
        return np.ascontiguousarray(out.T).reshape(b, k, -1)

    def _weighted(self, derivative, eta, which):
        """Weighted derivatives of every row of some edited problems, shape (b, n, ...)."""
        edits = self.edits
        out = derivative(eta, self.objective.y)
        tail = (1,) * (out.ndim - 2)
        out = weigh(self.objective.weights.reshape(-1, *tail), out)
        at = np.arange(len(which)), edits.rows[which]
        weight = edits.weight[which].reshape(-1, *tail)
        out[at] = weigh(weight, derivative(eta[at], edits.y[which]))
        return out

    def _gradient(self, theta, eta, which):
        weighted = self._weighted(self.objective.loss.gradient, eta, which)
        return self._adjoint(weighted) + self.penalty[which] * theta

    def _hessian(self, eta, which):
        return self._weighted(self.objective.loss.hessian, eta, which)

    def _weights(self, which):
        weights = np.tile(self.objective.weights, (len(which), 1))
        weights[np.arange(len(which)), self.edits.rows[which]] = self.edits.weight[which]
        return weights

    def _curves(self, eta, which):
        """Weighted Hessians of every row times vectors, (b, n, K), of some of these problems."""
        loss = self.objective.loss
        if not _has_products(loss):
            hessian = self._hessian(eta, which)
            return lambda some, V: np.einsum("bnkl,bnl->bnk", hessian[some], V)
        b, n, k = eta.shape
        # Vectors in the place of (K, K) matrices of each row.
        state = loss.hessian_state(eta.reshape(b * n, k)).reshape(b, n, -1)
        weights = self._weights(which)

        def curve(some, V):
            lines = state[some].reshape(-1, state.shape[2])
            out = loss.hessian_product(lines, V.reshape(-1, 1, k)).reshape(V.shape)
            return weights[some][..., None] * out

        return curve

    def _largest_curvature(self, which):
        """The largest entry of each row's weighted Hessian at the last iterates, or more, (m, n)."""
        return self._weighted(self.objective.loss.largest_curvature, self.eta, which)

    def run(self, starts, accuracy, round_off):
        """Newton's method with steps halved until they do not overshoot."""
        # An edit that overflows on the way ends there, without a decrement.
        with np.errstate(over="ignore", invalid="ignore"):
            self._run(starts, accuracy, round_off)

    def _run(self, starts, accuracy, round_off):
        which = np.arange(self.m)
        G = self._begin(starts, which)
        for _ in range(MAX_STEPS):
            step, solved = self._newton_step(G, which)
            self.decrement[which[~solved]] = np.inf
            which, G, step = which[solved], G[solved], step[solved]
            if not len(which):
                return
            slope = -_dot(G, step)
            self.theta[which], self.eta[which], G = self._shorten(
                self.theta[which], step, which, 0.9 * np.abs(slope)
            )
            after, error = self._left(G, which)
            before, self.decrement[which] = self.decrement[which], after
            stuck = (after > 0.5 * before) & (after <= round_off[which])
            left = ~(error <= accuracy[which]) & ~stuck
            which, G = which[left], G[left]
            if not len(which):
                return
        self.decrement[which] = np.inf

    def _begin(self, starts, which):
        """As far along the given steps as they do not overshoot; the gradient there."""
        starts = np.where(np.isfinite(starts).all(axis=(1, 2))[:, None, None], starts, 0.0)
        theta = np.tile(self.objective.theta, (self.m, 1, 1))
        eta = np.tile(self.objective.eta, (self.m, 1, 1))
        slope = _dot(self._gradient(theta, eta, which), starts)
        self.theta, self.eta, G = self._shorten(theta, starts, which, np.abs(slope))
        self.at = self.eta.copy()
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
                long = np.flatnonzero(~(_dot(G, step) <= allowed) & (scale > 0))
                if not len(long):
                    break
                scale[long] = np.where(scale[long] > 1e-9, 0.5 * scale[long], 0.0)
                new_theta[long] = theta[long] + scale[long, None, None] * step[long]
                eta[long] = self._eta(new_theta[long])
                G[long] = self._gradient(new_theta[long], eta[long], which[long])
        return new_theta, eta, G

    def _spread(self, change):
        return self.objective.loss.spread(change).max(axis=1, where=self._there, initial=0.0)

    def result(self, sizes):
        """What :class:`EditedOptima` holds; ``sizes`` are leverages, (m, n)."""
        # An iterate that went astray is so far out that its square is infinite: it has no bound.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._measured(sizes)

    def _measured(self, sizes):
        objective = self.objective
        which = np.arange(self.m)
        base = np.broadcast_to(objective.eta, self.eta.shape)
        step = self.eta - base
        steps = self.theta - objective.theta
        square = _dot(self._curves(base, which)(which, step), step)
        square += _dot(self.penalty * steps, steps)
        return EditedOptima(
            steps,
            self.decrement,
            self._spread(self.eta - self.at),
            self._spread(self.at - base),
            np.sqrt(np.maximum(square, 0.0)),
            self._noise(sizes, which),
            sizes.max(axis=1, initial=0.0),
        )

    def _noise(self, sizes, which):
        """As :attr:`Accuracy.noise`, at the last iterates."""
        design, eps = self.objective.design, np.finfo(float).eps
        absolute = type(design)(abs(design.X), abs(design.intercept))
        eta = self._eta(np.abs(self.theta).max(axis=1, keepdims=True), absolute)[..., 0]
        terms = np.abs(self._weighted(self.objective.loss.gradient, self.eta, which)).max(axis=2)
        curved = self._largest_curvature(which)
        own = self._diagonals()
        own = _dot(np.broadcast_to(own, self.theta.shape), self.theta**2)
        rows = np.einsum("bn,bn->b", terms + curved * eta, np.sqrt(sizes))
        return 2.0 * eps * (rows + np.sqrt(own))


class _OwnFactors(_Batch):
    """A Cholesky factor per edit and step, for one output and few parameters."""

    def __init__(self, objective, edits):
        super().__init__(objective, edits)
        self._factors = [None] * self.m
        self._solve_error = np.zeros(self.m)
        self._diagonal = np.zeros((self.m, 1, objective.design.n_columns))

    def _newton_step(self, G, which):
        weights = self._hessian(self.eta[which], which)[..., 0, 0]
        d = np.arange(G.shape[2])
        solid = np.ones(len(which), dtype=bool)
        for j, (i, H) in enumerate(zip(which, self.objective.design.grams(weights), strict=True)):
            H[d, d] += self.penalty[i, 0]
            self._diagonal[i, 0] = np.diagonal(H)
            try:
                L, s, rcond = cholesky(H, "The edited Hessian")
            except SingularHessianError:
                solid[j] = False
                continue
            self._factors[i] = L, s
            self._solve_error[i] = len(H) * np.finfo(float).eps / rcond
        self.at[which] = self.eta[which]
        step = np.zeros_like(G)
        step[solid] = -self._solve(G[solid], which[solid])
        return step, solid

    def _solve(self, G, which):
        out = np.empty_like(G)
        for j, i in enumerate(which):
            L, s = self._factors[i]
            out[j, 0] = s * linalg.cho_solve((L, True), s * G[j, 0], check_finite=False)
        return out

    def _left(self, G, which):
        left = np.sqrt(np.maximum(_dot(G, self._solve(G, which)), 0.0))
        left *= 1.0 + self._solve_error[which]
        return left, left

    def _diagonals(self):
        return self._diagonal


class _Preconditioned(_Batch):
    """Newton steps by conjugate gradients, preconditioned with the factor at hand."""

    def __init__(self, objective, edits, edited_solve, precondition):
        super().__init__(objective, edits)
        self._edited_solve, self._precondition = edited_solve, precondition

    def _begin(self, starts, which):
        G = super()._begin(starts, which)
        # Everything is measured with the edited Hessian at the unedited fit.
        self.at[:] = self.objective.eta
        return G

    def _newton_step(self, G, which):
        curve = self._curves(self.eta[which], which)
        penalty = self.penalty[which]
        step, R = np.zeros_like(G), -G
        Z = self._precondition(R, which)
        D, rho = Z.copy(), _dot(R, Z)
        goal, solved = FORCING**2 * rho, np.isfinite(rho) & (rho > 0)
        open_ = solved.copy()
        for _ in range(MAX_INNER):
            if not open_.any():
                break
            rows = np.flatnonzero(open_)
            HD = self._adjoint(curve(rows, self._eta(D[rows])))
            HD += penalty[rows] * D[rows]
            curved = _dot(D[rows], HD)
            # Round-off: the step so far goes down all the same.
            open_[rows] = curved > 0
            rows, HD, curved = rows[curved > 0], HD[curved > 0], curved[curved > 0]
            if not len(rows):
                break
            alpha = (rho[rows] / curved)[:, None, None]
            step[rows] += alpha * D[rows]
            R[rows] -= alpha * HD
            Z = self._precondition(R[rows], which[rows])
            after = _dot(R[rows], Z)
            D[rows] = Z + (after / rho[rows])[:, None, None] * D[rows]
            rho[rows] = after
            open_[rows] = after > goal[rows]
        return step, solved & step.any(axis=(1, 2))

    def _left(self, G, which):
        left = np.sqrt(np.maximum(_dot(G, self._edited_solve(G, which)), 0.0))
        moved = self.objective.loss.spread(self.eta[which] - self.at[which])
        moved = moved.max(axis=1, where=self._there[which], initial=0.0)
        M = self.objective.loss.self_concordance
        with np.errstate(over="ignore"):
            return left, left * np.exp(M * moved)

    def _diagonals(self):
        objective = self.objective
        curved = weigh(objective.weights[:, None], np.einsum("nkk->nk", objective.hessians))
        return objective.design.squared_columns(curved).T + self.penalty
