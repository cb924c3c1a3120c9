"""Optima along a penalty path, each found from those before it."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from skinfluence import objective_of
from skinfluence.model_selection import optima as optima_of
from skinfluence.model_selection.optima import NEGLIGIBLE, Optima
from skinfluence.objective import centred
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers import Exact
from skinfluence.solvers.class_dual import ClassDualFactor, SingleClassDualFactor
from skinfluence.solvers.dual import DualFactor
from skinfluence.solvers.primal import PrimalFactor

# What the first penalty is multiplied by: of a usual grid, with repeats, with leaps, only one.
GRIDS = {
    "even": np.logspace(0, -7, 15),
    "repeats": np.array([1.0, 1.0, 0.3, 0.3, 0.3, 0.1]),
    "leaps": np.array([1.0, 0.99, 1e-3, 0.9e-3, 1e-7]),
    "one": np.array([0.2]),
}


def binary(rng, n=150, d=8):
    X = rng.standard_t(3, (n, d))
    y = (X[:, 0] - X[:, 1] + rng.logistic(size=n) > 0).astype(int)
    return X, y, LogisticRegression(C=1e-3)


def many_classes(rng):
    X, _, model = binary(rng)
    return X, rng.integers(0, 3, len(X)) + (X[:, 0] > 1), model


def counts(rng):
    X, _, _ = binary(rng)
    X = X / 3
    return X, rng.poisson(np.exp(0.5 * X[:, 0])), PoissonRegressor(alpha=10.0)


def sparse(rng):
    X, y, model = binary(rng)
    return sp.csr_array(X * (np.abs(X) > 0.8)), y, model


def wide(rng):
    return *binary(rng, 30, 60)[:2], LogisticRegression(C=1e-3)


TABLES = binary, many_classes, counts, sparse, wide


def problem_of(make):
    X, y, model = make(np.random.default_rng(0))
    model.fit(X, y)
    return centred(objective_of(model, X, y).holding("auto"))


@pytest.mark.parametrize("make", TABLES)
@pytest.mark.parametrize("grid", GRIDS)
def test_each_optimum_is_the_one_found_from_where_the_model_was(make, grid):
    objective = problem_of(make)
    optima = Optima(objective)
    for ratio in GRIDS[grid]:
        found, factor = optima.at(ratio)
        np.testing.assert_array_equal(found.penalty, ratio * objective.penalty)
        truth = minimise(found.at(objective.theta), Exact()).objective
        above = found.value() - truth.value()
        assert above <= NEGLIGIBLE * found.value() / found.n_samples
        # The factor is of the Hessian there.
        B = np.eye(found.n_parameters)[:, :3]
        expected = Exact().factor(found).solve(B)
        np.testing.assert_allclose(factor.solve(B), expected, rtol=1e-2, atol=1e-8)


def test_most_penalties_ask_for_one_hessian(monkeypatch):
    made = []
    init = PrimalFactor.__init__
    monkeypatch.setattr(
        PrimalFactor,
        "__init__",
        lambda self, *args, **more: made.append(1) or init(self, *args, **more),
    )
    objective, grid = problem_of(binary), GRIDS["even"]
    optima = Optima(objective)
    for ratio in grid:
        optima.at(ratio)
    # By Newton's method from where the last two optima point it is three for each.
    assert len(made) < 2 * len(grid)


def words(rng, n=100, d=400, classes=4):
    """Few words in each text, by topic: more columns than rows."""
    topic = rng.integers(0, classes, n)
    often = rng.gamma(0.3, size=(classes, d))
    X = rng.poisson(6.0 * often[topic] / often.sum(axis=1)[topic, None])
    X = sp.csr_array(X.astype(float))
    y = np.where(rng.random(n) < 0.2, rng.integers(0, classes, n), topic)
    return X, y, LogisticRegression(C=0.1)


def test_texts_ask_for_one_factor_at_each_penalty(monkeypatch):
    """And the optima are those of Newton's method with a factor for each step, which are three and more."""
    made = []
    init = DualFactor.__init__
    monkeypatch.setattr(
        DualFactor,
        "__init__",
        lambda self, *args, **more: made.append(1) or init(self, *args, **more),
    )
    objective, grid = problem_of(words), np.logspace(0, -3, 4)
    assert not optima_of._prefers_products(objective)
    monkeypatch.setattr(optima_of, "WAY", 1.0)
    assert optima_of._prefers_products(objective)
    optima = Optima(objective)
    few = [optima.at(ratio)[0] for ratio in grid]
    assert len(made) == len(grid)
    made.clear()
    monkeypatch.setattr(optima_of, "WAY", np.inf)
    optima = Optima(objective)
    many = [optima.at(ratio)[0] for ratio in grid]
    assert len(made) >= 3 * len(grid)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_allclose(one.value(), other.value(), rtol=NEGLIGIBLE / 100)


def test_rows_for_which_products_fail_are_taken_as_before(monkeypatch):
    def fails(*_):
        raise optima_of.SingularHessianError("no")

    monkeypatch.setattr(optima_of, "minimise", fails)
    objective = problem_of(words)
    assert optima_of._by_products(objective) is objective


def test_searches_over_many_texts_scan_in_single_precision(monkeypatch):
    """Which moves no leverage by more than is said, here 1e-4; where that has too few digits, in double."""
    monkeypatch.setattr(optima_of, "FEW", 1)
    objective = problem_of(words)
    for form in (SingleClassDualFactor, ClassDualFactor):
        found, factor = Optima(objective).at(0.1)
        assert type(factor) is form
        expected = Exact("dual").factor(found).leverages()
        off = np.linalg.norm(factor.leverages() - expected, axis=(1, 2))
        assert (off < 1e-4 * np.linalg.norm(expected, axis=(1, 2))).all()
        assert factor.leverage_error < 1e-4
        monkeypatch.setattr(SingleClassDualFactor, "rough", 0.0)
