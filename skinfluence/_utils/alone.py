"""Functions of a user's own: whether they give each row the same whatever other rows are there."""

import warnings
from itertools import chain
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing

# Rows that are parted from each other in all pairs.
SOME = 1024
# Rows that go through by themselves: so many at even distances, and the ends of so many columns.
SINGLE, COLUMNS = 8, 8
# Where parts of the rows have other values, beside round-off of their sums.
SAME = 1e-10
_TRIED = WeakKeyDictionary()


def is_own_function(transformer):
    """Whether a transformer is a function that nothing is known of."""
    return isinstance(transformer, FunctionTransformer) and not isinstance(
        transformer.func, np.ufunc | None
    )


def treats_rows_alone(transformer):
    """Whether a user's function was tried, and gave each row the same whatever others were there."""
    func, alone = _TRIED.get(transformer, (None, False))
    return alone and func is transformer.func


def try_functions(transformers, through, X, whole=None):
    """Try what :func:`treats_rows_alone` says of the functions among some transformers.

    Rows go through the fitted steps in parts: three parts of all of them, of up to 1,024 so many that any two
    are apart in one, and some rows by themselves, those at the ends of columns and with missing values among
    them. A statistic that all parts share, as the largest of a few grades is, is another one there, as it is
    where an edit brings a new grade. What once gave other values is never trusted again.

    Parameters
    ----------
    transformers : iterable of transformers
    through : callable
        What the steps make of some rows, an ndarray or CSR array.
    X : array-like of shape (n_samples, ...)
    whole : ndarray or CSR array, default=None
        What they make of all of them, where that is at hand.
    """
    functions = [one for one in transformers if is_own_function(one) and not _looked(one)]
    if not functions:
        return
    alone = _are_alone(through, X, through(X) if whole is None else whole)
    for one in functions:
        _TRIED[one] = one.func, alone


def _looked(transformer):
    """Whether a user's function once gave a row something else where other rows were there."""
    func, alone = _TRIED.get(transformer, (None, True))
    return func is transformer.func and not alone


def _are_alone(through, X, whole):
    n = whole.shape[0]
    every, bits = np.arange(n), max(n - 1, 1).bit_length()
    some = every[:: max(1, n // SOME)][:SOME]
    few = (len(some) - 1).bit_length()
    parted = [(every, every >> k & 1) for k in {0, bits // 2, bits - 1}]
    parted += [(some, np.arange(len(some)) >> k & 1) for k in range(few)]
    parts = (rows[side == k] for rows, side in parted for k in (0, 1) if (side == k).any())
    try:
        with warnings.catch_warnings():
            # Of what is tried here nothing is to be said.
            warnings.simplefilter("ignore")
            return n > 1 and all(
                _same(through(_safe_indexing(X, rows)), whole[rows])
                for rows in chain(parts, _single(X, whole))
            )
    except Exception:
        # A function that some rows are not enough for looks at more than one.
        return False


def _single(X, whole):
    """Rows to go through by themselves, each as an index of one."""
    n = whole.shape[0]
    rows = [np.arange(n)[:: max(1, n // SINGLE)][:SINGLE]]
    if not sp.issparse(whole):
        some = whole[:: max(1, n // 256)]
        distinct = [-len(np.unique(column)) for column in some.T]
        columns = whole[:, np.argsort(distinct, kind="stable")[:COLUMNS]]
        rows += [columns.argmin(axis=0), columns.argmax(axis=0)]
    if not sp.issparse(X) and len(np.shape(X)) == 2:
        missing = np.asarray(_is_missing(X))
        rows.append(missing.argmax(axis=0)[missing.any(axis=0)][:COLUMNS])
    return np.unique(np.concatenate(rows))[:, None]


def _is_missing(X):
    if hasattr(X, "isna"):
        return X.isna()
    X = np.asarray(X)
    return X != X if X.dtype.kind in "fcO" else np.zeros((1, 0), dtype=bool)


def _same(found, expected):
    if found.shape != expected.shape:
        return False
    if sp.issparse(found):
        off = abs(found - expected)
        return off.nnz == 0 or off.max() <= SAME * abs(expected).max()
    shown = np.abs(expected[np.isfinite(expected)])
    least = 1e-3 * SAME * shown.max(initial=0.0)
    return np.allclose(found, expected, rtol=SAME, atol=least, equal_nan=True)
