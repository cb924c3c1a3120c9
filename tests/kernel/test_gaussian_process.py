"""Gaussian processes: every answer is that of a fit with the same kernel, and the kernel is said to be held."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, Matern, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence.conformal import FullConformalRegressor
from skinfluence.gaussian_process import loo_log_density, loo_std
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.robustness import prediction, smallest_flip
from skinfluence.unlearning import forget
from skinfluence.utils.estimator_checks import check_influence
from skinfluence.values import leave_one_out

N, D = 24, 3
MODELS = {
    "noise": (RBF(1.5) + WhiteKernel(0.2), {}),
    "scaled noise": (2.0 * (RBF([1.0, 2.0, 3.0]) + WhiteKernel(0.1)), {"alpha": 1e-3}),
    "alpha": (RBF(2.0), {"alpha": 0.3}),
    "targets normalised": (3.0 * Matern(nu=1.5) + WhiteKernel(0.1), {"normalize_y": True}),
    "not stationary": (DotProduct() ** 2, {"alpha": [0.4], "normalize_y": True}),
}


@pytest.fixture(params=MODELS)
def model(request):
    """The kernel as given: nothing is chosen."""
    kernel, options = MODELS[request.param]
    options = {k: np.array(v) if k == "alpha" else v for k, v in options.items()}
    return GaussianProcessRegressor(kernel, optimizer=None, **options)


def make(seed=0, n=N):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, D))
    return X, np.sin(X[:, 0]) + X[:, 1] + 0.3 * rng.standard_normal(n) + 5.0


def again(model, X, y):
    return GaussianProcessRegressor(**model.get_params(deep=False)).fit(X, y)


def test_removals_and_leave_one_out_are_fits_without_the_row(model):
    (X, y), (T, _) = make(), make(1, 5)
    inf = Influence(model.fit(X, y), X, y)
    found = inf.removal_effect(T, of="predict")
    own, std, density = inf.loo_predict(), loo_std(inf), loo_log_density(inf)
    for i in range(N):
        kept = np.arange(N) != i
        refit = again(model, X[kept], y[kept])
        assert_allclose(found[:, i], refit.predict(T) - model.predict(T), atol=1e-10)
        mean, spread = refit.predict(X[[i]], return_std=True)
        assert_allclose([own[i], std[i]], [mean[0], spread[0]], rtol=1e-9)
        unit = np.var(y[kept]) if model.normalize_y else 1.0
        scale = np.sqrt(spread[0] ** 2 + np.ravel(model.alpha)[0] * unit)
        assert_allclose(density[i], norm.logpdf(y[i], mean[0], scale), rtol=1e-8)


def test_any_edit_is_a_fit_on_the_edited_rows(model):
    (X, y), (T, t) = make(), make(1, 5)
    inf = Influence(model.fit(X, y), X, y)
    edit = edits.remove([1, 2]) + edits.relabel(4, 9.0) + edits.replace(5, T[1])
    edit += edits.add(T[0], 2.0) + edits.reweight(7, 2.0)
    X2, y2 = np.vstack([X, T[:1], X[7:8]]), np.append(y, [2.0, y[7]])
    X2[5], y2[4] = T[1], 9.0
    kept = np.setdiff1d(np.arange(len(y2)), [1, 2])
    after = again(model, X2[kept], y2[kept]).predict(T)
    before = model.predict(T)
    found = inf.effect(edit, T, of="decision_function")
    assert_allclose(found.values, after - before, atol=1e-10)
    assert found.method_used == "exact"
    change = 0.5 * (after - t) ** 2 - 0.5 * (before - t) ** 2
    assert_allclose(inf.effect(edit, T, t).values, change, atol=1e-9)


def test_groups_are_fits_without_them(model):
    X, y = make()
    inf, groups = Influence(model.fit(X, y), X, y), np.arange(N) % 4
    points = [inf.data.resolve(edits.remove(np.flatnonzero(groups == g))) for g in range(4)]
    own = inf.answers.own_group_removals(points, "auto", 1e-3)[:, 0]
    for g in range(4):
        out = groups == g
        assert_allclose(own[out], again(model, X[~out], y[~out]).predict(X[out]), rtol=1e-9)


def test_derivatives_are_those_of_fits_with_the_row_weighed_more(model):
    """A row of weight 1 + h is one with its noise divided by that, here through the edit itself."""
    (X, y), (T, t) = make(), make(1, 5)
    inf, h = Influence(model.fit(X, y), X, y), 1e-4
    up = inf.influence_up_loss(T, t) / N
    for i in (0, 7):
        both = [inf.effect(edits.reweight(i, 1 + s * h), T, t).values for s in (1, -1)]
        slope = (both[0] - both[1]) / (2 * h)
        # Central differences at 1e-4 in float64.
        assert_allclose(up[:, i], slope, atol=1e-6 * np.abs(slope).max())
        first = inf.effect(edits.reweight(i, 1 + h), T, of="predict", method="influence").values
        moved = [inf.effect(edits.reweight(i, 1 + s * h), T, of="predict").values for s in (1, -1)]
        assert_allclose(first, (moved[0] - moved[1]) / 2, atol=1e-6 * np.abs(first).max())
    own = -inf.influence_up_loss(X, y).diagonal()
    assert_allclose(inf.self_influence(), own, rtol=1e-9, atol=1e-12)
    step = inf.removal_effect(T, of="predict", method="influence")
    one = inf.effect([edits.remove(i) for i in range(N)], T, of="predict", method="influence")
    assert_allclose(step, one.values, atol=1e-12)


def test_without_a_mean_it_is_kernel_ridge():
    X, y = make()
    model = GaussianProcessRegressor(RBF(2.0), alpha=0.3, optimizer=None).fit(X, y)
    ridge = KernelRidge(kernel="rbf", gamma=1 / 8, alpha=0.3).fit(X, y)
    inf = Influence(model, X, y)
    assert_allclose(inf.loo_predict(), ridge.loo_predict(), rtol=1e-10)
    assert_allclose(inf.self_influence(), ridge.self_influence(), rtol=1e-9)
    check_influence(GaussianProcessRegressor(RBF(2.0), alpha=0.3, optimizer=None), data=(X, y))


# What is held ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def optimised():
    X, y = make()
    return GaussianProcessRegressor(1.0 * RBF() + WhiteKernel(), normalize_y=True).fit(X, y), X, y


def test_an_optimised_kernel_is_held_and_said_to_be(optimised):
    model, X, y = optimised
    inf = Influence(model, X, y)
    assert "kernel" in inf.report().held
    with pytest.warns(
        UserWarning, match="Held as chosen on all rows: the parameters of the kernel"
    ):
        found = inf.loo_predict()
    held = GaussianProcessRegressor(model.kernel_, optimizer=None, normalize_y=True)
    assert_allclose(found[3], held.fit(np.delete(X, 3, 0), np.delete(y, 3)).predict(X[[3]])[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(inf.loo_predict(frozen="accept"), found)
    for question in (
        lambda: inf.loo_predict(frozen="refuse"),
        lambda: inf.removal_effect(X, y, frozen="refuse"),
        lambda: inf.effect(edits.remove(0), X, y, frozen="refuse"),
        lambda: loo_std(inf, frozen="refuse"),
    ):
        with pytest.raises(ValueError, match="chose the parameters of the kernel"):
            question()


def test_a_kernel_that_is_given_is_nobodys_choice(model):
    X, y = make()
    inf = Influence(model.fit(X, y), X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inf.loo_predict(frozen="refuse")
    assert inf.report().held is None


@pytest.mark.filterwarnings("ignore:Held as chosen")
def test_behind_a_scaler_the_kernel_is_held_too(optimised):
    _, X, y = optimised
    pipe = make_pipeline(StandardScaler(), GaussianProcessRegressor(RBF() + WhiteKernel())).fit(
        X, y
    )
    inf = Influence(pipe, X, y)
    found = inf.loo_predict(frozen=None, indices=[0, 5])
    held = GaussianProcessRegressor(pipe[-1].kernel_, optimizer=None)
    for value, i in zip(found, (0, 5), strict=True):
        refit = make_pipeline(StandardScaler(), held).fit(np.delete(X, i, 0), np.delete(y, i))
        assert_allclose(value, refit.predict(X[[i]])[0], rtol=1e-9)
    with pytest.raises(ValueError, match="frozen='accept'"):
        loo_std(inf)


@pytest.mark.filterwarnings("ignore:Held as chosen")
def test_what_is_about_whole_refits_is_refused(optimised):
    model, X, y = optimised
    inf = Influence(model, X, y)
    for question in (
        lambda: inf.edited(edits.remove(0)),
        lambda: inf.after(edits.remove(0)),
        lambda: smallest_flip(inf, prediction(X[0], 0.0)),
        lambda: leave_one_out(inf, X, y),
        lambda: forget(inf, [0]),
        lambda: FullConformalRegressor(GaussianProcessRegressor(RBF())).fit(X, y),
    ):
        with pytest.raises(TypeError, match=r"chose nothing on the rows|known of"):
            question()


@pytest.mark.parametrize(
    ("kernel", "options", "words"),
    [
        (RBF(), {"alpha": np.linspace(0.1, 1, N)}, "alpha must be one number"),
        (DotProduct() * WhiteKernel() + RBF(), {}, "same for all rows"),
    ],
    ids=["noise by row", "noise by size"],
)
def test_noise_that_differs_is_refused_with_the_remedy(kernel, options, words):
    X, y = make()
    model = GaussianProcessRegressor(kernel, optimizer=None, **options).fit(X, y)
    with pytest.raises(ValueError, match=words):
        Influence(model, X, y)


def test_the_remedy_of_noise_by_row_is_the_same_mean():
    (X, y), alpha = make(), np.linspace(0.1, 1, N)
    model = GaussianProcessRegressor(RBF(2.0), alpha=alpha, optimizer=None).fit(X, y)
    ridge = KernelRidge(alpha=1.0, kernel=model.kernel_).fit(X, y, sample_weight=1 / alpha)
    assert_allclose(ridge.predict(X), model.predict(X), rtol=1e-9)
    kept = np.arange(N) != 3
    refit = GaussianProcessRegressor(RBF(2.0), alpha=alpha[kept], optimizer=None)
    own = refit.fit(X[kept], y[kept]).predict(X[[3]])
    assert_allclose(Influence(ridge, X, y, 1 / alpha).loo_predict()[3], own[0], rtol=1e-9)


def test_other_rows_targets_and_weights_are_refused():
    X, y = make()
    model = GaussianProcessRegressor(RBF() + WhiteKernel(), optimizer=None).fit(X, y)
    for other in ((X[::-1], y), (X, y[::-1])):
        with pytest.raises(ValueError, match="must be those of the fit"):
            Influence(model, *other)
    with pytest.raises(ValueError, match="has no weights"):
        Influence(model, X, y, np.linspace(1, 2, N))
    with pytest.raises(TypeError, match="Got one of kernel ridge"):
        loo_std(Influence(KernelRidge().fit(X, y), X, y))


def test_a_spread_that_cancels_is_counted_anew():
    """All targets alike but one: without it scikit-learn divides by one."""
    X, _ = make()
    y = np.where(np.arange(N) == 4, 1e6, 2.0)
    model = GaussianProcessRegressor(RBF(), alpha=0.1, normalize_y=True, optimizer=None).fit(X, y)
    kept = np.arange(N) != 4
    _, std = again(model, X[kept], y[kept]).predict(X[[4]], return_std=True)
    assert_allclose(loo_std(Influence(model, X, y))[4], std[0], rtol=1e-9)
