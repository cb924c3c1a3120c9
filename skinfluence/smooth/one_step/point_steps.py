"""Steps of the parameters that answer one edit of any points, by Woodbury or a new factorisation."""

from functools import cached_property

import numpy as np

from skinfluence._utils.weights import weigh
from skinfluence.edits.points import edited
from skinfluence.smooth.one_step.steps import ALONE, MAX_REFINEMENTS, REFINED, SINGULAR
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.primal import PrimalFactor

# What refinements of an edited solve may leave, relative to the solution.
LOST = 1e-9


class EditedInverse:
    """``P^-1`` for one edit of any points, ``P = H + shift R0 + U'DU``.

    Woodbury with one (mK x mK) system, or one factorisation of the edited Hessian where the edit
    has more outputs than half the parameters, or where Woodbury's formula loses what it divides by.

    Attributes
    ----------
    right : ndarray of shape (n_parameters,)
        ``U'c + shift R0 theta``: the gradient of the edited objective where the old one has none.
    refactored : Factor or None
        The factor of the edited Hessian if it was made.
    """

    def __init__(self, factor, solver, points):
        objective = factor.objective
        k, d = objective.theta.shape
        self.factor, self.points, self._solver = factor, points, solver
        design, gradient, hessian = stack(objective, points)
        penalty = points.shift * objective.unit_penalty
        self.right = (design.adjoint(gradient).T + penalty * objective.theta).ravel()
        m = design.n_samples
        self.refactored = None
        if m * k > max(objective.n_parameters // 2, 1):
            self.refactored = _factored_anew(solver, factor, points)
            return
        self._U = np.einsum("mc,ab->mabc", design.dense_rows(), np.eye(k)).reshape(m * k, k * d)
        self._D = np.zeros((m, k, m, k))
        self._D[np.arange(m), :, np.arange(m), :] = hessian
        self._D = self._D.reshape(m * k, m * k)
        self._V = factor.solve(self._U.T, points.shift)
        self._h = self._U @ self._V
        if self.leverage > 1.0 - 1e-10:
            # Woodbury divides by what is left: where nothing is, the edited Hessian decides.
            self.refactored = _factored_anew(solver, factor, points)
            return
        self._inner = np.linalg.solve(np.eye(m * k) + self._D @ self._h, self._D)

    @cached_property
    def leverage(self):
        """Largest eigenvalue of ``-D h``, at least 0; 1 when P is singular."""
        values, vectors = np.linalg.eigh(0.5 * (self._h + self._h.T))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return max(0.0, float(np.linalg.eigvalsh(-root.T @ self._D @ root)[-1]))

    def solve(self, b):
        """``P^-1 b`` of one vector."""
        if self.refactored is not None:
            return self.refactored.solve(b[:, None])[:, 0]
        y = self.factor.solve(b[:, None], self.points.shift)[:, 0]
        return y - self._V @ (self._inner @ (self._U @ y))

    def refined(self, b):
        """``P^-1 b`` with ``P`` times it, and the size in P of what the last refinement changed.

        Where ``1 - leverage`` has cancelled, refinement does not contract: then the edited Hessian
        is factored.
        """
        v = self.solve(b)
        Pv = self.multiply(v)
        size, lost = norm(v, Pv), np.inf
        for _ in range(MAX_REFINEMENTS):
            correction = self.solve(b - Pv)
            before, lost = lost, norm(correction, self.multiply(correction))
            if not lost < 0.1 * before:
                break
            v = v + correction
            Pv = self.multiply(v)
            size = norm(v, Pv)
            if lost <= max(REFINED, 10.0 * self.factor.rtol) * size:
                break
        if self.refactored is None and not lost <= LOST * size:
            self.refactored = _factored_anew(self._solver, self.factor, self.points)
            return self.refined(b)
        return v, Pv, lost

    def loses(self):
        """Whether a solve may be off by more than :data:`LOST`, by a cheap estimate."""
        if self.refactored is not None:
            return False
        rcond = self.factor.rcond if isinstance(self.factor, PrimalFactor) else None
        if rcond is None:
            # The dual form subtracts numbers as large as the penalty is weak.
            return True
        left = (1.0 - self.leverage) * rcond
        return not len(self.right) * np.finfo(float).eps < LOST * left

    def multiply(self, v):
        """``P v``."""
        if self.refactored is not None:
            return self.refactored.curvature @ v
        curvature = self.factor.shifted(self.points.shift).curvature
        # What curves beyond all numbers is left to Newton's method.
        with np.errstate(over="ignore", invalid="ignore"):
            return curvature @ v + self._U.T @ (self._D @ (self._U @ v))


def _factored_anew(solver, factor, points):
    objective = factor.objective
    try:
        after = solver.factor(edited(objective, points))
        if not objective.penalty.any() and (after.rcond or 1.0) < ALONE * (factor.rcond or 0.0):
            # A direction that only those rows decide, up to rounding: what is left of it is noise.
            raise SingularHessianError("The edited Hessian has lost its digits.")
        return after
    except SingularHessianError as error:
        raise SingularHessianError(
            "The Hessian after an edit must be positive definite. Got an edit that leaves a "
            "parameter without rows that determine it or, where the loss is not convex, no minimum "
            "at the fit. Penalise the model (a finite C, alpha > 0), drop the columns that only the "
            "edited rows decide, or refit on the edited data."
        ) from error


def points_step(factor, solver, points, method):
    """``dtheta`` of one edit of several points, shape (n_outputs, n_columns)."""
    shape = factor.objective.theta.shape
    if method == "influence":
        design, gradient, _ = stack(factor.objective, points)
        penalty = points.shift * factor.objective.unit_penalty * factor.objective.theta
        right = (design.adjoint(gradient).T + penalty).reshape(-1, 1)
        return -factor.solve(right)[:, 0].reshape(shape)
    inverse = EditedInverse(factor, solver, points)
    right, own = inverse.right, 0.0
    if inverse.refactored is not None and points_leverage(factor, points) > 1.0 - SINGULAR:
        # As without_row.coefficients: of what is left, not of what is taken away. What a step would
        # do to the fit itself, which may have stopped early, is no change by the edit.
        right = inverse.refactored.objective.gradient()
        own = factor.solve(factor.objective.gradient()[:, None], points.shift)[:, 0]
    solved = inverse.refined(right)[0] if inverse.loses() else inverse.solve(right)
    return (own - solved).reshape(shape)


def stack(objective, points):
    """All points of an edit as one design with their gradient and Hessian changes."""
    rows, change = points.rows, points.row_changes
    design = objective.design.take(rows)
    gradient = weigh(change[:, None], objective.gradients[rows])
    hessian = weigh(change[:, None, None], objective.hessians[rows])
    if points.new is None:
        return design, gradient, hessian
    eta = points.new.multiply(objective.theta.T)
    w = points.new_weights
    new_gradient = weigh(w[:, None], objective.loss.gradient(eta, points.new_y))
    new_hessian = weigh(w[:, None, None], objective.loss.hessian(eta, points.new_y))
    return (
        design.extended(points.new),
        np.concatenate([gradient, new_gradient]),
        np.concatenate([hessian, new_hessian]),
    )


def points_leverage(factor, points, gained=False):
    """Largest eigenvalue of ``|D|^1/2 h |D|^1/2`` over the rows that lose weight; 0 if none.

    With ``gained``, over those that gain some, new ones included.
    """
    objective = factor.objective
    chosen = (points.row_changes > 0) if gained else (points.row_changes < 0)
    if gained and points.new is not None:
        design, _, hessian = stack(objective, points)
        chosen = np.append(chosen, points.new_weights > 0)
        design, changed = design.take(np.flatnonzero(chosen)), hessian[chosen]
    else:
        rows = points.rows[chosen]
        design = objective.design.take(rows)
        changed = np.abs(points.row_changes[chosen, None, None]) * objective.hessians[rows]
    if not len(changed):
        return 0.0
    k = objective.loss.n_outputs
    if len(changed) == 1:
        product = changed[0] @ factor.leverages(design)[0]
        return float(product[0, 0] if k == 1 else np.linalg.eigvals(product).real.max())
    values, vectors = np.linalg.eigh(changed)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    U = np.einsum("ml,mab->mbal", design.dense_rows(), root)
    U = U.reshape(len(changed) * k, -1)
    if len(U) > U.shape[1]:
        # The same non-zero eigenvalues from the smaller side.
        return float(np.linalg.eigvals(factor.solve(U.T @ U)).real.max())
    return float(np.linalg.eigvalsh(U @ factor.solve(U.T)).max())


def norm(a, Pa):
    """``|a|_P``; infinite where it overflows or round-off makes P indefinite along a."""
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(a @ Pa)
    return np.sqrt(square) if square > 0 or not a.any() else np.inf
