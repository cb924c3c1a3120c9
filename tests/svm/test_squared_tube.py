"""LinearSVR with the squared loss: answers are refits at the optimum, found from the rows beyond the tube."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR

from skinfluence import Influence, edits
from skinfluence.objective import objective_of
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.piecewise_bound import PiecewiseBound
from skinfluence.solvers import Exact
from skinfluence.utils.estimator_checks import check_influence
from tests.oracle.half_squares import Sides, tube_sides

N = 40
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.7 * rng.standard_normal(N) + 1.0
W = rng.uniform(0.3, 2.0, N)
TIGHT = {"loss": "squared_epsilon_insensitive", "dual": False, "tol": 1e-12, "max_iter": 100_000}
CASES = {
    "plain": (LinearSVR(epsilon=0.4, **TIGHT), None),
    "weights": (LinearSVR(epsilon=0.4, C=0.3, intercept_scaling=3.0, **TIGHT), W),
    "no intercept": (LinearSVR(epsilon=0.2, fit_intercept=False, **TIGHT), None),
    "no tube": (LinearSVR(epsilon=0.0, **TIGHT), W),
}


def optimum(model, X, y, w):
    """Coefficients, the intercept last: least squares on the rows beyond the tube, until those stay."""
    Z = np.hstack([X, np.full((len(X), int(model.fit_intercept)), model.intercept_scaling)])
    w, b = np.ones(len(y)) if w is None else w, np.zeros(Z.shape[1])
    for _ in range(200):
        off = Z @ b - y
        beyond = np.abs(off) > model.epsilon
        A, target = Z[beyond], (y + model.epsilon * np.sign(off))[beyond]
        weighted = 2 * model.C * w[beyond, None] * A
        after = np.linalg.solve(weighted.T @ A + np.eye(Z.shape[1]), weighted.T @ target)
        if np.abs(after - b).max() < 1e-14 * np.abs(b).max(initial=1.0):
            break
        # Halfway: from set to set alone it may go round.
        b = after if np.abs(after - b).max() < 1e-9 else 0.5 * (b + after)
    grad = b + 2 * model.C * Z.T @ (w * np.sign(off) * np.maximum(0, np.abs(off) - model.epsilon))
    assert np.abs(grad).max() < 1e-9
    return Z, b


def decide(model, b, A):
    ones = np.full((len(A), int(model.fit_intercept)), model.intercept_scaling)
    return np.hstack([A, ones]) @ b


@pytest.fixture(params=CASES)
def asked(request):
    model, w = CASES[request.param]
    return model, w, Influence(clone(model).fit(X, Y, w), X, Y, w)


def test_leaving_out_and_edits_are_refits(asked):
    model, w, inf = asked
    full, own = optimum(model, X, Y, w)[1], inf.loo_predict()
    assert_allclose(decide(model, full, X), inf.estimator.predict(X), rtol=1e-5)
    for row in range(0, N, 7):
        kept = np.delete(np.arange(N), row)
        b = optimum(model, X[kept], Y[kept], None if w is None else w[kept])[1]
        assert_allclose(own[row], decide(model, b, X[[row]])[0], rtol=1e-8)
    edit = edits.remove([3, 5]) + edits.relabel(8, 4.0) + edits.add(X[1], -2.0)
    found = inf.effect(edit, X[:4], of="predict", method="exact").values
    y2, kept = np.append(Y, -2.0), np.delete(np.arange(N + 1), [3, 5])
    y2[8] = 4.0
    w2 = None if w is None else np.append(w, 1.0)[kept]
    b = optimum(model, np.vstack([X, X[1]])[kept], y2[kept], w2)[1]
    assert_allclose(found, decide(model, b - full, X[:4]), atol=1e-8)


def test_rows_within_the_tube_change_nothing():
    model, _ = CASES["plain"]
    inf = Influence(clone(model).fit(sp.csr_array(X), Y), sp.csr_array(X), Y)
    within = np.abs(Y - decide(model, optimum(model, X, Y, None)[1], X)) < 0.39
    gone = inf.removal_effect(X, of="predict", indices=np.flatnonzero(within), method="exact")
    assert within.any() and np.abs(gone).max() < 1e-12


def test_behind_a_scaler_and_after_an_edit_it_is_a_refit():
    model, _ = CASES["plain"]
    pipe = make_pipeline(StandardScaler(), clone(model)).fit(X, Y)
    inf = Influence(pipe, X, Y)
    kept = np.delete(np.arange(N), 9)
    scaler = StandardScaler().fit(X[kept])
    b = optimum(model, scaler.transform(X[kept]), Y[kept], None)[1]
    expected = decide(model, b, scaler.transform(X[[9]]))
    assert_allclose(inf.loo_predict(indices=[9]), expected, rtol=1e-8)
    assert_allclose(inf.edited(edits.remove(9)).estimator.predict(X[[9]]), expected, rtol=1e-7)


@pytest.mark.parametrize("epsilon", [0.0, 0.4])
@pytest.mark.parametrize("far", [1e-10, 1e-6, 1e-2, 0.3])
def test_a_place_beside_the_optimum_is_said_to_be_that_far(far, epsilon):
    """With rows that come out of the tube on the way, or go to its other side."""
    fitted = LinearSVR(epsilon=epsilon, **TIGHT).fit(X, Y, W)
    problem, _ = piecewise.minimise(objective_of(fitted, X, Y, W), Exact("primal"))
    factor, Z = Exact("primal").factor(problem), np.column_stack([X, np.ones(N)])
    truth = Sides(*tube_sides(Z, Y, W, epsilon), np.ones(4))
    best = truth.optimum(problem.theta[0])
    H, rng, known = truth.hessian(best).astype(float), np.random.default_rng(0), 0
    for _ in range(20):
        step = rng.standard_normal(4) / np.sqrt(np.diag(H))
        there = problem.at(problem.theta + far * step / np.sqrt(step @ H @ step))
        off = (there.theta[0] - best).astype(float)
        bound = PiecewiseBound(factor)._distance(there, 1.0, 0.0)[0]
        assert np.sqrt(off @ H @ off) <= bound * (1 + 1e-9)
        known += bound < 3 * far + 1e-10
    if far < 1e-3:
        assert known > 15


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_large_problems_end_at_the_same_optimum(solver, monkeypatch):
    """With the factors of a solver where least squares of their own would be too large."""
    model = LinearSVR(epsilon=0.4, **TIGHT).fit(X, Y, W)
    small = Influence(model, X, Y, W).removal_effect(X[:5], of="predict")
    monkeypatch.setattr(piecewise, "LARGEST", 0)
    found = Influence(model, X, Y, W, solver=solver).removal_effect(X[:5], of="predict")
    assert_allclose(found, small, rtol=1e-6, atol=1e-8)


def test_columns_of_all_sizes_and_heavy_rows_end_at_the_optimum():
    """Where Newton's method on the rounded objective would stop: each end is that of long double."""
    heavy = np.where(np.arange(N) % 5 == 0, 1e6, 1e-3)
    A = X * [1e-4, 1.0, 1e4]
    model = LinearSVR(epsilon=0.4, C=10.0, **TIGHT).fit(A, Y, heavy)
    inf = Influence(model, A, Y, heavy, polish=True)
    Z, penalty = np.column_stack([A, np.ones(N)]), np.full(4, 0.1)
    before = Sides(*tube_sides(Z, Y, heavy, 0.4), penalty).optimum(inf.objective.theta[0])
    for row in range(0, N, 5):
        w = np.where(np.arange(N) == row, 0.0, heavy)
        after = Sides(*tube_sides(Z, Y, w, 0.4), penalty).optimum(before)
        found = inf.effect(edits.remove(row), A, of="predict", method="exact").values
        terms = np.abs(Z) @ (np.abs(before) + np.abs(after))
        assert (np.abs(found - Z @ (after - before)) <= 1e-13 * terms).all()


def test_it_keeps_the_contract():
    check_influence(LinearSVR(epsilon=0.05, **TIGHT), data=(X, Y))
