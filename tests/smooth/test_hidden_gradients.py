"""Rows that a weak penalty lets a model pass through: their residual is rounding, and what they hold is not.

Truth is ridge regression in long double, in its dual form.
"""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skinfluence import Influence, edits
from tests.oracle.algebra import LD, Factor

N, D = 5, 60


def passed_through(seed):
    """Fewer rows than columns, in units of fourteen orders, and targets about 100 that vary by .001."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D)) * 10.0 ** rng.uniform(-7, 7, D)
    return X, 100.0 + 1e-3 * rng.standard_normal(N)


def predictions(X, y, weights, alpha):
    """Of ridge regression at all rows, in long double."""
    w, X, y = weights.astype(LD), X.astype(LD), y.astype(LD)
    x_mean, y_mean = (w @ X) / w.sum(), (w @ y) / w.sum()
    root, there = np.sqrt(w[w > 0]), w > 0
    Z, r = root[:, None] * (X - x_mean)[there], root * (y - y_mean)[there]
    dual = Factor(Z @ Z.T + LD(alpha) * np.eye(there.sum(), dtype=LD)).solve(r)
    return (X - x_mean) @ (Z.T @ dual) + y_mean


@pytest.mark.parametrize("seed", [4, 13, 18, 25])
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_a_row_whose_residual_is_nothing_still_moves_the_model_when_it_leaves(seed, method):
    X, y = passed_through(seed)
    weights, alpha = np.array([1.0, 2.0, 1.0, 3.0, 1.0]), 1e3
    inf = Influence(Ridge(alpha).fit(X, y, weights), X, y, weights)
    before = predictions(X, y, weights, alpha)
    options = {"of": "decision_function", "method": method}
    loo, alone = inf.loo_decision_function(method=method), inf.removal_effect(X, **options)
    pair = inf.effect(edits.remove([1, 4]), X, **options).values
    for rows in ([0], [1], [2], [3], [4], [1, 4]):
        left = weights.copy()
        left[rows] = 0.0
        after = predictions(X, y, left, alpha)
        # 1e-8 of the change, and rounding of targets about 100.
        close = {"rtol": 1e-8, "atol": 1e-11}
        if len(rows) == 2:
            np.testing.assert_allclose(pair, (after - before).astype(float), **close)
            continue
        np.testing.assert_allclose(loo[rows], after[rows].astype(float), rtol=1e-13)
        np.testing.assert_allclose(alone[:, rows[0]], (after - before).astype(float), **close)
        one = inf.effect(edits.remove(rows), X, **options).values
        np.testing.assert_allclose(one, (after - before).astype(float), **close)


@pytest.mark.parametrize("target", [0.0, 3.0, 1e5])
def test_a_fit_without_any_residual_is_answered_by_one_step_and_without_a_warning(target):
    X = np.random.default_rng(0).standard_normal((30, 3))
    y = np.full(30, target)
    inf = Influence(Ridge(1.0).fit(X, y), X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(inf.removal_effect(X, of="decision_function"), 0.0)
        effect = inf.effect([edits.remove(1), edits.remove([2, 3])], X, of="decision_function")
    assert (effect.method_used == "one-step").all()
    assert (effect.bound <= 1e-13 * target).all()
