"""Conjugate gradients on the curvature operator: no matrix, many right-hand sides at once."""

import warnings

import numpy as np
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import cg as scipy_cg
from sklearn.exceptions import ConvergenceWarning

from skinfluence.solvers.base import Factor, SingularHessianError


class CG:
    """Iterative solver, preconditioned by the diagonal of the Hessian.

    Parameters
    ----------
    rtol : float, default=1e-10
        Stop when the residual is below ``rtol`` times the right-hand side, in the Euclidean norm.
    max_iter : int, default=None
        Default: ten times the number of parameters, at least 1,000.

    Notes
    -----
    One iteration costs one Hessian product, O(n d K), for each right-hand side that has not
    converged; several are multiplied together. One right-hand side goes through scipy's ``cg``.
    """

    def __init__(self, rtol=1e-10, max_iter=None):
        self.rtol = rtol
        self.max_iter = max_iter

    def factor(self, objective):
        """A :class:`~skinfluence.solvers.base.Factor`; nothing but the diagonal is computed."""
        return CGFactor(objective, self)


class CGFactor(Factor):
    """Solves by iterating; leverages need one solve per row and output."""

    name = "CG"

    def __init__(self, objective, solver, shift=0.0):
        super().__init__(objective, shift)
        self.solver, self.rtol = solver, solver.rtol
        self._diagonal = self.curvature.diagonal()
        free = int(np.count_nonzero(self.curvature.penalty == 0)) * objective.loss.n_outputs
        if free > np.count_nonzero(objective.weights) * objective.loss.n_outputs:
            raise SingularHessianError(
                f"The Hessian must be positive definite. {free} parameters are not penalised and "
                f"only {np.count_nonzero(objective.weights)} rows have weight. Penalise the model."
            )
        if not (self._diagonal > 0).all():
            raise SingularHessianError(
                "The Hessian must be positive definite. Its diagonal has entries that are not "
                "positive. Penalise the model, or drop constant columns."
            )

    def _sibling(self, shift):
        return CGFactor(self.objective, self.solver, shift)

    def _leverages(self, design):
        return self._leverages_by_solves(self.objective.design if design is None else design)

    def _solve(self, B):
        rtol = self.solver.rtol
        max_iter = self.solver.max_iter or max(1000, 10 * len(B))
        if not B.shape[1]:
            return np.zeros(B.shape), 0
        if B.shape[1] == 1:
            X, iterations = self._solve_one(B[:, 0], rtol, max_iter)
        else:
            X, iterations = block_cg(self.curvature.matmat, B, self._diagonal, rtol, max_iter)
        # The recurrence's own residual drifts from the true one: measure, then say.
        norms = np.linalg.norm(B, axis=0)
        residual = np.linalg.norm(self.curvature.matmat(X) - B, axis=0)
        relative = np.divide(residual, norms, out=np.zeros_like(norms), where=norms > 0)
        if not (relative < 1e3).all():
            raise SingularHessianError(
                f"CG broke down at relative residual {np.nanmax(relative):.1e}: the Hessian is not "
                "positive definite to round-off. Penalise the model, drop linearly dependent "
                "columns, or scale the features."
            )
        failed = relative > max(100 * rtol, 1e-12)
        if failed.any():
            warnings.warn(
                f"CG stopped after {iterations} iterations at relative residual "
                f"{relative.max():.1e} (rtol={rtol:.0e}) for {failed.sum()} of {len(failed)} "
                "right-hand sides. Increase max_iter, scale the features, or use solver='exact'.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return X, iterations

    def _solve_one(self, b, rtol, max_iter):
        counter = [0]

        def count(_):
            counter[0] += 1

        shape = self.curvature.shape
        precondition = LinearOperator(shape, matvec=lambda v: v.ravel() / self._diagonal)
        x, _ = scipy_cg(
            self.curvature, b, rtol=rtol, maxiter=max_iter, M=precondition, callback=count
        )
        return x[:, None], counter[0]


def block_cg(multiply, B, diagonal, rtol, max_iter):
    """Conjugate gradients on each column of ``B``, one matrix product per iteration.

    Columns have their own step lengths (no coupling) and leave the product once converged.

    Returns
    -------
    X : ndarray, same shape as ``B``
    iterations : int
        Of the slowest column.
    """
    X = np.zeros_like(B, dtype=float)
    R = B.astype(float, copy=True)
    target = rtol * np.linalg.norm(B, axis=0)
    Z = R / diagonal[:, None]
    P = Z.copy()
    rho = np.einsum("ij,ij->j", R, Z)
    active = np.flatnonzero(np.linalg.norm(R, axis=0) > target)
    iterations = 0
    while len(active) and iterations < max_iter:
        direction = P[:, active]
        product = multiply(direction)
        curvature = np.einsum("ij,ij->j", direction, product)
        step = rho[active] / curvature
        X[:, active] += step * direction
        R[:, active] -= step * product
        Z = R[:, active] / diagonal[:, None]
        fresh = np.einsum("ij,ij->j", R[:, active], Z)
        P[:, active] = Z + (fresh / rho[active]) * direction
        rho[active] = fresh
        iterations += 1
        active = active[np.linalg.norm(R[:, active], axis=0) > target[active]]
    return X, iterations
