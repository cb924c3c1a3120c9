"""Rows of weight 0 are no part of an objective, however far out they are: nothing times infinity is nothing."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

from skinfluence import Influence, diagnostics, edits
from skinfluence.cleaning import artifacts
from skinfluence.inference.draws import Refitted
from tests.truth import polish, relative_error

AS_FAR_AS_IT_GOES = {"alpha": 1e-2, "solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1000}
MODELS = {
    "Poisson": PoissonRegressor(**AS_FAR_AS_IT_GOES),
    "Tweedie": TweedieRegressor(power=1.5, link="log", **AS_FAR_AS_IT_GOES),
    "Gamma": GammaRegressor(**AS_FAR_AS_IT_GOES),
}
EVERY = pytest.mark.parametrize("name", MODELS)
SIDES = pytest.mark.parametrize("side", [1.0, -1.0], ids=["above", "below"])
ROW = 0


def far(name, side, rng, n=50):
    """Rows of which one is so far out that the mean, or what divides by it, overflows without it."""
    X = rng.standard_normal((n, 3))
    mean = np.exp(0.3 * X[:, 0] + 0.5)
    X[ROW] = side * np.array([9000.0, 0.0, 0.0])
    if name == "Poisson":
        return X, rng.poisson(mean).astype(float)
    return X, mean * rng.uniform(0.5, 2.0, n) * (name == "Gamma" or np.arange(n) % 3 > 0)


def without_a_word(ask):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ask()


@EVERY
@SIDES
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_answers_are_those_without_the_row(name, side, form, rng):
    X, y = far(name, side, rng)
    weights, kept = np.ones(len(y)), np.arange(1, len(y))
    weights[ROW], weights[7] = 0.0, 2.0
    model = MODELS[name].fit(X[kept], y[kept], weights[kept])
    inf = Influence(model, form(X), y, weights)
    rest = Influence(model, form(X[kept]), y[kept], weights[kept])
    ask = {"of": "decision_function"}
    both = edits.remove([5, 8]) + edits.relabel(20, 2.0)
    shifted = edits.remove([4, 7]) + edits.relabel(19, 2.0)
    for question, expected in [
        (lambda: inf.removal_effect(X[2:6], **ask)[:, 1:], rest.removal_effect(X[2:6], **ask)),
        (
            lambda: inf.loo_decision_function(method="exact")[1:],
            rest.loo_decision_function(method="exact"),
        ),
        (
            lambda: inf.effect(both, X[2:6], method="exact", **ask).values,
            rest.effect(shifted, X[2:6], method="exact", **ask).values,
        ),
        (
            lambda: inf.removal_effect(X[2:6], groups=np.arange(50) // 5, **ask),
            rest.removal_effect(X[2:6], groups=np.arange(1, 50) // 5, **ask),
        ),
        (lambda: diagnostics.leverage(inf)[1:], diagnostics.leverage(rest)),
        (lambda: diagnostics.cooks_distance(inf)[1:], diagnostics.cooks_distance(rest)),
        (
            lambda: inf.edited(edits.remove(5)).estimator.coef_,
            rest.edited(edits.remove(4)).estimator.coef_,
        ),
        (
            lambda: inf.after(edits.remove(5)).loo_decision_function()[1:],
            rest.after(edits.remove(4)).loo_decision_function(),
        ),
    ]:
        assert relative_error(without_a_word(question), expected) < 1e-8


@EVERY
@SIDES
def test_certified_effects_of_the_other_rows_are_those_without_the_row(name, side, rng):
    X, y = far(name, side, rng)
    weights, kept = np.ones(len(y)), np.arange(1, len(y))
    weights[ROW] = 0.0
    model = MODELS[name].fit(X[kept], y[kept])
    inf = Influence(model, X, y, weights)
    found = without_a_word(lambda: inf.removal_effect(X[2:6], of="decision_function", indices=kept))
    rest = Influence(model, X[kept], y[kept])
    expected = rest.removal_effect(X[2:6], of="decision_function", method="exact")
    assert relative_error(found, expected) < 1e-3  # the tolerance of "auto"


@EVERY
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_removing_a_row_that_overflows_without_itself_is_a_refit(name, method, rng):
    """The row holds the slope near nothing; without it its mean is above exp(709)."""
    X, y = far(name, 1.0, rng)
    if name == "Gamma":
        y[ROW] = 0.5
    else:
        y[ROW] = 0.0
    kept = np.arange(1, len(y))
    model = MODELS[name].fit(X, y)
    inf = Influence(model, X, y, polish=True)
    after = Influence(MODELS[name].fit(X[kept], y[kept]), X[kept], y[kept])
    move = (polish(after.objective, 4).theta - polish(inf.objective, 4).theta)[0]
    assert X[ROW] @ (model.coef_ + move[:3]) > 709
    expected = X @ move[:3] + move[3]
    found = without_a_word(
        lambda: inf.effect(edits.remove(ROW), X, of="decision_function", method=method)
    )
    assert np.isfinite(found.bound).all()
    assert relative_error(found.values, expected) < (1e-8 if method == "exact" else 1e-3)
    mean = without_a_word(lambda: inf.loo_predict(method=method))
    assert mean[ROW] == np.inf
    assert np.isfinite(mean[1:]).all()


def test_a_row_that_gets_weight_where_its_loss_overflows_is_refused(rng):
    X, y = far("Poisson", 1.0, rng)
    weights, kept = np.ones(len(y)), np.arange(1, len(y))
    weights[ROW] = 0.0
    inf = Influence(MODELS["Poisson"].fit(X[kept], y[kept]), X, y, weights)
    for method in ("auto", "exact", "one-step", "influence"):
        with pytest.raises(ValueError, match=r"without weight so far.*where it overflows"):
            inf.effect(edits.reweight(ROW, 1.0), X[:2], of="decision_function", method=method)
        nothing = inf.effect(edits.relabel(ROW, 3.0), X[:2], of="decision_function", method=method)
        assert not nothing.values.any()


@EVERY
@SIDES
@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_a_row_whose_loss_overflows_has_no_derivative_and_is_named(name, side, solver, rng):
    """The other rows have theirs, those of a problem of them alone per weight of a row."""
    X, y = far(name, side, rng)
    weights, kept = np.ones(len(y)), np.arange(1, len(y))
    weights[ROW] = 0.0
    model = MODELS[name].fit(X[kept], y[kept])
    inf = Influence(model, X, y, weights, solver=solver)
    rest = Influence(model, X[kept], y[kept], solver=solver)
    overflows = not np.isfinite(inf.objective.gradients[ROW]).all()
    share = len(y) / len(kept)
    tests = X[2:5], y[2:5]
    for found, expected in [
        (lambda: inf.influence_up_params(), rest.influence_up_params() * share),
        (lambda: inf.influence_up_loss(*tests).T, rest.influence_up_loss(*tests).T * share),
        (
            lambda: inf.influence_pert(*tests).swapaxes(0, 1),
            rest.influence_pert(*tests).swapaxes(0, 1) * share,
        ),
        (lambda: inf.self_influence(), rest.self_influence() * share),
    ]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = found()
        words = "Row 0 has no derivative (NaN): the loss overflows at a decision value of"
        assert [words in str(one.message) for one in said] == [True] * overflows
        assert np.isnan(found[ROW]).all() == overflows
        assert relative_error(found[kept], expected) < 1e-6


@pytest.mark.filterwarnings("ignore:Row 0 has no derivative")
@EVERY
@SIDES
def test_features_act_through_the_other_rows(name, side, rng):
    X, y = far(name, side, rng)
    weights, kept = np.ones(len(y)), np.arange(1, len(y))
    weights[ROW] = 0.0
    model = MODELS[name].fit(X[kept], y[kept])
    tests = X[2:5], y[2:5]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = artifacts(Influence(model, X, y, weights), *tests).table.set_index("feature")
    expected = artifacts(Influence(model, X[kept], y[kept]), *tests).table.set_index("feature")
    for column in ("through", "effect"):
        assert relative_error(found[column][expected.index], expected[column]) < 1e-8


def test_test_points_whose_loss_overflows_are_named(rng):
    X, y = far("Poisson", 1.0, rng)
    kept = np.arange(1, len(y))
    inf = Influence(MODELS["Poisson"].fit(X[kept], y[kept]), X[kept], y[kept])
    with pytest.warns(UserWarning, match=r"^Test row 0 has no derivative .* overflows at"):
        found = inf.influence_up_loss(X[:3], y[:3])
    assert np.isnan(found[ROW]).all()
    assert np.isfinite(found[1:]).all()
    for method in ("one-step", "exact"):
        with pytest.warns(UserWarning, match=r"^Test row 0 has an infinite loss as fitted"):
            found = inf.removal_effect(X[:3], y[:3], method=method)
        assert np.isfinite(found[1:]).all()
        # What is told to do works.
        decided = without_a_word(
            lambda method=method: inf.removal_effect(X[:3], of="decision_function", method=method)
        )
        assert np.isfinite(decided).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_a_fit_that_a_row_of_weight_0_stopped_is_told_to_leave_it_out(solver, rng):
    """Nothing times infinity is no number in scikit-learn's sums, and its line search ends there."""
    X, y = far("Poisson", 1.0, rng)
    weights, kept = np.ones(len(y)), np.arange(1, len(y))
    weights[ROW] = 0.0
    model = clone(MODELS["Poisson"]).set_params(solver=solver)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning):
        model.fit(X, y, weights)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="leave rows of weight 0 out"):
        found = Influence(model, X, y, weights).removal_effect(X[2:5], of="decision_function")
    right = Influence(clone(model).fit(X[kept], y[kept]), X[kept], y[kept])
    expected = without_a_word(lambda: right.removal_effect(X[2:5], of="decision_function"))
    assert relative_error(found[:, 1:], expected) < 2e-3
    # Other rows are still told from those of the fit.
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(clone(model).fit(X[kept], y[kept]), X[kept], y[kept][::-1], weights[kept])


def test_draws_without_a_far_row_are_refits_of_those_rows(rng):
    """One in three draws lacks the row, whose mean overflows without it."""
    X, y = far("Poisson", 1.0, rng)
    y[ROW] = 0.0
    inf = Influence(MODELS["Poisson"].fit(X, y), X, y, polish=True)
    counts = rng.multinomial(len(y), np.full(len(y), 1.0 / len(y)), size=4)
    counts[0, ROW] = 0
    moved = without_a_word(lambda: Refitted(inf, X[2:5], None, None).moved(counts))
    start = X[2:5] @ inf.objective.theta[0, :3] + inf.objective.theta[0, 3]
    for one, values in zip(counts, moved, strict=True):
        rows = np.repeat(np.arange(len(y)), one)
        model = clone(MODELS["Poisson"]).fit(X[rows], y[rows])
        wanted = X[2:5] @ model.coef_ + model.intercept_
        np.testing.assert_allclose(start + values, wanted, rtol=1e-6)
