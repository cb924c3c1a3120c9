"""Bayesian ridge and relevance determination: ridge with the precisions that were chosen, and said to be held."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import ARDRegression, BayesianRidge, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits

MODELS = {
    "ridge": BayesianRidge(),
    "ridge, no intercept": BayesianRidge(fit_intercept=False),
    "ridge, weights": BayesianRidge(),
    "relevance": ARDRegression(),
}


def make(n=40):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4))
    return X, X @ [1.0, -2.0, 0.5, 0.3] + rng.standard_normal(n) + 3.0


@pytest.fixture(params=MODELS)
def fitted(request):
    model, (X, y) = MODELS[request.param], make()
    if "weights" not in request.param:
        return model.fit(X, y), X, y, np.ones(len(y))
    w = np.random.default_rng(1).uniform(0.3, 2.0, len(y))
    return model.fit(X, y, sample_weight=w), X, y, w


def held_fit(model, X, y, w):
    """The normal equations with the precisions of a model, as a function of rows."""
    penalty = np.diag(model.lambda_ / model.alpha_ * np.ones(X.shape[1]))
    middle, target = np.zeros(X.shape[1]), 0.0
    if model.fit_intercept:
        middle, target = np.average(X, axis=0, weights=w), np.average(y, weights=w)
    Z = X - middle
    coef = np.linalg.solve((w[:, None] * Z).T @ Z + penalty, Z.T @ (w * (y - target)))
    return lambda T: (T - middle) @ coef + target


@pytest.mark.filterwarnings("ignore:Held as chosen")
def test_answers_are_those_of_the_normal_equations(fitted):
    model, X, y, w = fitted
    inf = Influence(model, X, y, w if (w != 1).any() else None)
    assert_allclose(held_fit(model, X, y, w)(X), model.predict(X), rtol=1e-9)
    found, gone = inf.loo_predict(), inf.removal_effect(X[:5], of="predict")
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        refit = held_fit(model, X[kept], y[kept], w[kept])
        assert_allclose(found[i], refit(X[[i]])[0], rtol=1e-9)
        assert_allclose(gone[:, i], refit(X[:5]) - model.predict(X[:5]), atol=1e-10)
    found = inf.effect(edits.remove([1, 2]) + edits.relabel(4, 9.0), X[:5], of="predict").values
    kept, y2 = np.delete(np.arange(len(y)), [1, 2]), np.where(np.arange(len(y)) == 4, 9.0, y)
    refit = held_fit(model, X[kept], y2[kept], w[kept])
    assert_allclose(found, refit(X[:5]) - model.predict(X[:5]), atol=1e-10)


def test_the_precisions_are_named_and_refused_where_nothing_may_stay(fitted):
    model, X, y, w = fitted
    inf = Influence(model, X, y, w if (w != 1).any() else None)
    assert "precisions" in inf.report().held
    with pytest.warns(UserWarning, match="Held as chosen on all rows: the precisions"):
        inf.loo_predict()
    with pytest.raises(ValueError, match="chose the precisions"):
        inf.loo_predict(frozen="refuse")
    with pytest.raises(TypeError, match="chose nothing on the rows"):
        inf.edited(edits.remove(0))
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(model, X, y[::-1], w if (w != 1).any() else None)


@pytest.mark.filterwarnings("ignore:Held as chosen")
def test_behind_a_scaler_the_precisions_are_held_too():
    X, y = make()
    pipe = make_pipeline(StandardScaler(), BayesianRidge()).fit(X, y)
    found = Influence(pipe, X, y).loo_predict()
    alpha = pipe[-1].lambda_ / pipe[-1].alpha_
    refit = make_pipeline(StandardScaler(), Ridge(alpha)).fit(np.delete(X, 7, 0), np.delete(y, 7))
    assert_allclose(found[7], refit.predict(X[[7]])[0], rtol=1e-8)


def test_columns_left_out_are_refused_with_a_remedy_that_works():
    X, y = make()
    X = np.column_stack([X, np.random.default_rng(2).standard_normal((40, 3))])
    model = ARDRegression(threshold_lambda=30.0).fit(X, y)
    with pytest.raises(ValueError, match="of 7 columns above"):
        Influence(model, X, y)
    kept = model.lambda_ < model.threshold_lambda
    Z = X[:, kept] / np.sqrt(model.lambda_[kept])
    ridge = Ridge(alpha=1 / model.alpha_).fit(Z, y)
    assert_allclose(ridge.predict(Z), model.predict(X), rtol=1e-8)
    Influence(ridge, Z, y).loo_predict()
