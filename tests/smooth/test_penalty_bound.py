"""Bounds by the penalty alone are above distances from optima that scipy finds, whatever the start."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from skinfluence import Influence
from skinfluence.smooth.optimum.penalty_bound import distance_by_penalty

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 4)) + [0.0, 3.0, -1.0, 0.0]
Y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)


def optimum(C, start, free):
    """Of a logistic regression, by scipy, with the Hessian there."""
    Z, s = np.column_stack([X, np.full(60, float(free))]), 2.0 * Y - 1.0
    R = np.append(np.full(4, 1.0 / C), 0.0)

    def value(v):
        m = s * (Z @ v)
        return np.logaddexp(0.0, -m).sum() + 0.5 * v @ (R * v), -Z.T @ (s * expit(-m)) + R * v

    found = minimize(value, start, jac=True, method="BFGS", options={"gtol": 1e-12}).x
    return found


def hessian(C, v, free):
    Z = np.column_stack([X, np.full(60, float(free))])
    p = expit(Z @ v)
    return (Z.T * (p * (1.0 - p))) @ Z + np.diag(np.append(np.full(4, 1.0 / C), 0.0))


@pytest.mark.parametrize("free", [True, False], ids=["free intercept", "no intercept"])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_no_distance_is_above_its_bound(C, free):
    model = LogisticRegression(C=C, fit_intercept=free, tol=1e-10, max_iter=500).fit(X, Y)
    objective, seen = Influence(model, X, Y).objective, 0
    width = objective.theta.shape[1]
    best = optimum(C, np.zeros(5), free)
    for size in 10.0 ** np.arange(-7, 0):
        theta = best[:width] + size * rng.standard_normal(width)
        away = np.zeros(5)
        away[:width] = theta - best[:width]
        H = hessian(C, np.append(theta, np.zeros(5 - width)), free)
        distance, bound = np.sqrt(away @ H @ away), distance_by_penalty(objective.at(theta[None]))
        assert bound >= distance
        seen += np.isfinite(bound)
    assert seen >= 2


def test_a_bound_by_half_the_rows_reach_would_not_hold():
    """Teeth: a free intercept that is left out of the gradient's size is missed."""
    model = LogisticRegression(C=100.0, tol=1e-10, max_iter=500).fit(X, Y)
    objective = Influence(model, X, Y).objective
    best = optimum(100.0, np.zeros(5), True)
    theta = best + np.array([0.0, 0.0, 0.0, 0.0, 1e-4])
    gradient = objective.at(theta[None]).gradient()[:4]
    H = hessian(100.0, theta, True)
    distance = 1e-4 * np.sqrt(H[4, 4])
    assert distance_by_penalty(objective.at(theta[None])) >= distance
    assert np.sqrt(1e-4 * gradient @ gradient) < distance


@pytest.mark.parametrize("model", [Ridge(2.0), PoissonRegressor(alpha=0.1, tol=1e-10)])
def test_fits_of_other_losses_are_as_near_as_they_end(model):
    objective = Influence(model.fit(X, Y), X, Y).objective
    assert 0.0 < distance_by_penalty(objective) < 1e-3


def test_what_is_not_known_is_not_bounded():
    labels = rng.integers(0, 3, 60)
    several = Influence(LogisticRegression().fit(X, labels), X, labels)
    assert distance_by_penalty(several.objective) == np.inf
    loose = LogisticRegression(C=np.inf).fit(X, Y)
    assert distance_by_penalty(Influence(loose, X, Y).objective) == np.inf
