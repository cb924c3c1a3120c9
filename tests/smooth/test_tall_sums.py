"""Sums over pairs of rows without the pairs: a tensor for tables with many more rows than columns."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.pairs.own_values import own_values
from skinfluence.smooth.pairs.pair_sums import PairSums
from skinfluence.smooth.pairs.step_sums import StepSums
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.solvers import Exact
from tests.smooth.test_own_values import LOSSES, edits_of, optimum, pairs
from tests.smooth.test_single_chords import HOLDS, own_edits, setting, solved


def solver_of(objective):
    return EditSolver(Exact("primal").factor(objective), Exact("primal"))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rows", [50, 2048])
def test_sums_are_those_of_the_matrix_or_bound_them(name, rows, monkeypatch):
    """In blocks of rows too, copies of a row and rows without weight among them."""
    monkeypatch.setattr("skinfluence.smooth.pairs.tall_sums.ROWS", rows)
    objective = optimum(name, n=400)
    solver = solver_of(objective)
    objective = solver.objective
    sums = solver.start.whitened(removals(objective, np.arange(3))).tall
    K = pairs(objective, solver.factor)
    W = objective.weights * objective.hessians[:, 0, 0]
    T = objective.weights * objective.loss.third(objective.eta, objective.y)
    there = objective.weights > 0
    assert (sums.largest >= np.abs(K * there).max(axis=1)).all()
    assert (sums.quarts >= K**4 @ W).all()
    assert (np.abs(sums.cubes - K**3 @ T) <= sums.cubes_error)[there].all()
    assert np.abs(sums.cubes - K**3 @ T).max() <= 1e-5 * (np.abs(K) ** 3 @ np.abs(T)).max()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("hold", HOLDS)
def test_no_own_value_is_farther_from_the_solved_one_than_its_bound(name, hold):
    objective, solver = setting(name, 1, hold, n=300, d=3)
    X, certified = objective.design.dense_rows(), []
    for own in own_edits(objective, solver, 0):
        found = own_values(own, own.at.tall)
        certified.append(found.within(1e-2).mean())
        for i in range(0, len(own), 40):
            true = X[own.rows[i]] @ solved(objective, own.rows[i], own.y[i], own.weight[i])
            assert abs(found.change[i] - true) <= found.bound[i] + 1e-9 * abs(true)
    assert max(certified) > 0.1


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("followed", [False, True])
def test_steps_along_no_row_are_contracted_and_followed_too(name, followed, rng):
    objective = optimum(name, n=400)
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"), split=20)
    tall = solver.start.whitened(removals(solver.objective, np.arange(3))).tall
    if followed:
        tall._follow()
    rows = solver.start.whitened(removals(solver.objective, np.arange(3))).rows
    steps = rng.standard_normal((60, rows.shape[1])) * 10.0 ** rng.uniform(-6, 2, (60, 1))
    steps[7], skip = 0.0, rng.permutation(400)[:60]
    delta, T = steps @ rows.T, objective.weights * objective.loss.third(objective.eta, objective.y)
    turned, rounding = tall.turned(steps)
    true = (delta**2 * T) @ rows
    assert (np.linalg.norm(turned - true, axis=1) <= rounding).all()
    assert np.abs(turned - true).max() <= 1e-5 * np.abs(true).max()
    delta[np.arange(60), skip] = 0.0
    assert (tall.moved_by(steps, skip) >= np.abs(delta * (objective.weights > 0)).max(axis=1)).all()


@pytest.mark.parametrize("split", [3, 40, 1000])
def test_rows_of_large_leverage_are_followed_one_by_one(split):
    objective = optimum("logistic", n=150, heavy=True)
    solver = EditSolver(Exact("primal").factor(objective), Exact("primal"), split=split)
    tall = solver.start.whitened(removals(solver.objective, np.arange(3))).tall
    K = pairs(solver.objective, solver.factor)
    truth = np.abs(K * (objective.weights > 0)).max(axis=1)
    before = tall.largest
    tall._follow()
    assert (tall.largest >= truth).all() and (tall.largest <= before).all()
    if split == 1000:
        np.testing.assert_allclose(tall.largest, truth, rtol=1e-3, atol=1e-5)


def test_tall_tables_behind_a_scaler_go_without_products_of_steps_with_rows(rng, monkeypatch):
    n = 3000
    X = rng.standard_normal((n, 4)) * 10.0 ** np.arange(4)
    y = (StandardScaler().fit_transform(X).sum(axis=1) + rng.logistic(size=n) > 0) * 1
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=1000)).fit(X, y)
    counted, original = [], StepSums.__call__
    monkeypatch.setattr(
        StepSums,
        "__call__",
        lambda s, steps, skip: counted.append(len(steps)) or original(s, steps, skip),
    )
    found = Influence(model, X, y).loo_decision_function()
    assert sum(counted) < 0.05 * n
    truth = Influence(model, X, y).loo_decision_function(method="exact", indices=np.arange(20))
    change = truth[:20] - model.decision_function(X[:20])
    assert (np.abs(found[:20] - truth[:20]) <= 1e-3 * np.abs(change) + 1e-9).all()


def test_tall_tables_go_without_their_pairs_and_far_rows_by_rows_of_them(rng, monkeypatch):
    objective = optimum("logistic", n=3_000, d=4, penalty=0.1)
    solver = solver_of(objective)
    made = []
    monkeypatch.setattr(PairSums, "__init__", lambda *a: made.append(a))
    edits = removals(solver.objective, np.arange(3_000))
    found = solver.own.values(edits, 1e-3)
    assert not made and found.within(1e-3).mean() > 0.999
    some = rng.choice(np.flatnonzero(objective.weights > 0), 15, replace=False)
    for _, exact in solver.rows.solve(edits.take(some), 1e-9):
        true = np.einsum("ikd,id->i", exact.steps, edits.design.take(some).dense_rows())
        assert (np.abs(found.change[some] - true) <= found.bound[some]).all()


def test_wide_tables_and_far_rows_have_their_pairs():
    objective = optimum("logistic", n=120, d=6)
    for other in (objective, optimum("logistic", n=2_000, d=4, heavy=True, penalty=1e-3)):
        solver = solver_of(other)
        edits = next(edits_of(solver.objective, np.random.default_rng(0)))
        at = solver.start.whitened(edits)
        assert not at.tall.serves(at.edits(edits), 1e-6) and not at.knows_sums_of(edits.rows)


def test_leave_one_out_of_a_tall_table_is_that_of_refits(rng):
    from sklearn.linear_model import LogisticRegression

    X = rng.standard_normal((2_500, 3))
    y = (X @ [1.0, -1.0, 0.5] + rng.logistic(size=2_500) > 0).astype(int)
    model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12).fit(X, y)
    found, eta = Influence(model, X, y).loo_decision_function(), model.decision_function(X)
    for i in (0, 700, 2_499):
        kept = np.delete(np.arange(2_500), i)
        refit = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12).fit(X[kept], y[kept])
        change = refit.decision_function(X[[i]])[0] - eta[i]
        assert abs(found[i] - eta[i] - change) <= 1e-3 * abs(change) + 1e-10
