"""Least squares on columns that depend on each other: asked in the coordinates of the space of the rows.

Coefficients are then not determined, and the smallest of them are as good as any; predictions at rows within
the space of the training rows are. There every edit is one of a problem with full rank, and that of the
smallest coefficients, which a fit by singular values finds.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import check_fits
from skinfluence.design.dense import DenseDesign
from skinfluence.losses import SquaredError
from skinfluence.solvers.base import column_sizes

# Of the longest direction: what has half of the digits.
UNSURE = 1e-8
# Of the size of a row: what may lie outside of the space of the others.
OUTSIDE = 1e-9


class RowSpaceDesign(DenseDesign):
    """Rows as coordinates, ``(x - shift) basis``.

    Parameters
    ----------
    X : ndarray of shape (n_samples, rank)
        Coordinates.
    intercept : float, default=1.0
    shift : ndarray of shape (n_features,)
        The middle of the training rows, zeros without an intercept.
    basis : ndarray of shape (n_features, rank)
        Orthonormal columns.
    """

    turned = True

    def __init__(self, X, intercept=1.0, shift=None, basis=None):
        super().__init__(X, intercept, shift)
        self.basis = basis

    def held(self, X):
        return RowSpaceDesign(X, self.intercept, self.shift, self.basis)

    def take(self, rows):
        return self.held(self.X[rows])

    def like(self, X):
        return self.held(coordinates(X, self.shift, self.basis))

    def extended(self, new):
        return self.held(np.vstack([self.X, new.X]))

    def given(self, rows):
        return self.X[rows] @ self.basis.T + self.shift

    def centred(self):
        return self

    def in_units(self, theta):
        rank = self.n_features
        coef = theta[..., :rank] @ self.basis.T
        if not self.intercept:
            return coef
        offset = self.intercept * theta[..., -1] - coef @ self.shift
        return np.concatenate([coef, offset[..., None]], axis=-1)

    def outside(self, X):
        """Which of some rows, as they were given, lie outside of the space of the training rows."""
        X = X.toarray() if sp.issparse(X) else np.asarray(X, dtype=np.float64)
        left = X - self.like(X).given(slice(None))
        size = np.linalg.norm(X, axis=1) + np.linalg.norm(self.shift)
        return np.linalg.norm(left, axis=1) > OUTSIDE * size


def coordinates(X, shift, basis):
    """``(x - shift) basis`` of rows, dense or sparse, (n_rows, rank)."""
    if sp.issparse(X):
        return np.asarray(X @ basis) - shift @ basis
    # The difference first: columns far from zero would cancel.
    return (np.asarray(X, dtype=np.float64) - shift) @ basis


def in_row_space(objective):
    """The same problem in the coordinates of the space of its rows; None where that is no help.

    For the squared error without a penalty. Directions along which the rows differ by no more than rounding
    are left out, as scikit-learn's fit does: rounding of columns of one size, as little beside a far larger
    column may be a column of its own. Where others are hardly longer a fit is rounding too, and where as many
    are left as rows no row can be missed.

    Parameters
    ----------
    objective : Objective

    Returns
    -------
    objective : Objective or None
    """
    design, free = objective.design, objective.design.n_features
    squared = isinstance(objective.loss, SquaredError) and objective.labels is None
    if not squared or objective.penalty.any() or not design.in_memory or design.turned:
        return None
    there = objective.weights > 0
    check_fits((3, design.n_samples, free), "Penalise the model.", "Its singular vectors")
    X = design.X.toarray() if design.is_sparse else design.X
    w = objective.weights
    middle = w @ X / w.sum() if design.intercept else np.zeros(free)
    root = np.sqrt(w[there])[:, None]
    rows, entries = root * (X[there] - middle), column_sizes(root * X[there])
    _, sizes, vectors = np.linalg.svd(rows, full_matrices=False)
    sizes /= max(sizes.max(initial=0.0), 1e-300)
    rank = _rank(sizes, rows.shape)
    if rank != _rank(np.linalg.svd(rows / entries, compute_uv=False), rows.shape):
        return None
    if not 0 < rank < np.count_nonzero(there) - bool(design.intercept) or sizes[rank - 1] < UNSURE:
        return None
    basis = np.ascontiguousarray(vectors[:rank].T)
    theta = objective.theta[:, :free] @ basis
    if design.intercept:
        offset = objective.theta[:, -1] + objective.theta[:, :free] @ middle / design.intercept
        theta = np.column_stack([theta, offset])
    shift = middle if design.shift is None else middle + design.shift
    turned = RowSpaceDesign((X - middle) @ basis, design.intercept, shift, basis)
    return replace(objective, design=turned, theta=theta, penalty=np.zeros(turned.n_columns))


def _rank(sizes, shape):
    """How many singular values are more than rounding of the largest."""
    return int(np.count_nonzero(sizes > max(shape) * np.finfo(float).eps * sizes.max(initial=0.0)))


def refuse_turned(design, what):
    """Refuse a question about columns or their coefficients where those depend on each other.

    Raises
    ------
    ValueError
    """
    if getattr(design, "turned", False):
        raise ValueError(
            f"{what} must be determined by the data. Got {len(design.basis)} columns that depend on each "
            f"other, of rank {design.n_features}: predictions are determined, with what a row does to "
            "them, their leverages and Cook's distance. Drop columns (OneHotEncoder(drop='first')), or "
            "penalise the model."
        )
