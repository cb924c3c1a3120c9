"""Bounds of Huber regressions, against optima by Newton's method in long double."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import HuberRegressor
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits, objective_of
from skinfluence.row_losses.huber_bound import Distance
from tests.oracle.algebra import LD, Factor
from tests.oracle.huber import Huber, parameters

N, D = 40, 3


def data(kind):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((N, D))
    y = X @ [1.0, -2.0, 0.5] + rng.standard_t(2, N) + 1.0
    if kind == "wild":
        X = X * [1e-3, 1.0, 1e3]
    w = rng.choice([0.1, 1.0, 3.0], N) if kind == "heavy" else np.ones(N)
    return X, y, w


def changed(X, y, w, kind, i):
    """An edit, and the rows that it leaves."""
    X2, y2, w2 = X.copy(), y.copy(), w.copy()
    if kind == "remove":
        w2[i] = 0
        return edits.remove(i), X2, y2, w2
    if kind == "reweight":
        w2[i] = 7.5 * w[i]
        return edits.reweight(i, 7.5 * w[i]), X2, y2, w2
    y2[i] = y[i] + 3.0
    w2[[(i + 5) % N, (i + 9) % N]] = 0
    return edits.relabel(i, y2[i]) + edits.remove([(i + 5) % N, (i + 9) % N]), X2, y2, w2


@pytest.mark.parametrize("edit", ["remove", "reweight", "three rows"])
@pytest.mark.parametrize("kind", ["plain", "wild", "heavy"])
def test_ends_are_no_farther_from_the_optimum_than_is_said(kind, edit):
    X, y, w = data(kind)
    model = HuberRegressor(max_iter=10_000, tol=1e-8).fit(X / X.std(axis=0), y, w)
    model.coef_ = model.coef_ / X.std(axis=0)
    inf = Influence(model, X, y, w, polish=True)
    before = Huber(model, X, y, w).optimum(parameters(model))
    Z = np.column_stack([X, np.ones(N), np.zeros(N)]).astype(LD)
    for i in (0, 11, 23, 37):
        asked, X2, y2, w2 = changed(X, y, w, edit, i)
        found = inf.effect(asked, X, of="predict", method="exact")
        truth = Huber(model, X2, y2, w2)
        after, P = truth.optimum(before), truth.hessian(before)
        lengths = Factor(P).inverse_norms(Z.T)
        rounding = 1e-15 * np.abs(Z) @ (np.abs(before) + np.abs(after))
        error = np.abs(found.values - Z @ (after - before))
        assert (error <= lengths * found.bound + rounding).all()
        step = after - before
        assert found.bound <= 1e-6 * np.sqrt(step @ P @ step) + 1e-11


@pytest.mark.parametrize("kind", ["plain", "wild", "heavy"])
@pytest.mark.parametrize("far", [1e-9, 1e-5, 1e-2, 0.3, 3.0])
def test_a_place_beside_the_optimum_is_said_to_be_that_far(kind, far):
    """Also where rows cross epsilon on the way, and where the scale moves much."""
    X, y, w = data(kind)
    model = HuberRegressor(max_iter=10_000).fit(StandardScaler().fit_transform(X), y, w)
    model.coef_ = model.coef_ / X.std(axis=0)
    model.intercept_ -= X.mean(axis=0) @ model.coef_
    problem = objective_of(model, X, y, w)
    truth = Huber(model, X, y, w)
    best = truth.optimum(parameters(model))
    H, rng, known = truth.hessian(best).astype(float), np.random.default_rng(0), 0
    for _ in range(20):
        step = rng.standard_normal(D + 2) / np.sqrt(np.diag(H))
        theta = (best + far * step / np.sqrt(step @ H @ step)).astype(float)
        found = problem.at(theta).distance if theta[-1] > 0 else None
        if found is not None:
            off = (theta - best).astype(float)
            assert np.sqrt(off @ found.hessian @ off) <= found.radius * (1 + 1e-9)
            known += found.radius < 5 * far
    if far < 1e-3:
        assert known > 15


def test_the_model_after_an_edit_says_how_far_it_is_from_the_refit():
    X, y, w = data("plain")
    inf = Influence(HuberRegressor(max_iter=10_000, tol=1e-9).fit(X, y), X, y)
    edited = inf.edited(edits.remove([3, 5]))
    error, kept = edited.error_at(X[:6]), np.delete(np.arange(N), [3, 5])
    truth = Huber(HuberRegressor(), X[kept], y[kept], w[kept])
    fitted = edited.estimator
    after = truth.optimum(parameters(fitted))
    off = fitted.predict(X[:6]) - (X[:6] @ after[:-2] + after[-2])
    assert (np.abs(off).reshape(error.shape) <= error + 1e-15).all()
    assert (error < 1e-9).all()


def test_long_double_ends_where_a_general_minimiser_does():
    X, y, w = data("heavy")
    truth = Huber(HuberRegressor(), X, y, w)
    found = truth.optimum(parameters(HuberRegressor().fit(X, y, w))).astype(float)
    general = minimize(
        lambda p: float(truth.value(p)),
        np.append(np.zeros(D + 1), 1.0),
        jac=lambda p: truth.gradient(p).astype(float),
        tol=1e-10,
    )
    np.testing.assert_allclose(found, general.x, rtol=1e-4, atol=1e-5)


def test_a_distance_is_known_in_the_norm_that_it_is_in_already():
    """All eigenvalues of one matrix beside another are 1 there, or 1 to round-off."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((60, 18))
        K = rows.T @ rows
        noise = rng.standard_normal(K.shape)
        for P in (K, K * (1.0 + 1e-16 * (noise + noise.T))):
            assert Distance(2.0, K, np.linalg.inv(K)).in_norm(P) == pytest.approx(2.0, rel=1e-9)
