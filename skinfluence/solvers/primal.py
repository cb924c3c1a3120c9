"""Cholesky of the Hessian itself, in double precision or in single precision with refined solves."""

from functools import cached_property

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.threads import small_blas
from skinfluence.solvers.base import Factor, SingularHessianError
from skinfluence.solvers.cholesky import (
    REMEDY,
    SINGLE,
    DenseFactor,
    cho_inverse,
    cho_solved,
    cholesky,
    single_solved,
)

# Entries of a Hessian whose inverse single precision holds too.
LEAST_SINGLE, MOST_SINGLE = 1e-37, 1e37


class PrimalFactor(DenseFactor):
    """Cholesky of the Hessian itself: O(n p^2 + p^3) once, O(p^2) per right-hand side."""

    name = "primal Cholesky"

    def __init__(self, objective, shift=0.0, damping=0.0):
        super().__init__(objective, shift, damping)
        p = objective.n_parameters
        check_fits((3, p, p), "Use solver='cg'.", what="The Hessian and its factor")
        self._H = self.curvature.dense()
        self._L, self._scale, self.rcond = cholesky(self._H, "The Hessian", self._advice)

    @property
    def hessian(self):
        """The Hessian, as an array that nobody may write into."""
        return self._H

    @property
    def cholesky(self):
        """``L`` and ``s`` with ``diag(s) H diag(s) = L L'``."""
        return self._L, self._scale

    def _solve(self, B):
        scaled = self._scale[:, None] * B
        return self._scale[:, None] * cho_solved(self._L, scaled), 0

    @property
    def leverages_by_blocks(self):
        return self.objective.design.in_memory and len(self.objective.blocks()) > 1

    def _product(self, V):
        return self._H @ V

    def _sibling(self, shift):
        return PrimalFactor(self.objective, shift, self.curvature.damping)

    @cached_property
    def inverse(self):
        """``H^-1``, explicit; symmetric."""
        return cho_inverse(self._L, self._scale)

    def _leverages(self, design):
        # K (K + 1) / 2 quadratic forms with blocks of the explicit inverse: triangular solves for
        # each row and output would cost K times more.
        design = self.objective.design if design is None else design
        k, d = self.objective.theta.shape
        inverse = self.inverse
        if k == 1:
            forms = design.quadratics(inverse[None], inverse.dtype)
            return forms[:, :, None].astype(np.float64, copy=False)
        blocks = inverse.reshape(k, d, k, d)
        rows, columns = np.tril_indices(k)
        # Not named here: what the forms do not need of it is freed on the way.
        forms = design.quadratics(
            np.array([0.5 * (blocks[a, :, b] + blocks[a, :, b].T) for a, b in zip(rows, columns)]),
            inverse.dtype,
        )
        place = np.empty((k, k), dtype=np.intp)
        place[rows, columns] = place[columns, rows] = np.arange(len(rows))
        return np.take(forms, place, axis=1).astype(np.float64, copy=False)

    @cached_property
    def _spectrum(self):
        """``V, mu`` with V'HV = I and V'R0V = diag(mu): every shift at once."""
        unit = np.tile(self.objective.unit_penalty, self.objective.loss.n_outputs)
        with small_blas(len(unit)):
            mu, V = linalg.eigh(np.diag(unit), self._H)
        return V, mu

    def _solve_each(self, B, shift):
        if len(np.unique(shift)) <= 2:
            return super()._solve_each(B, shift)
        V, mu = self._spectrum
        return V @ ((V.T @ B) / (1.0 + np.outer(mu, shift)))

    def _leverages_each(self, design, shift):
        if len(np.unique(shift)) <= 2:
            return super()._leverages_each(design, shift)
        design = self.objective.design if design is None else design
        k, d = self.objective.theta.shape
        V, mu = self._spectrum
        h = np.empty((design.n_samples, k, k))
        for block in row_blocks(design.n_samples, 16 * k * k * d):
            part = design.take(block)
            # (rows, K, p): J_i V, one output at a time.
            moved = np.stack([part.multiply(V[a * d : (a + 1) * d]) for a in range(k)], axis=1)
            damped = moved / (1.0 + np.outer(shift[block], mu))[:, None, :]
            h[block] = damped @ moved.transpose(0, 2, 1)
        return h


class MixedFactor(PrimalFactor):
    """A float32 factor whose solves are refined with float64 Hessian products."""

    name = "primal Cholesky, mixed precision"
    # The matrix in single precision would say nothing of what is left.
    _product = Factor._product

    def __init__(self, objective, shift=0.0, damping=0.0):
        Factor.__init__(self, objective, shift, damping)
        p = objective.n_parameters
        check_fits((2, p, p), "Use solver='cg'.", "The Hessian and its factor", itemsize=4)
        with np.errstate(over="ignore", invalid="ignore"):
            H = self.curvature.dense(np.float32)
        k, d = objective.theta.shape
        used = objective.design.used_columns
        # Columns of zeros do not meet the others: their block is the penalty.
        self._used = (d * np.arange(k)[:, None] + used).ravel()
        self._diagonal = np.tile(self.curvature.penalty, k)
        if not len(self._used):
            self._used = np.arange(p)
        if len(self._used) < p:
            H = H[np.ix_(self._used, self._used)]
            if not np.delete(self._diagonal, self._used).all():
                raise SingularHessianError(f"Columns of zeros must be penalised. {REMEDY}")
        sizes = np.diagonal(H)
        if not ((sizes >= LEAST_SINGLE) & (sizes <= MOST_SINGLE)).all():
            least = np.finfo(sizes.dtype).tiny
            worst = self._used[np.argmax(np.abs(np.log(np.maximum(sizes, least))))] % d
            raise SingularHessianError(
                "Single precision must hold the squares of the columns. Got those of column "
                f"{worst}, which add up to {sizes.max():.0e}. {self._advice()}"
            )
        self._L, self._scale, self.rcond = cholesky(H, SINGLE, self._advice)
        del H

    def _advice(self):
        return "Use precision='float64', or scale the features (StandardScaler)."

    def _rough(self, B):
        solved = single_solved(self._L, self._scale.astype(np.float64), B[self._used])
        if len(solved) == len(B):
            return solved
        with np.errstate(divide="ignore", invalid="ignore"):
            out = B / self._diagonal[:, None]
        out[self._used] = solved
        return out

    def _solve(self, B):
        return self._refined(B, 1e-15), 0

    def _refined(self, B, rtol):
        X = self._rough(B)
        norms = np.linalg.norm(B, axis=0)
        # Each refinement gains about seven digits less those of the condition number.
        for _ in range(20):
            R = B - self.curvature.matmat(X)
            if (np.linalg.norm(R, axis=0) <= 100 * rtol * norms).all():
                break
            correction = self._rough(R)
            X += correction
            if np.linalg.norm(correction) <= rtol * np.linalg.norm(X):
                break
        return X

    def _sibling(self, shift):
        return MixedFactor(self.objective, shift, self.curvature.damping)

    @cached_property
    def leverage_error(self):
        """Relative error of ``b' H^-1 b`` by the float32 inverse ``G``: twice what was found.

        At eight rows, and for any ``b`` by the largest eigenvalue of ``G H - I``, which is symmetric
        in the inner product of H: three steps of a power iteration from those rows.
        """
        objective = self.objective
        rows = np.linspace(0, objective.n_samples - 1, min(8, objective.n_samples)).astype(int)
        part = objective.design.take(rows).dense_rows()
        k = objective.loss.n_outputs
        B = np.zeros((len(part), k, part.shape[1]))
        B[np.arange(len(part)), np.arange(len(part)) % k] = part
        HV = B.reshape(len(part), -1).T
        HV = HV[:, HV.any(axis=0)]
        if not HV.size:
            return 2.0 * float(np.finfo(np.float32).eps)
        V = self._solve(HV)[0]
        size = np.einsum("ij,ij->j", HV, V)
        W = self.inverse @ HV.astype(np.float32)
        found = np.abs(np.einsum("ij,ij->j", HV.astype(np.float32), W) - size) / size
        largest = 0.0
        for _ in range(3):
            W = W - V
            HW = self.curvature.matmat(W)
            left = np.einsum("ij,ij->j", W, HW)
            largest = max(largest, np.sqrt(np.max(left / size, initial=0.0)))
            scale = 1.0 / np.sqrt(np.maximum(left, np.finfo(float).tiny))
            V, HV, size = W * scale, HW * scale, np.ones(len(left))
            W = self.inverse @ HV.astype(np.float32)
        return 2.0 * float(np.max(found, initial=np.finfo(np.float32).eps) + largest)

    @cached_property
    def inverse(self):
        """``H^-1`` in float32, explicit."""
        inner = cho_inverse(self._L, self._scale)
        if len(inner) == len(self._diagonal):
            return inner
        with np.errstate(divide="ignore"):
            inverse = np.diag((1.0 / self._diagonal).astype(np.float32))
        inverse[np.ix_(self._used, self._used)] = inner
        return inverse
