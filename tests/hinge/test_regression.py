"""Support vector regression: every edit is the optimum of the other rows, by its conditions and by refits."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.svm import SVR, LinearSVR, NuSVR, OneClassSVM

from skinfluence import Influence, edits

TIGHT = {"tol": 1e-10, "max_iter": 10**6}


def _data(n=50, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    y = 100 + 20 * np.sin(2 * X[:, 0]) + 5 * X[:, 1] + 3 * rng.standard_normal(n)
    return X, y


CASES = {
    "rbf": SVR(C=20, epsilon=2, gamma=1.0),
    "rbf, wide tube": SVR(C=20, epsilon=12, gamma=1.0),
    "rbf, most at the bound": SVR(C=0.5, epsilon=1, gamma=0.5),
    "poly": SVR(kernel="poly", degree=2, coef0=1.0, C=5, epsilon=2, gamma=0.5),
    "linear kernel": SVR(kernel="linear", C=2, epsilon=2),
    "linear": LinearSVR(C=2, epsilon=2),
    "linear, no intercept": LinearSVR(C=2, epsilon=30, fit_intercept=False),
    "rbf, gamma of the rows": SVR(C=20, epsilon=2),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def model(request):
    return clone(request.param).set_params(**TIGHT)


def _refit(model, X, y, w=None):
    with np.errstate(all="ignore"):
        return clone(model).fit(X, y) if w is None else clone(model).fit(X, y, sample_weight=w)


@pytest.fixture(autouse=True)
def _quiet(recwarn):
    """liblinear does not reach tol=1e-10, and says so."""


# libsvm and liblinear stop at about this share of the spread of the targets.
SOLVERS = {"rtol": 0, "atol": 2e-3}


def test_leave_one_out_is_a_refit_for_each_row(model):
    X, y = _data()
    found = Influence(_refit(model, X, y), X, y).loo_predict()
    for i in range(0, 50, 3):
        kept = np.arange(50) != i
        assert_allclose(found[i], _refit(model, X[kept], y[kept]).predict(X[[i]])[0], **SOLVERS)


@pytest.mark.parametrize("name", ["linear", "linear, no intercept", "rbf"])
def test_a_fit_at_its_optimum_is_not_said_to_be_away_from_it(name):
    """liblinear gives no dual coefficients: its predictions say where it is."""
    X, y = _data()
    fitted = _refit(clone(CASES[name]).set_params(**TIGHT), X, y)
    inf = Influence(fitted, X, y)
    assert inf.answers.concern is None
    away = np.abs(inf.answers.eta - fitted.predict(X)).max()
    if name.startswith("linear"):
        assert_allclose(inf.report().distance, away)


def test_removals_groups_and_edits_are_refits(model):
    X, y = _data()
    fitted = _refit(model, X, y)
    inf = Influence(fitted, X, y)
    before, tests = fitted.predict(X[:5]), X[:5]
    groups = np.arange(50) % 5
    alone = inf.removal_effect(tests, of="decision_function", indices=[3, 17])
    together = inf.removal_effect(tests, of="decision_function", groups=groups)
    for found, rows in ((alone[:, 0], [3]), (alone[:, 1], [17]), (together[:, 2], groups == 2)):
        kept = np.ones(50, dtype=bool)
        kept[rows] = False
        assert_allclose(found, _refit(model, X[kept], y[kept]).predict(tests) - before, **SOLVERS)
    other, targets = _data(seed=1)
    edit = edits.remove(4) + edits.relabel(6, 90.0) + edits.replace(8, other[2])
    edit += edits.add(other[3], targets[3], sample_weight=2.0) + edits.reweight(9, 0.5)
    X2, y2, w2 = np.vstack([X, other[3]]), np.append(y, targets[3]), np.append(np.ones(50), 2.0)
    X2[8], y2[6], w2[9] = other[2], 90.0, 0.5
    kept = np.delete(np.arange(51), 4)
    after = _refit(model, X2[kept], y2[kept], w2[kept]).predict(tests)
    found = inf.effect(edit, tests, of="decision_function")
    assert_allclose(found.values, after - before, **SOLVERS)
    assert found.kkt_residual < 1e-8


def _left_of_conditions(model, X, y, w, f):
    """How far predictions at all rows are from those of an optimum, found from them alone."""
    gamma = model._gamma
    K = np.exp(-gamma * ((X[:, None] - X[None]) ** 2).sum(axis=2))
    n = len(y)
    system = np.block([[K, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    beta = np.linalg.solve(system, np.append(f, 0.0))[:n]
    C, off = model.C * w, y - f
    inside = np.abs(off) < model.epsilon - 1e-7
    beyond = np.abs(off) > model.epsilon + 1e-7
    left = np.abs(beta[inside]).max(initial=0.0)
    left = max(left, np.abs(beta - np.sign(off) * C)[beyond].max(initial=0.0))
    edge = ~inside & ~beyond
    share = beta[edge] * np.sign(off[edge])
    return max(left, -share.min(initial=0.0), (share - C[edge]).max(initial=0.0))


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_the_conditions_of_the_optimum_hold_without_each_row(epsilon):
    """To more digits than any solver of the refit has."""
    X, y = _data()
    w = np.random.default_rng(2).uniform(0.5, 2.0, 50)
    model = SVR(C=10, epsilon=epsilon, gamma=3.0, tol=1e-8).fit(X, y, sample_weight=w)
    inf = Influence(model, X, y, w)
    at_start = inf.answers.eta
    assert _left_of_conditions(model, X, y, w, at_start) < 1e-8
    effects = inf.removal_effect(X, of="decision_function")
    for i in range(50):
        kept = np.arange(50) != i
        f = (at_start + effects[:, i])[kept]
        assert _left_of_conditions(model, X[kept], y[kept], w[kept], f) < 1e-8


def test_rows_inside_the_tube_change_nothing():
    X, y = _data()
    model = SVR(C=20, epsilon=12, gamma=1.0, tol=1e-8).fit(X, y)
    effects = Influence(model, X, y).removal_effect(X[:4], of="decision_function")
    idle = np.setdiff1d(np.arange(50), model.support_)
    assert len(idle) > 10
    assert (effects[:, idle] == 0).all()


def test_with_a_gamma_of_the_rows_even_they_change_it():
    X, y = _data()
    X[7] *= 3
    y[7] = SVR(C=20, epsilon=2).fit(X, y).predict(X[[7]])[0]
    model = SVR(C=20, epsilon=2, tol=1e-10).fit(X, y)
    assert 7 not in model.support_
    found = Influence(model, X, y).removal_effect(X[:4], of="decision_function", indices=[7])[:, 0]
    kept = np.arange(50) != 7
    refit = SVR(C=20, epsilon=2, tol=1e-10).fit(X[kept], y[kept])
    assert np.abs(found).max() > 1e-3
    assert_allclose(found, refit.predict(X[:4]) - model.predict(X[:4]), rtol=0, atol=1e-4)


def test_sparse_rows_and_rows_of_weight_zero():
    X, y = _data()
    X[np.abs(X) < 0.5] = 0.0
    w = np.ones(50)
    w[5] = 0.0
    model = SVR(C=20, epsilon=2, gamma=1.0, tol=1e-10).fit(sp.csr_matrix(X), y, sample_weight=w)
    inf = Influence(model, sp.csr_array(X), y, w)
    dense = Influence(
        SVR(C=20, epsilon=2, gamma=1.0, tol=1e-10).fit(X, y, sample_weight=w), X, y, w
    )
    assert_allclose(inf.loo_predict(), dense.loo_predict(), rtol=1e-8)
    assert (dense.removal_effect(X[:3], of="decision_function")[:, 5] == 0).all()


def test_units_of_the_targets_are_no_matter():
    X, y = _data()
    one = SVR(C=10, epsilon=2, gamma=1.0, tol=1e-10).fit(X, y)
    big = SVR(C=10e6, epsilon=2e6, gamma=1.0, tol=1e-4).fit(X, 1e6 * y + 1e9)
    small = Influence(one, X, y).loo_predict()
    large = Influence(big, X, 1e6 * y + 1e9).loo_predict()
    assert_allclose((large - 1e9) / 1e6, small, rtol=1e-6)


def test_what_is_not_followed_is_refused_by_name():
    X, y = _data()
    inf = Influence(SVR(C=5, epsilon=1, gamma=1.0).fit(X, y), X, y)
    for question in (
        lambda: inf.influence_up_params(),
        lambda: inf.influence_up_loss(X, y),
        lambda: inf.self_influence(),
        lambda: inf.influence_pert(X[:1], y[:1]),
        lambda: inf.removal_effect(X, y, method="one-step"),
        lambda: inf.effect(edits.remove(1), X, y, hold="lambda"),
    ):
        with pytest.raises((TypeError, ValueError), match="support vector regression"):
            question()
    with pytest.raises(ValueError, match="epsilon must be positive"):
        Influence(SVR(epsilon=0.0, gamma=1.0).fit(X, y), X, y)
    for other in (NuSVR(), OneClassSVM()):
        with pytest.raises(TypeError, match=type(other).__name__):
            Influence(other.fit(X, y), X, y)
    with pytest.raises(ValueError, match="X"):
        Influence(SVR(C=5, gamma=1.0).fit(X, y), X[::-1], y)
