"""Imputers: observed cells pass; filled cells move with those they are computed from, if at all."""

import numpy as np
import scipy.sparse as sp
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer

from skinfluence._utils._compat import IterativeImputer, imputation_limits
from skinfluence._utils.untouched import transformed
from skinfluence.pullbacks.registry import dense, no_derivative, pullback


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
            "that is not known here; use weights='uniform', or rows without missing cells (indices=)",
        )
    return _where_observed(transformer, missing, V)


@pullback.register
def _iterative(transformer: IterativeImputer, X, V):
    missing = _missing(transformer, X)
    kept = _kept(transformer)
    if missing[:, kept].any():
        V = np.concatenate(
            [_through_regressions(transformer, X, missing[:, kept], V), V[:, :, len(kept) :]],
            axis=2,
        )
    return _where_observed(transformer, missing, V)


def _through_regressions(transformer, X, missing, V):
    """Send the gradients of filled cells to the cells they were predicted from, last one first."""
    regressions = transformer.imputation_sequence_
    if transformer.sample_posterior or not all(
        np.ndim(getattr(one.estimator, "coef_", None)) == 1 for one in regressions
    ):
        raise no_derivative(
            transformer,
            "its filled cells move with the others through regressions that are not linear; use "
            "linear ones without sample_posterior, or rows without missing cells (indices=)",
        )
    free = _unclipped(transformer, X, missing)
    V = V[:, :, : missing.shape[1]].copy()
    for one, inside in zip(regressions[::-1], free[::-1], strict=True):
        rows, target = missing[:, one.feat_idx], one.feat_idx
        moved = (V[:, rows, target] * inside)[:, :, None] * one.estimator.coef_
        V[:, rows, target] = 0.0
        V[np.ix_(np.arange(len(V)), rows, one.neighbor_feat_idx)] += moved
    return V


def _unclipped(transformer, X, missing):
    """For each regression, which of the cells it fills are not at a limit of their column."""
    low, high = imputation_limits(transformer)
    filled = np.array(transformed([transformer.initial_imputer_], dense(X)))
    free = []
    for one in transformer.imputation_sequence_:
        rows, target = missing[:, one.feat_idx], one.feat_idx
        if not rows.any():
            free.append(np.empty(0))
            continue
        found = one.estimator.predict(filled[np.ix_(rows, one.neighbor_feat_idx)])
        free.append((found > low[target]) & (found < high[target]))
        filled[rows, target] = np.clip(found, low[target], high[target])
    return free


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
    X = dense(X) if sp.issparse(X) else np.asarray(X)
    code = transformer.missing_values
    # NaN, in arrays of objects too, is what is not itself; None and pandas.NA are no numbers.
    lost = X != X if isinstance(code, float) and np.isnan(code) else X == code
    return np.asarray(lost, dtype=bool)
