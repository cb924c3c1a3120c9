"""Generalised linear models: edits against true refits, certificates, and what is refused."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from skinfluence import Influence, edits
from skinfluence.curvature import Curvature
from skinfluence.edits.points import edited
from skinfluence.model_selection import LeaveOneOutSearch, loo_predict
from tests.registries import ESTIMATORS, MEAN_FORM, Case, name_of
from tests.truth import polish, refit, relative_error

GLMS = [case for case in ESTIMATORS if issubclass(getattr(linear_model, case.name), MEAN_FORM)]
EVERY = pytest.mark.parametrize("case", GLMS, ids=name_of)
# Fits of powers outside [1, 2] go by way of lbfgs, which says so.
pytestmark = pytest.mark.filterwarnings("ignore:The inner solver of Newton")


def fitted(case, hold="auto"):
    X, y, given = case.data()
    weight = np.ones(len(y)) if given is None else given
    model = case.fit(X, y, given)
    return Influence(model, X, y, given, hold=hold), model, X, y, weight


def changed(X, y, s):
    """Edits with the data they lead to: (edit, X, y, sample weights)."""
    D = X.toarray() if sp.issparse(X) else X
    like = sp.csr_array if sp.issparse(X) else np.asarray
    n = len(y)
    new = 0.5 * D[3] + 0.1
    group = [1, 8, 20, 21]
    yield edits.remove(5), X[np.arange(n) != 5], np.delete(y, 5), np.delete(s, 5)
    kept = np.delete(np.arange(n), group)
    yield edits.remove(group), X[kept], y[kept], s[kept]
    target = np.where(np.arange(n) == 7, y[7] + 2.0, y)
    yield edits.relabel(7, y[7] + 2.0), X, target, s
    moved = np.where(np.arange(n)[:, None] == 2, new, D)
    yield edits.replace(2, new), like(moved), y, s
    more = like(np.vstack([D, new]))
    yield edits.add(new, y[9], sample_weight=1.7), more, np.append(y, y[9]), np.append(s, 1.7)
    weights = np.where(np.arange(n) == 4, 0.4, s)
    both = edits.reweight(4, 0.4) + edits.add(new, y[9])
    yield both, more, np.append(y, y[9]), np.append(weights, 1.0)


def decision_values(objective, X):
    return objective.design.like(X).multiply(objective.theta.T)[:, 0]


@pytest.mark.parametrize("hold", ["C", "lambda"])
@EVERY
def test_exact_edits_equal_refits(case, hold):
    """To 1e-6 of the largest change; ``auto`` to its tolerance where there are certificates."""
    inf, model, X, y, weight = fitted(case, hold)
    before = decision_values(polish(inf.objective, 4), X)
    for edit, new_X, new_y, new_s in changed(X, y, weight):
        after = refit(model, new_X, new_y, new_s, total=weight.sum(), hold=hold)
        expected = decision_values(after, X) - before
        exact = inf.effect(edit, X, of="decision_function", method="exact")
        assert relative_error(exact.values, expected) < 1e-6
        auto = inf.effect(edit, X, of="decision_function")
        assert relative_error(auto.values, expected) < 5e-3


@EVERY
def test_removals_are_refits_on_the_rest(case):
    """By default: a row that goes takes its share of alpha with it, as calling fit does."""
    inf, model, X, y, weight = fitted(case)
    rows = [0, 5, 17]
    found = inf.removal_effect(X, of="decision_function", method="exact", indices=rows)
    outputs = inf.loo_decision_function(method="exact")
    before = decision_values(polish(inf.objective, 4), X)
    for row, change in zip(rows, found.T, strict=True):
        kept = np.arange(len(y)) != row
        after = decision_values(refit(model, X[kept], y[kept], weight[kept]), X)
        assert relative_error(change, after - before) < 1e-6
        np.testing.assert_allclose(outputs[row], after[row], rtol=1e-6)


@pytest.mark.parametrize("hold", ["C", "lambda"])
@EVERY
def test_certificates_hold(case, hold):
    """No error is above its bound, in the norm of the edited Hessian; none is claimed without M."""
    inf, _, X, y, weight = fitted(case, hold)
    resolved = [inf.data.resolve(edit) for edit, *_ in changed(X, y, weight)]
    base = inf.answers.edit_solver().objective
    truth, _, _ = inf.answers.solve_points(resolved, "exact", 1e-3)
    for tol in (0.5, 1e-3, 1e-7):
        found, bound, used = inf.answers.solve_points(resolved, "auto", tol)
        if base.loss.self_concordance is None:
            assert np.isinf(bound).all() and (used == "newton").all()
            continue
        assert np.isfinite(bound).all()
        for one, points, limit, reference in zip(found, resolved, bound, truth, strict=True):
            error = (one - reference).ravel()
            P = Curvature(edited(base, points))
            assert np.sqrt(error @ (P @ error)) <= limit


@pytest.mark.parametrize("power", [1, 1.5, 1.9, 2])
def test_certificates_of_the_log_link_are_for_powers_from_one_to_two(power):
    X, y, _ = Case("TweedieRegressor", task="amounts").data()
    model = linear_model.TweedieRegressor(power=power, alpha=0.1, tol=1e-8).fit(X, y)
    effect = Influence(model, X, y).effect([edits.remove(i) for i in range(6)], X, y)
    assert np.isfinite(effect.bound).all()


def test_power_zero_is_ridge():
    """The mean form with alpha is the sum form with alpha times the total weight."""
    X, y, weight = Case("Ridge", task="regression", weighted=True).data()
    tweedie = linear_model.TweedieRegressor(alpha=0.3, solver="newton-cholesky").fit(X, y, weight)
    ridge = linear_model.Ridge(alpha=0.3 * weight.sum()).fit(X, y, weight)
    found = Influence(tweedie, X, y, weight)
    expected = Influence(ridge, X, y, weight, hold="lambda")
    for ask in (
        lambda i: i.influence_up_params(),
        lambda i: i.influence_up_loss(X[:4], y[:4]),
        lambda i: i.influence_pert(X[:4], y[:4]),
        lambda i: i.removal_effect(X[:4], y[:4]),
        lambda i: i.loo_predict(),
    ):
        assert relative_error(ask(found), ask(expected)) < 1e-7


@pytest.mark.parametrize("case", [GLMS[0], GLMS[3], GLMS[6]], ids=name_of)
def test_leave_one_out_predictions_are_those_of_cross_validation(case):
    """On the scale of the targets: the inverse link is applied."""
    X, y, _ = case.data()
    model = case.estimator()
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    found = Influence(model.fit(X, y), X, y).loo_predict(method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(loo_predict(model, X, y, method="exact"), expected, rtol=1e-6)


@pytest.mark.parametrize("case", [GLMS[0], GLMS[7]], ids=name_of)
def test_a_search_over_alpha_scores_what_refits_score(case):
    X, y, _ = case.data()
    grid = {"alpha": [0.01, 0.1, 1.0]}
    scoring = "neg_mean_absolute_error"
    search = LeaveOneOutSearch(case.estimator(), grid, scoring=scoring, method="exact").fit(X, y)
    for alpha, score in zip(grid["alpha"], search.cv_results_["mean_test_score"], strict=True):
        predicted = cross_val_predict(case.estimator(alpha=alpha), X, y, cv=LeaveOneOut())
        np.testing.assert_allclose(score, -np.abs(predicted - y).mean(), rtol=1e-6)


# No optimum ------------------------------------------------------------------------------------


@pytest.fixture(params=[{}, {"fit_intercept": False}], ids=["intercept", "no intercept"])
def one_positive(request, rng):
    X = rng.standard_normal((20, 2))
    y = np.zeros(20)
    y[4] = 2.0
    model = linear_model.PoissonRegressor(alpha=0.1, tol=1e-8, **request.param).fit(X, y)
    return Influence(model, X, y), X, y, model.fit_intercept


def test_the_last_positive_target_cannot_go_where_the_intercept_is_free(one_positive):
    """Counts that are all zero have their optimum at minus infinity."""
    inf, X, y, free = one_positive
    for edit in (edits.remove(4), edits.relabel(4, 0.0), edits.remove([3, 4])):
        if free:
            with pytest.raises(ValueError, match="positive targets"):
                inf.effect(edit, X, y)
        else:
            assert np.isfinite(inf.effect(edit, X, y).values).all()
    together = edits.relabel(4, 0.0) + edits.add([0.0, 1.0], 1.0)
    assert np.isfinite(inf.effect(together, X, y).values).all()


@pytest.mark.filterwarnings("ignore:Row 4 is the only|Group 4 holds")
def test_questions_about_all_rows_answer_the_others(one_positive):
    inf, X, y, free = one_positive
    others = np.arange(20) != 4
    for found in (
        inf.removal_effect(X, y),
        inf.removal_effect(X, y, groups=np.arange(20)),
        inf.loo_predict()[None],
    ):
        assert np.isfinite(found[:, others]).all()
        assert np.isnan(found[:, 4]).all() == free


@pytest.mark.parametrize("method", ["one-step", "auto"])
def test_the_row_without_a_model_is_named(one_positive, method):
    inf, X, y, free = one_positive
    if free:
        with pytest.warns(UserWarning, match="Row 4"):
            inf.removal_effect(X, y, method=method)


def test_edits_after_which_the_hessian_is_indefinite_have_no_answer():
    """Power 3 is not convex: without row 4 no optimum continues this one."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((10, 2)), rng.gamma(0.5, 1.0, 10) + 1e-3
    model = linear_model.TweedieRegressor(power=3, alpha=0.01, tol=1e-10, max_iter=5000).fit(X, y)
    inf = Influence(model, X, y)
    for ask in (lambda: inf.removal_effect(X, y, method="exact")[0], inf.loo_predict):
        with pytest.warns(ConvergenceWarning, match="Row 4 has no answer"):
            found = ask()
        np.testing.assert_array_equal(np.isnan(found), np.arange(10) == 4)
    with pytest.raises(ValueError, match="positive definite"):
        inf.effect(edits.remove(4), X, y)


# Refused ---------------------------------------------------------------------------------------


def test_links_without_a_domain_are_refused():
    """With the identity link the mean must stay positive, which an edit cannot promise."""
    X, y, _ = Case("PoissonRegressor", task="counts").data()
    model = linear_model.TweedieRegressor(power=1.5, link="identity", alpha=0.1)
    model.coef_, model.intercept_, model.n_features_in_ = np.zeros(4), y.mean(), 4
    with pytest.raises(ValueError, match="link='log'"):
        Influence(model, X, y)


@pytest.mark.parametrize(
    ("model", "bad", "rule"),
    [
        (linear_model.PoissonRegressor(), -1.0, "non-negative"),
        (linear_model.TweedieRegressor(power=1.5), -0.5, "non-negative"),
        (linear_model.GammaRegressor(), 0.0, "positive"),
    ],
)
def test_targets_outside_the_domain_are_refused_everywhere(model, bad, rule):
    X, y, _ = Case("GammaRegressor", task="amounts").data()
    inf = Influence(model.fit(X, y), X, y)
    wrong = np.where(np.arange(36) == 3, bad, y)
    for ask in (
        lambda: Influence(model, X, wrong),
        lambda: inf.removal_effect(X, wrong),
        lambda: inf.influence_up_loss(X, wrong),
        lambda: inf.effect(edits.add(X[0], bad), X, y),
        lambda: inf.effect(edits.relabel(2, bad), X, y),
    ):
        with pytest.raises(ValueError, match=f"must be {rule}"):
            ask()


@pytest.mark.parametrize(
    ("X", "y", "weight", "message"),
    [
        (np.eye(3), [1.0, np.nan, 2.0], None, "finite"),
        (np.eye(3), [1.0, 2.0], None, "same number of rows"),
        (np.eye(3), [[1.0], [2.0], [1.0]], None, "one-dimensional"),
        (np.eye(3), [0.0, 0.0, 1.0], [1.0, 1.0, 0.0], "positive target"),
        (np.ones((3, 2)), [1.0, 2.0, 1.0], None, "features"),
        (np.full((3, 3), np.nan), [1.0, 2.0, 1.0], None, "NaN"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(X, y, weight, message):
    model = linear_model.PoissonRegressor().fit(np.eye(3), [1.0, 2.0, 1.0])
    with pytest.raises(ValueError, match=message):
        Influence(model, X, y, weight)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("far", [60.0, 150.0, 400.0])
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_a_new_row_that_outweighs_all_others_at_the_fit_has_its_answer(far, method):
    # Its mean there is exp(0.9 far): beside that curvature float64 sees neither rows nor penalty.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    y = rng.poisson(np.exp(X[:, 0])).astype(float)
    new = far * np.array([1.0, 0.1, -0.05])
    options = {"alpha": 0.1, "solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
    before = linear_model.PoissonRegressor(**options).fit(X, y)
    after = linear_model.PoissonRegressor(**options).fit(np.vstack([X, new]), np.append(y, 4.0))
    expected = np.log(after.predict(X)) - np.log(before.predict(X))
    edit = edits.add(new, 4.0)
    found = Influence(before, X, y).effect(edit, X, of="decision_function", method=method)
    # atol: what scikit-learn's tolerance leaves of both fits.
    np.testing.assert_allclose(found.values, expected, rtol=1e-6, atol=1e-9)
    assert found.method_used == "newton"
