"""Imputers: filled cells do not move with what they were filled from, or are refused."""

import numpy as np
import scipy.sparse as sp
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer

from skinfluence.pullbacks.registry import no_derivative, pullback
from skinfluence.utils._compat import IterativeImputer


@pullback.register
def _constant(transformer: SimpleImputer, X, V):
    return _where_observed(transformer, _missing(transformer, X), V)


@pullback.register
def _neighbours(transformer: KNNImputer, X, V):
    # Means of the neighbours, which a small move does not change.
    missing = _missing(transformer, X)
    if missing.any() and transformer.weights != "uniform":
        raise no_derivative(
            transformer,
            f"with weights={transformer.weights!r} its filled cells move with the others in a way "
            "that is not derived; use weights='uniform', or rows without missing cells (indices=)",
        )
    return _where_observed(transformer, missing, V)


@pullback.register
def _iterative(transformer: IterativeImputer, X, V):
    missing = _missing(transformer, X)
    if missing.any():
        raise no_derivative(
            transformer,
            "its filled cells move with the others through its regressions; use SimpleImputer or "
            "KNNImputer, or rows without missing cells (indices=)",
        )
    return _where_observed(transformer, missing, V)


@pullback.register
def _indicator(transformer: MissingIndicator, X, V):
    return np.zeros((*V.shape[:2], X.shape[1]))


def _where_observed(transformer, missing, V):
    """Identity on the observed cells of the columns that are kept; indicators do not move."""
    kept = _kept(transformer)
    out = np.zeros((*V.shape[:2], missing.shape[1]))
    out[:, :, kept] = V[:, :, : len(kept)] * ~missing[:, kept]
    return out


def _kept(transformer):
    """Positions of the columns that are not dropped for having no value."""
    names = getattr(transformer, "feature_names_in_", None)
    if names is None:
        names = np.array([f"x{i}" for i in range(transformer.n_features_in_)], dtype=object)
    found = list(transformer.get_feature_names_out(names))
    if transformer.indicator_ is not None:
        found = found[: len(found) - len(transformer.indicator_.features_)]
    position = {name: i for i, name in enumerate(names)}
    return [position[name] for name in found]


def _missing(transformer, X):
    """Where a value is missing, shape (n_rows, n_inputs)."""
    X = X.toarray() if sp.issparse(X) else np.asarray(X)
    code = transformer.missing_values
    # NaN, in arrays of objects too, is what is not itself; None and pandas.NA are no numbers.
    lost = X != X if isinstance(code, float) and np.isnan(code) else X == code
    return np.asarray(lost, dtype=bool)
