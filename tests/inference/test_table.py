"""The table of coefficients: statsmodels' tests and intervals, and none for penalised models."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

import skinfluence.linear_model as ours
from skinfluence import Influence
from skinfluence.inference import coefficient_table, covariance

GOLD = json.loads((Path(__file__).parents[1] / "gold" / "sandwich.json").read_text())


def case(key, model):
    gold = {name: np.asarray(values) for name, values in GOLD[key].items()}
    return gold, model.fit(gold["X"], gold["y"], sample_weight=gold["weight"])


def test_least_squares_has_a_t_with_the_rows_left_over():
    gold, model = case("gaussian", ours.LinearRegression())
    table = coefficient_table(model, "hc1", coverage=0.9)
    error = np.sqrt(np.diagonal(gold["hc1"]))
    coef = np.append(model.coef_, model.intercept_)
    np.testing.assert_allclose(table.coef, coef)
    np.testing.assert_allclose(table.standard_error, error, rtol=1e-9)
    np.testing.assert_allclose(table.statistic, coef / error, rtol=1e-9)
    np.testing.assert_allclose(table.p_value, 2 * stats.t.sf(np.abs(coef / error), 36), rtol=1e-8)
    half = stats.t.ppf(0.95, 36) * error
    np.testing.assert_allclose(table.upper - table.lower, 2 * half, rtol=1e-9)
    assert table.df == pytest.approx(36)


def test_clusters_have_a_t_with_one_fewer_than_there_are():
    gold, model = case("gaussian", ours.LinearRegression())
    assert coefficient_table(model, "cr1", groups=gold["groups"]).df == 7
    assert coefficient_table(model, "cr1", groups=gold["groups"], df=np.inf).df == np.inf


def test_other_losses_are_normal():
    gold, model = case("binomial", ours.LogisticRegression(C=np.inf, tol=1e-10))
    table = coefficient_table(model, "hc0")
    assert table.df == np.inf
    z = table.coef / np.sqrt(np.diagonal(gold["hc0"]))
    np.testing.assert_allclose(table.p_value, 2 * stats.norm.sf(np.abs(z)), rtol=1e-4)


def test_a_penalised_model_has_its_spread_and_no_test():
    _, model = case("gaussian", ours.Ridge(alpha=1.0))
    with pytest.warns(UserWarning, match="biased towards zero"):
        table = coefficient_table(model)
    spread = np.sqrt(np.diagonal(covariance(model)))
    np.testing.assert_allclose(table.standard_error, spread)
    assert np.isnan([table.statistic, table.p_value, table.lower, table.upper]).all()


def test_lines_are_named_after_features_steps_and_classes(rng):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(rng.standard_normal((60, 2)), columns=["a", "b"])
    y = np.repeat(["x", "y", "z"], 20)
    softmax = ours.LogisticRegression(C=10.0).fit(X, y)
    with pytest.warns(UserWarning, match="biased"):
        table = coefficient_table(softmax)
    assert table.names[:4] == ["x: a", "x: b", "x: intercept", "y: a"]
    assert table.to_frame().index.tolist() == table.names
    steps = make_pipeline(PolynomialFeatures(2, include_bias=False), ours.LinearRegression())
    target = rng.standard_normal(60)
    steps.fit(X, target)
    table = coefficient_table(Influence(steps, X, target))
    assert table.names == ["a", "b", "a^2", "a b", "b^2", "intercept"]
    assert repr(table).count("\n") == 7


def test_coverage_and_degrees_of_freedom_are_checked():
    _, model = case("gaussian", ours.LinearRegression())
    with pytest.raises(ValueError, match="coverage must lie between"):
        coefficient_table(model, coverage=95)
    with pytest.raises(ValueError, match="df must be positive"):
        coefficient_table(model, df=0)
