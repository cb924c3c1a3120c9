"""Expansions of all pairs of classes, as scikit-learn keeps them."""

import numpy as np


def dual_coefficients(beta, codes, n_classes, kind=None):
    """Support vectors and their coefficients as scikit-learn keeps them: one expansion for each pair.

    Parameters
    ----------
    beta : ndarray of shape (n_pairs, n_samples)
    codes : ndarray of int, shape (n_samples,)
    n_classes : int
    kind : type, default=None
        Of a CSR matrix in which every entry is stored: libsvm reads the values as a dense array.

    Returns
    -------
    support : ndarray of int, shape (n_support,)
        By class, then by row.
    counts : ndarray of int, shape (n_classes,)
    dual : ndarray, or CSR matrix, of shape (n_classes - 1, n_support)
    """
    used = np.flatnonzero(beta.any(axis=0))
    support = used[np.argsort(codes[used], kind="stable")]
    own = codes[support]
    dual = np.zeros((n_classes - 1, len(support)))
    if n_classes == 2:
        dual[:] = beta[:, support]
    else:
        for pair, (a, b) in enumerate(zip(*np.triu_indices(n_classes, 1), strict=True)):
            dual[b - 1, own == a] = beta[pair, support[own == a]]
            dual[a, own == b] = beta[pair, support[own == b]]
    if kind is not None:
        m, n = dual.shape
        stored = (dual.ravel(), np.tile(np.arange(n), m), np.arange(m + 1) * n)
        dual = kind(stored, shape=(m, n))
    return support, np.bincount(own, minlength=n_classes), dual
