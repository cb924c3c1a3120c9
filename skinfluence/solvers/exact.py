"""Dense Cholesky factorisations: primal (parameters) or dual (training outputs), by shape."""

from functools import cached_property
from typing import Literal

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence._utils.threads import SMALL, in_parts, small_blas
from skinfluence._utils.typing import Precision
from skinfluence.solvers.base import Factor, SingularHessianError, check_damping, column_sizes

# A solve of the dual form that loses less than this is not refined; up to how often it is.
SOLVED, MAX_REFINEMENTS = 1e-12, 4
# What refinements may leave: certificates measure it and count it.
WORST = 1e-7
# Beyond this loss leverages come by refined solves too.
ROUGH = 1e-9
# Parameters up to which the primal form takes over where the dual one fails, which is no matter of
# what determines the parameters: that is what the primal one then says.
LARGEST_RESCUE = 5_000
REMEDY = (
    "Penalise the model (a finite C, alpha > 0), drop constant, duplicate or linearly dependent "
    "columns, or rescale the features."
)
PENALISED = (
    "The penalty is too small beside the features to determine them: penalise more, drop duplicate "
    "or linearly dependent columns, or rescale the features."
)
DUAL, SINGLE = "The dual matrix", "The Hessian in single precision"
UNDETERMINED = ", so some parameters are not determined by the data"
# Entries of a Hessian whose inverse single precision holds too.
LEAST_SINGLE, MOST_SINGLE = 1e-37, 1e37
# Rows of a dual matrix are left out while what they add up to, relative to H, is below this.
IDLE = 1e-13


def remedy(objective):
    """What to do about a Hessian that cannot be factored: what it is about this one."""
    columns, middles, spreads = objective.design.far_columns()
    with np.errstate(divide="ignore"):
        far = np.abs(middles) / spreads
    # Half the digits of float64, or a constant: squares have lost all of the spread.
    lost = columns[far > 1e7]
    if len(lost):
        worst = far[np.argmax(np.where(np.isfinite(far), far, 0.0))]
        how = f"{worst:.0e} times their spread" if np.isfinite(worst) else "constant"
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        return (
            f"Columns far from zero (column {lost[0]}{more}, up to {how}) have squares that leave no "
            "digits to what tells rows apart. Centre the columns (StandardScaler), or fit an "
            "intercept without a penalty, which is centred here."
        )
    return PENALISED if objective.penalty.any() else REMEDY


class Exact:
    """Direct solver.

    Parameters
    ----------
    form : {"auto", "primal", "dual"}, default="auto"
        ``"primal"`` factors the Hessian, ``"dual"`` the kernel matrix of the training outputs;
        ``"auto"`` takes the smaller one. Where columns of very different scales cancel in the dual
        form, the primal one takes over up to 5,000 parameters; ``report().solver`` names what is used.
    precision : {"float64", "mixed"}, default="float64"
        ``"mixed"`` (primal only): Gram matrices, factorisation and leverages in float32, each
        solve refined to float64 with exact Hessian products. The relative error this leaves in
        leverages is part of every bound.
    damping : float, default=0.0
        Factor ``H + damping I``; see :class:`~skinfluence.solvers.CG`.
    """

    def __init__(
        self,
        form: Literal["auto", "primal", "dual"] = "auto",
        precision: Precision = "float64",
        damping: float = 0.0,
    ) -> None:
        self.form = form
        self.precision = precision
        self.damping = damping

    @staticmethod
    def has_dual(objective):
        """Whether every column but the intercept is penalised, as the dual needs.

        Parameters
        ----------
        objective : Objective
        """
        return bool((objective.penalty[: objective.design.n_features] > 0).all())

    def factor(self, objective):
        """A :class:`~skinfluence.solvers.Factor` of the Hessian at ``objective.theta``.

        Parameters
        ----------
        objective : Objective

        Raises
        ------
        SingularHessianError
            If the Hessian is not numerically positive definite.
        """
        outputs = objective.n_samples * objective.loss.n_outputs
        form, damping = self.form, check_damping(self.damping)
        if form == "auto":
            small = outputs < objective.n_parameters and self.has_dual(objective)
            form = "dual" if small else "primal"
            if small and self.precision != "mixed":
                return self._dual(objective, damping)
        if self.precision == "mixed":
            if form != "primal":
                raise ValueError(
                    "precision='mixed' needs more training outputs than parameters. Got "
                    f"{outputs} and {objective.n_parameters}; use precision='float64'."
                )
            _refuse_many_shifts(objective)
            return MixedFactor(objective, damping=damping)
        if form == "dual":
            if not self.has_dual(objective):
                raise ValueError(
                    "The dual form needs a penalty on every feature. Got an unpenalised "
                    "model; use Exact('primal')."
                )
            return self._dual(objective, damping, named=True)
        if form == "primal":
            return PrimalFactor(objective, damping=damping)
        raise ValueError(f"form must be 'auto', 'primal' or 'dual'. Got {form!r} instead.")

    def for_edits(self):
        """The solver of edited problems: where single precision fails on one, double takes over."""
        return self if self.precision == "float64" else _SingleOrDouble(self)

    @staticmethod
    def _dual(objective, damping, named=False):
        """The dual form, or the primal one where columns of very different scales cancel in it."""
        try:
            return DualFactor(objective, damping=damping)
        except SingularHessianError as error:
            refused = named and isinstance(error, _CurvesDownError)
            if refused or objective.n_parameters > LARGEST_RESCUE:
                raise
        return PrimalFactor(objective, damping=damping)


class _CurvesDownError(SingularHessianError):
    """Of the dual form, which takes square roots of second derivatives."""


class _SingleOrDouble:
    """Factors edited problems in single precision, in double where that has too few digits."""

    def __init__(self, solver):
        self._single, self._double = solver, Exact("primal", damping=solver.damping)

    def factor(self, objective):
        try:
            return self._single.factor(objective)
        except SingularHessianError:
            return self._double.factor(objective)


def cholesky(A, what, advice=lambda: REMEDY):
    """Lower Cholesky factor of the symmetric ``A`` after scaling to unit diagonal.

    Parameters
    ----------
    A : ndarray
    what : str
        Its name, for errors.
    advice : callable
        What to do about a matrix without a factor.

    Returns
    -------
    L : ndarray, Fortran order
        Factor of ``diag(s) A diag(s)``.
    s : ndarray
        The scaling.
    rcond : float
        LAPACK's estimate for the scaled matrix.
    """
    diagonal = np.diagonal(A)
    if not np.all(np.isfinite(diagonal)):
        raise SingularHessianError(
            f"{what} must be finite. It has NaN or infinite entries. {advice()}"
        )
    if not (diagonal > 0).all():
        raise SingularHessianError(
            f"{what} must be positive definite. {int((~(diagonal > 0)).sum())} of its "
            f"{len(A)} diagonal entries are not positive. {advice()}"
        )
    s = 1.0 / np.sqrt(diagonal)
    scaled = s[:, None] * A
    scaled *= s
    norm = max(
        np.abs(scaled[block]).sum(axis=1).max() for block in row_blocks(len(A), A.nbytes // len(A))
    )
    potrf, pocon = linalg.get_lapack_funcs(("potrf", "pocon"), (scaled,))
    # The transpose of a symmetric C-ordered array is the Fortran order LAPACK wants: no copy.
    with small_blas(len(A)):
        L, info = potrf(scaled.T, lower=1, clean=1, overwrite_a=1)
        rcond = float(pocon(L, norm, uplo="L")[0]) if info == 0 else 0.0
    if rcond < 10 * np.finfo(A.dtype).eps:
        raise SingularHessianError(
            f"{what} must be positive definite. Its reciprocal condition number is {rcond:.1e} "
            f"after scaling{'' if what in (DUAL, SINGLE) else UNDETERMINED}. {advice()}"
        )
    return L, s, rcond


def cho_solved(L, B):
    """``(L L')^-1 B``; of a small factor by ranges of columns, one for each thread."""

    def part(columns):
        return linalg.cho_solve((L, True), B[:, columns], check_finite=False)

    if len(L) > SMALL or B.shape[1] < 2:
        with small_blas(len(L)):
            return part(slice(None))
    parts = in_parts(part, B.shape[1], len(L) ** 2)
    return parts[0] if len(parts) == 1 else np.hstack(parts)


def cho_inverse(L, scale):
    """``diag(scale) (L L')^-1 diag(scale)``, symmetric: a third of the flops of solving for it."""
    (potri,) = linalg.get_lapack_funcs(("potri",), (L,))
    with small_blas(len(L)):
        inverse = potri(L, lower=1)[0]
    scale = scale.astype(L.dtype)
    # By blocks of columns, without another matrix: the upper triangle is zero so far.
    for block in row_blocks(len(L), inverse.nbytes // len(L)):
        inverse[: block.stop, block] += np.tril(inverse[block, : block.stop], block.start - 1).T
    for block in row_blocks(len(L), inverse.nbytes // len(L)):
        inverse[:, block] *= scale[:, None] * scale[block]
    return inverse


class DenseFactor(Factor):
    """A factor that says what to do where there is none."""

    def _advice(self):
        return remedy(self.objective)


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
        blocks = inverse.reshape(k, d, k, d)
        rows, columns = np.tril_indices(k)
        # Not named here: what the forms do not need of it is freed on the way.
        forms = design.quadratics(
            np.array([0.5 * (blocks[a, :, b] + blocks[a, :, b].T) for a, b in zip(rows, columns)]),
            inverse.dtype,
        )
        h = np.empty((design.n_samples, k, k))
        h[:, rows, columns] = forms
        h[:, columns, rows] = forms
        return h

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
        scaled = self._scale[:, None].astype(np.float64) * B[self._used]
        # Of one size: single precision has a narrow range.
        sizes = column_sizes(scaled)
        scaled = (scaled / sizes).astype(np.float32)
        solved = linalg.cho_solve((self._L, True), scaled, overwrite_b=True, check_finite=False)
        solved = self._scale[:, None].astype(np.float64) * solved * sizes
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


def _refuse_many_shifts(objective):
    """Every row of another weight takes another share of the penalty: a factorisation each."""
    weights = objective.weights[objective.weights > 0]
    if objective.unit_penalty.any() and (weights != weights[0]).any():
        raise ValueError(
            "precision='mixed' with a penalty per unit of weight (hold='lambda') needs equal "
            f"weights. Got weights from {weights.min():.3g} to {weights.max():.3g}; use "
            "precision='float64'."
        )


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
        n, k = objective.n_samples, objective.loss.n_outputs
        check_fits((3, n * k, n * k), "Use solver='cg'.", what="The dual matrix and its factor")
        design = objective.design
        weighted = objective.weights[:, None, None] * objective.hessians
        if k == 1:
            if (weighted < 0).any():
                self._refuse_indefinite()
            self._F = np.sqrt(weighted)
        else:
            values, vectors = np.linalg.eigh(weighted)
            if (values < -1e-10 * np.abs(values).max(initial=0.0)).any():
                self._refuse_indefinite()
            self._F = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        penalty = self.curvature.penalty
        if not (penalty[: design.n_features] > 0).all():
            raise SingularHessianError(
                "The dual form needs a penalty on every feature. Got none: with hold='lambda' it goes "
                "with the weight. Keep rows of positive weight."
            )
        self._inverse_penalty = 1.0 / penalty[: design.n_features]
        own = design.squared_norms(np.append(self._inverse_penalty, 0.0)[: design.n_columns])
        self._own_kernel = own
        if k == 1:
            self._factor_single(own)
        else:
            kernel = design.kernel(design, self._inverse_penalty)
            B = np.einsum("iua,juc,ij->iajc", self._F, self._F, kernel, optimize=True)
            B = B.reshape(n * k, n * k)
            del kernel
            B[np.diag_indices(n * k)] += 1.0
            self._rows = np.arange(n)
            self._L, self._scale, self.rcond = cholesky(B, DUAL, self._advice)
        if design.intercept:
            self._border = design.intercept * self._F.transpose(0, 2, 1).reshape(n * k, k)
            self._B_border = self._B_solve(self._border)
            schur = self._border.T @ self._B_border + penalty[-1] * np.eye(k)
            self._schur = cholesky(schur, "The Hessian of the intercept", self._advice)
        self._refinements = self._needed_refinements()

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
        z = rng.choice((-1.0, 1.0), size=(self.objective.n_samples, k, 1))
        drawn = self.objective.design.adjoint((self._F @ z)[..., 0]).T
        drawn = drawn + np.sqrt(self.curvature.penalty) * rng.choice((-1.0, 1.0), size=(k, d))
        b = drawn.reshape(-1, 1)
        x = self._rough(b)
        size, lost = np.sqrt(abs(float((b.T @ x)[0, 0]))), np.inf
        for done in range(MAX_REFINEMENTS + 1):
            residual = b - self.curvature.matmat(x)
            correction = self._rough(residual)
            before, lost = lost, np.sqrt(abs(float((residual.T @ correction)[0, 0])))
            if not done:
                self._rough_error = lost / size if size else 0.0
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
        raise _CurvesDownError(
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

    def _active_solve(self, T):
        return self._scale[:, None] * cho_solved(self._L, self._scale[:, None] * T)

    def _schur_solve(self, T):
        L, scale, _ = self._schur
        return scale[:, None] * cho_solved(L, scale[:, None] * T)

    def _sibling(self, shift):
        return DualFactor(self.objective, shift, self.curvature.damping)

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
