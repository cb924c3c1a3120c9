"""Full conformal p-values are those of true refits with the new point in them."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge

from skinfluence._utils.memory import row_blocks
from skinfluence.conformal import (
    FullConformalClassifier,
    FullConformalRegressor,
    responses,
)
from skinfluence.conformal.full import ends_of
from skinfluence.svm import SVC
from tests.registries import make_data
from tests.versions import parametrize_with_checks

NEWTON = {"solver": "newton-cholesky", "tol": 1e-13, "max_iter": 1000}
REGRESSORS = {
    "ridge": linear_model.Ridge(2.0, solver="cholesky"),
    "no-intercept": linear_model.Ridge(2.0, solver="cholesky", fit_intercept=False),
    "weak": linear_model.Ridge(1e-7, solver="cholesky"),
    "least-squares": linear_model.LinearRegression(tol=1e-14),
    "rbf": KernelRidge(alpha=0.5, kernel="rbf", gamma=0.2),
    "poly": KernelRidge(alpha=0.01, kernel="poly", degree=2),
}
CLASSIFIERS = {
    "logistic": (linear_model.LogisticRegression(C=1.0, **NEWTON), "binary"),
    "weak": (linear_model.LogisticRegression(C=100.0, **NEWTON), "binary"),
    "weighted": (
        linear_model.LogisticRegression(C=1.0, class_weight={"yes": 3.0, "no": 1.0}, **NEWTON),
        "binary",
    ),
    "no-intercept": (linear_model.LogisticRegression(fit_intercept=False, **NEWTON), "binary"),
    "softmax": (linear_model.LogisticRegression(C=1.0, **NEWTON), "softmax"),
    "ridge": (linear_model.RidgeClassifier(2.0, solver="cholesky"), "softmax"),
}


def residuals_with(estimator, X, y, x, target):
    Z, z = np.vstack([X, x]), np.append(y, target)
    return np.abs(z - clone(estimator).fit(Z, z).predict(Z))


def data_of(task, n=60, far=3.0):
    X, y = make_data(task, n + 10, 3, 5)
    return X[:n], y[:n], far * X[n:]


@pytest.mark.parametrize("name", REGRESSORS)
def test_p_values_of_targets_are_those_of_refits(name, rng):
    estimator = REGRESSORS[name]
    X, y, X_test = data_of("regression")
    model = FullConformalRegressor(estimator).fit(X, y)
    targets = model.predict(X_test)[:, None] + 3 * rng.standard_normal((10, 8))
    expected = np.empty(targets.shape)
    for t, k in np.ndindex(targets.shape):
        found = residuals_with(estimator, X, y, X_test[[t]], targets[t, k])
        expected[t, k] = (found >= found[-1]).mean()
    np.testing.assert_allclose(model.p_values(X_test, targets), expected, atol=1e-10)
    one = model.p_values(X_test, targets[:, 0])
    np.testing.assert_array_equal(one, model.p_values(X_test, targets)[:, 0])


@pytest.mark.parametrize("name", REGRESSORS)
def test_ends_are_where_p_values_of_refits_cross(name):
    estimator = REGRESSORS[name]
    X, y, X_test = data_of("regression")
    model = FullConformalRegressor(estimator).fit(X, y)
    for coverage in (0.5, 0.9):
        ends = model.predict_interval(X_test, coverage)
        for t in range(3):
            for side, end in zip((-1, 1), ends[t], strict=True):
                if np.isinf(end):
                    found = residuals_with(estimator, X, y, X_test[[t]], side * 1e6)
                    assert (found >= found[-1]).mean() > 1 - coverage
                    continue
                p = []
                for step in (-1e-6, 1e-6):
                    found = residuals_with(estimator, X, y, X_test[[t]], end + side * step)
                    p.append((found >= found[-1]).mean())
                assert p[0] > 1 - coverage >= p[1] - 1e-12


def test_ends_are_those_of_a_fine_grid(rng):
    """Slopes above 1 too, under which the set of targets is not connected."""
    grid = np.linspace(0, 60, 60001)
    for _ in range(60):
        r = rng.standard_normal(9)
        c = rng.choice([0.3, 1.5, 3.0]) * rng.standard_normal(9)
        if rng.uniform() < 0.3:
            c[0] = rng.choice([-1.0, 1.0])
        if rng.uniform() < 0.3:
            r[1] = 0.0
        needed = rng.integers(1, 10)
        lowest, highest = ends_of(r, c[None], needed)
        for found, side in ((-lowest[0], -1.0), (highest[0], 1.0)):
            moved = np.abs(r - side * c * grid[:, None])
            holds = (moved >= grid[:, None] - 1e-9).sum(axis=1) >= needed
            expected = grid[holds].max()
            if expected >= 59.0:
                assert found > 50.0
            else:
                assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_p_values_of_labels_are_those_of_refits(name):
    estimator, task = CLASSIFIERS[name]
    X, y, X_test = data_of(task, n=200)
    classes = np.unique(y)
    model = FullConformalClassifier(estimator, conformity="margin").fit(X, y)
    expected = np.empty((len(X_test), len(classes)))
    for t, k in np.ndindex(expected.shape):
        Z, z = np.vstack([X, X_test[[t]]]), np.append(y, classes[k])
        eta = clone(estimator).fit(Z, z).decision_function(Z)
        eta = np.stack([-eta, eta], axis=1) / 2 if eta.ndim == 1 else eta
        codes = np.searchsorted(classes, z)
        own = eta[np.arange(len(z)), codes]
        score = own - np.array([np.delete(e, c).max() for e, c in zip(eta, codes, strict=True)])
        expected[t, k] = (score <= score[-1] + 1e-9).mean()
    np.testing.assert_allclose(model.p_values(X_test), expected, atol=1e-6)
    inside = model.predict_set(X_test, 0.9)
    np.testing.assert_array_equal(inside, expected > 0.1 + 1e-12)


def test_p_values_of_labels_that_move_a_weak_penalty_far_are_those_of_refits(rng):
    """Where the Hessian before bounds nothing, all rows were counted as ties: p-values of 1."""
    X = rng.standard_normal((30, 35))
    y = np.arange(30) % 2
    model = linear_model.LogisticRegression(C=1e3, solver="newton-cholesky", tol=1e-10)
    found = FullConformalClassifier(model).fit(X, y).p_values(1.1 * X[:3])
    for i, label in np.ndindex(found.shape):
        y2 = np.append(y, label)
        refit = clone(model).fit(np.vstack([X, 1.1 * X[i]]), y2)
        margins = (2 * y2 - 1) * refit.decision_function(np.vstack([X, 1.1 * X[i]]))
        assert found[i, label] == pytest.approx((margins <= margins[-1] + 1e-9).mean())
    assert found[:, 0].min() < 0.1


def test_log_odds_order_labels_as_their_probabilities_do():
    estimator, task = CLASSIFIERS["softmax"]
    X, y, X_test = data_of(task, n=120)
    model = FullConformalClassifier(estimator).fit(X, y)
    expected = np.empty((len(X_test), 3))
    for t, k in np.ndindex(expected.shape):
        Z, z = np.vstack([X, X_test[[t]]]), np.append(y, model.classes_[k])
        p = clone(estimator).fit(Z, z).predict_proba(Z)
        own = p[np.arange(len(z)), np.searchsorted(model.classes_, z)]
        expected[t, k] = (own <= own[-1] + 1e-10).mean()
    np.testing.assert_allclose(model.p_values(X_test), expected, atol=1e-6)


def test_a_copy_of_a_training_row_ties_with_it():
    estimator, task = CLASSIFIERS["logistic"]
    X, y, _ = data_of(task)
    model = FullConformalClassifier(estimator).fit(X, y)
    worst = model._additions.objective.loss.value(
        model._additions.objective.eta, model._additions.objective.y
    ).argmax()
    p = model.p_values(X[[worst]])[0, list(model.classes_).index(y[worst])]
    assert p == pytest.approx(2 / 61)


def test_intervals_and_sets_cover(rng):
    """At least as promised, whatever the model: 4,800 points each, known to about 1.3 %."""
    intervals, sets = [], []
    for _ in range(80):
        X = rng.standard_normal((120, 4))
        y = np.exp(0.5 * X[:, 0]) * (1 + rng.standard_normal(120))
        ends = FullConformalRegressor().fit(X[:60], y[:60]).predict_interval(X[60:], 0.8)
        intervals.append(((ends[:, 0] <= y[60:]) & (y[60:] <= ends[:, 1])).mean())
        label = (y > np.median(y)).astype(int)
        inside = FullConformalClassifier().fit(X[:60], label[:60]).predict_set(X[60:], 0.8)
        sets.append(inside[np.arange(60), label[60:]].mean())
    assert 0.78 < np.mean(intervals) < 0.84
    assert 0.78 < np.mean(sets) < 0.84


# Conventions and refusals --------------------------------------------------------------------------


@parametrize_with_checks([FullConformalRegressor(), FullConformalClassifier()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_models_that_are_not_exact_here_are_refused():
    X, y, X_test = data_of("counts")
    with pytest.raises(TypeError, match="of squared error"):
        FullConformalRegressor(linear_model.PoissonRegressor()).fit(X, y)
    with pytest.raises(TypeError, match="smooth linear classifiers"):
        FullConformalClassifier(SVC()).fit(X, y > 1)
    model = FullConformalRegressor().fit(X, y)
    with pytest.raises(ValueError, match="one target"):
        model.p_values(X_test, [1.0])


@pytest.mark.parametrize("kind", ["array", "sparse"])
def test_points_in_many_blocks_have_what_each_has_alone(kind, monkeypatch):
    """Blocks of points that are solved for together, and of those whose lines are near, end in different places."""
    rng = np.random.default_rng(3)
    X, X_test = rng.standard_normal((30, 4)), rng.standard_normal((23, 4))
    y, y_test = X[:, 0] + rng.standard_normal(30), rng.standard_normal(23)
    given = sp.csr_array if kind == "sparse" else np.asarray
    model = FullConformalRegressor(linear_model.Ridge(0.5)).fit(given(X), y)
    alone = [model.p_values(given(X_test[[t]]), y_test[[t]])[0] for t in range(23)]
    ends = [model.predict_interval(given(X_test[[t]]))[0] for t in range(23)]
    monkeypatch.setattr(responses, "NEAR_BYTES", 40 * 30 * 3)
    monkeypatch.setattr(
        responses, "row_blocks", lambda n, size, budget=24 * 4 * 7: row_blocks(n, size, budget)
    )
    np.testing.assert_allclose(model.p_values(given(X_test), y_test), alone, atol=1e-12)
    np.testing.assert_allclose(model.predict_interval(given(X_test)), ends, rtol=1e-10)
