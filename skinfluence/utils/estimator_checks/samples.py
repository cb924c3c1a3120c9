"""Small data sets on which the contract is checked."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import get_tags

N_ROWS, N_FEATURES, N_TESTS = 36, 3, 6


@dataclass(frozen=True, eq=False)
class Sample:
    """Training rows, weights for them, and test points.

    Attributes
    ----------
    name : str
    X, X_test : ndarray of shape (n, n_features), (n_test, n_features)
    y, y_test : ndarray of shape (n,), (n_test,)
    weight : ndarray of shape (n,)
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    weight: np.ndarray


def samples_for(estimator, data=None):
    """The samples an estimator is checked on: the user's data, or made ones by its tags.

    Parameters
    ----------
    estimator : estimator
    data : tuple (X, y), default=None
        Dense numbers. Test points lie half-way between training rows.

    Returns
    -------
    samples : list of Sample

    Raises
    ------
    ValueError
        For data that are not two arrays of as many rows, or an estimator for which none can be made.
    """
    if data is not None:
        return [_given(*data)]
    tags = get_tags(estimator)
    if tags.input_tags.pairwise or tags.estimator_type not in ("classifier", "regressor"):
        raise ValueError(
            "Data are made for classifiers and regressors of rows of numbers. Got "
            f"{type(estimator).__name__}; pass data=(X, y)."
        )
    if tags.estimator_type == "regressor":
        return [_made("positive" if tags.target_tags.positive_only else "regression")]
    kinds = ["binary", "multiclass"] if tags.classifier_tags.multi_class else ["binary"]
    return [_made(kind) for kind in kinds]


def _given(X, y):
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    if X.ndim != 2 or y.shape != X.shape[:1] or len(y) < 2 * N_TESTS:
        raise ValueError(
            f"data must be (X, y) with at least {2 * N_TESTS} rows of numbers and one target each. "
            f"Got shapes {X.shape} and {y.shape}."
        )
    between = 0.5 * (X[:N_TESTS] + X[-N_TESTS:])
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    return Sample("data", X, y, between, y[:N_TESTS], weight)


def _made(kind):
    """Overlapping classes, a noisy line, or positive numbers around an exponential."""
    rng = np.random.default_rng(0)
    n = N_ROWS + N_TESTS
    X = rng.standard_normal((n, N_FEATURES)) * np.linspace(0.6, 1.4, N_FEATURES)
    score = X @ np.array([1.0, -0.7, 0.4]) + 0.3
    if kind == "regression":
        y = score + rng.standard_normal(n)
    elif kind == "positive":
        y = np.exp(0.4 * score) * rng.gamma(3.0, 1.0 / 3.0, n)
    else:
        noisy = score + 1.5 * rng.standard_normal(n)
        cuts = [0.5] if kind == "binary" else [0.3, 0.65]
        # Labels whose order is not that of the numbers behind them.
        names = np.array(["no", "yes"] if kind == "binary" else ["mid", "top", "all"])
        y = names[np.digitize(noisy, np.quantile(noisy, cuts))]
    train, test = slice(0, N_ROWS), slice(N_ROWS, n)
    weight = rng.uniform(0.5, 2.0, N_ROWS)
    return Sample(kind, X[train], y[train], X[test], y[test], weight)
