"""The rows beside a row, as the model sees them: what a person compares it with."""

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline

from skinfluence._utils.untouched import transformed

# Multiplications that take seconds.
MAX_WORK = 3e10
BLOCK = 64


def nearest(audit, rows, k=5):
    """The training rows nearest to some of them.

    Parameters
    ----------
    audit : Audit
        With the estimator and its rows.
    rows : ndarray of int
        Positions in the training set.
    k : int, default=5
        How many neighbours of each.

    Returns
    -------
    neighbours : ndarray of int, shape (n_rows, k)
        Nearest first, by Euclidean distance between the features that the last step of the
        pipeline sees; by angle where they are sparse, as for texts of different lengths.
    same : ndarray of bool, shape (n_rows, k)
        Whether the features of a neighbour are those of the row.
    """
    X = _features(audit)
    n = X.shape[0]
    k = min(k, n - 1)
    if sparse.issparse(X):
        norms = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
        X = sparse.diags_array(1.0 / np.where(norms > 0, norms, 1.0)) @ X
        squares = np.where(norms > 0, 1.0, 0.0)
    else:
        X = X - X.mean(axis=0)
        squares = np.einsum("ij,ij->i", X, X)
    found = np.empty((len(rows), k), dtype=np.intp)
    same = np.empty((len(rows), k), dtype=bool)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        products = X[block] @ X.T
        products = products.toarray() if sparse.issparse(products) else products
        distance = squares[block, None] + squares - 2.0 * products
        distance[np.arange(len(block)), block] = np.inf
        some = np.argpartition(distance, k - 1, axis=1)[:, :k]
        # Ties in the order of the rows: the same page twice.
        order = np.lexsort((some, np.take_along_axis(distance, some, axis=1)), axis=1)
        some = np.take_along_axis(some, order, axis=1)
        found[start : start + len(block)] = some
        for i, row in enumerate(block):
            same[start + i] = _equal(X, row, some[i])
    return found, same


def too_many(audit, n_rows):
    """Whether looking for the neighbours of so many rows would take minutes."""
    X = audit.X
    width = X.shape[1] if hasattr(X, "shape") and len(X.shape) > 1 else 100
    return n_rows * len(audit.y) * min(width, 1000) > MAX_WORK


def _equal(X, row, others):
    if sparse.issparse(X):
        return np.array([(X[[row]] != X[[other]]).nnz == 0 for other in others])
    return (X[others] == X[row]).all(axis=1)


def _features(audit):
    """The rows as the last step of the estimator sees them."""
    model, X = audit.estimator, audit.X
    if isinstance(model, Pipeline):
        X = transformed([model[:-1]], X)
    return sparse.csr_array(X).astype(float) if sparse.issparse(X) else np.asarray(X, dtype=float)
