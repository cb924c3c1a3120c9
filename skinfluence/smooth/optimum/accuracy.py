"""What float64 leaves of one factored objective: floors, rounding, errors of solves, row sizes."""

from functools import cached_property

import numpy as np

from skinfluence._utils.weights import weigh
from skinfluence.certificate import gradient_bound

# Rows lose more in a solve than the right-hand side that a factor was tried on, whose rows are added up.
ROWS_LOSE = 16.0
# Rows of largest leverage whose decision values are followed exactly by the split bound.
SPLIT = 1000


class Accuracy:
    """How exactly one factor knows distances, in the norm of its Hessian.

    Parameters
    ----------
    factor : Factor
    row_sizes : ndarray of shape (n_samples,), default=None
        Bounds on :attr:`row_sizes` that are known already.
    split : int, default=1000
        How many rows of :attr:`largest` are told apart.
    """

    def __init__(self, factor, row_sizes=None, split=SPLIT):
        self.factor = factor
        self.objective = factor.objective
        self.split = split
        self._known = row_sizes

    @cached_property
    def start(self):
        """Bound on the distance from the parameters of the factor to the optimum."""
        gradient = self.objective.gradient()[:, None]
        left = np.sqrt(abs(float((gradient.T @ self.factor.solve(gradient))[0, 0])))
        M = self.objective.loss.self_concordance
        if not M:
            return 5.0 * left
        kappa = np.sqrt(self.row_sizes.max(initial=0.0))
        return float(gradient_bound(M, kappa, np.array(5.0 * left), np.array(0.0)))

    @cached_property
    def floor(self):
        """What the parameters of the factor and float64 leave: no bound can be below it."""
        return max(self.start, self.noise)

    @cached_property
    def round_off(self):
        """The part of the floor that is round-off: up to there an answer is as exact as can be.

        A start that is farther from the optimum than round-off explains is an error like others.
        """
        return self.floor if self.start <= 10.0 * self.noise else self.noise

    @cached_property
    def noise(self):
        """Rounding of the gradient and of the parameters, as a distance: a model, no accident.

        Each row's gradient is rounded relative to its own size and, through its decision value,
        to that of ``Lambda_i |x_i| |theta|``; each parameter relative to itself.
        """
        objective = self.objective
        weights = objective.weights
        rows, blocks = 0.0, objective.blocks()
        for block in blocks:
            rows += self._rounding(
                objective.design if len(blocks) == 1 else objective.design.take(block),
                weigh(weights[block, None], objective.gradients[block]),
                weigh(weights[block], self._curvatures(block)),
                self.row_sizes[block],
            ).sum()
        own = self.factor.curvature.diagonal() @ objective.theta.ravel() ** 2
        return float(rows + 2.0 * np.finfo(float).eps * np.sqrt(own))

    def _curvatures(self, block):
        """The largest entry of ``Lambda_i`` of some rows, or more."""
        objective = self.objective
        if objective.loss.softmax_basis is None:
            return np.abs(objective.hessians_at(block)).max(axis=(1, 2))
        return objective.loss.largest_curvature(objective.eta[block], objective.y[block])

    def rounding(self, design, gradient, hessian, sizes, step=0.0):
        """Rounding of weighted terms of the gradient, as a distance; shape (n_rows,).

        With ``step``, (n_outputs, n_columns), also of what they become along it.
        """
        return self._rounding(design, gradient, np.abs(hessian).max(axis=(1, 2)), sizes, step)

    def _rounding(self, design, gradient, curvature, sizes, step=0.0):
        theta = (np.abs(self.objective.theta) + np.abs(step)).max(axis=0)
        eta = type(design)(abs(design.X), abs(design.intercept)).multiply(theta[:, None])[:, 0]
        terms = np.abs(gradient).max(axis=1) + curvature * eta
        return 2.0 * np.finfo(float).eps * terms * np.sqrt(sizes)

    def sizes(self, h):
        """``max_v v' h v`` over directions of unit spread, for each of some h."""
        return self.objective.loss.reach(h)

    @cached_property
    def solve_error(self):
        """Relative error of a solve in the norm of H, measured on a few rows."""
        return solve_error(self.factor, self.row_sizes)

    def solve_error_at(self, shift):
        """:attr:`solve_error` where the penalty moves: factors of other penalties lose what they lose.

        Parameters
        ----------
        shift : float or ndarray of shape (m,)

        Returns
        -------
        error : float or ndarray of shape (m,)
        """
        return np.maximum(self.solve_error, ROWS_LOSE * self.factor.lost_at(shift))

    @cached_property
    def row_sizes(self):
        """``max_v v' h_j v`` over directions of unit spread: |x_j|^2_{H^-1}, 0 without weight."""
        if self._known is not None:
            return self._known
        factor = self.factor
        if factor.leverages_by_blocks:
            design, blocks = self.objective.design, self.objective.blocks()
            parts = [self.sizes(factor.leverages(design.take(block))) for block in blocks]
            sizes = np.concatenate(parts)
        else:
            sizes = self.sizes(factor.leverages())
        sizes = sizes * (1.0 + factor.leverage_error)
        return np.where(self.objective.weights > 0, sizes, 0.0)

    def relative_to(self, other):
        """A bound on the Hessian at other parameters relative to this one: ``P <= bound * H``.

        Row by row: the largest eigenvalue of a row's part of ``H^-1 P`` is at most its trace, and that of
        the penalty, which is part of both, at most 1. Where rows are saturated at the other parameters
        and curve here, or the other way round, that is far less than what their moves allow.

        Parameters
        ----------
        other : Objective
            The same rows, weights and penalty.

        Returns
        -------
        bound : float
        """
        factor, blocks = self.factor, self.objective.blocks()
        bound = float(self.objective.penalty.any())
        for block in blocks:
            design = None if len(blocks) == 1 else self.objective.design.take(block)
            terms = np.einsum("ikl,ikl->i", other.hessians_at(block), factor.leverages(design))
            weights = self.objective.weights[block]
            seen = weights > 0
            bound += (1.0 + factor.leverage_error) * float(weights[seen] @ terms[seen])
        return bound

    @cached_property
    def largest(self):
        """Rows by falling size, the first ``split`` of them and what follows."""
        m = min(self.split, len(self.row_sizes))
        rows = np.argpartition(-self.row_sizes, m - 1)[:m]
        rows = rows[np.argsort(-self.row_sizes[rows], kind="stable")]
        rest = np.delete(self.row_sizes, rows)
        return rows, float(rest.max(initial=0.0))


def solve_error(factor, sizes):
    """Relative error of a solve in the norm of H, measured on rows, the largest among them."""
    objective = factor.objective
    rows = np.unique(
        np.concatenate([np.argsort(-sizes)[:4], np.linspace(0, len(sizes) - 1, 4, dtype=int)])
    )
    k = objective.loss.n_outputs
    design = objective.design.take(rows)
    sign = np.where(np.arange(k) % 2, -1.0, 1.0)
    B = (sign[None, :, None] * design.dense_rows()[:, None, :]).reshape(len(rows), -1).T
    X = factor.solve(B)
    residual = B - factor.curvature.matmat(X)
    lost = np.abs(np.einsum("ij,ij->j", residual, factor.solve(residual)))
    found = np.einsum("ij,ij->j", B, X)
    seen = found > 0
    error = 4.0 * np.sqrt(np.max(lost[seen] / found[seen], initial=0.0))
    if factor.rtol:
        # What an iterative solver may leave elsewhere, by the trace of H^-1 >= 1 / its least
        # eigenvalue (Hutchinson's estimate).
        signs = np.sign(np.random.default_rng(0).standard_normal((len(B), 8)))
        trace = np.einsum("ij,ij->", signs, factor.solve(signs)) / 8
        scale = np.max((B[:, seen] ** 2).sum(axis=0) / found[seen], initial=0.0)
        error += 2.0 * factor.rtol * np.sqrt(trace * scale)
    return float(error) + 16.0 * np.finfo(float).eps


def shrink(shift, objective):
    """``H + shift R0 >= shrink * H``."""
    if objective.hold == "C":
        return np.ones_like(shift)
    return 1.0 + np.minimum(shift, 0.0) / objective.total_weight


def inflation(added, shift, objective):
    """``P <= inflation * H``, with ``added`` the largest eigenvalue of the added curvature in H."""
    return 1.0 + added + np.maximum(shift, 0.0) * (objective.hold != "C") / objective.total_weight
