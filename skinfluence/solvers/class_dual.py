"""The dual form of a softmax: one matrix of the rows for each class, in the place of one of all outputs."""

import copy
from functools import cached_property

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.losses import Multinomial, SumToZero
from skinfluence.solvers.base import SingularHessianError
from skinfluence.solvers.cholesky import DUAL, cho_inverse, cho_solved, cholesky
from skinfluence.solvers.dual import FEW, ROUGH, SINGLE, DualFactor

# Classes from which a factor and a solve cost less by class than of all outputs.
BY_CLASS = 4
# Rows are asked of solves where their least probability times their size is less: digits are lost to it.
FAIR = 1e-6
# What solves in single precision may lose before they are refined.
WORST_SINGLE = 1e-5
# Of a stripe of rows whose leverages are made at a time.
STRIPE_BYTES = 2**22
# A probability below this has no inverse that is of use.
NEVER = 1e-150


class ClassDualFactor(DualFactor):
    """The dual form of a softmax of K classes, by classes.

    With ``d_k = w p_k`` the Hessian in the decision values is ``W = diag(d) - Pi Pi'``, of which the
    second term is of the rank of the rows. With ``S = X R^-1 X'``, the same for all classes,
    ``E_k = (S + D_k^-1)^-1`` and ``F = sum_k E_k``::

        Q = (I_K (x) S + W^-1)^-1 = E - E 1 F^-1 1' E,      H^-1 = R^-1 - R^-1 X' Q X R^-1

    as in [1]_. ``Q`` ignores what is equal in all classes and returns what sums to zero over them, so
    that it is the same in any orthonormal coordinates. ``K n^3`` flops for the factor and as many for the
    leverages, in the place of twice ``(n (K - 1))^3 / 3``; ``(4 K + 2) n^2`` for a right-hand side, in the
    place of ``2 (n (K - 1))^2``.

    Parameters
    ----------
    objective : Objective
        Of a softmax in ``K - 1`` coordinates.
    shift, damping : float
        As of :class:`~skinfluence.solvers.Factor`.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT Press,
       2006, section 3.5.
    """

    dtype, fair, rough = np.float64, FAIR, ROUGH

    @staticmethod
    def serves(objective):
        """Whether the loss is a softmax of so many classes that this pays."""
        loss = objective.loss
        softmax = isinstance(loss, SumToZero) and isinstance(loss.loss, Multinomial)
        return softmax and loss.n_outputs + 1 >= BY_CLASS

    def _factor_rows(self):
        objective = self.objective
        self._basis = objective.loss.basis
        # Rows that count nothing are not seen.
        self._rows = np.flatnonzero(objective.weights > 0)
        part = objective.design.take(self._rows)
        self._mass = objective.weights[self._rows, None] * objective.loss.hessian_state(
            objective.eta[self._rows]
        )
        n, k = self._mass.shape
        check_fits((k + 4, n, n), "Use solver='cg'.", what="The matrices of all classes")
        S = np.asarray(part.kernel(part, self._inverse_penalty))
        own, S = np.diagonal(S), S.astype(self.dtype, copy=False)
        self._E = np.empty((k, n, n), self.dtype)
        self.rcond = 1.0
        for c, mass in enumerate(self._mass.T):
            # I + D^1/2 S D^1/2, with a diagonal of ones, and its inverse between D^1/2 on both sides.
            root = np.sqrt(mass / (1.0 + mass * own))
            B = np.multiply(S, root.astype(self.dtype), out=self._E[c])
            B *= root[:, None].astype(self.dtype)
            B[np.diag_indices(n)] = 1.0
            # Before it is scaled to that, no eigenvalue is below 1.
            largest = (1.0 + (mass * own).max(initial=0.0)) * np.linalg.norm(B)
            self.rcond = min(self.rcond, float(1.0 / largest))
            self._E[c] = cho_inverse(self._factored(B), root)
        L, scale, rcond = cholesky(self._E.sum(axis=0), DUAL, self._advice)
        self._sum = L, scale
        self.rcond = min(self.rcond, rcond)

    def _factored(self, B):
        """Lower Cholesky factor of a symmetric matrix, in its place."""
        if not np.isfinite(np.diagonal(B)).all() or not np.isfinite(B[0]).all():
            raise SingularHessianError(
                f"The dual matrix must be finite. It has NaN or infinite entries. {self._advice()}"
            )
        # The transpose of a C-ordered array is the Fortran order LAPACK wants: no copy.
        with small_blas(len(B)):
            potrf = linalg.get_lapack_funcs("potrf", dtype=B.dtype)
            L, info = potrf(B.T, lower=1, clean=1, overwrite_a=1)
        if info:
            raise SingularHessianError(f"The dual matrix could not be factored. {self._advice()}")
        return L

    def _of_intercept(self):
        n, k = self.objective.n_samples, self.objective.loss.n_outputs
        return np.tile(np.eye(k), (n, 1))

    def _drawn(self, rng):
        # W = w (diag(p)^1/2 - p p^1/2') (...)' in all K coordinates.
        n, k = self._mass.shape
        z = rng.choice((-1.0, 1.0), size=(n, k))
        total = self._mass.sum(axis=1, keepdims=True)
        along = (np.sqrt(self._mass) * z).sum(axis=1, keepdims=True) / total
        out = np.zeros((self.objective.n_samples, k - 1))
        out[self._rows] = (np.sqrt(self._mass) * z - self._mass * along) @ self._basis
        return out

    def for_steps(self):
        small = self._E.dtype == np.float32 or len(self._rows) < FEW
        if small or self._rough_error > SINGLE:
            return self
        light = copy.copy(self)
        L, scale = self._sum
        light._E, light._sum = self._E.astype(np.float32), (L.astype(np.float32), scale)
        light._refinements = 0
        return light

    def _A(self, V):
        k, d, m = V.shape
        moved = self.objective.design.X @ V.transpose(1, 0, 2).reshape(d, k * m)
        return np.asarray(moved).reshape(-1, m)

    def _At(self, T):
        k, m = self.objective.loss.n_outputs, T.shape[1]
        out = np.asarray(self.objective.design.X.T @ T.reshape(-1, k * m))
        return out.reshape(-1, k, m).transpose(1, 0, 2)

    def _B_solve(self, T):
        """``Q T`` in ``K - 1`` coordinates, (n (K - 1), m)."""
        k, m = self.objective.loss.n_outputs, T.shape[1]
        given = T.reshape(-1, k, m)[self._rows].transpose(1, 0, 2)
        each = (self._basis @ given.reshape(k, -1)).reshape(k + 1, -1, m)
        sizes = 1.0
        if self._E.dtype == np.float32:
            # Of one size: single precision has a narrow range.
            sizes = np.abs(each).max(axis=(0, 1), initial=1e-300)
            each = (each / sizes).astype(np.float32)
        moved = self._by_class(each)
        reduced = (self._basis.T @ moved.reshape(k + 1, -1)).reshape(k, -1, m)
        out = np.zeros((self.objective.n_samples, k, m))
        out[self._rows] = reduced.transpose(1, 0, 2)
        out *= sizes
        return out.reshape(-1, m)

    def _by_class(self, T):
        """``Q T`` of rows that count in all K coordinates, (K, n, m)."""
        moved = self._E @ T
        moved -= self._E @ self._of_sum(moved.sum(axis=0))
        return moved

    def _of_sum(self, T):
        """``F^-1 T``."""
        L, scale = self._sum
        scale = scale.astype(L.dtype)[:, None]
        return scale * cho_solved(L, np.asfortranarray(scale * T))

    def _rooted(self, V):
        """``L_F^-1 v`` of each row of an (m, n) array, where ``F = L_F L_F'``."""
        L, scale = self._sum
        trsm = linalg.get_blas_funcs("trsm", dtype=L.dtype)
        # The transpose of a C-ordered array is the Fortran order BLAS wants: no copy.
        with small_blas(len(L)):
            return trsm(1.0, L, (V * scale.astype(L.dtype)).T, lower=1, overwrite_b=1).T

    def _leverages(self, design):
        objective = self.objective
        if self._rough_error > self.rough:
            # Leverages cancel like solves, and have no refinement of their own.
            return self.leverages_by_solves(objective.design if design is None else design)
        if design is not None:
            return self._leverages_of(design)
        # h = W^-1 (I - C): dividing by W loses digits where a class is next to impossible.
        k, own = objective.loss.n_outputs, self._own_kernel[self._rows]
        fair = self._mass.min(axis=1) * own > self.fair
        some = self._rows[fair]
        h = np.empty((objective.n_samples, k, k))
        inverse = self._basis.T @ (self._inverse_mass[fair, :, None] * self._basis)
        part = inverse @ (np.eye(k) - self._kept[some])
        h[some] = 0.5 * (part + part.transpose(0, 2, 1))
        rest = np.setdiff1d(np.arange(objective.n_samples), some)
        if len(rest):
            h[rest] = self._leverages_of(objective.design.take(rest))
        return h

    def complements(self, rows, share):
        kept, k = self._kept[rows], self.objective.loss.n_outputs
        out = (1.0 - share)[:, None, None] * np.eye(k) + share[:, None, None] * kept
        if self._rough_error > self.rough:
            # What cancels here has fewer digits than one minus a leverage of refined solves.
            least = 10 * np.finfo(float).eps / self._rough_error
            out[np.einsum("ikk->ik", out).min(axis=1) >= least] = np.nan
        return out

    @property
    def _inverse_mass(self):
        """``1 / d`` of rows that count, NaN where a class is impossible."""
        return np.divide(
            1.0, self._mass, out=np.full_like(self._mass, np.nan), where=self._mass > NEVER
        )

    @cached_property
    def _kept(self):
        """``C_i = I - w_i Lambda_i h_i = Q_ii W_i^-1`` of every training row, (n_samples, K - 1, K - 1)."""
        n, k = self.objective.n_samples, self.objective.loss.n_outputs
        out = np.tile(np.eye(k), (n, 1, 1))
        # In all K coordinates: dividing by d has the digits of every class there.
        own = self._own_blocks() * self._inverse_mass[:, None, :]
        out[self._rows] = self._basis.T @ own @ self._basis
        return out

    def _own_blocks(self):
        """The blocks ``Q_ii`` of rows that count in all K coordinates, without what the intercept takes."""
        n, k = self._mass.shape
        out = np.zeros((n, k, k))
        # All classes of a row but the likeliest, whose own is what the others leave.
        top = self._mass.argmax(axis=1)
        some = np.nonzero(np.arange(k) != top[:, None])[1].reshape(n, k - 1)
        for block in row_blocks(n, 16 * n * k, STRIPE_BYTES):
            rows = np.arange(n)[block]
            others = some[block]
            rooted = self._rooted(self._E[others, rows[:, None]].reshape(-1, n))
            each = rows[:, None, None], others[:, :, None], others[:, None, :]
            rooted = rooted.reshape(len(rows), k - 1, n)
            out[each] = -(rooted @ rooted.transpose(0, 2, 1))
        at = np.arange(k)
        out[:, at, at] += np.einsum("kii->ik", self._E)
        if self.objective.design.intercept:
            ones = self.objective.design.intercept * np.ones((n, 1))
            border = self._by_class((self._basis[:, None, :] * ones).astype(self.dtype))
            border = border.transpose(1, 0, 2).astype(float)
            solved = self._schur_solve(border.reshape(-1, k - 1).T)
            out -= border @ solved.reshape(k - 1, n, k).transpose(1, 0, 2)
        # Of the likeliest class what is left of E is a difference; but all rows and columns sum to zero.
        rows = np.arange(n)
        out[rows, top], out[rows, :, top] = 0.0, 0.0
        out[rows, top] = -out.sum(axis=1)
        out[rows, :, top] = -out.sum(axis=2)
        return out

    def _leverages_of(self, design):
        k, basis = self.objective.loss.n_outputs, self._basis
        train, intercept = self.objective.design.take(self._rows), design.intercept
        h = np.empty((design.n_samples, k, k))
        scale = np.append(self._inverse_penalty, 0.0)[: design.n_columns]
        own, n = design.squared_norms(scale), len(self._rows)
        for block in row_blocks(design.n_samples, 48 * n * (k + 1)):
            cross = np.asarray(train.kernel(design.take(block), self._inverse_penalty))
            moved = self._E @ cross.astype(self.dtype, copy=False)
            rooted = self._rooted(moved.transpose(2, 0, 1).reshape(-1, n)).reshape(-1, k + 1, n)
            full = rooted @ rooted.transpose(0, 2, 1)
            at = np.arange(k + 1)
            full[:, at, at] -= np.einsum("kij,ij->jk", moved, cross)
            h[block] = own[block, None, None] * np.eye(k) + basis.T @ full @ basis
            if intercept:
                # J_b - J_c H_cc^-1 X' W J_b = s I - c' Q J_b
                B_border = self._B_border.reshape(-1, k * k)[self._rows]
                border = intercept * np.eye(k) - (cross.T @ B_border).reshape(-1, k, k)
                solved = self._schur_solve(border.reshape(-1, k).T).T.reshape(-1, k, k)
                h[block] += border @ solved.transpose(0, 2, 1)
        return h


class SingleClassDualFactor(ClassDualFactor):
    """The same in single precision, each solve refined to double.

    Half of the time and of the memory. Leverages have the error that is left, ``leverage_error``.

    Raises
    ------
    SingularHessianError
        Where single precision has too few digits for leverages of four.
    """

    name = "mixed-precision dual Cholesky"
    # Dividing by less costs more digits than solves do.
    dtype, fair, rough = np.float32, 1e-2, WORST_SINGLE

    def _needed_refinements(self):
        needed = super()._needed_refinements()
        if self._rough_error > self.rough:
            raise SingularHessianError(
                f"Solves in single precision must be off by {self.rough:.0e} at most. They are by "
                f"{self._rough_error:.1e}; use precision='float64'."
            )
        return needed

    def _advice(self):
        return "Single precision may have too few digits for it: use precision='float64'."

    @property
    def leverage_error(self):
        """What leverages lose, relative to themselves."""
        return 32.0 * self._rough_error


def dual_form(objective):
    """The dual form that costs least: by classes, or of all outputs."""
    return ClassDualFactor if ClassDualFactor.serves(objective) else DualFactor
