"""Targets that go through a curve: predictions come back, and what learned from the targets moves."""

import warnings
from itertools import product

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import GammaRegressor, Lasso, LinearRegression, PoissonRegressor, Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.svm import SVR

from skinfluence import Influence, edits, metrics, robustness, unlearning, values
from skinfluence.cleaning import audit
from skinfluence.conformal import FullConformalRegressor, JackknifePlusRegressor
from skinfluence.model_selection import LeaveOneOutSearch, leave_one_group_out, loo_predict
from tests.fewer import in_turn

LOG = {"func": np.log1p, "inverse_func": np.expm1}
LOG_THEN = {"transformer": make_pipeline(FunctionTransformer(np.log, np.exp), MinMaxScaler((1, 3)))}
CURVES = {
    "log1p": LOG,
    "falling": {"func": lambda y: -np.log(y), "inverse_func": lambda z: np.exp(-z)},
    "scaled": {"transformer": StandardScaler()},
    "log, then scaled": LOG_THEN,
}
RIDGE = Ridge(alpha=2.0, solver="cholesky")
POWER = {"transformer": PowerTransformer()}
# What refits are known to: libsvm stops at 1e-6 of the targets.
MODELS = {
    "ridge": (RIDGE, 1e-9),
    "ridge through the origin": (Ridge(fit_intercept=False, solver="cholesky"), 1e-9),
    "least squares": (LinearRegression(), 1e-9),
    "behind a scaler": (make_pipeline(StandardScaler(), RIDGE), 1e-9),
    "lasso": (Lasso(0.02, tol=1e-14, max_iter=100_000), 1e-9),
    "support vectors": (SVR(C=0.5, tol=1e-10), 1e-5),
    "kernel ridge": (KernelRidge(alpha=0.5, kernel="rbf"), 1e-9),
    "process": (GaussianProcessRegressor(RBF() + WhiteKernel(0.5), optimizer=None), 1e-9),
    "neighbours": (KNeighborsRegressor(3), 1e-9),
}


def data(n=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, np.exp(X @ [0.5, -0.3, 0.2] + 0.3 * rng.standard_normal(n))


def behind(model, curve):
    return TransformedTargetRegressor(model, check_inverse=False, **curve)


def edited(X, y):
    """An edit of every kind, and the rows that it leaves."""
    edit = edits.remove([1, 5]) + edits.relabel(7, 3.0) + edits.add(X[0] + 0.1, 1.5)
    after = np.where(np.arange(len(y)) == 7, 3.0, y)
    X = np.vstack([np.delete(X, [1, 5], axis=0), X[:1] + 0.1])
    return edit, X, np.append(np.delete(after, [1, 5]), 1.5)


@pytest.mark.parametrize(
    ("name", "curve"), in_turn(list(product(MODELS, CURVES)), lambda case: case[0], 2)
)
def test_predictions_after_edits_are_those_of_refits(name, curve):
    """Of each model behind half of the curves, the other half in turn."""
    model, rtol = MODELS[name]
    check_refits(model, CURVES[curve], rtol)


@pytest.mark.parametrize("name", ["ridge", "lasso", "neighbours"])
def test_powers_are_chosen_again_by_the_targets_that_are_left(name):
    check_refits(MODELS[name][0], POWER, 1e-9)


def check_refits(model, curve, rtol):
    X, y = data()
    fitted = behind(model, curve).fit(X, y)
    inf = Influence(fitted, X, y)
    before = fitted.predict(X)
    expected = cross_val_predict(fitted, X, y, cv=LeaveOneOut())
    found = inf.loo_predict(method="exact")
    assert np.abs(found - expected).max() < rtol * np.abs(expected - before).max()
    edit, X_after, y_after = edited(X, y)
    change = clone(fitted).fit(X_after, y_after).predict(X) - before
    found = inf.effect(edit, X, of="predict", method="exact")
    assert np.abs(found.values - change).max() < rtol * np.abs(change).max()
    # In the units of the new transformer a bound would be one of something else.
    moves = inf.objective.curve is not None and inf.objective.curve.learns
    assert not moves or found.bound == np.inf


@pytest.mark.parametrize("curve", [LOG, POWER], ids=["learns nothing", "learns"])
def test_losses_and_decision_values_are_in_the_units_of_the_fit(curve):
    """Half the square of the transformed prediction less the transformed target."""
    X, y = data()
    fitted = behind(RIDGE, curve).fit(X, y)

    def of_fit(targets):
        return fitted.transformer_.transform(np.reshape(targets, (-1, 1)))[:, 0]

    refit = clone(fitted).fit(np.delete(X, 4, axis=0), np.delete(y, 4))
    was, now = (of_fit(one.predict(X)) for one in (fitted, refit))
    inf = Influence(fitted, X, y)
    found = inf.removal_effect(X, y, indices=[4])[:, 0]
    half_squares = 0.5 * ((now - of_fit(y)) ** 2 - (was - of_fit(y)) ** 2)
    np.testing.assert_allclose(found, half_squares, rtol=1e-8, atol=1e-12)
    found = inf.removal_effect(X, of="decision_function", indices=[4])[:, 0]
    np.testing.assert_allclose(found, now - was, rtol=1e-8, atol=1e-12)
    called = inf.removal_effect(X, y, of=metrics.squared_error, indices=[4])[:, 0]
    np.testing.assert_allclose(called / half_squares, called[0] / half_squares[0], rtol=1e-7)


@pytest.mark.parametrize("curve", [LOG, POWER], ids=["learns nothing", "learns"])
def test_scores_are_of_the_targets_themselves(curve):
    X, y = data()
    fitted = behind(RIDGE, curve).fit(X, y)
    refit = clone(fitted).fit(np.delete(X, 4, axis=0), np.delete(y, 4))
    expected = mean_absolute_error(y, fitted.predict(X)) - mean_absolute_error(y, refit.predict(X))
    inf = Influence(fitted, X, y)
    found = inf.removal_effect(X, y, of="neg_mean_absolute_error", indices=[4])
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    left_out = cross_val_predict(fitted, X, y, cv=LeaveOneOut())
    score = inf.loo_score("neg_mean_absolute_error", method="exact")
    np.testing.assert_allclose(score, -mean_absolute_error(y, left_out), rtol=1e-9)


def test_derivatives_are_those_of_the_model_inside():
    X, y = data()
    fitted = behind(RIDGE, LOG).fit(X, y)
    found, inside = Influence(fitted, X, y), Influence(fitted.regressor_, X, np.log1p(y))
    for ask in (
        lambda inf, y: inf.influence_up_params(),
        lambda inf, y: inf.influence_up_loss(X[:3], y[:3]),
        lambda inf, y: inf.influence_pert(X[:3], y[:3]),
        lambda inf, y: inf.self_influence(),
    ):
        np.testing.assert_allclose(ask(found, y), ask(inside, np.log1p(y)), rtol=1e-12)


def test_a_transformer_of_the_targets_counts_rows_and_not_their_weights():
    """As TransformedTargetRegressor fits it; a row of weight zero is there."""
    X, y = data()
    weight = np.where(np.arange(20) == 2, 0.0, np.linspace(0.5, 2.0, 20))
    model = behind(RIDGE, POWER)
    fitted = clone(model).fit(X, y, sample_weight=weight)
    inf = Influence(fitted, X, y, weight)
    cases = {
        "idle": (edits.remove(2), np.delete(np.arange(20), 2), weight),
        "weightless": (
            edits.reweight(3, 0.0),
            np.arange(20),
            np.where(np.arange(20) == 3, 0, weight),
        ),
    }
    for edit, left, after in cases.values():
        refit = clone(model).fit(X[left], y[left], sample_weight=after[left])
        expected = refit.predict(X) - fitted.predict(X)
        found = inf.effect(edit, X, of="predict", method="exact").values
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
        assert np.abs(expected).max() > 1e-6


@pytest.mark.parametrize("curve", [LOG, LOG_THEN], ids=["learns nothing", "learns"])
def test_what_asks_for_left_out_predictions_gets_those_of_refits(curve):
    """loo_predict, groups, searches, intervals and audits, which never look at the wrapper."""
    X, y = data()
    model = behind(RIDGE, curve)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(loo_predict(model, X, y), expected, rtol=1e-9)
    groups = np.arange(20) % 4
    by_group = cross_val_predict(model, X, y, groups=groups, cv=LeaveOneGroupOut())
    np.testing.assert_allclose(leave_one_group_out(model, X, y, groups), by_group, rtol=1e-9)
    intervals = JackknifePlusRegressor(model).fit(X, y)
    np.testing.assert_allclose(intervals.residuals_, np.abs(y - expected), rtol=1e-7, atol=1e-12)
    search = LeaveOneOutSearch(model, {"regressor__alpha": [0.1, 2.0]}, scoring="r2").fit(X, y)
    r2 = 1.0 - np.sum((y - expected) ** 2) / np.sum((y - y.mean()) ** 2)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"][1], r2, rtol=1e-9)


@pytest.mark.parametrize("curve", [LOG, LOG_THEN], ids=["learns nothing", "learns"])
def test_an_audit_suggests_targets_and_its_losses_are_those_of_refits(curve):
    pytest.importorskip("pandas")
    X, y = data()
    found = audit(behind(RIDGE, curve).fit(X, y), X, y)
    table = found.table.sort_values("row")
    expected = cross_val_predict(found.estimator, X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(table["suggested"], expected, rtol=1e-8)
    assert found.verify(2)["difference"].abs().max() < 1e-10


# The model after an edit ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ridge", "behind a scaler", "lasso", "support vectors"])
def test_the_edited_model_predicts_as_a_refit(name):
    X, y = data()
    model, rtol = MODELS[name]
    fitted = behind(model, LOG).fit(X, y)
    edit, X_after, y_after = edited(X, y)
    expected = clone(fitted).fit(X_after, y_after).predict(X)
    inf = Influence(fitted, X, y)
    np.testing.assert_allclose(
        inf.edited(edit).estimator.predict(X), expected, rtol=max(rtol, 1e-7)
    )
    followed = inf.after(edits.remove(1)).after(edits.relabel(7, 3.0)).after(edits.remove(5))
    y_after = np.delete(np.where(np.arange(20) == 7, 3.0, y), [1, 5])
    expected = clone(fitted).fit(np.delete(X, [1, 5], axis=0), y_after).predict(X)
    np.testing.assert_allclose(followed.estimator.predict(X), expected, rtol=max(rtol, 1e-7))


def test_the_edited_model_is_refused_where_a_transformer_moved():
    X, y = data()
    inf = Influence(behind(RIDGE, POWER).fit(X, y), X, y)
    with pytest.raises(TypeError, match="frozen='accept'"):
        inf.edited(edits.remove(1))
    held = inf.edited(edits.remove(1), frozen="accept").estimator
    z = inf.objective.curve(y)
    expected = clone(RIDGE).fit(np.delete(X, 1, axis=0), np.delete(z, 1)).predict(X)
    np.testing.assert_allclose(held.regressor_.predict(X), expected, rtol=1e-8)


def test_held_transformers_are_held():
    X, y = data()
    fitted = behind(RIDGE, POWER).fit(X, y)
    z = fitted.transformer_.transform(y[:, None])[:, 0]
    left_out = cross_val_predict(RIDGE, X, z, cv=LeaveOneOut())
    expected = fitted.transformer_.inverse_transform(left_out[:, None])[:, 0]
    found = Influence(fitted, X, y).loo_predict(frozen="accept")
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# Refused by name -----------------------------------------------------------------------------------

NO_CURVES = {
    "turns back": {"func": np.abs, "inverse_func": np.abs},
    "wrong inverse": {"func": lambda y: 2.0 * y, "inverse_func": lambda z: z},
    "looks at all": {"func": lambda y: y - y.mean(), "inverse_func": lambda z: z},
    "steps": {"transformer": QuantileTransformer(n_quantiles=5)},
    "clipped": {"transformer": MinMaxScaler(clip=True)},
    "bins": {"transformer": KBinsDiscretizer(4, encode="ordinal")},
}


@pytest.mark.parametrize("curve", NO_CURVES.values(), ids=NO_CURVES)
def test_what_is_no_curve_is_refused_with_the_way_out(curve):
    X, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = behind(RIDGE, curve).fit(X, y)
        with pytest.raises(ValueError, match="strictly monotone") as refusal:
            Influence(fitted, X, y)
    # What the message says works.
    assert "Influence(model.regressor_, X, z)" in str(refusal.value)
    z = fitted.transformer_.transform(np.reshape(y, (-1, 1))).ravel()
    assert Influence(fitted.regressor_, X, z).self_influence().shape == (20,)


def test_a_link_behind_a_transformer_that_learns_is_refused():
    """What a Poisson model predicts is positive, and another scaler may ask for less than nothing."""
    X, y = data()
    fitted = behind(PoissonRegressor(), {"transformer": MinMaxScaler((1, 2))}).fit(X, y)
    with pytest.raises(TypeError, match="learns nothing"):
        Influence(fitted, X, y)
    model = behind(GammaRegressor(solver="newton-cholesky", tol=1e-12), LOG)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    found = Influence(model.fit(X, y), X, y).loo_predict(method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_vote_behind_a_curve_is_refused_in_the_users_words():
    X, y = data()
    fitted = behind(VotingRegressor([("a", RIDGE), ("b", Ridge())]), LOG).fit(X, y)
    with pytest.raises(TypeError, match=r"one model. Got a vote .*regressor_, X, z"):
        Influence(fitted, X, y)
    assert np.isfinite(Influence(fitted.regressor_, X, np.log1p(y)).loo_predict()).all()


def test_what_is_tried_out_of_a_curve_warns_of_nothing():
    """Beyond what its powers reach, the inverse of Yeo and Johnson's says that it gives NaN."""
    X, y = data()
    y = np.exp(y / y.std())
    fitted = behind(RIDGE, POWER).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Influence(fitted, X, y)


def test_targets_that_a_curve_does_not_take_are_refused():
    X, y = data()
    inf = Influence(behind(RIDGE, LOG).fit(X, y), X, y)
    with pytest.raises(ValueError, match=r"(?s)Targets must be ones that .*Got -5"):
        inf.effect(edits.relabel(3, -5.0), X, y)
    with pytest.raises(ValueError, match="Targets must be ones"):
        inf.removal_effect(X[:1], [-2.0])


def test_one_curve_in_another_is_refused_for_a_pipeline_of_both():
    X, y = data()
    nested = behind(behind(RIDGE, {"transformer": PowerTransformer()}), LOG).fit(X, y)
    with pytest.raises(TypeError, match="make_pipeline"):
        Influence(nested, X, y)
    both = make_pipeline(FunctionTransformer(np.log1p, np.expm1), PowerTransformer())
    fitted = behind(RIDGE, {"transformer": both}).fit(X, y)
    np.testing.assert_allclose(fitted.predict(X), nested.predict(X), rtol=1e-10)
    assert np.isfinite(Influence(fitted, X, y).loo_predict()).all()


DOORS = {
    "values": lambda inf, X, y: values.shapley(inf, X, y),
    "flips": lambda inf, X, y: robustness.smallest_flip(inf, robustness.coef(0)),
    "receipts": lambda inf, X, y: unlearning.receipt(inf.estimator, X, y),
    "full conformal": lambda inf, X, y: (
        FullConformalRegressor(inf.estimator).fit(X, y).predict_interval(X[:1])
    ),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_what_is_about_the_targets_themselves_refuses_a_curve(door):
    X, y = data()
    inf = Influence(behind(RIDGE, LOG).fit(X, y), X, y)
    with pytest.raises(TypeError, match="Ask in the transformed units"):
        door(inf, X, y)
