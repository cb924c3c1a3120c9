"""Ties, duplicates and degenerate supports of a lasso: exact, or refused in words."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, Lasso, MultiTaskLasso
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skinfluence import Influence, edits
from tests.l1.test_against_refits import refit


def _data(n=30, d=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X @ np.array([2.0, -1.0, 0.3, 0, 0, 0])[:d] + rng.standard_normal(n)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_two_equal_columns_share_a_coefficient_and_predictions_are_those_of_one(share):
    X, y = _data()
    alone = Influence(Lasso(alpha=0.1, tol=1e-12).fit(X, y), X, y).loo_predict()
    twice = np.column_stack([X, X[:, 0]])
    model = Lasso(alpha=0.1, tol=1e-12).fit(twice, y)
    both = model.coef_[0] + model.coef_[-1]
    model.coef_[0], model.coef_[-1] = share * both, (1 - share) * both
    assert_allclose(Influence(model, twice, y).loo_predict(), alone, rtol=1e-9)


def test_levels_of_a_category_without_one_left_out_are_answered():
    rng = np.random.default_rng(0)
    level, x = rng.integers(0, 4, 60), rng.standard_normal(60)
    y = np.array([0.0, 1.0, 3.0, -2.0])[level] + x + 0.3 * rng.standard_normal(60)
    X = np.column_stack([np.eye(4)[level], x])
    found = Influence(Lasso(alpha=0.02, tol=1e-12).fit(X, y), X, y).loo_predict()
    for i in range(0, 60, 11):
        kept = np.arange(60) != i
        tight = Lasso(alpha=0.02, tol=1e-14, max_iter=10**6).fit(X[kept], y[kept])
        assert_allclose(found[i], tight.predict(X[[i]])[0], rtol=1e-6)


def test_an_elastic_net_shares_between_equal_columns():
    X, y = _data()
    X = np.column_stack([X, X[:, 0]])
    model = ElasticNet(alpha=0.1, tol=1e-10, max_iter=10**5).fit(X, y)
    found = Influence(model, X, y).loo_predict()
    for i in (0, 7, 20):
        kept = np.arange(len(y)) != i
        theta = refit(ElasticNet(alpha=0.1), X[kept], y[kept])
        assert_allclose(found[i], X[i] @ theta[:-1] + theta[-1], rtol=1e-9)


def test_a_row_that_alone_makes_a_column_vary_takes_its_coefficient():
    X, y = _data()
    X[:, 3] = 0.0
    X[4, 3] = 3.0
    y[4] += 20.0
    model = Lasso(alpha=0.05, tol=1e-10).fit(X, y)
    assert model.coef_[3] != 0
    inf = Influence(model, X, y)
    _, steps = next(iter(inf.answers.row_steps(np.array([4]), None, "auto", 1e-3)))
    assert_allclose(steps[0, 0, 3], -inf.answers.theta[3], rtol=1e-12)
    kept = np.arange(30) != 4
    theta = refit(Lasso(alpha=0.05), X[kept], y[kept])
    assert_allclose(inf.loo_predict(indices=[4]), X[4] @ theta[:-1] + theta[-1], rtol=1e-9)


def test_a_point_on_the_edge_of_the_penalty_stays_there():
    """A column of zeros, and one whose slope is the penalty itself."""
    X, y = _data()
    X[:, 5] = 0.0
    theta = refit(Lasso(alpha=0.1), X, y)
    r = y - X @ theta[:-1] - theta[-1]
    slope = np.abs((X - X.mean(axis=0)).T @ r) / len(y)
    edge = np.sort(slope)[-4]
    found = Influence(Lasso(alpha=edge, tol=1e-12).fit(X, y), X, y).loo_predict()
    for i in range(0, 30, 7):
        kept = np.arange(30) != i
        theta = refit(Lasso(alpha=edge), X[kept], y[kept])
        assert_allclose(found[i], X[i] @ theta[:-1] + theta[-1], rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_columns_are_no_matter_to_the_answer(scale):
    X, y = _data()
    X[:, 1] *= scale
    model = Lasso(alpha=0.1 * min(scale, 1), tol=1e-12, max_iter=10**6).fit(X, y)
    found = Influence(model, X, y).loo_predict()
    for i in (2, 9):
        kept = np.arange(30) != i
        theta = refit(Lasso(alpha=model.alpha), X[kept], y[kept])
        assert_allclose(found[i], X[i] @ theta[:-1] + theta[-1], rtol=1e-7)


def test_a_large_offset_of_columns_changes_nothing():
    X, y = _data()
    near = Influence(Lasso(alpha=0.1, tol=1e-12).fit(X, y), X, y).loo_predict()
    far = X + 1e6
    found = Influence(Lasso(alpha=0.1, tol=1e-12).fit(far, y + 1e3), far, y + 1e3).loo_predict()
    assert_allclose(found - 1e3, near, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("offset", [1e6, 1e8])
def test_nor_do_edits_and_derivatives_see_a_large_offset(offset):
    X, y = _data()
    model, edit = Lasso(alpha=0.1, tol=1e-14), edits.remove([0, 4]) + edits.relabel(7, 1.0)
    near, far = X.copy(), X + [offset, *[0.0] * (X.shape[1] - 1)]
    one, other = (Influence(clone(model).fit(Z, y), Z, y) for Z in (near, far))
    for method in ("exact", "influence"):
        a = one.effect(edit, near[:4], of="predict", method=method)
        b = other.effect(edit, far[:4], of="predict", method=method)
        assert_allclose(b.values, a.values, rtol=1e-4, atol=1e-6)
        assert_allclose(b.leverage, a.leverage, rtol=1e-5)
    found = other.influence_up_params()[..., :-1]
    assert_allclose(found, one.influence_up_params()[..., :-1], rtol=1e-4, atol=1e-6)


def test_a_loose_fit_is_told_and_answers_are_about_the_optimum():
    X, y = _data(60, 6)
    X = X @ np.array([[1, 0.99], [0, 0.14]]).repeat(3, 0).repeat(3, 1)[:6, :6] + 0.3 * X
    loose = Lasso(alpha=1e-3, tol=1e-8, max_iter=2)
    with pytest.warns(Warning, match="converge"):
        loose.fit(X, y)
    tight = Lasso(alpha=1e-3, tol=1e-12, max_iter=10**6).fit(X, y)
    with pytest.warns(Warning, match="not at the optimum"):
        inf = Influence(loose, X, y)
    assert_allclose(inf.loo_predict(), Influence(tight, X, y).loo_predict(), rtol=1e-9)


def test_rows_in_another_order_are_not_those_of_the_fit():
    """An honest fit ends within its duality gap of the optimum, and another's does not."""
    X, y = _data()
    for alpha in (1e-3, 0.1):
        model = Lasso(alpha=alpha).fit(X, y)
        Influence(model, X, y)
        for rows in (np.arange(30)[::-1], np.random.default_rng(0).permutation(30)):
            with pytest.raises(ValueError, match="rows in the same order"):
                Influence(model, X[rows], y)


def test_what_the_kind_does_not_know_is_refused_by_name():
    X, y = _data()
    inf = Influence(Lasso(alpha=0.1).fit(X, y), X, y)
    with pytest.raises(ValueError, match="holds the support"):
        inf.effect(edits.add(X[0], 1.0), X, y, method="one-step")
    for option in ({"solver": "cg"}, {"precision": "mixed"}):
        with pytest.raises(ValueError, match="support is followed exactly"):
            Influence(Lasso(alpha=0.1).fit(X, y), X, y, **option)
    with pytest.raises(ValueError, match="one-dimensional"):
        Influence(Lasso(alpha=0.1).fit(X, y[:, None].repeat(2, 1)), X, y[:, None].repeat(2, 1))
    Y = y[:, None].repeat(2, 1)
    with pytest.raises(ValueError, match="one-dimensional"):
        Influence(MultiTaskLasso().fit(X, Y), X, Y)
    with pytest.raises(ValueError, match="Fit Ridge"):
        Influence(ElasticNet(alpha=0.1, l1_ratio=0.0, tol=1e-3).fit(X, y), X, y)


def test_local_methods_are_near_and_the_default_is_exact():
    X, y = _data(200)
    inf = Influence(Lasso(alpha=0.05).fit(X, y), X, y)
    exact = inf.removal_effect(X[:5], of="decision_function")
    for method, least in (("influence", 0.99), ("one-step", 0.999)):
        near = inf.removal_effect(X[:5], of="decision_function", method=method)
        assert np.corrcoef(near.ravel(), exact.ravel())[0, 1] > least


def test_rows_of_weight_zero_change_nothing():
    X, y = _data()
    w = np.ones(30)
    w[3] = 0.0
    inf = Influence(Lasso(alpha=0.1, tol=1e-10).fit(X, y, sample_weight=w), X, y, w)
    assert (inf.removal_effect(X[:4], of="decision_function")[:, 3] == 0).all()


def test_behind_a_step_that_learns_nothing_they_are_the_same():
    X, y = _data()
    pipe = make_pipeline(FunctionTransformer(np.tanh), Lasso(alpha=0.05)).fit(X, y)
    alone = Influence(Lasso(alpha=0.05).fit(np.tanh(X), y), np.tanh(X), y)
    assert_allclose(Influence(pipe, X, y).loo_predict(), alone.loo_predict(), rtol=1e-12)
