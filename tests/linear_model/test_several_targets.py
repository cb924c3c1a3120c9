"""Least squares of several targets: every answer is that of refits on all of them."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import HuberRegressor, LinearRegression, Ridge, RidgeCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence import linear_model as ours
from skinfluence.cleaning import audit
from skinfluence.conformal import FullConformalRegressor, JackknifePlusRegressor
from skinfluence.diagnostics import leverage
from skinfluence.robustness import prediction, smallest_flip

N = 40
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
Y = X @ rng.standard_normal((3, 2)) + rng.standard_normal((N, 2)) + 1.0
W = rng.uniform(0.3, 2.0, N)
MODELS = {
    "ridge": (Ridge(2.0, solver="cholesky"), X, None),
    "ridge, weights": (Ridge(2.0, solver="cholesky"), X, W),
    "no intercept": (Ridge(0.5, fit_intercept=False, solver="cholesky"), X, None),
    "sparse": (Ridge(2.0, solver="sparse_cg", tol=1e-14), sp.csr_array(X), None),
    "least squares": (LinearRegression(), X, W),
    "dependent columns": (LinearRegression(), np.column_stack([X, X[:, 0] - X[:, 1]]), None),
    "a model each": (MultiOutputRegressor(Ridge(2.0, solver="cholesky")), X, W),
    "behind a scaler": (make_pipeline(StandardScaler(), Ridge(2.0, solver="cholesky")), X, None),
    "ours": (ours.Ridge(2.0, solver="cholesky"), X, None),
}


@pytest.fixture(params=MODELS)
def asked(request):
    model, A, w = MODELS[request.param]

    def fit(A, Y, w):
        weights = {} if w is None else {"sample_weight": w}
        return clone(model).fit(A, Y, **weights)

    fitted = fit(A, Y, w)
    return fit, fitted, A, w, Influence(fitted, A, Y, w)


def without(rows, *arrays):
    kept = np.delete(np.arange(N), rows)
    return [None if one is None else one[kept] for one in arrays]


def test_leaving_out_and_removing_are_refits(asked):
    fit, fitted, A, w, inf = asked
    own, gone = inf.loo_predict(), inf.removal_effect(A[:5], of="predict", indices=[3, 8])
    loss = inf.removal_effect(A[:5], Y[:5], indices=[3, 8])
    assert own.shape == Y.shape and gone.shape == (5, 2, 2) and loss.shape == (5, 2)
    before = fitted.predict(A[:5])
    for j, row in enumerate([3, 8]):
        after = fit(*without([row], A, Y, w))
        assert_allclose(own[row], after.predict(A[[row]])[0], rtol=1e-8)
        change = after.predict(A[:5]) - before
        assert_allclose(gone[:, j], change, atol=1e-9)
        lost = 0.5 * ((after.predict(A[:5]) - Y[:5]) ** 2 - (before - Y[:5]) ** 2).sum(axis=1)
        assert_allclose(loss[:, j], lost, atol=1e-9)


def test_any_edit_is_a_refit(asked):
    fit, fitted, A, w, inf = asked
    if sp.issparse(A):
        A, edit_x = A, [A[[4]], A[[30]]]
    else:
        edit_x = [A[4], A[30]]
    edit = (
        edits.remove([7, 9]) + edits.relabel([3, 5], Y[[10, 11]]) + edits.add(edit_x[0], [2.0, 1.0])
    )
    edit = edit + edits.replace(6, edit_x[1], Y[12])
    found = inf.effect(edit, A, of="predict").values
    dense = A.toarray() if sp.issparse(A) else A
    X2, y2 = np.vstack([dense, dense[4]]), np.vstack([Y, [2.0, 1.0]])
    y2[[3, 5, 6]], X2[6] = Y[[10, 11, 12]], dense[30]
    w2 = np.append(np.ones(N) if w is None else w, 1.0)
    kept = np.delete(np.arange(N + 1), [7, 9])
    X2 = sp.csr_array(X2) if sp.issparse(A) else X2
    refit = fit(X2[kept], y2[kept], None if w is None else w2[kept])
    assert_allclose(found, refit.predict(A) - fitted.predict(A), atol=1e-8)


def test_derivatives_are_those_of_weights():
    """rtol=1e-6: central differences of refits at 1e-4."""
    inf = Influence(Ridge(2.0, solver="cholesky").fit(X, Y, W), X, Y, W)
    found, theta = inf.influence_up_loss(X[:4], Y[:4]), inf.influence_up_params()
    ends, params = [], []
    for eps in (1e-4, -1e-4):
        w = W.copy()
        w[5] += eps
        model = Ridge(2.0, solver="cholesky").fit(X, Y, w)
        ends.append(0.5 * ((model.predict(X[:4]) - Y[:4]) ** 2).sum(axis=1))
        params.append(np.column_stack([model.coef_, model.intercept_]))
    assert_allclose(found[:, 5], N * (ends[0] - ends[1]) / 2e-4, rtol=1e-6)
    assert_allclose(theta[5], N * (params[0] - params[1]) / 2e-4, rtol=1e-6)


def test_derivatives_in_the_features_are_those_of_refits():
    inf = Influence(Ridge(2.0, solver="cholesky").fit(X, Y), X, Y)
    found = inf.influence_pert(X[:2], Y[:2], indices=[5])[:, 0]
    for j in range(3):
        ends = []
        for eps in (1e-5, -1e-5):
            moved = X.copy()
            moved[5, j] += eps
            model = Ridge(2.0, solver="cholesky").fit(moved, Y)
            ends.append(0.5 * ((model.predict(X[:2]) - Y[:2]) ** 2).sum(axis=1))
        assert_allclose(found[:, j], N * (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-8)


def test_the_model_after_an_edit_and_its_score():
    frame = pd.DataFrame(Y, columns=["a", "b"])
    model = Ridge(2.0, solver="cholesky").fit(X, frame)
    inf = Influence(model, X, frame)
    refit = clone(model).fit(*without([1, 2], X, Y))
    after = inf.edited(edits.remove([1, 2])).estimator
    assert_allclose(after.coef_, refit.coef_, rtol=1e-8)
    assert_allclose(after.intercept_, refit.intercept_, rtol=1e-8)
    one = Influence(clone(model).fit(X, Y[:, 0]), X, Y[:, 0])
    assert_allclose(inf.loo_predict()[:, 0], one.loo_predict(), rtol=1e-9)
    assert_allclose(leverage(inf), 2 * leverage(one), rtol=1e-9)
    assert inf.loo_score() < 1.0


REFUSED = {
    "one target of two": lambda inf: inf.removal_effect(X[:2], Y[:2, 0]),
    "a conclusion": lambda inf: smallest_flip(inf, prediction(X[0])),
    "an audit": lambda inf: audit(inf.estimator, X, Y),
    "an interval": lambda inf: JackknifePlusRegressor(Ridge()).fit(X, Y),
    "full conformal": lambda inf: FullConformalRegressor(Ridge()).fit(X, Y).predict_interval(X[:2]),
    "several parameters": lambda inf: Influence(
        MultiOutputRegressor(HuberRegressor()).fit(X, Y), X, Y
    ),
    "steps of each target": lambda inf: Influence(
        MultiOutputRegressor(make_pipeline(SelectKBest(f_regression, k=1), Ridge())).fit(X, Y), X, Y
    ),
    "transformed targets": lambda inf: Influence(
        TransformedTargetRegressor(Ridge(), transformer=StandardScaler()).fit(X, Y), X, Y
    ),
    "a choice each": lambda inf: Influence(RidgeCV(alpha_per_target=True).fit(X, Y), X, Y),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_about_one_target_is_refused(name):
    inf = Influence(Ridge().fit(X, Y), X, Y)
    with pytest.raises((TypeError, ValueError), match=r"target|column|2 for each row|1d array"):
        REFUSED[name](inf)


@pytest.mark.parametrize(
    ("came", "words"), [([np.nan, 1.0], "NaN or infinity"), ([1.0, 2.0, 3.0], "shape")]
)
def test_targets_that_are_none_are_refused_for_what_they_are(came, words):
    inf = Influence(Ridge().fit(X, Y), X, Y)
    with pytest.raises(ValueError, match=f"finite numbers, 2 for each row. Got .*{words}"):
        inf.effect(edits.add(X[0], came), X[:2], of="predict")
