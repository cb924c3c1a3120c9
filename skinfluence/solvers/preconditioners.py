"""Approximate inverses of a Hessian that make conjugate gradients converge sooner.

All but the diagonal have one form: orthonormal combinations ``t_b`` of the outputs, and for each
the Hessian of a single output on a sample of the rows,

    M^-1 = sum_b t_b t_b' (x) G_b^-1,      G_b = sum_i u_ib x_i x_i' + R.
"""

import numpy as np
from scipy import linalg

from skinfluence.solvers.base import SingularHessianError
from skinfluence.utils.memory import BLOCK_BYTES, row_blocks

NAMES = ("auto", "diagonal", "blocks", "kronecker")
# Rows of the sample, in columns: twice as many saves one iteration in ten.
ROWS_PER_COLUMN = 3
FEWEST_ROWS = 500
# Share of its diagonal that is added to a block: a sample may miss what a rare column does.
SHARE = 1e-3


def preconditioner_of(name, curvature, diagonal):
    """The preconditioner of a name.

    Parameters
    ----------
    name : {"auto", "diagonal", "blocks", "kronecker"}
    curvature : Curvature
    diagonal : ndarray of shape (n_parameters,)
        Of the curvature.
    """
    if name not in NAMES:
        raise ValueError(f"preconditioner must be one of {', '.join(NAMES)}. Got {name!r} instead.")
    if name == "auto":
        name = "blocks" if _blocks_pay(curvature.objective) else "diagonal"
    if name == "diagonal":
        return Diagonal(diagonal)
    make = _class_blocks if name == "blocks" else _kronecker_blocks
    return make(curvature, diagonal)


def _blocks_pay(objective):
    """Whether the blocks take little memory beside the rows, and the sample is a part of them."""
    X, d = objective.design.X, objective.design.n_columns
    size = X.data.nbytes + X.indices.nbytes if objective.design.is_sparse else X.nbytes
    n_blocks = _directions(objective).shape[1]
    pays = (
        4 * n_blocks * d**2 <= max(0.1 * size, BLOCK_BYTES)
        and ROWS_PER_COLUMN * d <= objective.n_samples
    )
    return pays and np.count_nonzero(objective.weights) >= ROWS_PER_COLUMN * d


class Diagonal:
    """Division by the diagonal."""

    def __init__(self, diagonal):
        self._inverse = 1.0 / diagonal[:, None]

    def apply(self, R):
        """``M^-1 R``, (n_parameters, m)."""
        return self._inverse * R


class Blocks:
    """One block of columns for each combination of the outputs.

    Parameters
    ----------
    directions : ndarray of shape (n_outputs, n_blocks)
        The ``t_b``, with orthonormal rows.
    grams : iterable of n_blocks ndarrays of shape (d, d)
        The ``G_b`` in the columns of ``used``, one at a time; overwritten.
    used : ndarray of int
        Columns of the blocks.
    diagonal : ndarray of shape (n_columns,)
        What the other columns have.
    """

    def __init__(self, directions, grams, used, diagonal):
        self._directions = directions
        self._used = used
        self._rest = 1.0 / diagonal
        self._rest[used] = 0.0
        # Inverse Cholesky factors in float32: half the memory, and M stays symmetric and positive.
        self._roots = list(map(_inverse_root, grams))

    def apply(self, R):
        """``M^-1 R``, (n_parameters, m)."""
        k, n_blocks = self._directions.shape
        d, m = len(self._rest), R.shape[1]
        turned = (self._directions.T @ R.reshape(k, d * m)).reshape(n_blocks, d, m)
        inner = turned[:, self._used].astype(np.float32)
        out = self._rest[:, None] * turned
        for root, one, place in zip(self._roots, inner, out, strict=True):
            place[self._used] = root.T @ (root @ one)
        return (self._directions @ out.reshape(n_blocks, d * m)).reshape(k * d, m)


def _inverse_root(gram):
    # The transpose of a symmetric C-ordered array is the Fortran order LAPACK wants: no copy.
    L, failed = linalg.lapack.dpotrf(gram.T, lower=1, clean=1, overwrite_a=1)
    if not failed:
        L, failed = linalg.lapack.dtrtri(L, lower=1, overwrite_c=1)
    if failed or not np.isfinite(L).all():
        raise SingularHessianError(
            "A block of the preconditioner must be positive definite. Got one that is not to "
            "round-off. Use preconditioner='diagonal', penalise the model or scale the features."
        )
    return L.astype(np.float32)


def _directions(objective):
    """The outputs as the user sees them: the classes of a softmax in its K - 1 coordinates."""
    return objective.loss.expand(np.eye(objective.loss.n_outputs))


def _class_blocks(curvature, diagonal):
    """The diagonal blocks of the Hessian in the user's outputs, from a sample of the rows."""
    objective = curvature.objective
    directions = _directions(objective)
    rows, weights, hessians = _sample(objective)
    own = weights[:, None] * np.einsum("kb,ikl,lb->ib", directions, hessians, directions)
    used, mean = _columns(curvature, diagonal)
    grams = (_gram(objective.design, rows, np.maximum(w, 0.0), used) for w in own.T)
    return Blocks(directions, _penalised(grams, curvature, used, mean), used, mean)


def _kronecker_blocks(curvature, diagonal):
    """``E[Lambda] (x) X' diag(tr Lambda) X``, in the eigenvectors of the mean ``E[Lambda]``."""
    objective = curvature.objective
    rows, weights, hessians = _sample(objective)
    traces = np.maximum(weights * np.einsum("ikk->i", hessians), 0.0)
    values, vectors = np.linalg.eigh(np.einsum("i,ikl->kl", weights, hessians))
    shares = np.maximum(values, 0.0) / max(traces.sum(), np.finfo(float).tiny)
    used, mean = _columns(curvature, diagonal)
    gram = _gram(objective.design, rows, traces, used)
    grams = (share * gram for share in shares)
    return Blocks(vectors, _penalised(grams, curvature, used, mean), used, mean)


def _sample(objective):
    """Rows with weight, their weights as if they were all, and their Hessians in eta."""
    rows = np.flatnonzero(objective.weights > 0)
    size = max(FEWEST_ROWS, ROWS_PER_COLUMN * objective.design.n_columns)
    if len(rows) > size:
        # Any fixed sample will do: it changes how fast the answer comes, not the answer.
        rows = np.sort(np.random.default_rng(0).choice(rows, size, replace=False))
    weights = objective.weights[rows]
    weights = weights * (objective.total_weight / weights.sum())
    return rows, weights, objective.loss.hessian(objective.eta[rows], objective.y[rows])


def _columns(curvature, diagonal):
    """Columns that some row uses, and the mean diagonal over the outputs of each column."""
    k = curvature.objective.loss.n_outputs
    return curvature.objective.design.used_columns, diagonal.reshape(k, -1).mean(axis=0)


def _penalised(grams, curvature, used, mean):
    added = (curvature.penalty + SHARE * mean)[used]
    for gram in grams:
        gram[np.diag_indices(len(used))] += added
        yield gram
        # Gone before the next one is made.
        del gram


def _gram(design, rows, weights, used):
    """``X' diag(w) X`` of some rows in the columns of ``used``, without a copy of them all."""
    gram = np.zeros((len(used), len(used)))
    for block in row_blocks(len(rows), 24 * design.n_columns, BLOCK_BYTES // 16):
        half = design.take(rows[block]).dense_rows()[:, used]
        half *= np.sqrt(weights[block])[:, None]
        gram += half.T @ half
    return gram
