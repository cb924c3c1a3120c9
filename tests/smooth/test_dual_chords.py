"""Chords in the space of the rows, where rows are fewer than parameters, against Newton's method."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.design import design_of
from skinfluence.smooth.chords.dual_chords import DualChords, _Chords
from skinfluence.smooth.one_step.steps import removals
from skinfluence.smooth.stages.edit_solver import EditSolver
from skinfluence.solvers import Exact
from tests.smooth.test_own_values import edits_of, optimum
from tests.smooth.test_single_chords import SINGLE, hessian, solved


def setting(name, seed=0, penalty=1.0, heavy=False):
    objective = optimum(name, seed, n=45, d=60, penalty=penalty, heavy=heavy)
    solver = EditSolver(Exact("dual").factor(objective), Exact("dual"))
    return solver.objective, solver


def own_edits(objective, solver, seed=0):
    for edits in edits_of(objective, np.random.default_rng(seed)):
        yield solver.own.dual.edits(edits)


@pytest.mark.parametrize("intercept", [0.0, 1.0])
@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("penalty", [0.7, 1e-3])
def test_pairs_of_rows_are_products_with_the_inverse(intercept, idle, penalty):
    """By the dual matrix's inverse, by solves where a row has no curvature to divide by, and by both."""
    objective = optimum("logistic", n=30, d=40)
    weights = np.ones(30)
    weights[[3, 8]] = 0.0 if idle else 2.0
    X = objective.design.X
    objective = replace(
        objective,
        design=design_of(X, intercept),
        penalty=np.append(np.full(40, penalty), [0.0] * bool(intercept)),
        theta=np.zeros((1, 40 + bool(intercept))),
        weights=weights,
        sample_weight=None,
    )
    K = Exact("dual").factor(objective).pairs()
    np.testing.assert_allclose(K, K.T, rtol=1e-12, atol=1e-13 * np.abs(K).max())
    rows = objective.design.dense_rows()
    H = (rows.T * (0.25 * weights)) @ rows + np.diag(objective.penalty)
    true = rows @ np.linalg.solve(H, rows.T)
    size = np.sqrt(np.diagonal(true))
    # What the inverse of a Hessian of this condition leaves in float64.
    np.testing.assert_allclose(K / np.outer(size, size), true / np.outer(size, size), atol=1e-10)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("penalty", [0.05, 1.0])
@pytest.mark.parametrize("heavy", [False, True])
def test_no_answer_is_farther_from_the_solved_one_than_its_bound(name, penalty, heavy):
    objective, solver = setting(name, 1, penalty, heavy)
    X = objective.design.dense_rows()
    points = np.random.default_rng(7).standard_normal((6, X.shape[1]))
    cross = points @ steps_of(objective, X.T)
    certified = asked = 0
    for own in own_edits(objective, solver):
        values = solver.own.dual.own_values(own, 1e-3)
        moved, sure = solver.own.dual.moves_at(own, 1e-3, cross, 0.0)
        certified, asked = certified + sure.sum() + values.within(1e-3).sum(), asked + 2 * len(own)
        for i in range(0, len(own), 4):
            d = solved(objective, own.rows[i], own.y[i], own.weight[i])
            P = hessian(objective, own, i, objective.theta[0])
            size = np.sqrt(d @ P @ d)
            floor = 2.0 * solver.accuracy.floor + 1e-9 * size
            true = X[own.rows[i]] @ d
            if np.isfinite(values.bound[i]):
                away = abs(values.change[i] - true)
                assert away <= values.bound[i] + 1e-9 * abs(true)
            if sure[i]:
                reach = np.sqrt(np.einsum("td,dt->t", points, np.linalg.solve(P, points.T)))
                assert (np.abs(moved[i] - points @ d) <= reach * (1.01e-3 * size + floor)).all()
    assert certified > 0.55 * asked


def steps_of(objective, C):
    """``H^-1 C`` of each column, in extended precision: curvatures differ by twelve digits here."""
    X = objective.design.dense_rows().astype(np.longdouble)
    second = (objective.weights * objective.hessians[:, 0, 0]).astype(np.longdouble)
    H = (X.T * second) @ X + np.diag(objective.penalty)
    root = 1.0 / np.sqrt(np.diagonal(H))
    scaled = H * root * root[:, None]
    inverse = np.linalg.inv(scaled.astype(float))
    right, found = root[:, None] * C, np.zeros_like(C, dtype=np.longdouble)
    for _ in range(10):
        found += inverse @ (right - scaled @ found)
    return (root[:, None] * found).astype(float)


@pytest.mark.parametrize("name", SINGLE)
def test_each_part_of_a_bound_holds_on_the_way(name):
    """The distance of every iterate and of the one after it, not only where the passes end."""
    seen = 0
    objective, solver = setting(name, 2, 0.1, heavy=True)
    X = objective.design.dense_rows()
    for own in own_edits(objective, solver):
        chords = _Chords(solver.own.dual, own)
        for _ in range(3):
            if not len(chords.open):
                break
            b, C, which = chords._b, chords._C, chords.open
            chords.forward()
            limits, size = chords.limits()
            own_limits = chords.own_limits()
            for k in range(0, len(which), 6):
                i = which[k]
                d = solved(objective, own.rows[i], own.y[i], own.weight[i])
                P = hessian(objective, own, i, objective.theta[0])
                x, floor = X[own.rows[i]], 1e-9 * np.sqrt(d @ P @ d) + 2.0 * solver.accuracy.floor
                here = b[k] * x + (0.0 if C is None else X.T @ C[k].astype(float))
                after = chords._next_b[k] * x - X.T @ chords._rho[k].astype(float)
                if not np.isfinite(chords._E[k]):
                    continue
                for c, limit in ((here, chords._E[k]), (after, limits[k])):
                    v = steps_of(objective, c[:, None])[:, 0]
                    away = np.sqrt((v - d) @ P @ (v - d))
                    assert away <= limit + floor
                    seen += np.isfinite(limit) and away > 0.01 * limit
                assert size[k] <= np.sqrt(v @ P @ v) * (1 + 1e-6)
                np.testing.assert_allclose(chords.own[k], x @ v, rtol=1e-4, atol=1e-7)
                assert abs(x @ v - x @ d) <= own_limits[k] + floor * own.length[i]
            chords.go_on(np.ones(len(which), dtype=bool))
    assert seen > 10


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("penalty", [0.02, 1.0])
def test_newton_steps_in_the_space_of_the_rows_solve_every_edit_within_their_bound(name, penalty):
    """Every bound on the way too, of the steps and of the rows' own decision values."""
    objective, solver = setting(name, 3, penalty, heavy=True)
    X, n, seen, certified = objective.design.dense_rows(), objective.n_samples, 0, []
    for own in own_edits(objective, solver):
        some = own.take(np.flatnonzero(own.are_bounded)[::7])
        truth = [
            solved(objective, *one) for one in zip(some.rows, some.y, some.weight, strict=True)
        ]
        P = [hessian(objective, some, i, objective.theta[0]) for i in range(len(some))]

        def look(now, which, some=some, truth=truth, P=P):
            nonlocal seen
            steps = steps_of(objective, X.T @ now.steps[:, :n].T).T
            for j, i in enumerate(which):
                error = steps[j] - truth[i]
                away, size = np.sqrt(error @ P[i] @ error), np.sqrt(truth[i] @ P[i] @ truth[i])
                floor = 1e-9 * size + 2.0 * solver.accuracy.floor
                assert away <= now.error[j] + floor
                off = abs(now.change[j] - X[some.rows[i]] @ truth[i])
                assert off <= now.change_error[j] + some.length[i] * floor
                seen += np.isfinite(now.error[j]) and away > 1e-2 * now.error[j] > 1e-9
            return now.error <= 1e-7 * now.size

        found = solver.own.dual.solve(some, look)
        certified.append((found.error <= 1e-6 * found.size + 1e-12).mean())
    assert seen > 3 and np.mean(certified) > 0.6


@pytest.mark.filterwarnings("ignore:.*could not be certified")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("C", [0.3, 30.0])
def test_texts_are_answered_about_as_refits_would_be(sparse, C, rng, monkeypatch):
    """With a heavy row that chords leave; own values, effects on other points, the strongest rows."""
    n, d = 60, 90
    X = rng.random((n, d)) * (rng.random((n, d)) < 0.15)
    X[7] *= 40.0
    y = (X @ rng.standard_normal(d) + 0.5 * rng.logistic(size=n) > 0).astype(int)
    points = rng.random((5, d)) * (rng.random((5, d)) < 0.15)
    asked = X
    if sparse:
        asked, points = sp.csr_array(X), sp.csr_array(points)
    model = LogisticRegression(C=C, tol=1e-12, max_iter=10_000)
    inf = Influence(model.fit(asked, y), asked, y)
    made = []
    original = DualChords.__init__
    monkeypatch.setattr(DualChords, "__init__", lambda *a: (made.append(1), original(*a))[1])
    own = inf.loo_decision_function()
    moved = inf.removal_effect(points, of="decision_function")
    top = inf.top(points, np.zeros(5, dtype=int), k=3)
    assert len(made) == 1
    effect = inf.removal_effect(points, np.zeros(5, dtype=int))
    np.testing.assert_array_equal(top.helpful, np.argsort(-effect, axis=1)[:, :3])
    for i in (0, 7, 20, 41):
        kept = np.delete(np.arange(n), i)
        refit = LogisticRegression(C=C, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        refit.fit(X[kept], y[kept])
        before = inf.estimator.decision_function(X[[i]])
        change = refit.decision_function(X[[i]]) - before
        assert abs(own[i] - before - change) <= 2e-3 * abs(change) + 1e-6
        change = refit.decision_function(points) - inf.estimator.decision_function(points)
        assert np.abs(moved[:, i] - change).max() <= 2e-2 * np.abs(change).max() + 1e-6


def test_few_rows_and_what_has_no_pairs_go_the_old_way():
    objective, solver = setting("logistic")
    few = removals(objective, np.arange(3))
    assert not solver.own.moves_at(few, objective.design, 1e-3)[0].any() and "dual" not in vars(
        solver.own
    )
    assert not DualChords.serves(Exact("primal").factor(objective))
    held = EditSolver(solver.factor.holding("lambda"), Exact("dual"))
    assert not DualChords.serves(held.factor)
    all_rows = removals(objective, np.arange(objective.n_samples))
    # Answers to round-off are no matter of single precision.
    assert not solver.own.moves_at(all_rows, objective.design, 1e-9)[0].any()
