"""Isotonic curves without each row: blocks pooled below it and above it are those of a fit of the others."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from skinfluence.closed_form.steps import Pooled


def refit(scores, own, weights, at):
    made = IsotonicRegression(out_of_bounds="clip")
    return made.fit(scores, own.astype(int), weights).predict(at)


@pytest.mark.parametrize("rounded", [False, True], ids=["all differ", "ties"])
@pytest.mark.parametrize("weighed", [False, True], ids=["one each", "weights"])
@pytest.mark.parametrize("slope", [-3.0, 0.0, 1.0, 5.0])
def test_without_each_row_the_curve_is_that_of_the_others(slope, weighed, rounded):
    """atol=1e-14: sums in another order."""
    rng = np.random.default_rng(int(slope) + 10)
    for n in (2, 3, 9, 30):
        scores = rng.standard_normal(n)
        scores = np.round(scores, 1) if rounded else scores
        own = rng.random(n) < 1.0 / (1.0 + np.exp(-slope * scores))
        weights = rng.uniform(0.2, 2.0, n) if weighed else np.ones(n)
        at = np.concatenate([scores, rng.uniform(-3.0, 3.0, 10)])
        pooled = Pooled(scores, own, weights)
        expected = refit(scores, own, weights, at)
        np.testing.assert_allclose(pooled.curve().predict(at), expected, rtol=0, atol=1e-14)
        for i in range(n):
            k = np.delete(np.arange(n), i)
            expected = refit(scores[k], own[k], weights[k], at)
            np.testing.assert_allclose(pooled.without(i).predict(at), expected, rtol=0, atol=1e-14)
            assert pooled.height_without(i) == pytest.approx(expected[i], abs=1e-14)


def test_rows_without_weight_are_not_there():
    scores, own = np.arange(5.0), np.array([True, False, True, False, True])
    weights = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    k = weights > 0
    found = Pooled(scores, own, weights).curve().predict(scores)
    np.testing.assert_allclose(found, refit(scores[k], own[k], weights[k], scores), atol=1e-15)
