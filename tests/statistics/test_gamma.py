"""``gamma="scale"`` moves with an edit as refits move it."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from sklearn.svm import SVC

import skinfluence.svm as ours
from skinfluence import Influence, edits
from skinfluence.active_set import near_optima
from tests.oracle.kernels import MachineProblem
from tests.oracle.problems import class_weights

MODELS = {
    "rbf": SVC(tol=1e-10),
    "poly": SVC(kernel="poly", degree=2, coef0=1.0, tol=1e-10),
    "balanced": SVC(C=2.0, tol=1e-10, class_weight="balanced"),
    "ours": ours.SVC(class_weight="balanced"),
}


def rows(n=60, seed=0):
    """Columns of several scales, with a row far out."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4)) * [0.5, 1.0, 1.5, 2.0] + 1.0
    y = (X[:, 0] + 0.3 * X[:, 3] + 0.6 * rng.standard_normal(n) > 1.7).astype(int)
    X[5] *= 6.0
    return X, y


def machine(model, X, y, weight, at):
    """Decision values on other data by an interior point method: gamma from ``X.var()``."""
    weighted = isinstance(model, ours.SVC)
    share = weight / weight.sum() if weighted else np.full(len(y), 1.0 / len(y))
    mean = (share @ X).mean()
    variance = (share @ (X - mean) ** 2).mean()
    bounds = model.C * weight
    if model.class_weight == "balanced":
        factors = class_weights("balanced", [0, 1], y, weight if weighted else None)
        bounds = bounds * factors.astype(float)[y]
    params = {
        "gamma": 1.0 / (X.shape[1] * variance),
        "coef0": model.coef0,
        "degree": model.degree,
    }
    problem = MachineProblem(X, 2 * y - 1, bounds, model.kernel, params, True)
    values, error = problem.values(at)
    assert error.max() < 1e-6
    return values.astype(float)


def edited(X, y, weight):
    rng = np.random.default_rng(2)
    for gone in ([5], [7], rng.choice(len(y), 9, replace=False)):
        yield edits.remove(gone), *(np.delete(one, gone, axis=0) for one in (X, y, weight))
    moved = X.copy()
    moved[11] *= -3.0
    yield edits.replace(11, moved[11]), moved, y, weight
    yield (
        edits.add(X[3] * 4.0, 1, 2.0),
        np.vstack([X, X[3] * 4.0]),
        np.append(y, 1),
        np.append(weight, 2.0),
    )
    changed = weight.copy()
    changed[5] = 0.0
    yield edits.reweight(5, 0.0), X, y, changed
    other = y.copy()
    other[20] = 1 - y[20]
    yield edits.relabel(20, other[20]), X, other, weight


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", MODELS)
def test_every_edit_moves_gamma(name, weighted):
    X, y = rows()
    weight = np.random.default_rng(1).choice([0.5, 1.0, 2.0], len(y)) if weighted else np.ones(60)
    model = clone(MODELS[name]).fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    at = X[:6] + 0.2
    before = machine(model, X, y, weight, at)
    for edit, *data in edited(X, y, weight):
        found = inf.effect(edit, at, of="decision_function").values
        truth = machine(model, *data, at) - before
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6 * max(1.0, np.abs(truth).max()))


@pytest.mark.parametrize("name", MODELS)
def test_all_rows_at_once_equal_refits_and_the_held_gamma_does_not(name):
    n = 28
    X, y = rows(n)
    weight = np.ones(n)
    model = clone(MODELS[name]).fit(X, y)
    inf = Influence(model, X, y)
    at = X[:5] - 0.1
    before = machine(model, X, y, weight, np.vstack([X, at]))
    own, truth = [], []
    for i in range(n):
        left = (np.delete(one, i, axis=0) for one in (X, y, weight))
        values = machine(model, *left, np.vstack([X[[i]], at]))
        own.append(values[0])
        truth.append(values[1:] - before[n:])
    found = inf.removal_effect(at, of="decision_function")
    np.testing.assert_allclose(found, np.transpose(truth), rtol=0, atol=1e-6)
    np.testing.assert_allclose(inf.loo_decision_function(), own, rtol=0, atol=1e-6)
    held = inf.loo_decision_function(frozen="accept")
    assert np.abs(held - own).max() > 1e-3
    # Rows without a coefficient have an effect, too.
    idle = np.flatnonzero(inf.report().role[:, 0] == "none")
    assert (np.abs(found[:, idle]).max(axis=0) > 1e-6).all()


@pytest.mark.parametrize("given_up", [False, True], ids=["together", "given up"])
def test_all_rows_are_those_solved_one_by_one(given_up, monkeypatch):
    """And what cannot be verified is solved."""
    if given_up:
        once = partial(near_optima, rounds=1)
        monkeypatch.setattr("skinfluence.hinge.gammas.near_optima", once)
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X[:260])
    model = SVC(tol=1e-10).fit(X, y[:260])
    inf = Influence(model, X, y[:260])
    solves = []
    at = type(inf.answers.held).at_gamma
    monkeypatch.setattr(
        type(inf.answers.held), "at_gamma", lambda self, g: solves.append(g) or at(self, g)
    )
    found = inf.loo_decision_function()
    assert bool(solves) == given_up
    answers = inf.answers
    some = np.arange(0, 260, 9)
    gamma = answers._variance.gamma(answers._variance.removals(some))
    for i, one in zip(some, gamma, strict=True):
        alone = answers.held.at_gamma(float(one)).own_removals("exact", 1e-3, np.array([i]))[0, 0]
        assert abs(found[i] - alone) < 1e-10
        kept = np.delete(X, i, axis=0)
        assert one == pytest.approx(1.0 / (X.shape[1] * kept.var()), rel=1e-12)


def test_first_order_is_the_slope_of_small_changes():
    """Of weights, in a machine that counts weights."""
    X, y = rows(40, seed=3)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 40)
    model = ours.SVC().fit(X, y, weight)
    h = 1e-5
    for row in (5, 8, 30):
        change = edits.reweight(row, weight[row] - h)
        asked = {"of": "decision_function"}
        exact = model.__influence__().effect(change, X[:5], **asked).values
        first = model.__influence__().effect(change, X[:5], method="influence", **asked).values
        np.testing.assert_allclose(first, exact, rtol=0, atol=2e-3 * np.abs(exact).max())


def test_local_methods_ask_the_same_of_rows_and_of_edits():
    X, y = rows()
    inf = Influence(SVC(tol=1e-10, class_weight="balanced").fit(X, y), X, y)
    some = [0, 5, 9, 33]
    for method in ("influence", "one-step"):
        asked = {"of": "decision_function", "method": method}
        found = inf.removal_effect(X[:5], indices=some, **asked)
        each = inf.effect([edits.remove(i) for i in some], X[:5], **asked).values
        np.testing.assert_allclose(found, each, rtol=1e-8, atol=1e-10)


def test_sparse_rows_have_the_gamma_of_dense_ones():
    X, y = rows()
    X[np.abs(X) < 0.7] = 0.0
    dense = ours.SVC().fit(X, y)
    thin = ours.SVC().fit(sp.csr_array(X), y)
    found = thin.removal_effect(sp.csr_array(X[:4]), of="decision_function", indices=[5, 9])
    expected = dense.removal_effect(X[:4], of="decision_function", indices=[5, 9])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_gamma_that_was_given_stays():
    X, y = rows()
    for gamma in ("auto", 0.3):
        inf = Influence(SVC(gamma=gamma, tol=1e-10).fit(X, y), X, y)
        assert inf.answers is inf.answers.held


def test_no_rows_and_no_edits_have_empty_answers():
    X, y = rows()
    inf = Influence(SVC(tol=1e-10).fit(X, y), X, y)
    assert inf.removal_effect(X[:3], of="decision_function", indices=[]).shape == (3, 0)
    assert inf.effect([], X[:3], of="decision_function").values.shape == (3, 0)


@pytest.mark.parametrize(
    ("kernel", "gamma", "seed"),
    [
        ("rbf", 0.3, 6),
        ("rbf", "scale", 49),
        ("linear", 0.3, 61),
        ("poly", 0.3, 121),
        ("poly", "scale", 57),
    ],
)
def test_where_no_row_is_on_the_margin_the_bias_is_the_middle_of_what_is_left(kernel, gamma, seed):
    """A row without a coefficient may end the interval of biases: libsvm's middle moves without it."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((15, 2))
    y = (X[:, 0] + rng.standard_normal(15) > 0.4).astype(int)
    model = SVC(C=0.2, kernel=kernel, gamma=gamma, coef0=1.0, tol=1e-9).fit(X, y)
    inf = Influence(model, X, y)
    role = inf.report().role[:, 0]
    assert not (role == "margin").any()
    rows = np.arange(15)
    found, truth = inf.loo_decision_function(), []
    for i in rows:
        kept = rows != i
        truth.append(clone(model).fit(X[kept], y[kept]).decision_function(X[[i]])[0])
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6)
    each = [inf.effect(edits.remove(i), X[[i]], of="decision_function").values[0] for i in rows]
    before = model.decision_function(X)
    np.testing.assert_allclose(each, truth - before, rtol=0, atol=1e-6)
    assert np.abs(truth - before)[role == "none"].max() > 0.05
