"""Bounds of squared hinges and squared tubes, against optima by long double least squares from set to set."""

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

from skinfluence import Influence, edits
from skinfluence.design import design_of
from skinfluence.losses import SquaredHinge
from skinfluence.objective import Objective
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.piecewise_bound import PiecewiseBound
from skinfluence.solvers import Exact
from skinfluence.svm import LinearSVC
from tests.oracle.algebra import LD, Factor
from tests.oracle.half_squares import Sides, hinge_sides
from tests.trials.bounds import Trial, compare

N, D = 40, 5


def data(kind, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D))
    y = (X[:, 0] + rng.standard_normal(N) > 0).astype(int)
    if kind == "classes":
        y += (X[:, 1] > 0.8).astype(int)
    if kind == "wild":
        X = X * np.geomspace(1e-4, 1e4, D)
    if kind == "heavy":
        return X, y, rng.choice([1e-3, 1.0, 1e3], N)
    return X, y, np.ones(N)


def optimum(Z, signs, weights, penalty, theta):
    return Sides(*hinge_sides(Z, signs, weights), penalty).optimum(theta)


def after_edit(X, y, w, kind, i):
    """An edit, and the rows that it leaves."""
    X2, y2, w2 = X.copy(), y.copy(), w.copy()
    if kind == "remove":
        w2[i] = 0
        return edits.remove(i), X2, y2, w2
    if kind == "relabel":
        y2[i] = (y[i] + 1) % (y.max() + 1)
        return edits.relabel(i, int(y2[i])), X2, y2, w2
    if kind == "reweight":
        w2[i] = 7.5 * w[i]
        return edits.reweight(i, 7.5 * w[i]), X2, y2, w2
    rows = [i, (i + 5) % N, (i + 9) % N]
    w2[rows[1:]] = 0
    X2[i] = X[i] + 0.5 * np.abs(X).max(axis=0)
    return edits.replace(i, X2[i]) + edits.remove(rows[1:]), X2, y2, w2


@pytest.mark.parametrize("edit", ["remove", "relabel", "reweight", "three rows"])
@pytest.mark.parametrize("kind", ["plain", "classes", "wild", "heavy"])
@pytest.mark.parametrize("hold", ["C", "lambda"])
def test_ends_are_no_farther_from_the_optimum_than_is_said(hold, kind, edit):
    X, y, w = data(kind, 1)
    model = LinearSVC(C=0.7, tol=1e-12).fit(X, y, w)
    inf = Influence(model, X, y, w, hold=hold)
    Z, tight = np.column_stack([X, np.ones(N)]), 0
    ridge = np.full(D + 1, 1 / 0.7)
    for i in range(0, N, 7):
        asked, X2, y2, w2 = after_edit(X, y, w, edit, i)
        found = inf.effect(asked, X, of="decision_function", method="exact")
        Z2 = np.column_stack([X2, np.ones(N)])
        share = 1.0 if hold == "C" else w2.sum() / w.sum()
        outputs = [1] if y.max() == 1 else range(3)
        values = found.values.reshape(N, -1)
        for column, c in enumerate(outputs):
            s, s2 = (np.where(one == c, 1.0, -1.0) for one in (y, y2))
            start = np.append(np.atleast_2d(model.coef_)[column], model.intercept_[column])
            before = optimum(Z, s, w, ridge, start)
            after = optimum(Z2, s2, w2, share * ridge, before)
            short = (s2 * (Z2 @ before) < 1) & (w2 > 0)
            P = (Z2[short].T.astype(LD) * (2 * w2[short])) @ Z2[short] + np.diag(share * ridge)
            lengths = np.sqrt(np.einsum("ij,ji->i", Z.astype(LD), Factor(P).solve(Z.T.astype(LD))))
            change = Z @ (after - before)
            # Decision values are rounded themselves.
            rounding = 4e-16 * np.abs(Z) @ (np.abs(before) + np.abs(after))
            assert (np.abs(values[:, column] - change) <= lengths * found.bound + rounding).all()
            step = after - before
            tight += found.bound <= 1e-6 * np.sqrt(step @ P @ step) + 1e-12
    assert tight > 0


@pytest.mark.parametrize("kind", ["plain", "wild", "heavy"])
@pytest.mark.parametrize("far", [1e-10, 1e-7, 1e-4, 1e-2, 0.3])
def test_a_place_beside_the_optimum_is_said_to_be_that_far(kind, far):
    """Wherever the gradient was taken, with rows that change sides on the way or without."""
    X, y, w = data(kind, 3)
    Z, s, ridge = np.column_stack([X, np.ones(N)]), 2.0 * y - 1, np.full(D + 1, 2.0)
    fit = Objective(SquaredHinge(), design_of(X, 1.0), s, w, ridge, np.zeros((1, D + 1)), hold="C")
    factor = Exact("primal").factor(piecewise.minimise(fit, Exact("primal"))[0])
    best = optimum(Z, s, w, ridge, factor.objective.theta[0])
    short = (s * (Z @ best) < 1) & (w > 0)
    H = (Z[short].T.astype(LD) * (2 * w[short])) @ Z[short] + np.diag(ridge)
    rng, known = np.random.default_rng(0), 0
    for _ in range(20):
        step = rng.standard_normal(D + 1) / np.sqrt(np.diag(H))
        step = (far * step / np.sqrt(step @ H @ step)).astype(float)
        there = factor.objective.at(factor.objective.theta + step)
        off = there.theta[0] - best
        bound = PiecewiseBound(factor)._distance(there, 1.0, 0.0)[0]
        assert np.sqrt(off @ H @ off) <= bound * (1 + 1e-9)
        known += bound < 3 * far + 1e-10
    if far < 1e-3:
        assert known > 15


def test_few_digits_of_a_fit_are_no_end_that_is_taken_for_one(rng):
    """A diverged fit is polished first; what is said of it is said of the end."""
    X, y, _ = data("plain", 2)
    model = SGDClassifier("squared_hinge", alpha=0.01, max_iter=3, tol=None, random_state=0).fit(
        X, y
    )
    found = Influence(model, X, y, polish=True).effect(edits.remove(3), X, of="decision_function")
    assert found.bound < 1e-10


def test_a_solver_that_iterates_says_nothing():
    X, y, _ = data("plain", 0)
    inf = Influence(LinearSVC(tol=1e-12).fit(X, y), X, y, solver="cg")
    assert inf.effect(edits.remove(3), X, of="decision_function").bound == np.inf


@pytest.mark.parametrize("kind", ["squared hinge", "squared tube", "Huber"])
@pytest.mark.parametrize("where", ["alone", "behind a scaler"])
def test_random_models_are_no_farther_from_their_optimum_than_is_said(where, kind):
    """Effects and models after an edit; `python -m benchmarks.other_bounds` asks hundreds."""
    drawn = (Trial(seed) for seed in range(1000, 1060))
    some = [one for one in drawn if one.kind == kind and one.piped == (where != "alone")][:6]
    assert len(some) == 6
    for trial in some:
        for found in compare(trial):
            assert found.ratio <= 1.0 and np.isfinite(found.bound)
            assert found.share < 1e-3
