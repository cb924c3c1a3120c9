"""Jackknife+ is what true refits without each row give, and covers."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence.conformal import JackknifePlusClassifier, JackknifePlusRegressor
from skinfluence.svm import SVC
from tests.registries import make_data
from tests.versions import parametrize_with_checks

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
REGRESSORS = {
    "ridge": (linear_model.Ridge(2.0, solver="cholesky"), "regression", 1e-10),
    "least-squares": (linear_model.LinearRegression(tol=1e-14), "regression", 1e-10),
    "kernel-ridge": (KernelRidge(alpha=0.5, kernel="rbf", gamma=0.2), "regression", 1e-10),
    "poisson": (linear_model.PoissonRegressor(alpha=0.1, **NEWTON), "counts", 1e-6),
    "gamma": (linear_model.GammaRegressor(alpha=0.1, **NEWTON), "amounts", 1e-6),
}
CLASSIFIERS = {
    "logistic": (linear_model.LogisticRegression(C=0.5, **NEWTON), "binary"),
    "softmax": (linear_model.LogisticRegression(C=0.5, **NEWTON), "softmax"),
    "ridge": (linear_model.RidgeClassifier(2.0, solver="cholesky"), "softmax"),
}


def data_of(task, n=50, d=3):
    X, y = make_data(task, n + 12, d, 5)
    return X[:n], y[:n], X[n:]


def refits(estimator, X, y, X_test, groups, ask="predict"):
    """What the models without each group say: (n, ...) of own rows, (m, n, ...) of new points."""
    own, new = None, []
    for g in np.unique(groups):
        out = groups == g
        one = clone(estimator).fit(X[~out], y[~out])
        found = getattr(one, ask)(X[out])
        if own is None:
            own = np.empty((len(y), *found.shape[1:]))
        own[out] = found
        new.append(getattr(one, ask)(X_test))
    return own, np.stack(new, axis=1)[:, np.unique(groups, return_inverse=True)[1]]


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
@pytest.mark.parametrize("kind", ["plus", "minmax"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_ends_are_those_of_refits(name, kind, grouped):
    estimator, task, tol = REGRESSORS[name]
    X, y, X_test = data_of(task)
    n = len(y)
    groups = np.arange(n) % 7 if grouped else np.arange(n)
    own, new = refits(estimator, X, y, X_test, groups)
    residuals = np.abs(y - own)
    model = JackknifePlusRegressor(estimator, kind=kind, method="exact")
    model.fit(X, y, groups=groups if grouped else None)
    np.testing.assert_allclose(model.residuals_, residuals, atol=tol * np.abs(y).max())
    for coverage in (0.5, 0.8, 0.95):
        rank = int(np.ceil(coverage * (n + 1)))
        if kind == "plus":
            low = np.sort(new - residuals, axis=1)[:, n - rank]
            high = np.sort(new + residuals, axis=1)[:, rank - 1]
        else:
            width = np.sort(residuals)[rank - 1]
            low, high = new.min(axis=1) - width, new.max(axis=1) + width
        found = model.predict_interval(X_test, coverage)
        expected = np.stack([low, high], axis=1)
        np.testing.assert_allclose(found, expected, atol=tol * np.abs(y).max())


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_sets_are_those_of_refits(name, grouped):
    estimator, task = CLASSIFIERS[name]
    X, y, X_test = data_of(task, n=80)
    groups = np.arange(80) % 7 if grouped else np.arange(80)
    own, new = refits(estimator, X, y, X_test, groups, "decision_function")
    codes = np.searchsorted(np.unique(y), y)
    for conformity in ("log_odds", "margin"):
        if own.ndim == 1:
            score = lambda eta: np.stack([-eta, eta], axis=-1)
        elif conformity == "margin":
            score = lambda eta: (
                eta
                - np.array([np.delete(eta, k, -1).max(-1) for k in range(3)]).transpose(
                    *range(1, eta.ndim), 0
                )
            )
        else:
            score = lambda eta: (
                np.log(p := np.exp(eta) / np.exp(eta).sum(-1, keepdims=True)) - (np.log1p(-p))
            )
        mine = score(own)[np.arange(80), codes]
        expected = (1 + (score(new) >= mine[:, None]).sum(axis=1)) / 81
        model = JackknifePlusClassifier(estimator, conformity=conformity, method="exact")
        model.fit(X, y, groups=groups if grouped else None)
        np.testing.assert_allclose(model.p_values(X_test), expected, atol=1e-12)
        for coverage in (0.5, 0.9):
            inside = model.predict_set(X_test, coverage)
            np.testing.assert_array_equal(inside, expected > 1 - coverage + 1e-12)


def test_a_support_vector_machine_has_sets_too():
    X, y, X_test = data_of("binary", n=40)
    estimator = SVC(kernel="linear", C=0.5)
    own, new = refits(estimator, X, y, X_test, np.arange(40), "decision_function")
    sign = np.where(y == "yes", 1, -1)
    expected = np.stack([(1 + (s * new >= sign * own).sum(axis=1)) / 41 for s in (-1, 1)], axis=1)
    found = JackknifePlusClassifier(estimator).fit(X, y).p_values(X_test)
    np.testing.assert_allclose(found, expected, atol=1.5 / 41)


def test_sparse_rows_are_dense_rows():
    X, y, X_test = data_of("regression")
    estimator = linear_model.Ridge(2.0, solver="sparse_cg", tol=1e-14)
    dense = JackknifePlusRegressor(estimator).fit(X, y).predict_interval(X_test)
    found = JackknifePlusRegressor(estimator).fit(sp.csr_array(X), y)
    np.testing.assert_allclose(found.predict_interval(sp.csr_array(X_test)), dense, atol=1e-8)


def test_blocks_of_points_are_points(monkeypatch):
    X, y, X_test = data_of("regression")
    for estimator in (linear_model.Ridge(), KernelRidge(kernel="rbf")):
        model = JackknifePlusRegressor(estimator).fit(X, y)
        whole = model.predict_interval(X_test)
        monkeypatch.setattr("skinfluence.conformal.left_out.BLOCK_BYTES", 5000)
        np.testing.assert_allclose(model.predict_interval(X_test), whole, rtol=1e-12)
        monkeypatch.undo()


# Coverage ------------------------------------------------------------------------------------------


def draws(name, rng, n):
    """Rows of three populations: a line, a curve with growing noise, resampled patients."""
    if name == "patients":
        X, y = datasets.load_diabetes(return_X_y=True)
        rows = rng.choice(len(y), n, replace=False)
        return X[rows], y[rows]
    X = rng.standard_normal((n, 5))
    if name == "line":
        return X, X @ np.arange(5.0) + rng.standard_normal(n)
    return X, np.exp(0.5 * X[:, 0]) * (1 + rng.standard_normal(n))


@pytest.mark.parametrize("name", ["line", "curve", "patients"])
def test_intervals_cover(name, rng):
    """80 samples of 60 rows and 60 points: 4,800 in all, whose share is known to about 1.3 %."""
    found = []
    for _ in range(80):
        X, y = draws(name, rng, 120)
        ends = JackknifePlusRegressor().fit(X[:60], y[:60]).predict_interval(X[60:], 0.8)
        found.append(((ends[:, 0] <= y[60:]) & (y[60:] <= ends[:, 1])).mean())
    assert 0.76 < np.mean(found) < 0.84


def test_sets_cover(rng):
    found = []
    for _ in range(40):
        X, y = datasets.make_classification(
            160, 5, n_informative=3, n_redundant=0, flip_y=0.2, random_state=rng.integers(999)
        )
        inside = JackknifePlusClassifier().fit(X[:80], y[:80]).predict_set(X[80:], 0.8)
        found.append(inside[np.arange(80), y[80:]].mean())
    assert 0.76 < np.mean(found) < 0.85


# Conventions and refusals --------------------------------------------------------------------------


@parametrize_with_checks([JackknifePlusRegressor(), JackknifePlusClassifier()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_few_rows_give_infinite_ends():
    X, y, X_test = data_of("regression", n=10)
    ends = JackknifePlusRegressor().fit(X, y).predict_interval(X_test, 0.95)
    assert (ends[:, 0] == -np.inf).all() and (ends[:, 1] == np.inf).all()
    # A whole number of rows is that, whatever floating point makes of 0.9 x 10.
    ends = JackknifePlusRegressor().fit(X[:9], y[:9]).predict_interval(X_test, 0.9)
    assert np.isfinite(ends).all()


def test_models_and_parameters_that_do_not_fit_are_refused():
    X, y, X_test = data_of("regression")
    with pytest.raises(TypeError, match="needs a regressor"):
        JackknifePlusRegressor(linear_model.LogisticRegression()).fit(X, y)
    with pytest.raises(TypeError, match="needs a classifier"):
        JackknifePlusClassifier(linear_model.Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="kind must be"):
        JackknifePlusRegressor(kind="cv").fit(X, y)
    with pytest.raises(ValueError, match="conformity must be"):
        JackknifePlusClassifier(conformity="aps").fit(X, y > 0)
    with pytest.raises(ValueError, match="at least two groups"):
        JackknifePlusRegressor().fit(X, y, groups=np.zeros(len(y)))
    with pytest.raises(ValueError, match="one label per training row"):
        JackknifePlusRegressor().fit(X, y, groups=[1, 2])
    model = JackknifePlusRegressor().fit(X, y)
    for coverage in (0, 1, 90, [0.8]):
        with pytest.raises(ValueError, match="coverage must be a number"):
            model.predict_interval(X_test, coverage)


PIPELINES = {
    "scaler": make_pipeline(StandardScaler(), linear_model.Ridge(2.0, solver="cholesky")),
    "polynomials": make_pipeline(PolynomialFeatures(2), linear_model.Ridge(solver="cholesky")),
    "components": make_pipeline(PCA(2, svd_solver="full"), linear_model.Ridge(solver="cholesky")),
}


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_are_left_out_of_whole(name, grouped):
    estimator = PIPELINES[name]
    X, y, X_test = data_of("regression", n=40)
    groups = np.arange(40) % 5 if grouped else np.arange(40)
    own, new = refits(estimator, X, y, X_test, groups)
    model = JackknifePlusRegressor(estimator, method="exact")
    model.fit(X, y, groups=groups if grouped else None)
    np.testing.assert_allclose(model.residuals_, np.abs(y - own), atol=1e-6)
    high = np.sort(new + np.abs(y - own), axis=1)[:, 32]
    np.testing.assert_allclose(model.predict_interval(X_test, 0.8)[:, 1], high, atol=1e-6)


def test_balanced_weights_are_balanced_without_the_row():
    estimator = linear_model.LogisticRegression(C=0.5, class_weight="balanced", **NEWTON)
    X, y, X_test = data_of("binary", n=40)
    own, new = refits(estimator, X, y, X_test, np.arange(40), "decision_function")
    sign = np.where(y == "yes", 1, -1)
    expected = np.stack([(1 + (s * new >= sign * own).sum(axis=1)) / 41 for s in (-1, 1)], axis=1)
    found = JackknifePlusClassifier(estimator, method="exact").fit(X, y)
    np.testing.assert_allclose(found.p_values(X_test), expected, atol=1e-12)


def test_a_row_without_a_model_is_named():
    X, y, _ = data_of("regression")
    X = np.column_stack([X, np.zeros(len(X))])
    X[4, -1] = 1.0
    with pytest.raises(ValueError, match="Got row 4"), pytest.warns(UserWarning):
        JackknifePlusRegressor(linear_model.LinearRegression()).fit(X, y)
