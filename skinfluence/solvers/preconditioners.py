"""Approximate inverses of a Hessian that make conjugate gradients converge sooner.

``"blocks"`` and ``"kronecker"`` have one form: orthonormal combinations ``t_b`` of the outputs, and
for each the Hessian of a single output on a sample of the rows,

    M^-1 = sum_b t_b t_b' (x) G_b^-1,      G_b = sum_i u_ib x_i x_i' + R.

``"means"`` corrects the diagonal D along the means of the classes, the columns of Z for each output,

    M^-1 = D^-1 + Z ((Z' H Z)^-1 - (Z' D Z)^-1) Z',

as it is there that the curvature stands out.
"""

import numpy as np
from scipy import linalg

from skinfluence._utils.memory import BLOCK_BYTES, row_blocks
from skinfluence._utils.threads import in_parts
from skinfluence.solvers.base import SingularHessianError

NAMES = ("auto", "diagonal", "means", "blocks", "kronecker")
# Means of classes times outputs: what the corrected part of the Hessian may have as its size.
MOST_MEANS = 64
# What must be left of a mean beside the others.
INDEPENDENT = 1e-6
# Rows of the sample, in columns: twice as many saves one iteration in ten.
ROWS_PER_COLUMN = 3
FEWEST_ROWS = 500
# Of scaled rows at a time: they are multiplied while they are in the cache.
CACHE_BYTES = 2**20
# Share of its diagonal that is added to a block: a sample may miss what a rare column does.
SHARE = 1e-3


def preconditioner_of(name, curvature, diagonal):
    """The preconditioner of a name.

    Parameters
    ----------
    name : {"auto", "diagonal", "means", "blocks", "kronecker"}
    curvature : Curvature
    diagonal : ndarray of shape (n_parameters,)
        Of the curvature.
    """
    if name not in NAMES:
        raise ValueError(f"preconditioner must be one of {', '.join(NAMES)}. Got {name!r} instead.")
    if name == "diagonal" or not len(curvature.objective.design.used_columns):
        return Diagonal(diagonal)
    if name == "auto":
        make = _class_blocks if _blocks_pay(curvature.objective) else _means
        try:
            return make(curvature, diagonal)
        except SingularHessianError:
            # It changes how fast the answer comes, not the answer.
            return Diagonal(diagonal)
    make = {"means": _means, "blocks": _class_blocks, "kronecker": _kronecker_blocks}[name]
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


class Means(Diagonal):
    """The diagonal, corrected in the span of a few columns for each output.

    Parameters
    ----------
    diagonal : ndarray of shape (n_parameters,)
    Z : ndarray of shape (d, r)
    inner : ndarray of shape (k r, k r)
        ``Z' H Z``, output by output.
    """

    def __init__(self, diagonal, Z, inner):
        super().__init__(diagonal)
        self._Z = Z
        own = np.einsum("du,ad,dv->auv", Z, diagonal.reshape(-1, len(Z)), Z)
        L, failed = linalg.lapack.dpotrf(inner, lower=1)
        if failed:
            raise SingularHessianError(
                "The Hessian along the means of the classes must be positive definite. Use "
                "preconditioner='diagonal', penalise the model or scale the features."
            )
        identity = np.eye(len(inner))
        self._change = linalg.cho_solve((L, True), identity)
        self._change -= linalg.block_diag(*np.linalg.inv(own))

    def apply(self, R):
        """``M^-1 R``, (n_parameters, m)."""
        (d, r), m = self._Z.shape, R.shape[1]
        along = (self._Z.T @ R.reshape(-1, d, m)).reshape(-1, m)
        change = (self._change @ along).reshape(-1, r, m)
        return super().apply(R) + (self._Z @ change).reshape(R.shape)


def _means(curvature, diagonal):
    """The diagonal with the Hessian along the means of the classes, or along the mean of all."""
    objective = curvature.objective
    design, k = objective.design, objective.loss.n_outputs
    if k > MOST_MEANS:
        return Diagonal(diagonal)
    groups = objective.weights[:, None]
    labels = objective.labels
    if labels is not None and k * len(labels.classes) <= MOST_MEANS:
        groups = groups * (objective.kinds(objective.y)[:, None] == np.arange(len(labels.classes)))
    U = design.adjoint(groups)
    root = np.sqrt(diagonal.reshape(k, -1).mean(axis=0))[:, None]
    Q, R, _ = linalg.qr(U / root, mode="economic", pivoting=True)
    size = np.abs(np.diagonal(R))
    Z = Q[:, size > INDEPENDENT * size[0]] / root
    r = Z.shape[1]
    if not r:
        return Diagonal(diagonal)
    inner = np.zeros((r * r, k * k))
    for block in design.slices(8 * (r**2 + k**2), BLOCK_BYTES // 8):
        moved = design.take(block).multiply(Z)
        pairs = (moved[:, :, None] * moved[:, None, :]).reshape(-1, r * r)
        own = objective.loss.hessian(objective.eta[block], objective.y[block]).reshape(-1, k * k)
        inner += pairs.T @ (objective.weights[block, None] * own)
    inner = inner.reshape(r, r, k, k).transpose(2, 0, 3, 1)
    for a in range(k):
        inner[a, :, a, :] += Z.T @ (curvature.penalty[:, None] * Z)
    return Means(diagonal, Z, inner.reshape(k * r, k * r))


class OutputBlocks:
    """One block of columns for each combination of the outputs.

    Parameters
    ----------
    directions : ndarray of shape (n_outputs, n_blocks)
        The ``t_b``, with orthonormal rows.
    roots : list of n_blocks ndarrays of shape (d, d)
        The inverse Cholesky factors of ``S G_b S`` in the columns of ``used``, in float32: half the
        memory, and M stays symmetric and positive.
    columns : _Columns
        ``used``, with ``S`` their ``scale``; the others have their ``diagonal``.
    """

    def __init__(self, directions, roots, columns):
        self._directions = directions
        self._roots = roots
        self._used, self._scale = columns.used, columns.scale[:, None]
        self._rest = 1.0 / columns.diagonal
        self._rest[self._used] = 0.0

    def apply(self, R):
        """``M^-1 R``, (n_parameters, m)."""
        k, n_blocks = self._directions.shape
        d, m = len(self._rest), R.shape[1]
        turned = (self._directions.T @ R.reshape(k, d * m)).reshape(n_blocks, d, m)
        inner = (self._scale * turned[:, self._used]).astype(np.float32)
        out = self._rest[:, None] * turned
        for root, one, place in zip(self._roots, inner, out, strict=True):
            place[self._used] = self._scale * (root.T @ (root @ one))
        return (self._directions @ out.reshape(n_blocks, d * m)).reshape(k * d, m)


def _directions(objective):
    """The outputs as the user sees them: the classes of a softmax in its K - 1 coordinates."""
    return objective.loss.expand(np.eye(objective.loss.n_outputs))


def _class_blocks(curvature, diagonal):
    """The diagonal blocks of the Hessian in the user's outputs, from a sample of the rows."""
    objective = curvature.objective
    directions = _directions(objective)
    rows, weights, hessians = _sample(objective)
    own = weights[:, None] * np.einsum("kb,ikl,lb->ib", directions, hessians, directions)
    columns = _Columns(curvature, diagonal)
    sample = columns.scaled(rows)

    def part(some):
        return [columns.inverse_root(_gram(sample, np.maximum(w, 0.0))) for w in own.T[some]]

    # In single precision, where a product is worth half of one in double.
    work = 0.25 * len(rows) * len(columns.used) ** 2
    roots = [root for some in in_parts(part, len(own.T), work) for root in some]
    return OutputBlocks(directions, roots, columns)


def _kronecker_blocks(curvature, diagonal):
    """``E[Lambda] (x) X' diag(tr Lambda) X``, in the eigenvectors of the mean ``E[Lambda]``."""
    objective = curvature.objective
    rows, weights, hessians = _sample(objective)
    traces = np.maximum(weights * np.einsum("ikk->i", hessians), 0.0)
    values, vectors = np.linalg.eigh(np.einsum("i,ikl->kl", weights, hessians))
    shares = np.maximum(values, 0.0) / max(traces.sum(), np.finfo(float).tiny)
    columns = _Columns(curvature, diagonal)
    gram = _gram(columns.scaled(rows), traces)
    roots = [columns.inverse_root(np.float32(share) * gram) for share in shares]
    return OutputBlocks(vectors, roots, columns)


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


class _Columns:
    """Columns that some row uses, scaled so that the mean Hessian has ones on its diagonal.

    Whatever the units of the features, single precision is then enough.
    """

    def __init__(self, curvature, diagonal):
        objective = curvature.objective
        self.design = objective.design
        self.used = self.design.used_columns
        self.diagonal = diagonal.reshape(objective.loss.n_outputs, -1).mean(axis=0)
        self.scale = 1.0 / np.sqrt(self.diagonal[self.used])
        self.added = (curvature.penalty / self.diagonal)[self.used]

    def scaled(self, rows):
        """Rows of the used columns, in float32."""
        out = np.empty((len(rows), len(self.used)), np.float32)
        for block in row_blocks(len(rows), 16 * self.design.n_columns, BLOCK_BYTES // 16):
            dense = self.design.take(rows[block]).dense_rows()
            np.multiply(dense[:, self.used], self.scale, out=out[block], casting="same_kind")
        return out

    def inverse_root(self, gram):
        """``L^-1`` of a Gram matrix with the penalty, ``L L'``; overwrites it."""
        own = gram.diagonal().copy()
        # Also where a block is far above the mean: single precision keeps the order of its columns.
        gram[np.diag_indices(len(gram))] += self.added + SHARE * np.maximum(own, 1.0)
        L, failed = linalg.lapack.spotrf(gram, lower=1, clean=1, overwrite_a=1)
        if not failed:
            L, failed = linalg.lapack.strtri(L, lower=1, overwrite_c=1)
        if not failed and np.isfinite(L).all():
            return L
        raise SingularHessianError(
            "A block of the preconditioner must be positive definite. Got one that is not to "
            "round-off. Use preconditioner='diagonal', penalise the model or scale the features."
        )


def _gram(rows, weights):
    """The lower triangle of ``X' diag(w) X``, Fortran-ordered as LAPACK wants it, in float32."""
    d = rows.shape[1]
    gram = np.zeros((d, d), np.float32, order="F")
    roots = np.sqrt(weights).astype(np.float32)[:, None]
    for block in row_blocks(len(rows), 4 * d, CACHE_BYTES):
        half = rows[block] * roots[block]
        gram = linalg.blas.ssyrk(1.0, half.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
    return gram
