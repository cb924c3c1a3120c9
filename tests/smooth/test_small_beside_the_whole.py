"""Edits that are small beside the whole objective: nothing may stop at what the whole resolves.

A rare column has rows of its own, so what an edit of them does is the root of one scalar equation,
however much weight the other rows carry.
"""

import warnings

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, SGDRegressor

from skinfluence import Influence, edits
from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.optimum.accuracy import Accuracy
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.solvers import Exact
from skinfluence.svm import LinearSVC
from tests.oracle.optimum import minimise
from tests.oracle.problems import problem_of

HEAVY = [(7e4, 1.0, 3e7), (2e4, 2e4, 0.7), (30.0, 1e5, 1e-1), (1e6, 1.0, 1e6)]


def rare_column(weight, unit):
    """Rows (1, 0) of much weight and of both classes; rows (0, unit) of one class only."""
    X = np.array([[1, 0], [1, 0], [1, 0], [0, unit], [0, unit], [0, unit]], dtype=float)
    y = np.array([0, 1, 1, 1, 1, 1])
    return X, y, np.array([weight, weight, 0.5 * weight, 1, 1, 1], dtype=float)


def optimum(slope, stiffness):
    """Root of ``slope(eta) + eta / stiffness``."""
    return brentq(lambda eta: slope(eta) + eta / stiffness, -200, 200, xtol=1e-14, rtol=1e-15)


def logistic(eta):
    return -expit(-eta)


@pytest.mark.parametrize(("weight", "unit", "C"), HEAVY)
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_a_row_of_a_rare_column_moves_it_as_its_own_equation_says(weight, unit, C, method):
    X, y, w = rare_column(weight, unit)
    model = LogisticRegression(C=C, fit_intercept=False, solver="newton-cholesky")
    inf = Influence(model.fit(X, y, sample_weight=w), X, y, w)
    eta = lambda n: optimum(lambda t: n * logistic(t), C * unit**2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask = dict(of="decision_function", method=method)
        found = inf.removal_effect(X[3:4], **ask)[0, 4]
        pair = inf.effect(edits.remove([3, 4]), X[3:4], **ask).values[0]
    tol = 1e-3 if method == "auto" else 1e-7
    np.testing.assert_allclose(found, eta(2) - eta(3), rtol=tol)
    np.testing.assert_allclose(pair, eta(1) - eta(3), rtol=tol)


@pytest.mark.parametrize(("weight", "unit", "C"), HEAVY)
def test_weight_that_is_added_keeps_the_certificate(weight, unit, C):
    """The error before the edit counts in the norm after it, which added weight makes larger."""
    X, y, w = rare_column(weight, unit)
    model = LogisticRegression(C=C, fit_intercept=False, solver="newton-cholesky")
    inf = Influence(model.fit(X, y, sample_weight=w), X, y, w)
    stiffness = C * unit**2
    before = optimum(lambda t: 3 * logistic(t), stiffness)
    after = optimum(lambda t: 3 * logistic(t) + 20 * expit(t / 2), stiffness)
    edit = edits.add([0.0, -unit / 2], 1, 40.0)
    found = inf.effect(edit, X[3:4], of="decision_function", method="auto")
    P = 1 / stiffness + 3 * expit(before) * expit(-before)
    P += 10 * expit(before / 2) * expit(-before / 2)
    error = abs(found.values[0] - (after - before)) * np.sqrt(P)
    assert error <= found.bound
    assert found.bound <= 2e-3 * abs(after - before) * np.sqrt(P)


def test_counts_of_a_rare_column_follow_their_own_equation():
    """Mean form: the penalty moves with the total weight."""
    X, y, w = rare_column(3e5, 1.0)
    alpha, total = 1e-9, w.sum()
    model = PoissonRegressor(alpha=alpha, fit_intercept=False, solver="newton-cholesky")
    inf = Influence(model.fit(X, y, sample_weight=w), X, y, w)
    eta = lambda n: optimum(lambda t: n * (np.exp(t) - 1.0), 1.0 / (alpha * (total - 3 + n)))
    found = inf.effect(edits.remove(3) + edits.relabel(4, 3.0), X[3:4], of="decision_function")
    after = optimum(lambda t: (np.exp(t) - 3.0) + (np.exp(t) - 1.0), 1 / (alpha * (total - 1)))
    np.testing.assert_allclose(found.values[0], after - eta(3), rtol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_a_smooth_hinge_of_a_rare_column_follows_its_own_equation(temperature):
    X, y, w = rare_column(1e5, 1.0)
    C = 1e-3
    model = LinearSVC(loss="smooth_hinge", temperature=temperature, C=C, fit_intercept=False)
    inf = Influence(model.fit(X, y, sample_weight=w), X, y, w)
    eta = lambda n: optimum(lambda t: -n * C * expit((1.0 - t) / temperature), 1.0)
    found = inf.removal_effect(X[3:4], of="decision_function", method="exact")[0, 3]
    np.testing.assert_allclose(found, eta(2) - eta(3), rtol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_a_diverged_fit_is_left_for_its_optimum(seed):
    """The objective at such a fit is 1e16 and more: no measure of when its optimum is reached."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 3)) * [1.0, 300.0, 2e4]
    y = X @ [1.0, 3e-3, 5e-5] + rng.standard_normal(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SGDRegressor(alpha=0.01, random_state=seed).fit(X, y)
        inf = Influence(model, X, y)
    assert np.abs(model.predict(X)).max() > 1e6
    for method in ("auto", "exact"):
        found = inf.loo_predict(method=method)
        for i in (0, 7, 29):
            one = Ridge(alpha=0.01 * 29, solver="svd").fit(np.delete(X, i, 0), np.delete(y, i))
            np.testing.assert_allclose(found[i], one.predict(X[[i]])[0], rtol=1e-9)


def test_a_start_far_from_the_optimum_is_part_of_the_error():
    """Without its polish the solver must not certify: the bound says that the start is off."""
    X, y, w = rare_column(1e4, 1.0)
    model = LogisticRegression(C=1e7, fit_intercept=False, solver="newton-cholesky")
    inf = Influence(model.fit(X, y, sample_weight=w), X, y, w)
    off = inf.objective.at(inf.objective.theta - [0.0, 4.0])
    factor = Exact().factor(off)
    accuracy = Accuracy(factor)
    assert accuracy.start == np.inf and accuracy.round_off < 1e-8
    for _, solved in EditSolver(factor, Exact()).rows.solve(removals(off, np.arange(6)), 1e-3):
        assert not solved.within(1e-3).any()


@pytest.mark.parametrize("alpha", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("intercept", [True, False])
def test_two_routes_to_one_step_give_one_number(alpha, intercept):
    """With more columns than rows a leverage is one but for the penalty, and 1 - leverage cancels."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((7, 15)), rng.standard_normal(7)
    model = Ridge(alpha=alpha, fit_intercept=intercept, solver="svd").fit(X, y)
    inf = Influence(model, X, y)
    for gone in ([2], [0, 5]):
        kept = np.delete(np.arange(7), gone)
        refit = Ridge(alpha=alpha, fit_intercept=intercept, solver="svd").fit(X[kept], y[kept])
        truth = refit.predict(X) - model.predict(X)
        found = inf.effect(edits.remove(gone), X, of="decision_function", method="one-step").values
        np.testing.assert_allclose(found, truth, rtol=1e-7, atol=1e-8 * np.abs(truth).max())
    ask = dict(of="decision_function", method="one-step")
    half = inf.effect(edits.reweight(2, 0.25), X, **ask).values
    w = np.ones(7)
    w[2] = 0.25
    refit = Ridge(alpha=alpha, fit_intercept=intercept, solver="svd").fit(X, y, sample_weight=w)
    truth = refit.predict(X) - model.predict(X)
    np.testing.assert_allclose(half, truth, rtol=1e-6, atol=1e-7 * np.abs(truth).max())


@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize("method", ["one-step", "auto", "exact"])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_nearly_interpolated_row_is_known_by_what_it_leaves_of_one(form, method, hold):
    """With fewer rows than columns and a weak penalty leverages are 1 - 1e-7: what is left counts."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((8, 12)), rng.standard_normal(8)
        params = {"alpha": 3e-7, "fit_intercept": True}
        truth = problem_of("Ridge", params, X, y, hold=hold)
        rows = truth.rows(X[:4])
        before = truth.outputs(minimise(truth).theta, rows)
        inf = Influence(
            Ridge(solver="svd", **params).fit(X, y), X, y, solver=Exact(form), hold=hold
        )
        found = inf.removal_effect(X, of="decision_function", method=method)
        own = inf.loo_decision_function(method=method)
        for i in range(4):
            edited = truth.edited({i: 0.0})
            after = edited.outputs(minimise(edited).theta, rows)
            expected = (after - before).astype(float)[:, 0]
            np.testing.assert_allclose(found[i, i], expected[i], rtol=1e-4)
            np.testing.assert_allclose(own[i], float(after[i, 0]), atol=1e-4 * abs(expected[i]))
