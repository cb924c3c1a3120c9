"""Columns that are far from zero beside their spread, and rows moved to where they are not."""

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.memory import row_blocks

# A Gram matrix loses the square of how many spreads a column is from zero: six digits.
FAR = 1e3
# Rows by which columns far from zero are looked for.
SEEN = 64


def far_from_zero(X):
    """Columns whose mean is more than FAR times their spread, and constants beyond FAR.

    Parameters
    ----------
    X : ndarray or CSR array

    Returns
    -------
    columns : ndarray of int
    middles : ndarray
        Their means.
    spreads : ndarray
        Their standard deviations.
    """
    n, d = X.shape
    if not n or not d:
        return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)
    # Only columns that are far in a few rows are looked at in all.
    some, columns = X[np.linspace(0, n - 1, min(n, SEEN)).astype(int)], np.arange(d)
    if sp.issparse(some):
        columns = np.flatnonzero(np.bincount(some.indices, minlength=d) == some.shape[0])
        some = some[:, columns]
    some = whole(some)
    columns = columns[np.ptp(some, axis=0) < np.abs(some[0]) * 10.0 / FAR]
    middles, spreads = np.empty(len(columns)), np.empty(len(columns))
    for block in row_blocks(len(columns), 16 * n):
        values = whole(X[:, columns[block]])
        # Distances from one of them, which are exact, are summed.
        moved = values - values[0]
        middles[block] = values[0] + moved.mean(axis=0)
        spreads[block] = moved.std(axis=0)
    far = np.where(spreads > 0, np.abs(middles) > FAR * spreads, np.abs(middles) > FAR)
    return columns[far], middles[far], spreads[far]


def moved(X, shift):
    """``X + shift``; columns of a sparse array that are moved are stored whole."""
    if not sp.issparse(X):
        return np.asarray(X, dtype=np.float64) + shift
    columns = np.flatnonzero(shift)
    rest = np.flatnonzero(shift == 0)
    apart = sp.csr_array(whole(X[:, columns]) + shift[columns])
    order = np.argsort(np.concatenate([rest, columns]))
    return sp.csr_array(sp.hstack([X[:, rest], apart], format="csc")[:, order])


def whole(X):
    """Rows as one array in float64."""
    return X.toarray() if sp.issparse(X) else np.asarray(X, dtype=np.float64)
