"""Full conformal prediction of whole pipelines: transformers learn from the new point, as refits do."""

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence.conformal import FullConformalClassifier, FullConformalRegressor
from tests.conformal.test_full import NEWTON, data_of, residuals_with

REGRESSORS = {
    "scaler-ridge": make_pipeline(StandardScaler(), linear_model.Ridge(2.0, solver="cholesky")),
    "scaler-least-squares": make_pipeline(StandardScaler(), linear_model.LinearRegression()),
    "components": make_pipeline(PCA(2, svd_solver="full"), linear_model.Ridge(solver="cholesky")),
    "scaler-kernel-ridge": make_pipeline(StandardScaler(), KernelRidge(alpha=0.5, kernel="rbf")),
}
LOGISTIC = linear_model.LogisticRegression(C=1.0, **NEWTON)
CLASSIFIERS = {
    "scaler-logistic": (make_pipeline(StandardScaler(), LOGISTIC), "binary"),
    "balanced": (clone(LOGISTIC).set_params(class_weight="balanced"), "binary"),
    "components-softmax": (make_pipeline(PCA(2, svd_solver="full"), LOGISTIC), "softmax"),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_p_values_and_ends_of_a_pipeline_are_those_of_refits(name, rng):
    """Just inside of an end the target is not excluded, just outside it is."""
    estimator = REGRESSORS[name]
    X, y, X_test = data_of("regression", n=40)
    X_test = X_test[:3]
    model = FullConformalRegressor(estimator).fit(X, y)
    targets = model.predict(X_test)[:, None] + 3 * rng.standard_normal((3, 5))
    found = model.p_values(X_test, targets)

    def p_value(t, target):
        all_of = residuals_with(estimator, X, y, X_test[[t]], target)
        return (all_of >= all_of[-1]).mean()

    wanted = [[p_value(t, targets[t, k]) for k in range(5)] for t in range(3)]
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    for t, (low, high) in enumerate(model.predict_interval(X_test, 0.8)):
        inside = 1e-6 * (high - low)
        for at in (low, high):
            sign = 1 if at == high else -1
            assert p_value(t, at - sign * inside) > 0.2 >= p_value(t, at + sign * inside)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_p_values_of_labels_of_a_pipeline_are_those_of_refits(name):
    estimator, task = CLASSIFIERS[name]
    X, y, X_test = data_of(task, n=60)
    X_test = X_test[:4]
    model = FullConformalClassifier(estimator).fit(X, y)
    expected = np.empty((4, len(model.classes_)))
    for t, k in np.ndindex(expected.shape):
        Z, z = np.vstack([X, X_test[[t]]]), np.append(y, model.classes_[k])
        p = clone(estimator).fit(Z, z).predict_proba(Z)
        own = p[np.arange(len(z)), np.searchsorted(model.classes_, z)]
        expected[t, k] = (own <= own[-1] + 1e-10).mean()
    np.testing.assert_allclose(model.p_values(X_test), expected, atol=1e-12)


def test_a_category_that_only_the_new_point_has_excludes_no_target():
    """Its column is fitted by its own target alone: whatever that is, it is met."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.normal(size=30), "kind": rng.choice(["a", "b"], 30)})
    y = X["size"].to_numpy() + rng.normal(size=30)
    steps = make_column_transformer(
        (StandardScaler(), ["size"]),
        (OneHotEncoder(drop="first", handle_unknown="ignore"), ["kind"]),
    )
    model = FullConformalRegressor(make_pipeline(steps, linear_model.LinearRegression())).fit(X, y)
    new = pd.DataFrame({"size": [0.1, 0.2], "kind": ["z", "a"]})
    with pytest.warns(UserWarning, match="unknown categories"):
        ends = model.predict_interval(new, 0.8)
    np.testing.assert_array_equal(ends[0], [-np.inf, np.inf])
    assert np.isfinite(ends[1]).all()


def test_steps_that_look_at_the_targets_are_refused_and_the_remedy_works():
    X, y, X_test = data_of("regression", n=40)
    chosen = SelectKBest(f_regression, k=2)
    ridge = linear_model.Ridge()
    for estimator in (
        make_pipeline(chosen, ridge),
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), ridge), transformer=StandardScaler()
        ),
    ):
        with pytest.raises(TypeError, match="no step may look at the targets"):
            FullConformalRegressor(estimator).fit(X, y)
    held = FrozenEstimator(clone(chosen).fit(X[:20], y[:20]))
    model = FullConformalRegressor(make_pipeline(held, ridge)).fit(X[20:], y[20:])
    alone = FullConformalRegressor(ridge).fit(held.transform(X[20:]), y[20:])
    np.testing.assert_allclose(
        model.predict_interval(X_test), alone.predict_interval(held.transform(X_test))
    )
