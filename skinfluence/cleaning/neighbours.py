"""The rows beside a row, as the model sees them: what a person compares it with."""

import numpy as np
from scipy import sparse

from skinfluence.inputs.wrappers import behind_steps

# Multiplications that take seconds.
MAX_WORK = 3e10
BLOCK = 128


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
        Nearest first, by the features that the last step of the pipeline sees.
    same : ndarray of bool, shape (n_rows, k)
        Whether the features of a neighbour are those of the row.
    """
    X = _features(audit)
    found = nearest_rows(X, rows, k)
    same = [_equal(X, row, others) for row, others in zip(rows, found, strict=True)]
    return found, np.array(same, dtype=bool).reshape(found.shape)


def nearest_rows(X, rows, k, among=None, dtype=np.float64):
    """The rows of a matrix nearest to some of them.

    Parameters
    ----------
    X : {ndarray, sparse matrix} of shape (n_samples, n_features)
    rows : ndarray of int
    k : int
        How many of each, at most all others.
    among : ndarray of int, default=None
        Where to look, ascending. All rows by default.
    dtype : {numpy.float64, numpy.float32}, default=numpy.float64
        Of the products of dense rows. In single precision rows that are about as near as each other
        may be taken for each other, at half the price.

    Returns
    -------
    found : ndarray of int, shape (n_rows, k)
        Nearest first, never the row itself, by Euclidean distance; by angle where the matrix is
        sparse, as for texts of different lengths. Ties in the order of the rows.
    """
    among = np.arange(X.shape[0]) if among is None else among
    k = min(k, len(among) - 1)
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        norms = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
        X = sparse.csr_array(X.multiply(1.0 / np.where(norms > 0, norms, 1.0)[:, None]))
        squares = np.where(norms > 0, 1.0, 0.0)[among]
    else:
        # About the middle of most rows, which a far one does not move: nothing large cancels.
        X = X - np.median(X[among], axis=0)
        X = (X / (np.abs(X).max(initial=0.0) or 1.0)).astype(dtype)
        squares = np.einsum("ij,ij->i", X[among], X[among])
    others = -2.0 * X[among].T
    place = np.full(X.shape[0], -1)
    place[among] = np.arange(len(among))
    found = np.empty((len(rows), k), dtype=np.intp)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        distance = X[block] @ others
        distance = distance.toarray() if sparse.issparse(distance) else distance
        # The row's own square is the same for all.
        distance += squares
        inside = np.flatnonzero(place[block] >= 0)
        distance[inside, place[block[inside]]] = np.inf
        found[start : start + len(block)] = among[_smallest(distance, k)]
    return found


def _smallest(distance, k):
    """Where the `k` smallest of each line are, ascending; ties in the order of the columns."""
    if k == 0:
        return np.empty((len(distance), 0), dtype=np.intp)
    # Values are selected several times faster than places.
    last = np.partition(distance, k - 1, axis=1)[:, k - 1, None]
    near = distance <= last
    flat = np.flatnonzero(near)
    if len(flat) > k * len(distance):
        for line in np.flatnonzero(near.sum(axis=1) > k):
            at_the_end = np.flatnonzero(distance[line] == last[line])
            near[line, at_the_end[k - near[line].sum() :]] = False
        flat = np.flatnonzero(near)
    some = flat.reshape(-1, k) % distance.shape[1]
    order = np.argsort(np.take_along_axis(distance, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


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
    _, X = behind_steps(audit.estimator, audit.X)
    return sparse.csr_array(X).astype(float) if sparse.issparse(X) else np.asarray(X, dtype=float)
