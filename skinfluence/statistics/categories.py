"""Encoders of categories: a row that leaves may be the last of one, or take it over a limit."""

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.utils import _safe_indexing

from skinfluence.statistics.coded import places, positions
from skinfluence.statistics.registry import NOTHING, Moves, statistics

# What the removal of a row does, by its category; OWN is to its own outputs alone.
STAYS, GOES, OWN, OTHER = 0, 1, 2, 3


@statistics.register(OneHotEncoder)
@statistics.register(OrdinalEncoder)
def _encoder(transformer, X, rows):
    """Nothing where the category keeps rows and its place; all rows of a category are alike."""
    if not isinstance(transformer.categories, str) and not is_limited(transformer):
        # Named beforehand.
        return NOTHING
    found = without_each(transformer, X, rows)
    if found is None:
        return None
    what = found[0].max(axis=1, initial=STAYS)
    if not what.any():
        return NOTHING
    return Moves(gone=what == GOES, other=what >= OWN)


def is_limited(transformer):
    """Whether an encoder puts rare categories together."""
    return transformer.min_frequency is not None or transformer.max_categories is not None


def without_each(transformer, X, rows):
    """What becomes of an encoder without each of some rows, by its features.

    Parameters
    ----------
    transformer : OneHotEncoder or OrdinalEncoder
        Fitted.
    X : array-like of shape (n_samples, n_features)
    rows : ndarray of int, shape (n_rows,)

    Returns
    -------
    what, codes : ndarray of int, shape (n_rows, n_features)
        That the columns of a feature stay, that one goes, that the row itself has another one, or that
        something else happens; and the position of the row's category. None for both in one where
        categories cannot be told.
    """
    if sp.issparse(X):
        return None
    shape = len(rows), len(transformer.categories_)
    what, own = np.zeros(shape, dtype=np.intp), np.zeros(shape, dtype=np.intp)
    for j, categories in enumerate(transformer.categories_):
        codes = _codes(np.asarray(_safe_indexing(X, j, axis=1)), categories)
        if codes is None:
            return None
        counts = np.bincount(codes, minlength=len(categories))
        own[:, j] = codes[rows]
        what[:, j] = _without_one(transformer, counts)[own[:, j]]
    return what, own


def _without_one(transformer, counts):
    """What becomes of the columns of a feature where one row of each category leaves, (K,)."""
    last = counts == 1
    if not isinstance(transformer.categories, str):
        last[:] = False
    takes = isinstance(transformer, OneHotEncoder) and transformer.drop is None
    if not is_limited(transformer):
        # A row that is taken although nobody else has its category, as no category at all.
        takes &= transformer.handle_unknown in ("ignore", "infrequent_if_exist")
        return np.where(last, GOES if takes else OTHER, STAYS)
    rare, n = _infrequent(transformer, counts, counts.sum()), counts.sum()
    what = np.full(len(counts), STAYS)
    for c in np.flatnonzero(counts):
        others = np.arange(len(counts)) != c if last[c] else np.ones(len(counts), dtype=bool)
        left = counts.copy()
        left[c] -= 1
        same = (_infrequent(transformer, left[others], n - 1) == rare[others]).all()
        if not same or (last[c] and not takes):
            what[c] = OTHER
        elif last[c]:
            what[c] = _unknown_then(transformer.handle_unknown, rare, c)
    return what


def _unknown_then(handle_unknown, rare, c):
    """What an encoder that has forgotten a category makes of it, beside what it made before."""
    alone = not np.delete(rare, c).any()
    if handle_unknown == "ignore":
        # No category: what its own column says without it, but not what that of the rare ones says.
        return GOES if alone or not rare[c] else OWN
    if handle_unknown == "infrequent_if_exist":
        if alone:
            return GOES
        return STAYS if rare[c] else OTHER
    return OTHER


def _infrequent(transformer, counts, n):
    """Which categories an encoder puts together, a mask."""
    share, most = transformer.min_frequency, transformer.max_categories
    if share is None:
        rare = np.zeros(len(counts), dtype=bool)
    else:
        rare = counts < (share if isinstance(share, int | np.integer) else share * n)
    n_columns = np.count_nonzero(~rare) + bool(rare.any())
    if most is not None and most < n_columns:
        # Of equal counts those first in order go.
        order = np.argsort(counts, kind="stable")
        rare[order[: len(order) - (most - 1)]] = True
    return rare


def _codes(column, categories):
    """Positions among the categories, or None where they cannot be told."""
    if column.dtype.kind in "iuf" and not np.isnan(column).any():
        codes = np.searchsorted(categories, column)
        known = codes < len(categories)
        known &= categories[np.minimum(codes, len(categories) - 1)] == column
        return codes if known.all() else None
    try:
        codes = positions(column, places(categories))
    except TypeError:
        return None
    return codes if (codes < len(categories)).all() else None
