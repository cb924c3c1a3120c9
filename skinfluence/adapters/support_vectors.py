"""What a fitted SVC or SVR of libsvm keeps: which rows are its support vectors, and their coefficients."""

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from skinfluence._utils.memory import row_blocks

# Share of a column's spread by which two computations of the same rows may differ.
SAME_ROWS = 1e-10
EPS = np.finfo(np.float64).eps


def support_rows(model, X, sample_weight):
    """The training rows of a fitted SVC's support vectors.

    libsvm drops rows of weight zero and counts the others, so that ``support_`` counts those. Of rows
    that are equal the vectors do not say which way they were counted.
    """
    support = np.asarray(model.support_)
    if not len(support):
        return support
    for rows in (np.flatnonzero(sample_weight > 0), np.arange(X.shape[0])):
        if support.max() < len(rows) and _same_rows(X, rows[support], model.support_vectors_):
            return rows[support]
    raise ValueError(
        "X must hold the rows given to fit, in the same order. Got rows that differ from the support "
        "vectors of the fitted model."
    )


def _same_rows(X, rows, vectors):
    """Whether some rows are the vectors, which the same transformer may have computed before.

    The two computations differ by units in the last place of a column, or of the largest column
    where a projection leaves others small beside it: then each vector must also be a thousand times
    nearer to its row than to any other.
    """
    low, high = _column_extremes(X)
    size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    differs = _column_extremes(abs(X[rows] - vectors))[1]
    if (differs <= 8.0 * EPS * size + SAME_ROWS * spread).all():
        return True
    if sp.issparse(X) or not (differs <= 256.0 * EPS * size.max()).all():
        return False
    X, vectors = (A / np.where(spread > 0, spread, 1.0) for A in (X, vectors))
    for block in row_blocks(len(rows), 16 * len(X)):
        own = np.linalg.norm(vectors[block] - X[rows[block]], axis=1)
        others = cdist(vectors[block], X)
        others[cdist(X[rows[block]], X) == 0.0] = np.inf
        if not (own <= 1e-3 * others.min(axis=1)).all():
            return False
    return True


def _column_extremes(X):
    low, high = X.min(axis=0), X.max(axis=0)
    if sp.issparse(X):
        low, high = low.toarray(), high.toarray()
    return np.ravel(low), np.ravel(high)


def expansions(model, support, codes):
    """Coefficients of every pair (a, b) with a < b, positive for a (for b if there is one pair).

    scikit-learn keeps those of class a against class b in row b - 1 of the columns of a's support
    vectors, and those of class b against class a in row a.
    """
    dual = model.dual_coef_.toarray() if sp.issparse(model.dual_coef_) else model.dual_coef_
    k = len(model.classes_)
    if k == 2:
        out = np.zeros((1, len(codes)))
        out[:, support] = dual
        return out
    first, second = np.triu_indices(k, 1)
    out = np.zeros((len(first), len(codes)))
    own = codes[support]
    for pair, (a, b) in enumerate(zip(first, second, strict=True)):
        for mine, row in ((a, b - 1), (b, a)):
            among = own == mine
            out[pair, support[among]] = dual[row, among]
    return out
