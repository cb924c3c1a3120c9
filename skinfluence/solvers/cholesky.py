"""A Cholesky factorisation after scaling, and what to do about a matrix without one."""

from functools import cache

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.threads import SMALL, in_parts, small_blas
from skinfluence.solvers.base import Factor, SingularHessianError, column_sizes

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


@cache
def _lapack(name, dtype):
    """A routine of LAPACK: to look it up costs as much as a small solution."""
    return linalg.get_lapack_funcs(name, dtype=dtype)


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
    potrf, pocon = _lapack("potrf", scaled.dtype), _lapack("pocon", scaled.dtype)
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
    # What cho_solve calls, whose own checks cost more than a small solution.
    potrs = _lapack("potrs", np.result_type(L, B))

    def part(columns):
        return potrs(L, B[:, columns], lower=1)[0]

    if len(L) > SMALL or B.shape[1] < 2:
        with small_blas(len(L)):
            return part(slice(None))
    parts = in_parts(part, B.shape[1], len(L) ** 2)
    return parts[0] if len(parts) == 1 else np.hstack(parts)


def single_solved(L, scale, B):
    """``diag(scale) (L L')^-1 diag(scale) B`` by a factor in single precision.

    Parameters
    ----------
    L : ndarray of float32, shape (p, p)
    scale : ndarray of shape (p,)
    B : ndarray of shape (p, m)

    Returns
    -------
    solved : ndarray of shape (p, m)
        In double precision but for its digits.
    """
    out = scale[:, None] * B
    # Of one size: single precision has a narrow range.
    sizes = column_sizes(out)
    out /= sizes
    solved = cho_solved(L, out.astype(np.float32, order="F"))
    np.multiply(scale[:, None], solved, out=out)
    out *= sizes
    return out


def cho_inverse(L, scale):
    """``diag(scale) (L L')^-1 diag(scale)``, symmetric: a third of the flops of solving for it."""
    potri = _lapack("potri", L.dtype)
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

    # What solves lose relative to the solution, as seen when it was made; None where nobody looks.
    lost = None

    def __init__(self, objective, shift=0.0, damping=0.0):
        super().__init__(objective, shift, damping)
        self._losses = {}

    def __getstate__(self):
        return {**super().__getstate__(), "_losses": {}}

    def shifted(self, shift):
        found = super().shifted(shift)
        if found.lost is not None and found is not self:
            self._losses[shift] = found.lost
        return found

    def lost_at(self, shift):
        """What solves lose with factors of ``H + shift R0``, each refined as much as it needs.

        Parameters
        ----------
        shift : float or ndarray of shape (m,)

        Returns
        -------
        lost : float or ndarray of shape (m,)
            Relative to the solution; 0 at no shift, and of a form that does not look.
        """
        if self.lost is None or self.objective.penalty_stays:
            return 0.0
        for one in np.unique(shift):
            if one not in self._losses:
                self.shifted(float(one))
        found = [self._losses.get(one, 0.0) for one in np.ravel(shift)]
        return np.reshape(found, np.shape(shift))

    def _advice(self):
        return remedy(self.objective)
