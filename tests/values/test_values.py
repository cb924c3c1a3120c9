"""Values are averages of what rows change in true fits on sets of rows."""

from functools import cache
from itertools import combinations
from math import comb

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import get_scorer, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, metrics
from skinfluence.values import banzhaf, leave_one_out, shapley
from skinfluence.values.games import game_of
from tests.registries import make_data

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
MODELS = {
    "ridge": (linear_model.Ridge(2.0, solver="cholesky"), "regression"),
    "no-intercept": (linear_model.Ridge(2.0, solver="cholesky", fit_intercept=False), "regression"),
    "kernel-ridge": (KernelRidge(alpha=0.5, kernel="rbf", gamma=0.2), "regression"),
    "logistic": (linear_model.LogisticRegression(C=0.5, **NEWTON), "binary"),
    "softmax": (linear_model.LogisticRegression(C=0.5, **NEWTON), "softmax"),
    "poisson": (linear_model.PoissonRegressor(alpha=0.5, **NEWTON), "counts"),
}


def case(name, n=8):
    estimator, task = MODELS[name]
    X, y = make_data(task, 60, 2, 5)
    # All classes among the first rows.
    first = np.unique(y, return_index=True)[1] if task in ("binary", "softmax") else []
    order = np.concatenate([first, np.setdiff1d(np.arange(60), first)]).astype(int)
    X, y = X[order], y[order]
    model = clone(estimator).fit(X[:n], y[:n])
    return Influence(model, X[:n], y[:n]), X[:n], y[:n], X[n:], y[n:]


@cache
def utilities(name):
    """Minus the mean test loss of every set of rows, by true fits; of none where there is no model."""
    influence, X, y, X_test, y_test = case(name)
    estimator = influence.estimator
    classes = np.unique(y)
    found = {}
    for bits in range(2 ** len(y)):
        mask = np.array([bits >> i & 1 for i in range(len(y))], dtype=bool)
        some = y[mask]
        kind = type(estimator).__name__
        if kind == "LogisticRegression":
            known = len(np.unique(some)) == len(classes)
        elif kind == "PoissonRegressor":
            known = (some > 0).any()
        else:
            known = mask.any()
        model = clone(estimator).fit(X[mask], some) if known else None
        if kind == "LogisticRegression":
            p = (
                model.predict_proba(X_test)
                if known
                else np.full((len(y_test), len(classes)), 1 / len(classes))
            )
            loss = log_loss(y_test, p, labels=classes)
        elif kind == "PoissonRegressor":
            eta = np.log(model.predict(X_test)) if known else np.zeros(len(y_test))
            loss = np.mean(np.exp(eta) - y_test * eta)
        else:
            loss = 0.5 * np.mean((y_test - (model.predict(X_test) if known else 0.0)) ** 2)
        found[bits] = -loss
    return found


def exact(u, n, weight):
    """``sum_S weight(|S|) (u(S + i) - u(S))`` over sets of the others."""
    out = np.zeros(n)
    for i in range(n):
        others = [1 << j for j in range(n) if j != i]
        for k in range(n):
            for some in combinations(others, k):
                out[i] += weight(k) * (u[sum(some) | 1 << i] - u[sum(some)])
    return out


@pytest.mark.parametrize("name", MODELS)
def test_what_rows_change_in_every_set_is_what_true_fits_say(name):
    influence, *_, X_test, y_test = case(name)
    u = utilities(name)
    game = game_of(influence, X_test, y_test, "loss", "exact", 1e-3)
    for bits in range(0, 256, 13):
        mask = np.array([bits >> i & 1 for i in range(8)], dtype=bool)
        expected = [u[bits | 1 << i] - u[bits & ~(1 << i)] for i in range(8)]
        found, utility = game.marginals(mask)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=str(bits))
        assert utility == pytest.approx(u[bits], abs=1e-7)
    assert game.empty == pytest.approx(u[0], abs=1e-9)


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_averages_are_the_values_within_their_errors(name):
    influence, *_, X_test, y_test = case(name)
    u = utilities(name)
    weights = {
        shapley: lambda k: 1 / (8 * comb(7, k)),
        banzhaf: lambda k: 1 / 2**7,
    }
    for values, weight in weights.items():
        expected = exact(u, 8, weight)
        found = values(influence, X_test, y_test, n_draws=70, random_state=0)
        z = (found.values - expected) / found.standard_error
        # Eight normal variables: beyond 4 in one of 2,000 runs.
        assert np.abs(z).max() < 4.0 and np.abs(z).mean() > 0.02
    assert found.full == pytest.approx(u[255], abs=1e-7)
    alone = leave_one_out(influence, X_test, y_test, method="exact")
    expected = [u[255] - u[255 & ~(1 << i)] for i in range(8)]
    np.testing.assert_allclose(alone.values, expected, atol=1e-7)


def test_shapley_values_add_up_to_what_all_rows_are_worth():
    influence, _, _, X_test, y_test = case("ridge", n=20)
    found = shapley(influence, X_test, y_test, n_draws=150, random_state=0)
    spread = np.sqrt((found.standard_error**2).sum())
    assert abs(found.values.sum() - (found.full - found.empty)) < 5 * spread * np.sqrt(20)


def test_utilities_are_losses_scores_and_callables():
    influence, X, y, X_test, y_test = case("logistic", n=30)
    score = get_scorer("roc_auc")
    fitted = [
        clone(influence.estimator).fit(np.delete(X, i, 0), np.delete(y, i)) for i in range(30)
    ]
    expected = [
        score(influence.estimator, X_test, y_test) - score(m, X_test, y_test) for m in fitted
    ]
    for of in ("roc_auc", metrics.auroc(0)):
        found = leave_one_out(influence, X_test, y_test, of=of, method="exact")
        np.testing.assert_allclose(found.values, expected, atol=1e-9)


def test_draws_repeat_with_their_seed():
    influence, _, _, X_test, y_test = case("ridge")
    one, two = (banzhaf(influence, X_test, y_test, n_draws=5, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.values, two.values)


def test_models_of_few_rows_that_are_not_determined_are_refused():
    _, X, y, X_test, y_test = case("ridge")
    free = Influence(linear_model.LinearRegression().fit(X, y), X, y)
    with pytest.raises(ValueError, match="penalty on every coefficient"):
        shapley(free, X_test, y_test)
    steps = make_pipeline(StandardScaler(), linear_model.Ridge()).fit(X, y)
    with pytest.raises(TypeError, match="do not learn from the rows"):
        shapley(Influence(steps, X, y), X_test, y_test)
    ridge = Influence(linear_model.Ridge().fit(X, y), X, y)
    with pytest.raises(ValueError, match="n_draws"):
        shapley(ridge, X_test, y_test, n_draws=1)
    with pytest.raises(TypeError, match="Values are of an Influence"):
        shapley(linear_model.Ridge().fit(X, y), X_test, y_test)
