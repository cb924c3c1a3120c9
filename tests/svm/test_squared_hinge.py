"""Squared hinges: fits and edits are at the optimum, which sixty digits prove, or say that they are not."""

import warnings

import numpy as np
import pytest
import sklearn.svm
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier

from skinfluence import Influence, edits
from skinfluence.objective import objective_of
from skinfluence.smooth.optimum import finite_newton, piecewise
from skinfluence.svm import LinearSVC
from tests.svm import optima
from tests.trials.drawing import draw

KINDS = ["remove", "group", "relabel", "add", "reweight", "sum", "all removals", "all relabels"]
# Rounding of decision values, relative to the terms they are sums of.
FLOOR = 1e-14


class Trial:
    """A small problem of the kinds that break solvers: scales, ties, copies, weights of all sizes."""

    def __init__(self, seed, largest=16):
        rng = np.random.default_rng(seed)
        n, d = int(rng.integers(2, largest)), int(rng.integers(1, 6))
        X = rng.standard_normal((n, d))
        if rng.random() < 0.3:
            X = np.round(X * rng.integers(1, 4))
        scale = rng.random()
        if scale < 0.4:
            X *= 10.0 ** rng.uniform(-4, 5, d)
        elif scale < 0.6:
            X = np.round(X * 10.0 ** rng.integers(0, 5, d), -1)
        if rng.random() < 0.2:
            X += 10.0 ** rng.uniform(-1, 5, d) * np.std(X)
        if rng.random() < 0.2:
            X[rng.integers(0, n, n // 3)] = X[0]
        side = X @ rng.standard_normal(d) / (np.abs(X).mean() + 1e-300)
        y = (side + rng.standard_normal(n) * rng.choice([0, 1, 5]) > 0).astype(int)
        y = y if len(np.unique(y)) == 2 else np.arange(n) % 2
        w = np.ones(n)
        if rng.random() < 0.4:
            w = 10.0 ** rng.uniform(-4, 4, n) if rng.random() < 0.5 else rng.uniform(0.1, 3.0, n)
            if rng.random() < 0.5:
                w[rng.integers(0, n, max(1, n // 5))] = 0.0
            for label in (0, 1):
                if not w[y == label].any():
                    w[np.flatnonzero(y == label)[0]] = 1.0
        self.X, self.y, self.w, self.C = X, y, w, 10.0 ** rng.uniform(-4, 4)
        self.intercept = float(rng.choice([0.0, 1.0, 1.0, 10.0]))
        self.tests = np.vstack([X[:4], 1.5 * X[rng.integers(0, n, 3)]])
        self.new = X[rng.integers(0, n)] + X[rng.integers(0, n)]
        self.rng = rng

    def fit(self, fitter, **more):
        params = {"C": self.C, "fit_intercept": bool(self.intercept), **more}
        return fitter(**params, intercept_scaling=self.intercept or 1.0).fit(self.X, self.y, self.w)

    def optimum(self, X=None, y=None, w=None):
        X, y, w = (b if a is None else a for a, b in [(X, self.X), (y, self.y), (w, self.w)])
        return optima.squared_hinge(X, 2.0 * y - 1.0, w, self.C, self.intercept)

    def edit(self, kind):
        """An edit, the rows after it, and what asks for it."""
        i, j = self.rng.choice(len(self.y), 2, replace=False)
        X, y, w = self.X.copy(), self.y.copy(), self.w.copy()
        one = None
        if kind in ("remove", "all removals"):
            one, w[i] = edits.remove(i), 0.0
        elif kind == "group":
            one, w[[i, j]] = edits.remove([i, j]), 0.0
        elif kind == "relabel":
            one, y[i] = edits.relabel(i, 1 - y[i]), 1 - y[i]
        elif kind == "all relabels":
            y[i] = 1
        elif kind == "reweight":
            w[i] = 2.5 * w[i] + 0.1
            one = edits.reweight(i, w[i])
        elif kind == "add":
            one, X, y, w = edits.add(self.new, 1), np.vstack([X, self.new]), np.append(y, 1), None
        else:
            one = edits.remove(i) + edits.relabel(j, 1 - y[j]) + edits.add(self.new, 0)
            w[i], y[j] = 0.0, 1 - y[j]
            X, y, w = np.vstack([X, self.new]), np.append(y, 0), np.append(w, 1.0)
        w = np.append(self.w, 1.0) if w is None else w

        def ask(inf, method):
            if kind == "all removals":
                return inf.removal_effect(self.tests, of="decision_function", method=method)[:, i]
            if kind == "all relabels":
                found = inf.relabel_effect(self.tests, of="decision_function", method=method)
                return found[:, i, 1]
            return inf.effect(one, self.tests, of="decision_function", method=method).values

        return X, y, w, ask

    def rounding(self, *thetas):
        return FLOOR * sum(optima.terms(one, self.tests, self.intercept) for one in thetas)

    def at_tests(self, theta):
        return optima.decisions(theta, self.tests, self.intercept)


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_the_fit_is_the_optimum(start):
    """Of every scale, weight and penalty, to the rounding of each decision value's own terms."""
    for seed in range(start, start + 10):
        trial = Trial(seed, largest=25)
        theta = trial.optimum()
        found = optima.exact(trial.fit(LinearSVC).decision_function(trial.tests))
        error = np.abs((found - trial.at_tests(theta)).astype(float))
        assert (error <= 10.0 * trial.rounding(theta)).all(), seed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fitter", [LinearSVC, sklearn.svm.LinearSVC])
def test_an_edit_is_the_optimum_without_it(kind, fitter):
    """To 1e-9 of what the edit changes and the rounding of each row's own terms, or in words."""
    asked = 0
    for seed in range(1000, 1012):
        trial = Trial(seed)
        if fitter is LinearSVC:
            model = trial.fit(fitter)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = trial.fit(fitter, dual=False, tol=1e-12, max_iter=10_000)
        X, y, w, ask = trial.edit(kind)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                found = ask(
                    Influence(model, trial.X, trial.y, trial.w), ["auto", "exact"][seed % 2]
                )
            except ValueError:
                continue
        if np.isnan(found).any():
            assert said, seed
            continue
        before, after = trial.optimum(), trial.optimum(X, y, w)
        truth = (trial.at_tests(after) - trial.at_tests(before)).astype(float)
        allowed = 1e-9 * np.abs(truth).max() + trial.rounding(before, after)
        assert (np.abs(found - truth) <= allowed).all(), seed
        asked += 1
    assert asked >= 6


def test_rows_whose_slack_is_below_rounding_count():
    """Far from zero, with a weak penalty, every row of the set is within 1e-14 of its margin."""
    X = np.array([[20000, 40000], [9000, 0], [2300, 0], [0, 0], [11000, 3000.0]])
    y = np.array([1, 0, 1, 0, 1])
    ours = LinearSVC(C=0.01, fit_intercept=False).fit(np.delete(X, 1, 0), np.delete(y, 1))
    truth = [8.69556999, 0.99999055, 0.0, 4.78256349]
    np.testing.assert_allclose(ours.decision_function(np.delete(X, 1, 0)), truth, atol=1e-8)
    model = LinearSVC(C=0.01, fit_intercept=False).fit(X, y)
    found = Influence(model, X, y).effect(edits.remove(1), X[[0]], of="decision_function")
    change = ours.decision_function(X[[0]]) - model.decision_function(X[[0]])
    np.testing.assert_allclose(found.values, change, rtol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_rows_beyond_their_margin_by_less_than_an_ulp_curve(seed):
    """Of separable rows in large units: without their curvature every Hessian at the optimum is another one."""
    rng = np.random.default_rng(seed)
    X, y = 1e9 * rng.standard_normal((3, 3)), np.array([0, 1, 0])
    objective = objective_of(LinearSVC(C=3.0, fit_intercept=False).fit(X, y), X, y)
    best, _ = piecewise.minimise(objective, None)
    truth = optima.squared_hinge(X, 2.0 * y - 1.0, np.ones(3), 3.0, 0.0)
    slack = 1 - optima.decisions(truth, X, 0.0) * optima.exact(2.0 * y - 1.0)
    short = np.array([one > 0 for one in slack])
    assert short.any()
    assert max(slack[short]) < 1e-16
    np.testing.assert_array_equal(best.hessians[:, 0, 0] > 0, short)
    np.testing.assert_allclose(
        best.eta[:, 0], optima.decisions(truth, X, 0.0).astype(float), rtol=1e-12
    )


@pytest.mark.parametrize("seed", [329, 1692, 1697, 2463])
def test_heavy_rows_that_hold_each_other_at_the_margin_stay_there_on_the_way(seed):
    """What moves them along a step is rounding: taken for a direction, sets went round until rows .06 away tied."""
    rng = np.random.default_rng(seed)
    X, y = np.round(10 * rng.gamma(1, 1, (8, 3)) * [10, 1, 100]), rng.integers(0, 2, 8)
    X = np.column_stack([X, np.ones(8)])
    C, model = 1e11, LinearSVC(C=1e11, fit_intercept=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        inf = Influence(model.fit(X, y), X, y)
        found = inf.removal_effect(X, of="decision_function", method="exact")
    sides = 2.0 * y - 1.0
    before = optima.squared_hinge(X, sides, np.ones(8), C, 0.0)
    for i in range(8):
        after = optima.squared_hinge(X, sides, np.where(np.arange(8) == i, 0.0, 1.0), C, 0.0)
        expected = optima.decisions(after, X, 0.0) - optima.decisions(before, X, 0.0)
        size = 1e-13 * (optima.terms(after, X, 0.0) + optima.terms(before, X, 0.0))
        error = np.abs(found[:, i] - expected.astype(float))
        assert (error <= 1e-8 * np.abs(expected.astype(float)) + size.astype(float)).all()


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_large_problems_end_at_the_same_optimum(solver, monkeypatch):
    """With the factors of a solver where least squares of their own would be too large."""
    trials = [Trial(seed) for seed in range(2000, 2015)]
    trials = [one for one in trials if np.abs(one.X).max() < 1e3 and one.w.min() > 0.1]
    models = [one.fit(LinearSVC) for one in trials]
    small = [
        Influence(model, one.X, one.y, one.w).removal_effect(one.tests, of="decision_function")
        for model, one in zip(models, trials, strict=True)
    ]
    monkeypatch.setattr(piecewise, "LARGEST", 0)
    assert len(trials) > 3
    for model, one, expected in zip(models, trials, small, strict=True):
        inf = Influence(model, one.X, one.y, one.w, solver=solver)
        found = inf.removal_effect(one.tests, of="decision_function")
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_more_columns_than_rows_end_at_the_same_optimum(monkeypatch):
    """Whether the coordinates are turned into fewer or not."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 60)), np.arange(30) % 2
    tests = rng.standard_normal((5, 60))
    whole = LinearSVC().fit(X, y)
    expected = Influence(whole, X, y).removal_effect(tests, of="decision_function")
    monkeypatch.setattr(finite_newton, "WIDE", 10)
    turned = LinearSVC().fit(X, y)
    np.testing.assert_allclose(turned.coef_, whole.coef_, rtol=0, atol=1e-14)
    found = Influence(turned, X, y).removal_effect(tests, of="decision_function")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The fit is not at the optimum")
def test_a_diverged_fit_with_a_free_intercept_is_left_for_the_optimum():
    """Where no row is short of its margin the intercept is not determined: all rows curve then."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 2)) * [1.0, 100.0]
    y = (X[:, 0] + 0.5 * rng.standard_normal(40) > 0).astype(int)
    model = SGDClassifier(loss="squared_hinge", alpha=0.01, random_state=0).fit(X, y)
    ends = []
    for factor in (1.0, 1e8, 0.0):
        model.coef_, model.intercept_ = factor * model.coef_, model.intercept_ + 5.0
        inf = Influence(model, X, y, solver="exact", polish=False)
        ends.append(inf.removal_effect(X[:3], of="decision_function", method="exact"))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-9, atol=1e-12)


def test_rows_beyond_their_margin_change_nothing_exactly():
    trial = Trial(3, largest=25)
    model = trial.fit(LinearSVC)
    objective = objective_of(model, trial.X, trial.y, trial.w)
    beyond = (objective.y * objective.eta[:, 0] > 1.0 + 1e-9) | (trial.w == 0)
    assert beyond.any()
    found = Influence(model, trial.X, trial.y, trial.w).removal_effect(
        trial.tests, of="decision_function"
    )
    assert not found[:, beyond].any()
    assert found[:, ~beyond].any()


def test_a_row_that_comes_to_its_margin_by_less_than_rounding_is_taken_over_it():
    """The step to the optimum of one set ends just beyond the margin of a row outside it."""
    X = np.array([[0.0, 1e4], [0, 0], [0, 0], [0, 1e4], [1e4, 1e4]])
    y, weight = np.array([0, 2, 1, 0, 3]), np.array([0.625, 1.25, 1.25, 0.625, 1.25])
    C = 8.262230843030686
    model = LinearSVC(C=C, fit_intercept=False).fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inf.relabel_effect(X, of="decision_function", method="exact")
    sides = lambda target, c: np.where(target == c, 1.0, -1.0)
    for i in range(5):
        for label in range(4):
            other = y.copy()
            other[i] = label
            for c in range(4):
                before = optima.squared_hinge(X, sides(y, c), weight, C, 0.0)
                after = optima.squared_hinge(X, sides(other, c), weight, C, 0.0)
                expected = optima.decisions(after, X, 0.0) - optima.decisions(before, X, 0.0)
                np.testing.assert_allclose(
                    found[:, i, label, c], expected.astype(float), rtol=1e-8, atol=1e-10
                )


def test_steps_of_which_round_off_hides_the_slope_still_settle():
    """A column of size 1e8 beside one of 1e-8, rows without weight: edits end at the optimum."""
    trial = draw(50690)
    X, y, weight = trial.X, trial.y, trial.weights
    model = LinearSVC(C=trial.params["C"], fit_intercept=False).fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inf.removal_effect(X, of="decision_function", indices=[3, 17])
    assert found.shape[:2] == (26, 2)
    kinds = [np.where(y == c, 1.0, -1.0) for c in np.unique(y)]
    if len(kinds) == 2:
        kinds, found = kinds[1:], found[:, :, None]
    for place, i in enumerate([3, 17]):
        w = np.where(np.arange(26) == i, 0.0, weight)
        for c, sides in enumerate(kinds):
            before = optima.squared_hinge(X, sides, weight, trial.params["C"], 0.0)
            after = optima.squared_hinge(X, sides, w, trial.params["C"], 0.0)
            expected = optima.decisions(after, X, 0.0) - optima.decisions(before, X, 0.0)
            expected = expected.astype(float)
            size = 1e-13 * (optima.terms(after, X, 0.0) + optima.terms(before, X, 0.0))
            error = np.abs(found[:, place, c] - expected)
            assert (error <= 1e-8 * np.abs(expected) + size.astype(float)).all()
