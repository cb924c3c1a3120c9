"""Balanced class weights move with an edit as refits move them."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import scale
from sklearn.svm import SVC, LinearSVC

from skinfluence import Influence, edits
from skinfluence.model_selection import leave_one_group_out
from tests.oracle.kernels import MachineProblem
from tests.oracle.optimum import minimise
from tests.oracle.problems import class_weights, problem_of

TIGHT = {"solver": "newton-cholesky", "tol": 1e-12}
BALANCED = {"class_weight": "balanced"}
# Estimator, and whether "balanced" counts sample weights.
MODELS = {
    "logistic": LogisticRegression(C=0.5, **BALANCED, **TIGHT),
    "liblinear": LogisticRegression(C=0.5, solver="liblinear", tol=1e-10, **BALANCED),
    "ridge": RidgeClassifier(**BALANCED),
    "squared hinge": LinearSVC(dual=False, tol=1e-10, max_iter=10**5, **BALANCED),
    "one vs rest": OneVsRestClassifier(LogisticRegression(C=0.5, **BALANCED, **TIGHT)),
}


def unequal(task, n=60, seed=0):
    """Classes of unequal sizes that overlap."""
    rng = np.random.default_rng(seed)
    k = 2 if task == "binary" else 3
    y = rng.choice(k, n, p=[0.7, 0.3] if k == 2 else [0.6, 0.25, 0.15])
    X = rng.standard_normal((n, 4))
    X[:, 0] += 0.8 * y
    X[:, 1] -= 0.5 * (y == 1)
    return X, y


def refit(model, X, y, weight, at):
    """Decision values at some points of the optimum on other data, in long double."""
    params = getattr(model, "estimator", model).get_params(deep=False)
    classes = np.unique(y)
    problem = problem_of(type(model).__name__, params, X, y, weight, classes=classes)
    found = minimise(problem)
    assert found.converged
    values = problem.outputs(found.theta, problem.rows(at)).astype(float)
    return values[:, 0] if values.shape[1] == 1 else values


def edited(X, y, weight, rng):
    """Edits, and the rows, labels and weights that they lead to."""
    n, k = len(y), y.max() + 1
    for size in (1, 1, 6, 15):
        rows = rng.choice(n, size, replace=False)
        yield edits.remove(rows), *(np.delete(one, rows, axis=0) for one in (X, y, weight))
    i, j = rng.choice(n, 2, replace=False)
    other = y.copy()
    other[[i, j]] = (y[[i, j]] + 1) % k
    yield edits.relabel([i, j], other[[i, j]]), X, other, weight
    moved = X.copy()
    moved[i] += 1.0
    yield edits.replace(i, moved[i]), moved, y, weight
    changed = weight.copy()
    changed[[i, j]] = 0.0, 3.0
    yield edits.reweight([i, j], [0.0, 3.0]), X, y, changed
    yield (
        edits.add(X[j] - 0.5, k - 1, 2.0),
        np.vstack([X, X[j] - 0.5]),
        np.append(y, k - 1),
        np.append(weight, 2.0),
    )


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("task", ["binary", "softmax"])
@pytest.mark.parametrize("name", MODELS)
def test_every_edit_moves_the_weights_of_the_classes(name, task, weighted):
    if name == "liblinear" and task != "binary":
        pytest.skip("liblinear fits two classes.")
    if name == "one vs rest" and weighted:
        pytest.skip("OneVsRestClassifier takes no weights.")
    X, y = unequal(task)
    rng = np.random.default_rng(1)
    weight = rng.choice([0.5, 1.0, 2.5], len(y)) if weighted else np.ones(len(y))
    more = {"sample_weight": weight} if weighted else {}
    model = clone(MODELS[name]).fit(X, y, **more)
    inf = Influence(model, X, y, weight)
    at = X[:7] + 0.1
    before = refit(model, X, y, weight, at)
    for edit, *data in edited(X, y, weight, rng):
        truth = refit(model, *data, at) - before
        exact = inf.effect(edit, at, of="decision_function", method="exact").values
        np.testing.assert_allclose(exact, truth, rtol=0, atol=1e-6 * np.abs(truth).max())
        auto = inf.effect(edit, at, of="decision_function").values
        assert np.linalg.norm(auto - truth) <= 5e-3 * np.linalg.norm(truth)


@pytest.mark.parametrize("task", ["binary", "softmax"])
@pytest.mark.parametrize("name", ["logistic", "ridge", "squared hinge", "one vs rest"])
def test_all_rows_at_once_equal_refits_and_the_held_weights_do_not(name, task):
    X, y = unequal(task)
    model = clone(MODELS[name]).fit(X, y)
    inf = Influence(model, X, y)
    before = refit(model, X, y, None, X)
    own, effects = [], []
    for i in range(len(y)):
        after = refit(model, np.delete(X, i, axis=0), np.delete(y, i), None, X)
        own.append(after[i])
        effects.append(after - before)
    truth, effects = np.array(own), np.swapaxes(effects, 0, 1)
    change = truth - before
    largest = np.abs(change).max()
    exact = inf.loo_decision_function(method="exact")
    np.testing.assert_allclose(exact, truth, rtol=0, atol=1e-6 * largest)
    auto = inf.loo_decision_function()
    assert np.linalg.norm(auto - truth) <= 1e-3 * np.linalg.norm(change)
    assert spearmanr((auto - before).ravel(), change.ravel())[0] >= 0.9999
    found = inf.removal_effect(X, of="decision_function", method="exact")
    np.testing.assert_allclose(found, effects, rtol=0, atol=1e-6 * np.abs(effects).max())
    held = inf.loo_decision_function(method="exact", frozen="accept")
    assert np.linalg.norm(held - truth) > 0.01 * np.linalg.norm(change)


def test_a_relabelled_row_changes_its_class():
    X, y = unequal("softmax")
    model = clone(MODELS["logistic"]).fit(X, y)
    at = X[:5] - 0.2
    found = Influence(model, X, y).relabel_effect(
        at, of="decision_function", method="exact", indices=[0, 9, 31]
    )
    before = refit(model, X, y, None, at)
    for column, row in enumerate([0, 9, 31]):
        for label in range(3):
            other = y.copy()
            other[row] = label
            truth = refit(model, X, other, None, at) - before
            np.testing.assert_allclose(found[:, column, label], truth, rtol=0, atol=1e-9)


def test_groups_and_folds_move_them_too():
    X, y = unequal("binary")
    model = clone(MODELS["logistic"]).fit(X, y)
    groups = np.arange(len(y)) % 7
    found = Influence(model, X, y).removal_effect(
        X[:5], of="decision_function", method="exact", groups=groups
    )
    proba = leave_one_group_out(
        model, X, y, groups, response_method="decision_function", method="exact"
    )
    before = refit(model, X, y, None, X[:5])
    for g in range(7):
        kept = groups != g
        after = refit(model, X[kept], y[kept], None, np.vstack([X[:5], X[~kept]]))
        np.testing.assert_allclose(found[:, g], after[:5] - before, rtol=0, atol=1e-8)
        np.testing.assert_allclose(proba[~kept], after[5:], rtol=0, atol=1e-8)


def test_weight_zero_is_absence_where_weights_are_counted_and_is_not_where_rows_are():
    X, y = unequal("binary")
    for name, same in (("logistic", True), ("ridge", False)):
        inf = Influence(clone(MODELS[name]).fit(X, y), X, y)
        asked = {"of": "decision_function", "method": "exact"}
        gone = inf.effect(edits.remove(4), X[:5], **asked).values
        weightless = inf.effect(edits.reweight(4, 0.0), X[:5], **asked).values
        assert np.allclose(gone, weightless, rtol=1e-9, atol=0) == same


def machine(model, X, y, weight, at):
    """Decision values of an SVM of two classes on other data, by an interior point method."""
    factors = class_weights("balanced", [0, 1], y).astype(float)
    params = {"gamma": model.gamma}
    bounds = model.C * weight * factors[y]
    problem = MachineProblem(X, 2 * y - 1, bounds, model.kernel, params, True)
    values, error = problem.values(at)
    assert error.max() < 1e-7
    return values.astype(float)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_support_vector_machines_count_rows(kernel):
    X, y = unequal("binary")
    weight = np.random.default_rng(3).choice([0.5, 1.0, 2.0], len(y))
    model = SVC(kernel=kernel, gamma=0.3, tol=1e-10, **BALANCED).fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    found = inf.removal_effect(X[:6], of="decision_function", indices=range(0, 60, 7))
    own = inf.loo_decision_function()
    before = machine(model, X, y, weight, X[:6])
    for column, i in enumerate(range(0, 60, 7)):
        left = (np.delete(one, i, axis=0) for one in (X, y, weight))
        truth = machine(model, *left, np.vstack([X[:6], X[i]]))
        np.testing.assert_allclose(found[:, column], truth[:6] - before, rtol=0, atol=1e-7)
        np.testing.assert_allclose(own[i], truth[6], rtol=0, atol=1e-7)


def test_first_order_is_the_slope_of_refits():
    """Of a small change of one weight, the classes' weights moving with it."""
    X, y = unequal("softmax")
    weight = np.random.default_rng(3).uniform(0.5, 2.0, len(y))
    model = clone(MODELS["logistic"]).fit(X, y, weight)
    at, row, h = X[:5], 7, 1e-5
    inf = Influence(model, X, y, weight)
    ends = []
    for step in (h, -h):
        moved = weight.copy()
        moved[row] += step
        ends.append(refit(model, X, y, moved, at))
    slope = (ends[0] - ends[1]) / (2.0 * h)
    for method in ("influence", "one-step", "exact"):
        change = edits.reweight(row, weight[row] + h)
        found = inf.effect(change, at, of="decision_function", method=method).values / h
        np.testing.assert_allclose(found, slope, rtol=0, atol=1e-4 * np.abs(slope).max())


@pytest.mark.parametrize("method", ["influence", "one-step"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_local_methods_ask_the_same_of_rows_and_of_edits(method, weighted):
    X, y = unequal("softmax")
    weight = np.random.default_rng(3).uniform(0.5, 2.0, len(y)) if weighted else None
    inf = Influence(clone(MODELS["logistic"]).fit(X, y, weight), X, y, weight)
    rows = [0, 8, 20, 41]
    asked = {"of": "decision_function", "method": method}
    found = inf.removal_effect(X[:5], indices=rows, **asked)
    each = inf.effect([edits.remove(row) for row in rows], X[:5], **asked).values
    np.testing.assert_allclose(found, each, rtol=1e-9, atol=1e-12)
    own = inf.loo_decision_function(method=method)[rows]
    change = inf.removal_effect(X[rows], indices=rows, **asked)
    fitted = inf.objective.loss.expand(inf.objective.eta)[rows]
    np.testing.assert_allclose(own - fitted, change[range(4), range(4)], rtol=1e-9, atol=1e-12)


def test_derivatives_keep_the_weights_of_the_fit():
    X, y = unequal("binary")
    model = clone(MODELS["logistic"]).fit(X, y)
    given = dict(enumerate(class_weights("balanced", [0, 1], y).astype(float)))
    other = clone(model).set_params(class_weight=given).fit(X, y)
    for ask in ("influence_up_params", "self_influence"):
        found = getattr(Influence(model, X, y), ask)()
        np.testing.assert_allclose(found, getattr(Influence(other, X, y), ask)(), rtol=1e-7)


def test_the_last_row_of_a_class_has_no_answer():
    X, y = unequal("binary")
    y[:] = 0
    y[[3, 8]] = 1
    X, y = X[4:], y[4:]
    for name in ("ridge", "logistic"):
        inf = Influence(clone(MODELS[name]).fit(X, y), X, y)
        with pytest.warns(UserWarning, match="Row 4"):
            own = inf.loo_decision_function()
        assert np.isnan(own).nonzero()[0].tolist() == [4]
        with pytest.warns(UserWarning, match="Row 4"):
            effects = inf.removal_effect(X[:2], of="decision_function")
        assert np.isnan(effects).all(axis=0).nonzero()[0].tolist() == [4]
        with pytest.raises(ValueError, match="Every class must keep"):
            inf.effect(edits.remove(4), X[:2], of="decision_function")


def test_one_vs_rest_of_two_classes_is_its_binary_model():
    X, y = unequal("binary")
    model = OneVsRestClassifier(clone(MODELS["logistic"])).fit(X, y)
    found = Influence(model, X, y).loo_decision_function(method="exact")
    plain = Influence(clone(MODELS["logistic"]).fit(X, y), X, y)
    np.testing.assert_allclose(found, plain.loo_decision_function(method="exact"), rtol=1e-9)


def test_a_penalty_that_counts_rows_beside_balanced_weights():
    """Stochastic descent, polished: equal classes, which a row that leaves makes unequal."""
    X, y = unequal("binary", 80)
    rows = np.sort(np.concatenate([np.flatnonzero(y == k)[:20] for k in (0, 1)]))
    X, y = X[rows], y[rows]
    model = SGDClassifier(loss="log_loss", alpha=0.05, tol=1e-6, max_iter=5000, random_state=0)
    model = model.set_params(**BALANCED).fit(X, y)
    inf = Influence(model, X, y, polish=True)
    found = inf.removal_effect(X[:4], of="decision_function", method="exact", indices=[5, 12])
    plain = LogisticRegression(**TIGHT, **BALANCED)
    before = refit(plain.set_params(C=1.0 / (0.05 * 40)), X, y, None, X[:4])
    plain.set_params(C=1.0 / (0.05 * 39))
    for column, i in enumerate([5, 12]):
        left = np.delete(X, i, axis=0), np.delete(y, i)
        truth = refit(plain, *left, None, X[:4]) - before
        np.testing.assert_allclose(found[:, column], truth, rtol=0, atol=1e-8)


DATA = {
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: (a[:240] for a in load_digits(return_X_y=True)),
    "iris": lambda: (a[:130] for a in load_iris(return_X_y=True)),
}


@pytest.mark.parametrize("hold", ["C", "lambda"])
@pytest.mark.parametrize("name", DATA)
def test_certificates_hold(name, hold):
    """``auto`` is within its tolerance of ``exact``, in the norm that it certifies."""
    X, y = DATA[name]()
    X = scale(X)
    model = LogisticRegression(**TIGHT, **BALANCED).fit(X, y)
    inf = Influence(model, X, y, hold=hold)
    rows = range(0, len(y), 23)
    asked = [edits.remove(row) for row in rows]
    exact = inf.effect(asked, X, of="decision_function", method="exact")
    auto = inf.effect(asked, X, of="decision_function")
    assert (auto.method_used != "newton").any()
    problem = inf.answers.basis("exact")
    h = np.einsum("nkk->nk", inf.answers.edit_solver().factor.leverages()).max(axis=1)
    difference = auto.values - exact.values
    error = np.abs(difference).reshape(len(y), len(asked), -1).max(axis=2)
    size = np.sqrt(2.0 * h)[:, None] * (auto.bound + exact.bound)
    assert (error <= size + 1e-12 * np.abs(problem.eta).max()).all()
