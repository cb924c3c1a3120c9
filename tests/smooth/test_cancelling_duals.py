"""Fewer rows than columns, with a weak penalty: the dual form cancels, and no route may lose digits by it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, Ridge

from skinfluence import Influence, edits
from skinfluence.diagnostics import leverage
from skinfluence.smooth.optimum.accuracy import Accuracy
from skinfluence.solvers import Exact
from tests.fuzzing import draw_problem, row_trials
from tests.oracle.algebra import LD, Factor

ALPHA = 0.4


def refit(X, y, weights, intercept, alpha=ALPHA):
    """Coefficients and intercept of ridge regression in long double."""
    Z = np.column_stack([X, np.full(len(X), float(intercept))]).astype(LD)
    Z = Z if intercept else Z[:, :-1]
    ridge = np.full(Z.shape[1], LD(alpha))
    ridge[X.shape[1] :] = 0
    w = np.asarray(weights, dtype=LD)
    theta = Factor((Z.T * w) @ Z + np.diag(ridge)).solve(Z.T @ (w * np.asarray(y, dtype=LD)))
    return theta[: X.shape[1]], theta[X.shape[1] :].sum()


def few_rows(kind, rng):
    """Rows, targets and weights of a ridge regression whose dual matrix spans ten orders."""
    X = rng.standard_normal((7, 10)) * np.geomspace(1e-4, 1e4, 10)
    y = rng.standard_normal(7)
    if kind == "equal weights":
        return X, y, np.full(7, 2e4)
    return rng.integers(-3, 4, X.shape).astype(float) * 1e2, y, rng.choice([1.0, 2.0, 3.0], 7)


@pytest.mark.parametrize("intercept", [False, True], ids=["free", "intercept"])
@pytest.mark.parametrize("kind", ["equal weights", "other weights"])
@pytest.mark.parametrize("seed", range(3))
def test_every_route_keeps_the_digits_of_true_refits(kind, intercept, seed):
    rng = np.random.default_rng(seed)
    X, y, w = few_rows(kind, rng)
    model = Ridge(alpha=ALPHA, fit_intercept=intercept, solver="svd").fit(X, y, w)
    before = refit(X, y, w, intercept)
    own, change = np.empty(7), np.empty((7, 7))
    for i in range(7):
        kept = np.arange(7) != i
        coef, constant = refit(X[kept], y[kept], w[kept], intercept)
        own[i] = X[i] @ coef + constant
        change[:, i] = X @ (coef - before[0]) + constant - before[1]
    of = dict(of="decision_function")

    def asked():
        # What an answer is made with must not depend on what was asked before it.
        return Influence(model, X, y, w, solver=Exact("dual"), polish=True)

    for method in ("one-step", "exact"):
        loo = asked().loo_decision_function(method=method)
        # One minus a leverage is down to 2e-7: of sixteen digits it leaves nine, most of the time.
        np.testing.assert_allclose(loo, own, rtol=1e-6, atol=1e-9)
        some = asked().removal_effect(X, indices=[4, 0, 2], method=method, **of)
        np.testing.assert_allclose(some, change[:, [4, 0, 2]], rtol=1e-6, atol=1e-8)
        one = asked().effect(edits.remove(4), X, method=method, **of).values
        np.testing.assert_allclose(one, change[:, 4], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", ["exact", "dual"])
@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize("short", [1e-9, 1e-4], ids=["at the optimum", "stopped early"])
def test_a_row_that_alone_decides_a_penalised_column_has_an_answer(hold, solver, short):
    """One step of squared error is what a refit changes, whatever one minus a leverage leaves.

    How far the fit stopped from its optimum is no change by the edit, by any route.
    """
    rng = np.random.default_rng(0)
    X, y = rng.integers(-3, 4, (6, 8)).astype(float), rng.standard_normal(6)
    X[:, 7], X[2, 7] = 0.0, 7e7
    w = np.array([1.0, 2.0, 1.0, 1.0, 2.0, 1.0])
    model = Ridge(alpha=ALPHA, solver="svd").fit(X, y, w)
    model.coef_[:7] *= 1.0 + short
    i, kept = 2, np.arange(6) != 2
    alpha = ALPHA if hold == "C" else ALPHA * w[kept].sum() / w.sum()
    after, before = refit(X[kept], y[kept], w[kept], True, alpha), refit(X, y, w, True)
    expected = float(X[i] @ (after[0] - before[0]) + after[1] - before[1])
    inf = Influence(
        model,
        X,
        y,
        w,
        solver=Exact("dual") if solver == "dual" else "exact",
        hold=hold,
        polish=False,
    )
    of = dict(of="decision_function", method="one-step")
    changes = {
        "loo": (inf.loo_decision_function(method="one-step") - model.predict(X))[i],
        "row": inf.removal_effect(X, indices=[i], **of)[i, 0],
        "effect": inf.effect(edits.remove(i), X, **of).values[i],
        "groups": inf.removal_effect(X, groups=np.arange(6), **of)[i, i],
    }
    for door, found in changes.items():
        assert found == pytest.approx(expected, rel=1e-6), door


@pytest.mark.parametrize("solver", ["exact", "dual"])
def test_the_others_of_a_row_of_leverage_one_may_be_as_ill_conditioned(solver):
    """Ten heavy rows, fifteen columns, a penalty of 1e-8: the step is refined by sums over the rows."""
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((10, 15)), rng.standard_normal(10), np.full(10, 50.0)
    w[4] = 5e4
    model = Ridge(alpha=1e-8, solver="svd").fit(X, y, w)
    kept = np.arange(10) != 4
    coef, constant = refit(X[kept], y[kept], w[kept], True, 1e-8)
    of = dict(solver=Exact("dual") if solver == "dual" else "exact", polish=True)
    inf = Influence(model, X, y, w, **of)
    found = inf.loo_decision_function(method="one-step")[4]
    assert found == pytest.approx(float(X[4] @ coef + constant), rel=1e-7)
    # An explicit inverse knows leverages to 2e-3 here, and what they leave of 1 is 2e-14 to 6e-11.
    Z = np.column_stack([X, np.ones(10)]).astype(LD)
    H = Factor((Z.T * w) @ Z + np.diag(np.append(np.full(15, LD(1e-8)), 0)))
    assert_allclose(1 - leverage(inf), 1 - w * H.inverse_norms(Z.T) ** 2, rtol=0.01, atol=1e-15)


@pytest.mark.parametrize("share", [-0.5, 0.01, 0.5])
def test_bounds_count_what_solves_lose_where_the_penalty_moves(share):
    """The factor of each penalty is refined as much as it needs, and leaves what the one of the fit does not."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.standard_normal((40, 3)), 30.0 * rng.standard_normal((4, 3))])
    y = (X[:, 0] + rng.standard_normal(44) > 0).astype(int)
    model = LogisticRegression(C=100.0, solver="newton-cholesky", tol=1e-12).fit(X, y)
    inf = Influence(model, X, y, solver=Exact("dual"), hold="lambda")
    factor, objective = inf.answers.factor, inf.objective
    shift = share * objective.total_weight
    rows = np.hstack([X, np.ones((44, 1))]).T
    solved = factor.solve(rows, shift)
    curvature = factor.shifted(shift).curvature
    left = rows - curvature.matmat(solved)
    lost = np.sqrt(np.sum(left * np.linalg.solve(curvature.dense(), left), axis=0))
    error = lost / np.sqrt(np.sum(rows * solved, axis=0))
    accuracy = Accuracy(factor)
    for given in (shift, np.array([0.0, shift])):
        assert error.max() <= np.max(accuracy.solve_error_at(given))
    # This is more than what the factor of the fit loses.
    assert accuracy.solve_error_at(0.0) == accuracy.solve_error


def test_a_step_that_rounding_ends_is_within_its_bound():
    """Of a row that gets half as much weight again: 3 % beyond, where the bound knew the first factor only."""
    rng = np.random.default_rng([950000, 73])
    problem = draw_problem(rng)
    trials = list(row_trials(rng, problem, 8, []))
    assert (problem.form, problem.objective.hold) == ("dual", "lambda")
    assert not any(trial.violated for trial in trials)
