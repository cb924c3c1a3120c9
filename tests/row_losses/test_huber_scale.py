"""Huber regressions have an optimum or none: which it is is decided, and both are said."""

import re
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import HuberRegressor

from skinfluence import Influence, edits, objective_of
from skinfluence.row_losses import huber_scale
from skinfluence.row_losses.newton import minimise
from skinfluence.solvers import SingularHessianError
from tests.fewer import LONG
from tests.oracle.huber import Huber, parameters
from tests.trials.huber import HuberTrial, judge


def fitted(model, X, y, w=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(model).fit(X, y, w)


def few_rows(n=17, p=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    return X, X @ rng.standard_normal(p) + rng.standard_t(2, n)


@pytest.mark.parametrize("begin", range(0, 16 if LONG else 8, 2))
def test_answers_about_few_rows_are_optima_or_say_that_there_is_none(begin):
    """Edits of every kind and regressions close to none, with bounds; 600 in benchmarks.huber_scale."""
    for seed in range(begin, begin + 2):
        assert not judge(HuberTrial(seed), n_edits=1, n_rows=1)[1]


@pytest.mark.parametrize("begin", range(100, 124 if LONG else 112, 6))
def test_from_any_parameters_the_optimum_is_found_or_that_there_is_none(begin):
    """Where a scale of rounding is tried, large parameters, or none."""
    for seed in range(begin, begin + 6):
        trial = HuberTrial(seed)
        before, rng = trial.before, np.random.default_rng(seed)
        if before.end is None:
            continue
        d = before.X.shape[1] + int(trial.model.fit_intercept)
        for size, scale in ((0.0, 1.0), (1.0, 1e-15), (100.0, 1e-3)):
            model = clone(trial.model)
            theta = size * rng.standard_normal(d)
            model.coef_, model.scale_ = theta[: before.X.shape[1]], scale
            model.intercept_ = theta[-1]
            found = minimise(objective_of(model, before.X, before.y, before.w))
            assert found.converged != before.end.vanishes
            if found.converged:
                close = 1e-7 * np.abs(before.end.params).max()
                np.testing.assert_allclose(
                    found.problem.theta, before.end.params, rtol=0, atol=close
                )


def test_where_newton_falls_to_a_scale_of_rounding_the_optimum_is_found_all_the_same():
    """Steps that stay short are no optimum there: two thirds of the effect were missing, without a word."""
    trial = HuberTrial(36)
    before, rows = trial.before, np.arange(len(trial.before.y))
    inf = Influence(trial.fitted(), before.X, before.y, before.w, polish=True)
    found = inf.removal_effect(before.X[:4], of="predict", indices=rows)
    asked = trial.columns(before.X[:4])
    for row in rows[::7]:
        change = asked @ (trial.without(row).end.params - before.end.params)
        np.testing.assert_allclose(found[:, row], change.astype(float), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_the_epsilon_that_a_refusal_names_has_an_optimum(alpha, seed):
    X, y = few_rows(seed=seed)
    small = HuberRegressor(epsilon=1.05, alpha=alpha, max_iter=1000)
    with pytest.raises(
        SingularHessianError, match=r"passes through \d+ of 17 rows.* a larger epsilon, "
    ) as said:
        Influence(fitted(small, X, y), X, y)
    epsilon = float(re.search(r"epsilon, ([\d.]+) or so", str(said.value))[1])
    model = fitted(small.set_params(epsilon=epsilon), X, y)
    end = Huber(model, X, y, np.ones(17)).end()
    assert not end.vanishes
    own = Influence(model, X, y, polish=True).estimator
    assert own.epsilon == epsilon


def test_a_regression_through_all_rows_is_said_to_need_another_penalty():
    """As many columns as rows and next to no penalty: no epsilon helps, and a larger alpha does."""
    X, y = few_rows(n=9, p=12)
    model = HuberRegressor(alpha=1e-6, max_iter=1000)
    with pytest.raises(SingularHessianError, match=r"no larger epsilon helps.*a larger alpha"):
        Influence(fitted(model, X, y), X, y)
    more = fitted(model.set_params(alpha=5.0), X, y)
    assert np.isfinite(Influence(more, X, y, polish=True).loo_predict(indices=[0])).any()


def test_edits_without_an_optimum_are_nan_and_counted_and_models_are_refused():
    X, y = few_rows()
    model = fitted(HuberRegressor(epsilon=1.6, max_iter=1000), X, y)
    inf, gone = Influence(model, X, y, polish=True), edits.remove([0, 1, 2, 3, 4, 5])
    with pytest.warns(
        ConvergenceWarning, match=r"1 of 1 edits have no answer, NaN.*larger epsilon"
    ):
        found = inf.effect(gone, X, of="predict")
    assert np.isnan(found.values).all() and found.bound == np.inf
    with pytest.raises(SingularHessianError, match=r"passes through .* of 11 rows"):
        inf.edited(gone)
    kept = np.arange(6, 17)
    assert Huber(model, X[kept], y[kept], np.ones(11)).end().vanishes


def test_a_coefficient_that_rows_on_either_side_leave_free_has_no_answer():
    """Two rows of a group, relabelled beyond epsilon on both sides: any value between them is as good."""
    rng = np.random.default_rng(0)
    group = (np.arange(24) < 2).astype(float)
    X = np.column_stack([group, rng.standard_normal(24)])
    y = X @ [1.0, 2.0] + rng.standard_normal(24)
    model = fitted(HuberRegressor(alpha=0.0, max_iter=1000), X, y)
    inf, apart = (
        Influence(model, X, y, polish=True),
        edits.relabel(0, 40.0) + edits.relabel(1, -40.0),
    )
    with pytest.warns(ConvergenceWarning, match="1 of 1 edits have no answer"):
        assert np.isnan(inf.effect(apart, X, of="predict").values).all()
        with pytest.raises(SingularHessianError, match="do not decide its parameters"):
            inf.edited(apart)


def test_a_fit_that_ended_at_a_scale_of_rounding_is_said_to_be_far_and_polishing_helps():
    X, y = few_rows(n=40, p=3)
    model = fitted(HuberRegressor(max_iter=1000), X, y)
    best = Influence(model, X, y, polish=True).loo_predict()
    model.coef_, model.scale_ = model.coef_ + 1.0, 1e-15
    with pytest.raises(SingularHessianError, match=r"ended far from its optimum.*polish=True"):
        Influence(model, X, y)
    np.testing.assert_allclose(Influence(model, X, y, polish=True).loo_predict(), best, rtol=1e-8)


def test_whether_there_is_an_optimum_is_told_right_up_to_the_epsilon_where_it_vanishes():
    """Without a penalty it has a scale where ``epsilon^2 w'v^2`` is more than the weight: v is that of lines.

    Least absolute deviations by linear programming say v, a number between -1 and 1 for each row.
    """
    from scipy.optimize import linprog

    X, y = few_rows(n=15, p=4, seed=3)
    Z = np.column_stack([X, np.ones(15)])
    lines = linprog(-y, A_eq=Z.T, b_eq=np.zeros(5), bounds=[(-1, 1)] * 15)
    edge = np.sqrt(15 / (lines.x**2).sum())
    assert edge > 1
    for epsilon, has in ((edge * (1 - 1e-6), False), (edge * (1 + 1e-6), True)):
        model = fitted(HuberRegressor(epsilon=epsilon, alpha=0.0, max_iter=1000), X, y)
        below, above = huber_scale.bracketed(objective_of(model, X, y))
        assert (below is not None) == has
        assert parameters(model)[-1] > 0 and above.scale > 0


@pytest.mark.parametrize("y", [np.zeros(20), np.full(20, 5.0), np.linspace(-1, 3, 20)])
def test_targets_without_any_residual_are_refused_in_words(y):
    """At a scale of nothing a Hessian of scikit-learn's coefficients overflows."""
    X = np.column_stack([np.linspace(-1, 3, 20), np.random.default_rng(0).standard_normal(20)])
    with pytest.raises(
        SingularHessianError, match=r"passes through 20 of 20 rows.*LinearRegression"
    ):
        Influence(fitted(HuberRegressor(), X, y), X, y)
