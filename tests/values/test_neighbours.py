"""Shapley values of neighbours are the mean over all orders of the rows, each set voting among its nearest."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.values import banzhaf, shapley


def make(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    return X, np.where(X[:, 0] + rng.standard_normal(n) > 0, "yes", "no")


def share(X, y, rows, k, x, label):
    """Of the votes that a label gets at a point, among the k nearest of some rows."""
    nearest = sorted(rows, key=lambda i: np.linalg.norm(X[i] - x))[:k]
    return sum(y[i] == label for i in nearest) / k


@pytest.mark.parametrize("k", [1, 2, 4])
def test_they_are_the_mean_over_all_orders(k):
    (X, y), (T, t) = make(6), make(3, 1)
    found = shapley(Influence(KNeighborsClassifier(k).fit(X, y), X, y), T, t)
    expected = np.zeros(6)
    for x, label in zip(T, t, strict=True):
        for order in permutations(range(6)):
            worth = [share(X, y, order[:size], k, x, label) for size in range(7)]
            expected[list(order)] += np.diff(worth) / factorial(6) / len(T)
    assert_allclose(found.values, expected, atol=1e-14)
    assert not found.standard_error.any()


def test_they_add_up_to_what_all_rows_are_worth():
    (X, y), (T, t) = make(80), make(30, 1)
    model = KNeighborsClassifier(5).fit(X, y)
    found = shapley(Influence(model, X, y), T, t)
    own = model.predict_proba(T)[np.arange(30), np.searchsorted(model.classes_, t)]
    assert_allclose(found.full, own.mean() - 1.0)
    assert_allclose(found.values.sum(), found.full - found.empty)


def test_what_has_no_closed_form_is_refused():
    (X, y), (T, t) = make(20), make(5, 1)
    weighed = Influence(KNeighborsClassifier(3, weights="distance").fit(X, y), X, y)
    with pytest.raises(ValueError, match="uniform votes"):
        shapley(weighed, T, t)
    plain = Influence(KNeighborsClassifier(3).fit(X, y), X, y)
    with pytest.raises(ValueError, match="share of votes"):
        shapley(plain, T, t, of="accuracy")
    with pytest.raises(TypeError, match="KNeighborsClassifier"):
        banzhaf(plain, T, t)
    pipe = make_pipeline(StandardScaler(), KNeighborsClassifier(3)).fit(X, y)
    with pytest.raises(TypeError, match="do not learn from the rows"):
        shapley(Influence(pipe, X, y), T, t)
    numbers = Influence(KNeighborsRegressor(3).fit(X, X[:, 0]), X, X[:, 0])
    with pytest.raises(TypeError, match="known for ridge"):
        shapley(numbers, T, T[:, 0])


def test_other_models_are_still_drawn():
    (X, y), (T, t) = make(20), make(5, 1)
    ridge = Influence(RidgeClassifier(fit_intercept=False).fit(X, y), X, y)
    assert shapley(ridge, T, t, n_draws=4, random_state=0).n_draws == 4
