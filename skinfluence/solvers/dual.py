"""Cholesky in the space of the training outputs, for fewer rows than parameters."""

import copy
from functools import cached_property

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.solvers.base import SingularHessianError
from skinfluence.solvers.cholesky import (
    DUAL,
    DenseFactor,
    cho_inverse,
    cho_solved,
    cholesky,
    single_solved,
)
from skinfluence.solvers.primal import PrimalFactor

# A solve of the dual form that loses less than this is not refined; up to how often it is.
SOLVED, MAX_REFINEMENTS = 1e-12, 4
# What refinements may leave: certificates measure it and count it.
WORST = 1e-7
# Parameters up to which the primal form takes over where the dual one fails, which is no matter of
# what determines the parameters: that is what the primal one then says.
LARGEST_RESCUE = 5_000
# Beyond this loss leverages come by refined solves too.
ROUGH = 1e-9
# Up to this loss, steps may be solved for in single precision; of fewer rows the copy costs more.
SINGLE, FEW = 1e-12, 500
# Rows of a dual matrix are left out while what they add up to, relative to H, is below this.
IDLE = 1e-13
# Curvature of a row times its size from which on what pairs of rows are is divided by it.
CURVED = 1e-6
# And up to which no pair needs that: what subtracting loses is the unit of rounding as often.
SUBTRACTED = 1e3


class CurvesDownError(SingularHessianError):
    """Of the dual form, which takes square roots of second derivatives."""


class DualFactor(DenseFactor):
    """Cholesky in the space of the training outputs, for fewer rows than parameters.

    With ``w_i Lambda_i = F_i F_i'`` and ``A = F' J``, ``H = A'A + R``. The features go by
    Woodbury, ``B = I + A_c R_c^-1 A_c'``, and the intercept, which may be free, by bordering:
    ``S = R_b + A_b' B^-1 A_b``. O((nK)^3) once, O((nK)^2 + n p) per right-hand side; no p x p
    matrix is ever made.
    """

    name = "dual Cholesky"

    def __init__(self, objective, shift=0.0, damping=0.0):
        super().__init__(objective, shift, damping)
        design, penalty = objective.design, self.curvature.penalty
        if not (penalty[: design.n_features] > 0).all():
            raise SingularHessianError(
                "The dual form needs a penalty on every feature. Got none: with hold='lambda' it goes "
                "with the weight. Keep rows of positive weight."
            )
        self._inverse_penalty = 1.0 / penalty[: design.n_features]
        self._own_kernel = design.squared_norms(
            np.append(self._inverse_penalty, 0.0)[: design.n_columns]
        )
        self._factor_rows()
        if design.intercept:
            self._border = design.intercept * self._of_intercept()
            self._B_border = self._B_solve(self._border)
            schur = self._border.T @ self._B_border
            schur[np.diag_indices(len(schur))] += penalty[-1]
            self._schur = cholesky(schur, "The Hessian of the intercept", self._advice)
        self._refinements = self._needed_refinements()

    def _factor_rows(self):
        """Factor ``B``, of all rows and outputs."""
        objective = self.objective
        n, k = objective.n_samples, objective.loss.n_outputs
        check_fits((3, n * k, n * k), "Use solver='cg'.", what="The dual matrix and its factor")
        curved = objective.weighted_hessians
        if k == 1:
            if (curved < 0).any():
                self._refuse_indefinite()
            self._F = np.sqrt(curved)
            self._factor_single(self._own_kernel)
            return
        values, vectors = np.linalg.eigh(curved)
        if (values < -1e-10 * np.abs(values).max(initial=0.0)).any():
            self._refuse_indefinite()
        self._F = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        kernel = objective.design.kernel(objective.design, self._inverse_penalty)
        B = np.einsum("iua,juc,ij->iajc", self._F, self._F, kernel, optimize=True)
        B = B.reshape(n * k, n * k)
        del kernel
        B[np.diag_indices(n * k)] += 1.0
        self._rows = np.arange(n)
        self._L, self._scale, self.rcond = cholesky(B, DUAL, self._advice)

    def _of_intercept(self):
        """``A`` of an intercept of 1, (n K, K)."""
        return self._F.transpose(0, 2, 1).reshape(-1, self._F.shape[1])

    def _drawn(self, rng):
        """Outputs drawn with ``w_i Lambda_i`` as their covariance, (n_samples, K)."""
        z = rng.choice((-1.0, 1.0), size=(*self._F.shape[:2], 1))
        return (self._F @ z)[..., 0]

    @property
    def leverage_error(self):
        """What leverages lose that are not made by refined solves, relative to themselves."""
        # Of one direction; rows of large leverage lose some more.
        return 0.0 if self._rough_error > ROUGH else 32.0 * self._rough_error

    def _needed_refinements(self):
        """How often a solve is refined with the Hessian itself, until float64 has no more to give.

        The dual form subtracts numbers as large as the penalty is weak. Seen on one right-hand side
        drawn with the Hessian as its covariance, so that no direction is missed.
        """
        k, d = self.objective.theta.shape
        rng = np.random.default_rng(0)
        drawn = self.objective.design.adjoint(self._drawn(rng)).T
        drawn = drawn + np.sqrt(self.curvature.penalty) * rng.choice((-1.0, 1.0), size=(k, d))
        b = drawn.reshape(-1, 1)
        x = self._rough(b)
        size, lost = np.sqrt(abs(float((b.T @ x)[0, 0]))), np.inf
        for done in range(MAX_REFINEMENTS + 1):
            residual = b - self.curvature.matmat(x)
            correction = self._rough(residual)
            before, lost = lost, np.sqrt(abs(float((residual.T @ correction)[0, 0])))
            self.lost = lost / size if size else 0.0
            self._rough_error = self._rough_error if done else self.lost
            if lost <= SOLVED * size or (not lost < 0.5 * before and lost <= 1e3 * SOLVED * size):
                return done
            x = x + correction
        if lost <= WORST * size:
            return MAX_REFINEMENTS
        raise SingularHessianError(
            "The dual form must solve to float64. Got columns of such different scales that its "
            f"solves stay off by {lost / size:.1e}. Scale the features, or use "
            "skinfluence.solvers.Exact('primal')."
        )

    def _advice(self):
        return (
            "In the dual form columns of very different scales cancel: scale the features, penalise "
            "more, or use skinfluence.solvers.Exact('primal')."
        )

    @staticmethod
    def _refuse_indefinite():
        raise CurvesDownError(
            "The dual form needs a convex loss. Some samples have a negative second derivative; "
            "use skinfluence.solvers.Exact('primal')."
        )

    def _factor_single(self, own):
        """Factor ``B`` of one output, built as it is to be factored, without its idle rows."""
        F = self._F[:, 0, 0]
        q = F**2 * own
        if not np.isfinite(q).all():
            raise SingularHessianError(
                f"The dual matrix must be finite. It has NaN or infinite entries. {self._advice()}"
            )
        # Leaving rows out changes H by less than their sum, relatively: here, by round-off.
        order = np.argsort(q)
        idle = min(np.searchsorted(np.cumsum(q[order]), IDLE), len(q) - 1)
        self._rows = np.sort(order[idle:])
        q = q[self._rows]
        self._scale = 1.0 / np.sqrt(1.0 + q)
        # The smallest eigenvalue of B is at least 1.
        self.rcond = float((self._scale.min(initial=1.0) ** 2) / max(1, len(q)))
        if self.rcond < 10 * np.finfo(float).eps:
            raise SingularHessianError(
                f"The dual matrix is too badly scaled, 1 to {1.0 / self.rcond:.1e}. {self._advice()}"
            )
        part = self.objective.design.take(self._rows)
        B = part.self_kernel(F[self._rows] * self._scale, self._inverse_penalty)
        B[np.diag_indices(len(B))] = 1.0
        # The transpose of a C-ordered array is the Fortran order LAPACK wants: no copy.
        with small_blas(len(B)):
            self._L, info = linalg.lapack.dpotrf(B.T, lower=1, clean=1, overwrite_a=1)
        if info:
            raise SingularHessianError(f"The dual matrix could not be factored. {self._advice()}")

    def _B_solve(self, T):
        if len(self._rows) * self.objective.loss.n_outputs == len(T):
            return self._active_solve(T)
        out = T.copy()
        out[self._rows] = self._active_solve(T[self._rows])
        return out

    def for_steps(self):
        small = self._L.dtype == np.float32 or len(self._L) < FEW
        if small or self._rough_error > SINGLE:
            return self
        light = copy.copy(self)
        light._L, light._refinements = self._L.astype(np.float32), 0
        return light

    def _active_solve(self, T):
        if self._L.dtype == np.float32:
            return single_solved(self._L, self._scale, T)
        return self._scale[:, None] * cho_solved(self._L, self._scale[:, None] * T)

    def _schur_solve(self, T):
        L, scale, _ = self._schur
        return scale[:, None] * cho_solved(L, scale[:, None] * T)

    def _sibling(self, shift):
        return dual_or_primal(type(self), self.objective, shift, self.curvature.damping)

    def _A(self, V):
        """``A_c V``: (K, d_features, m) to (n K, m)."""
        k, d, m = V.shape
        moved = self.objective.design.X @ V.transpose(1, 0, 2).reshape(d, k * m)
        moved = np.asarray(moved).reshape(-1, k, m)
        return (self._F.transpose(0, 2, 1) @ moved).reshape(-1, m)

    def _At(self, T):
        """``A_c' T``: (n K, m) to (K, d_features, m)."""
        k, m = self.objective.loss.n_outputs, T.shape[1]
        moved = (self._F @ T.reshape(-1, k, m)).reshape(-1, k * m)
        out = np.asarray(self.objective.design.X.T @ moved)
        return out.reshape(-1, k, m).transpose(1, 0, 2)

    def _solve(self, B):
        X = self._rough(B)
        for _ in range(self._refinements):
            X = X + self._rough(B - self.curvature.matmat(X))
        return X, 0

    def _rough(self, B):
        k, d = self.objective.theta.shape
        features = self.objective.design.n_features
        V = B.reshape(k, d, -1)
        scaled = self._inverse_penalty[:, None] * V[:, :features]
        T = self._B_solve(self._A(scaled))
        out = np.empty_like(V, dtype=float)
        if d > features:
            rest = V[:, features] - self._border.T @ T
            out[:, features] = self._schur_solve(rest)
            T = T + self._B_border @ out[:, features]
        out[:, :features] = scaled - self._inverse_penalty[:, None] * self._At(T)
        return out.reshape(B.shape)

    def _leverages(self, design):
        objective = self.objective
        k = objective.loss.n_outputs
        if self._rough_error > ROUGH:
            # Leverages cancel like solves, and have no refinement of their own.
            return self.leverages_by_solves(objective.design if design is None else design)
        if design is not None or k > 1:
            return self._leverages_of(objective.design if design is None else design)
        F, kept = self._F[:, 0, 0], self._kept[:, 0, 0]
        h = np.empty(len(F))
        # Dividing by w Lambda loses digits where it is tiny; those rows go the general way.
        fair = F**2 * self._own_kernel > 1e-8
        h[fair] = (1.0 - kept[fair]) / F[fair] ** 2
        rest = np.flatnonzero(~fair)
        if len(rest):
            h[rest] = self._leverages_of(objective.design.take(rest))[:, 0, 0]
        return h[:, None, None]

    def complements(self, rows, share):
        kept, F, k = self._kept[rows], self._F[rows], self.objective.loss.n_outputs
        inner = (1.0 - share)[:, None, None] * np.eye(k) + share[:, None, None] * kept
        # What cancels here has fewer digits than one minus a leverage of refined solves.
        fair = np.full(len(rows), True)
        if self._rough_error > ROUGH:
            least = 10 * np.finfo(float).eps / self._rough_error
            fair = np.einsum("ikk->ik", inner).min(axis=1) < least
        if k == 1:
            return np.where(fair[:, None, None], inner, np.nan)
        # I - F F' h = F (I - F' h F) F^-1, where F can be divided by.
        fair &= np.linalg.cond(F) < 1e6
        out = np.full_like(inner, np.nan)
        out[fair] = F[fair] @ inner[fair] @ np.linalg.inv(F[fair])
        return out

    @cached_property
    def _kept(self):
        """``I - F_i' h_i F_i`` of every training row, (n_samples, K, K)."""
        # A H^-1 A' = I - B^-1 + B^-1 A_b S^-1 A_b' B^-1: its diagonal blocks need one triangular
        # inverse instead of n solves.
        n, k = self.objective.n_samples, self.objective.loss.n_outputs
        kept = np.tile(np.eye(k), (n, 1, 1))
        root = linalg.lapack.dtrtri(self._L, lower=1)[0]
        root = (root * self._scale).reshape(len(root), -1, k)
        kept[self._rows] = np.einsum("aiu,aiv->iuv", root, root, optimize=k > 1)
        if self.objective.design.intercept:
            border = self._B_border.reshape(n, k, -1)
            solved = self._schur_solve(self._B_border.T).reshape(-1, n, k)
            kept -= np.einsum("iua,aiv->iuv", border, solved)
        return kept

    def _leverages_of(self, design):
        intercept, k = design.intercept, self.objective.loss.n_outputs
        train, F = self.objective.design.take(self._rows), self._F[self._rows]
        n = train.n_samples
        h = np.empty((design.n_samples, k, k))
        own = design.squared_norms(np.append(self._inverse_penalty, 0.0)[: design.n_columns])
        for block in row_blocks(design.n_samples, 24 * n * k * k):
            part = design.take(block)
            cross = train.kernel(part, self._inverse_penalty)
            T = np.einsum("iua,ij->iaju", F, cross).reshape(n * k, -1)
            W = linalg.solve_triangular(
                self._L, self._scale[:, None] * T, lower=True, check_finite=False
            )
            W = W.reshape(n * k, -1, k)
            h[block] = own[block, None, None] * np.eye(k) - np.einsum("mju,mjv->juv", W, W)
            if intercept:
                # J_b - J_c H_cc^-1 A_c' A_b = s I - T' B^-1 A_b
                B_border = self._B_border.reshape(-1, k, k)[self._rows].reshape(n * k, k)
                border = intercept * np.eye(k) - (T.T @ B_border).reshape(-1, k, k)
                flat = border.reshape(-1, k)
                solved = self._schur_solve(flat.T).T.reshape(-1, k, k)
                h[block] += solved @ border.transpose(0, 2, 1)
        return h

    @property
    def knows_pairs(self):
        """Whether :meth:`pairs` has its digits: of one output, and solved without much refinement."""
        return self.objective.loss.n_outputs == 1 and self._rough_error <= ROUGH

    def pairs(self):
        """``x_i' H^-1 x_j`` of all training rows of one output, symmetric, (n_samples, n_samples).

        Notes
        -----
        O(n^3). But for the intercept, ``F K F`` is ``I - B^-1``, which loses digits where curvatures are
        small, and ``K = G - G F B^-1 F G`` where they are large. With ``q = F^2 G_ii`` each pair goes by
        the first where the product of theirs is above 1; all do, for a third of the flops, where no q
        is below ``CURVED``, and none where no q is above ``SUBTRACTED``. Errors are relative to
        ``(K_ii K_jj)^1/2``.
        """
        objective = self.objective
        design, F, n = objective.design, self._F[:, 0, 0], objective.n_samples
        check_fits((4, n, n), "Use solver='cg'.", what="All pairs of rows")
        q = F**2 * self._own_kernel
        divided = np.full(n, len(self._rows) == n and q.min(initial=1.0) > CURVED)
        if divided.all():
            K = self._divided_pairs()
        else:
            divided = (q > 1.0) & (q.max() > SUBTRACTED)
            K = np.asarray(design.kernel(design, self._inverse_penalty))
            # Before K is overwritten.
            cross = K[self._rows] * (self._scale * F[self._rows])[:, None]
            border = design.intercept - K @ (F * self._B_border[:, 0]) if design.intercept else None
            with small_blas(n):
                solved = linalg.solve_triangular(
                    self._L, cross, lower=True, overwrite_b=True, check_finite=False
                )
            K -= solved.T @ solved
            if divided.any():
                near = np.flatnonzero(q * q.max() > 1.0)
                rows = np.searchsorted(self._rows, near)
                better = self._divided_pairs()[np.ix_(rows, rows)]
                K[np.ix_(near, near)] = np.where(
                    np.outer(q[near], q[near]) > 1.0, better, K[np.ix_(near, near)]
                )
        if design.intercept:
            with np.errstate(divide="ignore", invalid="ignore"):
                by_division = self._B_border[:, 0] / F
            border = by_division if divided.all() else np.where(divided, by_division, border)
            K += np.outer(border, self._schur_solve(border[None])[0])
        return K

    def _divided_pairs(self):
        """``F^-1 (I - B^-1) F^-1`` of the rows that count."""
        K = cho_inverse(self._L, self._scale)
        np.negative(K, out=K)
        K[np.diag_indices(len(K))] += 1.0
        F = self._F[self._rows, 0, 0]
        K /= F[:, None]
        K /= F
        return K


def dual_or_primal(form, objective, shift=0.0, damping=0.0, refuses=()):
    """A dual form, or the primal one where columns of very different scales cancel in it.

    Parameters
    ----------
    form : class
    objective : Objective
    shift, damping : float
        As of :class:`~skinfluence.solvers.Factor`.
    refuses : class or tuple of classes
        Errors of the dual form that are raised.
    """
    try:
        return form(objective, shift, damping)
    except SingularHessianError as error:
        if isinstance(error, refuses) or objective.n_parameters > LARGEST_RESCUE:
            raise
    return PrimalFactor(objective, shift, damping)
