"""Transformers that few rows move: the last of a category, the cells of holes, nothing at all."""

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import RBFSampler, SkewedChi2Sampler
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
)
from sklearn.utils import _safe_indexing

from skinfluence.statistics.registry import NOTHING, Moves, statistics


@statistics.register(PolynomialFeatures)
@statistics.register(RBFSampler)
@statistics.register(SkewedChi2Sampler)
def _columns_only(transformer, X, rows):
    """They look at how many columns there are; a random state of None is noticed elsewhere."""
    return NOTHING


@statistics.register
def _(transformer: FunctionTransformer, X, rows):
    # A function of a user's own may look at all rows at once.
    return NOTHING if isinstance(transformer.func, np.ufunc | None) else None


@statistics.register(OneHotEncoder)
@statistics.register(OrdinalEncoder)
def _encoder(transformer, X, rows):
    if getattr(transformer, "min_frequency", None) is not None:
        return None
    if getattr(transformer, "max_categories", None) is not None:
        return None
    last = np.zeros(len(rows), dtype=bool)
    if not isinstance(transformer.categories, str):
        # Named beforehand.
        return NOTHING
    if sp.issparse(X):
        return None
    for j, categories in enumerate(transformer.categories_):
        column = np.asarray(_safe_indexing(X, j, axis=1))
        codes = _codes(column, categories)
        if codes is None:
            return None
        last |= np.bincount(codes, minlength=len(categories))[codes[rows]] == 1
    return Moves(other=last) if last.any() else NOTHING


@statistics.register
def _(transformer: SimpleImputer, X, rows):
    """Where the columns have no holes, no fill is used on these rows."""
    if transformer.add_indicator or not _is_nan(transformer.missing_values):
        return None
    try:
        missing = _missing(X)
    except (TypeError, ValueError):
        return None
    if missing is None or missing.any():
        return None
    return NOTHING


@statistics.register
def _(transformer: CountVectorizer, X, rows):
    """Rows that are the last with one of their words; limits on words move with the number of rows."""
    if isinstance(transformer, TfidfVectorizer):
        return None
    if transformer.vocabulary is not None:
        return NOTHING
    limits = (transformer.min_df, transformer.max_df, transformer.max_features)
    if limits != (1, 1.0, None):
        return None
    counts = sp.csr_array(transformer.transform(X))
    counts.sum_duplicates()
    in_texts = np.bincount(counts.indices, minlength=counts.shape[1])
    other = np.array(
        [
            (in_texts[counts.indices[counts.indptr[i] : counts.indptr[i + 1]]] == 1).any()
            for i in rows
        ],
        dtype=bool,
    )
    return Moves(other=other)


def _codes(column, categories):
    """Positions among the categories, or None where they cannot be told."""
    try:
        known = {value: code for code, value in enumerate(categories.tolist())}
        return np.array([known[value] for value in column.tolist()], dtype=np.intp)
    except (KeyError, TypeError):
        # Missing values are not equal to themselves.
        return None


def _is_nan(value):
    return isinstance(value, float) and np.isnan(value)


def _missing(X):
    if sp.issparse(X):
        return np.isnan(X.data)
    if hasattr(X, "isna"):
        return X.isna().to_numpy()
    X = np.asarray(X)
    return np.isnan(X) if X.dtype.kind == "f" else None if X.dtype == object else np.zeros(1, bool)
