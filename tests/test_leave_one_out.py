"""One-step leave-one-out against true refits."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.metrics import (
    accuracy_score,
    d2_tweedie_score,
    get_scorer,
    log_loss,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.leave_one_out import loo_loss
from skinfluence.model_selection import loo_score
from tests.registries import Case, name_of
from tests.truth import relative_error, relative_l2


def true_changes(model, X, y, rows):
    """Decision values at all rows after each true refit, and the change of every loss.

    Refits start at the full fit and are run to 1e-10.
    """
    # The newton-cholesky of 1.7, started anywhere, leaves the intercepts of a softmax off its optimum.
    solver = "newton-cg" if len(model.classes_) > 2 else model.solver
    warm = clone(model).set_params(warm_start=True, solver=solver)
    etas, changes = [], []
    before = -model.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    for row in rows:
        warm.coef_, warm.intercept_ = model.coef_.copy(), model.intercept_.copy()
        warm.classes_ = model.classes_
        warm.fit(np.delete(X, row, axis=0), np.delete(y, row))
        after = -warm.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
        changes.append(after - before)
        etas.append(warm.decision_function(X[row : row + 1])[0])
    return np.array(changes).T, np.array(etas)


def load(name):
    X, y = {"breast cancer": load_breast_cancer, "digits": load_digits}[name](return_X_y=True)
    if name == "digits":
        X, y = X[:400], y[:400]
    return StandardScaler().fit_transform(X), y


@pytest.mark.parametrize(
    ("data", "C", "every", "largest", "rank"),
    # Test points: all rows. Removed rows: every third of breast cancer, every 10th of digits' 400.
    [
        ("breast cancer", 0.01, 3, 0.01, 0.999),
        ("breast cancer", 1.0, 3, 0.14, 0.99),
        ("digits", 0.1, 10, 0.015, 0.998),
    ],
)
def test_all_pairs_loss_changes_match_true_refits(data, C, every, largest, rank):
    """Relative L2, Spearman and slope; Pearson alone would hide a wrong convention."""
    X, y = load(data)
    model = linear_model.LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(X, y)
    rows = np.arange(0, len(y), every)
    truth, _ = true_changes(model, X, y, rows)
    inf = Influence(model, X, y)
    found = inf.removal_effect(X, y, indices=rows, method="one-step")
    assert relative_l2(found, truth) <= largest
    assert spearmanr(found.ravel(), truth.ravel()).statistic >= rank
    slope = (found * truth).sum() / (truth**2).sum()
    assert abs(slope - 1) <= largest
    # A row helps itself: positive is helpful, in truth and here.
    own = np.arange(len(rows))
    assert (found[rows, own] >= 0).all()
    assert (truth[rows, own] > -1e-12).all()
    first = inf.removal_effect(X, y, indices=rows, method="influence")
    assert relative_l2(found, truth) < 0.6 * relative_l2(first, truth)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", ["Ridge", "LinearRegression", "RidgeClassifier"])
def test_squared_error_is_exact(name, intercept):
    """One Newton step solves a quadratic: 1e-10 of the largest change, with weights."""
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:80], y[:80]
    if name == "RidgeClassifier":
        y = np.digitize(y, [100.0, 180.0])
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 80)
    params = {} if name == "LinearRegression" else {"alpha": 0.1, "solver": "cholesky"}
    model = getattr(linear_model, name)(fit_intercept=intercept, **params)
    model.fit(X, y, sample_weight=weight)
    inf = Influence(model, X, y, weight)
    found = inf.removal_effect(X, of="decision_function", method="one-step")
    output = "decision_function" if name == "RidgeClassifier" else "predict"
    truth = []
    for row in range(80):
        keep = np.arange(80) != row
        new = clone(model).fit(X[keep], y[keep], sample_weight=weight[keep])
        truth.append(getattr(new, output)(X) - getattr(model, output)(X))
    truth = np.moveaxis(np.array(truth), 0, 1)
    assert relative_error(found, truth) < 1e-10
    own = np.arange(80)
    expected = getattr(model, output)(X) + truth[own, own]
    assert relative_error(inf.loo_decision_function(method="one-step"), expected) < 1e-10


def test_ridge_matches_cross_val_predict():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:100], y[:100]
    model = linear_model.Ridge(alpha=0.3)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    found = Influence(model.fit(X, y), X, y).loo_predict(method="one-step")
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(("alpha", "largest"), [(1.0, 1e-11), (1e-3, 1e-8), (1e-6, 1e-5)])
def test_ridge_that_almost_interpolates(alpha, largest, rng):
    """More features than rows: 1 - leverage is about alpha, and takes that many digits away."""
    X = rng.standard_normal((50, 200))
    y = X[:, :5].sum(axis=1) + rng.standard_normal(50)
    expected = cross_val_predict(
        linear_model.Ridge(alpha=alpha, solver="svd"), X, y, cv=LeaveOneOut()
    )
    model = linear_model.Ridge(alpha=alpha, solver="svd").fit(X, y)
    assert relative_error(Influence(model, X, y).loo_predict(method="one-step"), expected) < largest


@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize("method", ["influence", "one-step"])
@pytest.mark.parametrize(
    "case",
    [
        Case("LogisticRegression", weighted=True),
        Case("LogisticRegression", (("class_weight", "balanced"),), "softmax", weighted=True),
        Case("LogisticRegression", (("solver", "liblinear"), ("intercept_scaling", 4.0))),
        Case("RidgeClassifier", task="softmax", weighted=True),
        Case("Ridge", (("solver", "sparse_cg"), ("tol", 1e-12)), "regression", sparse=True),
    ],
    ids=name_of,
)
def test_leave_one_out_is_the_diagonal_of_the_removal_effects(case, method, hold):
    X, y, weight = case.data()
    inf = Influence(case.fit(X, y, weight), X, y, weight, hold=hold)
    change = inf.removal_effect(X, of="decision_function", method=method)
    own = np.arange(len(y))
    fitted = inf.objective.loss.expand(inf.objective.eta)
    expected = np.squeeze(fitted) + change[own, own]
    np.testing.assert_allclose(inf.loo_decision_function(method=method), expected, rtol=1e-9)
    effect = inf.removal_effect(X, y, method=method)
    before = inf.objective.loss.value(inf.objective.eta, inf.objective.y)
    np.testing.assert_allclose(loo_loss(inf, method), before + effect[own, own], rtol=1e-8)


def test_leave_one_out_predictions_match_true_refits():
    """All rows of iris at C = 1; every row's label agrees, probabilities within 0.01."""
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    X = StandardScaler().fit_transform(X)
    model = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, names)
    inf = Influence(model, X, names)
    rows = range(0, 150, 3)
    truth = np.array(
        [
            clone(model)
            .fit(np.delete(X, row, axis=0), np.delete(names, row))
            .predict_proba(X[row : row + 1])[0]
            for row in rows
        ]
    )
    found = inf.loo_predict_proba(method="one-step")
    assert np.abs(found[::3] - truth).max() < 0.01
    np.testing.assert_array_equal(
        inf.loo_predict(method="one-step")[::3], np.unique(names)[truth.argmax(axis=1)]
    )
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    decision = inf.loo_decision_function(method="one-step")
    assert decision.shape == (150, 3)
    np.testing.assert_array_equal(decision.argmax(axis=1), found.argmax(axis=1))


def test_scores_are_those_of_the_pooled_outputs():
    X, y = load("breast cancer")
    y = np.where(y == 1, "benign", "malignant")
    model = linear_model.LogisticRegression(C=0.1, tol=1e-8).fit(X, y)
    inf = Influence(model, X, y)
    predicted = inf.loo_predict(method="one-step")
    proba = inf.loo_predict_proba(method="one-step")
    score = lambda scoring=None: inf.loo_score(scoring, method="one-step")
    assert score() == score("accuracy") == accuracy_score(y, predicted)
    np.testing.assert_allclose(score("neg_log_loss"), -log_loss(y, proba), rtol=1e-12)
    np.testing.assert_allclose(score("roc_auc"), roc_auc_score(y == "malignant", proba[:, 1]))
    np.testing.assert_allclose(score(get_scorer("neg_log_loss")), score("neg_log_loss"))
    average = lambda estimator, X, y: estimator.predict_proba(X)[:, 1].mean()
    np.testing.assert_allclose(score(average), proba[:, 1].mean())
    X, y = load_diabetes(return_X_y=True)
    ridge = Influence(linear_model.Ridge().fit(X, y), X, y)
    expected = r2_score(y, ridge.loo_predict(method="one-step"))
    assert ridge.loo_score(method="one-step") == expected
    classifier = linear_model.RidgeClassifier().fit(X, y > 150)
    signs = Influence(classifier, X, y > 150)
    assert signs.loo_predict(method="one-step").dtype == bool
    assert 0.5 < signs.loo_score("roc_auc", method="one-step") < 1


@pytest.mark.parametrize(
    "model",
    [
        linear_model.PoissonRegressor(),
        linear_model.GammaRegressor(),
        linear_model.TweedieRegressor(power=1.5),
    ],
    ids=str,
)
def test_a_generalised_linear_model_is_scored_by_its_deviance(model):
    """By D2, as it scores itself, and not by R2."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2))
    y = rng.gamma(2.0, np.exp(0.5 * X[:, 0]))
    inf = Influence(model.set_params(tol=1e-10).fit(X, y), X, y)
    power = getattr(model, "power", 2.0 if isinstance(model, linear_model.GammaRegressor) else 1.0)
    expected = d2_tweedie_score(y, inf.loo_predict(), power=power)
    assert inf.loo_score() == pytest.approx(expected, rel=1e-12)
    assert model.score(X, y) == pytest.approx(d2_tweedie_score(y, model.predict(X), power=power))
    assert loo_score(model, X, y) == pytest.approx(expected, rel=1e-6)


def test_rows_count_once_in_a_score_whatever_they_weigh_in_the_fit():
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((30, 2)), np.linspace(0.1, 3.0, 30)
    y = X[:, 0] + rng.standard_normal(30)
    inf = Influence(linear_model.Ridge().fit(X, y, sample_weight=weight), X, y, weight)
    expected = r2_score(y, inf.loo_predict())
    assert inf.loo_score() == pytest.approx(expected, rel=1e-12)
    assert expected != pytest.approx(r2_score(y, inf.loo_predict(), sample_weight=weight), rel=1e-3)
