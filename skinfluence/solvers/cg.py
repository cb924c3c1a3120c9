"""Conjugate gradients on the curvature operator: no matrix, many right-hand sides at once."""

import warnings

import numpy as np
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import cg as scipy_cg
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skinfluence.solvers.base import Factor, SingularHessianError
from skinfluence.utils.calls import level_outside


class CG:
    """Iterative solver, preconditioned by the diagonal of the Hessian.

    Parameters
    ----------
    rtol : float, default=1e-10
        Stop when the residual is below ``rtol`` times the right-hand side, in the Euclidean norm.
    max_iter : int, default=None
        Default: ten times the number of parameters, at least 1,000.
    probes : int, default=None
        Estimate leverages from that many random probes instead of one solve per row (models of
        one output). The standard error is reported and warned about; certificates are refused.
    random_state : int, RandomState instance or None, default=None
        Of the probes.

    Notes
    -----
    One iteration costs one Hessian product, O(n d K), for each right-hand side that has not
    converged; several are multiplied together. One right-hand side goes through scipy's ``cg``.
    """

    def __init__(self, rtol=1e-10, max_iter=None, probes=None, random_state=None):
        self.rtol = rtol
        self.max_iter = max_iter
        self.probes = probes
        self.random_state = random_state

    def factor(self, objective):
        """A :class:`~skinfluence.solvers.base.Factor`; nothing but the diagonal is computed."""
        if self.probes is None:
            return CGFactor(objective, self)
        if objective.loss.n_outputs > 1:
            raise ValueError(
                "Random probes estimate leverages of models with one output. Got "
                f"{objective.loss.n_outputs} (softmax); use CG() or precision='mixed'."
            )
        return ProbedFactor(objective, self)


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
                stacklevel=level_outside(),
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


class ProbedFactor(CGFactor):
    """Leverages from random probes, ``V = H^-1 (J' D^1/2 z_1 + R^1/2 z_2)`` with ``D = w Lambda``.

    ``mean (x_i'V)^2`` estimates ``h_i`` and ``mean (z_1i - D_i^1/2 x_i'V)^2`` estimates
    ``1 - D_i h_i``, positive whatever the leverage; their ratio, from the same probes, is what a
    removal needs.
    """

    name = "CG, random probes"
    # Of the probes' solves: far below their sampling error.
    PROBE_RTOL = 1e-4

    def __init__(self, objective, solver, shift=0.0):
        super().__init__(objective, solver, shift)
        if solver.probes < 4:
            raise ValueError(f"probes must be at least 4. Got {solver.probes!r} instead.")
        rng = check_random_state(solver.random_state)
        root = np.sqrt(objective.weights * objective.hessians[:, 0, 0])[:, None]
        z = rng.standard_normal((objective.n_samples, solver.probes))
        B = objective.design.adjoint(root * z)
        B += np.sqrt(self.curvature.penalty)[:, None] * rng.standard_normal(B.shape)
        max_iter = solver.max_iter or 10 * len(B)
        self._V = block_cg(self.curvature.matmat, B, self._diagonal, self.PROBE_RTOL, max_iter)[0]
        moved = objective.design.multiply(self._V)
        own, rest = moved**2, (z - root * moved) ** 2
        self._h, kept = own.mean(axis=1), rest.mean(axis=1)
        # Delta method on the ratio of the two means.
        m = solver.probes
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = own / self._h[:, None] - rest / kept[:, None]
        self.standard_error = np.nan_to_num(spread.std(axis=1)) / np.sqrt(m)
        # The mean of 1 / chi^2_m is m / (m - 2) times the inverse mean.
        self._kept = kept / (1.0 - 2.0 / m)
        self.leverage_error = float(np.median(self.standard_error))
        warnings.warn(
            f"Leverages are estimated from {m} random probes, with a median relative standard "
            f"error of {self.leverage_error:.2f} (largest {self.standard_error.max():.2f}) in each "
            "removal. It halves with four times the probes.",
            UserWarning,
            stacklevel=level_outside(),
        )

    is_random = True

    def kept(self):
        return self._kept

    def _leverages(self, design):
        h = self._h if design is None else (design.multiply(self._V) ** 2).mean(axis=1)
        return h[:, None, None]

    def _sibling(self, shift):
        raise ValueError("Random probes need hold='C'.")


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
