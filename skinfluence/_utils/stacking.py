"""Raw rows of any container: how many there are, and some of them put together."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils import _safe_indexing


def n_rows(X):
    """Rows of a container."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def chosen_and(X, rows, new):
    """Some rows of a container and then new ones, in the same kind of container.

    Parameters
    ----------
    X : array-like
        An array, a sparse matrix, a frame, or a list of rows or texts.
    rows : ndarray of int
    new : list
        Of containers of one row each, as X is.
    """
    some = _safe_indexing(X, rows)
    if not new:
        return some
    if hasattr(some, "iloc"):
        # Imported by whoever made the frame.
        import pandas as pd

        named = {"columns": some.columns} if some.ndim == 2 else {}
        new = [one if hasattr(one, "iloc") else type(some)(_plain(one), **named) for one in new]
        return pd.concat([some, *new], ignore_index=True)
    if hasattr(some, "vstack"):
        for one in new:
            some = some.vstack(one)
        return some
    if isinstance(some, list):
        return some + [row for one in new for row in one]
    if sp.issparse(some):
        return sp.vstack([some, *[sp.csr_array(one) for one in new]], format="csr")
    return np.concatenate([some, *[_plain(one) for one in new]])


def _plain(one):
    return one.toarray() if sp.issparse(one) else np.asarray(one)
