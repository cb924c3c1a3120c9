"""Huber regression with its scale: every answer is that of refits, at the optimum."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.optimize import root
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import HuberRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence.diagnostics import cooks_distance, leverage
from skinfluence.solvers import SingularHessianError
from skinfluence.utils.estimator_checks import check_influence

N = 50
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
Y = X @ [1.0, -2.0, 0.5] + rng.standard_t(2, N) + 1.0
W = rng.uniform(0.3, 2.0, N)
TIGHT = {"tol": 1e-9, "max_iter": 5000}
CASES = {
    "plain": (HuberRegressor(**TIGHT), None),
    "weights": (HuberRegressor(alpha=0.5, **TIGHT), W),
    "no intercept": (HuberRegressor(fit_intercept=False, epsilon=1.6, **TIGHT), None),
}


def optimum(model, X, y, w):
    """``(coef, intercept, scale)`` where the derivatives vanish, from scikit-learn's fit on.

    The conditions are written out here; scipy's root finder takes its own derivatives of them.
    """
    fitted = clone(model).fit(X, y, w)
    ones = np.ones((len(X), int(model.fit_intercept)))
    Z, w = np.hstack([X, ones]), np.ones(len(y)) if w is None else w
    penalty = np.append(np.full(X.shape[1], 2 * model.alpha), np.zeros(ones.shape[1]))

    def conditions(p):
        b, s = p[:-1], p[-1]
        u = np.clip((y - Z @ b) / s, -model.epsilon, model.epsilon)
        return np.append(-2 * Z.T @ (w * u) + penalty * b, w @ (1 - u**2))

    start = np.append(fitted.coef_, [fitted.intercept_] * ones.shape[1] + [fitted.scale_])
    found = root(conditions, start, tol=1e-14)
    assert np.abs(conditions(found.x)).max() < 1e-9
    return found.x


def decide(p, A, d=3):
    return A @ p[:d] + (p[d] if len(p) == d + 2 else 0.0)


@pytest.fixture(params=CASES)
def asked(request):
    model, w = CASES[request.param]
    fitted = clone(model).fit(X, Y, w)
    return model, w, Influence(fitted, X, Y, w)


def test_leaving_out_and_edits_are_refits(asked):
    model, w, inf = asked
    full, own = optimum(model, X, Y, w), inf.loo_predict(indices=[0, 7, 20])
    gone = inf.removal_effect(X[:4], of="predict", indices=[0, 7, 20])
    for j, row in enumerate([0, 7, 20]):
        kept = np.delete(np.arange(N), row)
        after = optimum(model, X[kept], Y[kept], None if w is None else w[kept])
        assert_allclose(own[row if len(own) == N else j], decide(after, X[row]), rtol=1e-8)
        assert_allclose(gone[:, j], decide(after, X[:4]) - decide(full, X[:4]), atol=1e-8)
    edit = edits.remove([3, 5]) + edits.relabel(8, 4.0) + edits.add(X[1], -2.0)
    found = inf.effect(edit, X[:4], of="predict").values
    y2, kept = np.append(Y, -2.0), np.delete(np.arange(N + 1), [3, 5])
    y2[8] = 4.0
    w2 = None if w is None else np.append(w, 1.0)[kept]
    after = optimum(model, np.vstack([X, X[1]])[kept], y2[kept], w2)
    assert_allclose(found, decide(after, X[:4]) - decide(full, X[:4]), atol=1e-8)


def test_derivatives_are_differences_of_refits(asked):
    """rtol=1e-5: central differences at 1e-5, between the kinks."""
    model, w, inf = asked
    found = inf.influence_up_params(indices=[5])[0, 0]
    weights, ends = np.ones(N) if w is None else w, []
    for eps in (1e-5, -1e-5):
        moved = weights.copy()
        moved[5] += eps
        ends.append(optimum(model, X, Y, moved))
    assert_allclose(found, N * (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-6)
    pert = inf.influence_pert(X[:1], Y[:1], indices=[5])[0, 0]
    for j in range(3):
        ends = []
        for eps in (1e-5, -1e-5):
            A = X.copy()
            A[5, j] += eps
            p = optimum(model, A, Y, w)
            u = abs(Y[0] - decide(p, X[0])) / p[-1]
            e = model.epsilon
            ends.append(p[-1] * (1 + (u**2 if u <= e else 2 * e * u - e**2)))
        slope = N / weights[5] * (ends[0] - ends[1]) / 2e-5
        assert_allclose(pert[j], slope, rtol=1e-4, atol=1e-5)


def test_the_model_after_an_edit_knows_its_scale_and_outliers(asked):
    model, w, inf = asked
    after = inf.edited(edits.remove([3, 5, 9])).estimator
    kept = np.delete(np.arange(N), [3, 5, 9])
    refit = clone(model).fit(X[kept], Y[kept], None if w is None else w[kept])
    assert_allclose(after.coef_, refit.coef_, rtol=1e-4, atol=1e-5)
    assert_allclose(after.scale_, refit.scale_, rtol=1e-4)
    assert (after.outliers_ == refit.outliers_).all()


def test_behind_a_scaler_the_whole_pipeline_is_fitted_again():
    pipe = make_pipeline(StandardScaler(), HuberRegressor(**TIGHT)).fit(X, Y)
    own = Influence(pipe, X, Y).loo_predict(indices=[2, 9])
    for j, row in enumerate([2, 9]):
        kept = np.delete(np.arange(N), row)
        scaler = StandardScaler().fit(X[kept])
        p = optimum(pipe[-1], scaler.transform(X[kept]), Y[kept], None)
        assert_allclose(own[j], decide(p, scaler.transform(X[[row]]))[0], rtol=1e-8)


@pytest.mark.parametrize("steps", ["scaler", "scaler, components", "columns chosen", "curve of y"])
def test_the_model_after_an_edit_of_a_whole_pipeline_is_a_refit(steps):
    """Also where columns turn or are others, and where the targets are transformed."""
    model = HuberRegressor(**TIGHT)
    pipe = {
        "scaler": make_pipeline(StandardScaler(), model),
        "scaler, components": make_pipeline(StandardScaler(), PCA(2), model),
        "columns chosen": make_pipeline(SelectKBest(f_regression, k=2), model),
        "curve of y": make_pipeline(StandardScaler(), model),
    }[steps]
    y, back = Y, lambda z: z
    if steps == "curve of y":
        pipe = TransformedTargetRegressor(pipe, func=np.arcsinh, inverse_func=np.sinh)
        back = np.sinh
    inf = Influence(clone(pipe).fit(X, y), X, y)
    after = inf.edited(edits.remove([3, 5, 9]))
    kept = np.delete(np.arange(N), [3, 5, 9])
    refit = clone(pipe).fit(X[kept], y[kept])
    inner = refit.regressor_ if steps == "curve of y" else refit
    seen = inner[:-1].transform(X)
    p = optimum(model, seen[kept], np.arcsinh(y[kept]) if steps == "curve of y" else y[kept], None)
    eta = decide(p, seen, seen.shape[1])
    assert_allclose(after.estimator.predict(X), back(eta), rtol=1e-8, atol=1e-10)
    assert (after.error_at(X) < 1e-9).all()
    again = inf.after(edits.remove([3, 5])).after(edits.remove(9))
    assert_allclose(again.estimator.predict(X), back(eta), rtol=1e-8, atol=1e-10)
    found = inf.effect(edits.remove([3, 5, 9]), X, of="predict", method="exact")
    assert_allclose(found.values, back(eta) - inf.estimator.predict(X), rtol=1e-3, atol=1e-4)
    assert found.bound < 1e-9


@pytest.mark.parametrize("steps", [(), (StandardScaler(),)])
def test_a_scale_that_goes_to_zero_is_said_and_a_larger_epsilon_helps(steps):
    """Where the regression passes through rows of more weight than the others beyond epsilon have."""
    few = np.random.default_rng(1)
    A, y, edit = few.standard_normal((14, 4)), few.standard_t(2, 14), edits.remove([9, 10])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        small, large = (
            make_pipeline(*steps, HuberRegressor(epsilon=one, **TIGHT)).fit(A, y)
            for one in (1.05, 3.0)
        )
        with pytest.raises(SingularHessianError, match="a larger epsilon"):
            Influence(small, A, y, polish=True).edited(edit)
    assert (Influence(large, A, y).edited(edit).error_at(A) < 1e-8).all()


def test_diagnostics_count_the_scale():
    inf = Influence(HuberRegressor(**TIGHT).fit(X, Y), X, Y)
    h = leverage(inf)
    assert 0 < h.sum() < 5 and (h[np.abs(inf.loo_predict() - Y).argmax()] == 0).all()
    assert np.isfinite(cooks_distance(inf)).all()


def test_it_keeps_the_contract():
    check_influence(HuberRegressor(max_iter=1000), data=(X, Y))


def test_a_fit_of_other_rows_and_sparse_ones_are_refused_or_said():
    model = HuberRegressor(**TIGHT).fit(X, Y)
    with pytest.warns(UserWarning, match="not at an optimum"):
        Influence(model, X, Y[::-1])
    with pytest.raises(ValueError, match="must be dense"):
        Influence(model, sp.csr_array(X), Y)


def test_columns_far_from_zero_are_named_and_centring_them_helps():
    """No saddle, and nothing that a penalty or another start would mend."""
    far = X + [1e7, 0.0, -3e7]
    with pytest.raises(SingularHessianError, match=r"Column \d is \de\+07 .*Centre the columns"):
        Influence(HuberRegressor(max_iter=1000).fit(far, Y), far, Y)
    model = make_pipeline(StandardScaler(), HuberRegressor(**TIGHT)).fit(far, Y)
    near = make_pipeline(StandardScaler(), HuberRegressor(**TIGHT)).fit(X, Y)
    found = Influence(model, far, Y).effect(edits.remove(7), far[:3], of="predict").values
    expected = Influence(near, X, Y).effect(edits.remove(7), X[:3], of="predict").values
    assert_allclose(found, expected, atol=1e-5)


def test_a_constant_column_far_from_zero_is_named_as_that_and_centring_it_helps():
    far = np.column_stack([X, np.full(N, 1e7)])
    with pytest.raises(SingularHessianError, match=f"Column {X.shape[1]} is constant and far"):
        Influence(HuberRegressor(max_iter=1000).fit(far, Y), far, Y)
    model, near = (
        make_pipeline(StandardScaler(), HuberRegressor(**TIGHT)).fit(Z, Y) for Z in (far, X)
    )
    found = Influence(model, far, Y).effect(edits.remove(7), far[:3], of="predict").values
    expected = Influence(near, X, Y).effect(edits.remove(7), X[:3], of="predict").values
    assert_allclose(found, expected, atol=1e-5)
