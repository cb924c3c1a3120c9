"""Functions of a user's own: whether they give each row the same whatever other rows are there."""

import copy
import warnings
from itertools import chain
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing

from skinfluence._utils.stacking import chosen_and, n_rows

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


def gives_rows_alone(transformer, X):
    """Whether what transforms gives rows what it gives them in parts; see :func:`try_functions`."""
    return _quietly(_are_alone, transformer, X)


def try_functions(given):
    """Try what :func:`treats_rows_alone` says of functions.

    Rows go through each in parts: three parts of all of them, of up to 1,024 so many that any two are apart
    in one, and some rows by themselves, those at the ends of columns and with missing values among them. A
    statistic that all parts share, as the largest of a few grades is, is another one there, as it is where
    an edit brings a new grade. What once gave other values is never trusted again.

    Parameters
    ----------
    given : iterable of (FunctionTransformer, array-like)
        Fitted ones of a user's own, and the rows that each is given.
    """
    for one, X in given:
        if not _looked(one):
            _TRIED[one] = one.func, _quietly(_are_alone, one, X)


def try_beside(transformer, X, rows, new):
    """Try a function that is trusted on what an edit leaves: whether it gives each row what it gave.

    Parameters
    ----------
    transformer : FunctionTransformer
    X : array-like
        The rows that it is given.
    rows : ndarray of int
        Those of them that stay.
    new : list of array-like
        Containers of one row, beside those.
    """
    _TRIED[transformer] = transformer.func, _quietly(_leaves_alone, transformer, X, rows, new)


def _quietly(tried, *given):
    try:
        with warnings.catch_warnings():
            # Of what is tried here nothing is to be said.
            warnings.simplefilter("ignore")
            return bool(tried(*given))
    except Exception:
        # A function that some rows are not enough for looks at more than one.
        return False


def _leaves_alone(transformer, X, rows, new):
    both, n = transformer.transform(chosen_and(X, rows, new)), len(rows)
    before = _safe_indexing(_through(transformer, X), rows)
    apart = [_through(transformer, one) for one in new]
    places = [np.array([n + k]) for k in range(len(new))]
    return _same(_safe_indexing(both, np.arange(n)), before) and all(
        _same(_safe_indexing(both, k), one) for k, one in zip(places, apart, strict=True)
    )


def _through(transformer, X):
    """What a function makes of rows, which it may write into."""
    return transformer.transform(copy.deepcopy(X))


def _looked(transformer):
    """Whether a user's function once gave a row something else where other rows were there."""
    func, alone = _TRIED.get(transformer, (None, True))
    return func is transformer.func and not alone


def _are_alone(transformer, X):
    whole, n = _through(transformer, X), n_rows(X)
    every, bits = np.arange(n), max(n - 1, 1).bit_length()
    some = every[:: max(1, n // SOME)][:SOME]
    few = (len(some) - 1).bit_length()
    parted = [(every, every >> k & 1) for k in {0, bits // 2, bits - 1}]
    parted += [(some, np.arange(len(some)) >> k & 1) for k in range(few)]
    parts = (rows[side == k] for rows, side in parted for k in (0, 1) if (side == k).any())
    return n > 1 and all(
        _same(_through(transformer, _safe_indexing(X, rows)), _safe_indexing(whole, rows))
        for rows in chain(parts, _single(X, whole, n))
    )


def _single(X, whole, n):
    """Rows to go through by themselves, each as an index of one."""
    rows = [np.arange(n)[:: max(1, n // SINGLE)][:SINGLE]]
    if not sp.issparse(whole) and len(np.shape(whole)) == 2:
        numbers = _numbers(whole)
        distinct = [-len(np.unique(column[:: max(1, n // 256)])) for column in numbers]
        for j in np.argsort(distinct, kind="stable")[:COLUMNS]:
            rows.append([numbers[j].argmin(), numbers[j].argmax()])
    if not sp.issparse(X) and len(np.shape(X)) == 2:
        missing = np.asarray(_is_missing(X))
        rows.append(missing.argmax(axis=0)[missing.any(axis=0)][:COLUMNS])
    return np.unique(np.concatenate(rows))[:, None]


def _numbers(A):
    """The columns of a table that are numbers."""
    columns = [A.iloc[:, j] for j in range(A.shape[1])] if hasattr(A, "iloc") else np.asarray(A).T
    return [one for one in map(np.asarray, columns) if one.dtype.kind in "biuf"]


def _is_missing(X):
    if hasattr(X, "isna"):
        return X.isna()
    X = np.asarray(X)
    return X != X if X.dtype.kind in "fcO" else np.zeros((1, 0), dtype=bool)


def _same(found, expected):
    if np.shape(found) != np.shape(expected):
        return False
    if sp.issparse(found):
        off = abs(found - expected)
        return off.nnz == 0 or off.max() <= SAME * abs(expected).max()
    if hasattr(found, "iloc") and found.ndim == 2:
        columns = range(found.shape[1])
        return all(_same_cells(found.iloc[:, j], expected.iloc[:, j]) for j in columns)
    return _same_cells(found, expected)


def _same_cells(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    if not {found.dtype.kind, expected.dtype.kind} <= set("biufc"):
        # Texts, categories, mappings: NaN is the only value that is not itself.
        return bool(((found == expected) | ((found != found) & (expected != expected))).all())
    shown = np.abs(expected[np.isfinite(expected)])
    least = 1e-3 * SAME * shown.max(initial=0.0)
    return np.allclose(found, expected, rtol=SAME, atol=least, equal_nan=True)
