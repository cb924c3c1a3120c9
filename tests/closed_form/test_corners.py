"""Where sums cancel, classes end and votes tie, answers are those of a refit, or NaN with a word."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skinfluence import Influence, edits

CLASSIFIERS = {
    "gaussian": GaussianNB(),
    "multinomial": MultinomialNB(),
    "complement": ComplementNB(),
    "bernoulli": BernoulliNB(binarize=1.0),
    "lda": LinearDiscriminantAnalysis(),
    "qda": QuadraticDiscriminantAnalysis(reg_param=0.1),
}


def _data(n=40, d=3, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.uniform(0, 2, (n, d)) + 0.7 * y[:, None], y


def _own(model, X, y, i):
    kept = np.arange(len(y)) != i
    fitted = clone(model).fit(X[kept], y[kept])
    name = "decision_function" if hasattr(model, "decision_function") else "predict_joint_log_proba"
    return getattr(fitted, name)(X[[i]])[0]


@pytest.mark.parametrize("model", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_the_only_row_of_a_class_has_no_answer_and_a_warning(model):
    X, y = _data()
    y[y == 2] = 0
    y[5] = 2
    if model is CLASSIFIERS["qda"]:
        # Which needs more rows of a class than columns to be fitted at all.
        y[5:9] = 2
    inf = Influence(clone(model).fit(X, y), X, y)
    with pytest.warns(UserWarning, match="[Rr]ow") as said:
        found = inf.loo_decision_function()
    # Sums have no optimum, so that none is at infinity.
    assert not any("infinity" in str(one.message) for one in said)
    alone = np.flatnonzero(y == 2)
    assert np.isnan(found[alone]).all()
    assert not np.isnan(np.delete(found, alone, axis=0)).any()
    with pytest.warns(UserWarning, match="[Rr]ow"):
        assert np.isnan(inf.removal_effect(X[:2], y[:2], indices=alone)).all()
    with pytest.raises(ValueError, match=r"class|covariance|fit"):
        inf.effect(edits.remove(alone), X, y)


@pytest.mark.parametrize("model", [GaussianNB(), LinearDiscriminantAnalysis()], ids=str)
def test_a_row_that_makes_its_class_vary_leaves_no_difference_of_large_sums(model):
    X, y = _data()
    X[7, 1] += 1e6
    found = Influence(clone(model).fit(X, y), X, y).loo_decision_function()
    for i in (7, 10, 1):
        assert_allclose(found[i], _own(model, X, y, i), rtol=1e-8)


def test_a_column_that_one_row_alone_moves_in_its_class_is_counted_anew():
    X, y = _data()
    X[:, 2] = 0.3
    X[4, 2] = 5.0
    model = GaussianNB(var_smoothing=1e-3)
    found = Influence(clone(model).fit(X, y), X, y).loo_decision_function()
    for i in (4, 7, 8):
        assert_allclose(found[i], _own(model, X, y, i), rtol=1e-9)


def test_an_offset_of_a_column_changes_no_gaussian_score():
    X, y = _data()
    far = X + 1e7
    far = far - 0.0
    one = Influence(GaussianNB().fit(far, y), far, y).loo_decision_function()
    exact = Influence(GaussianNB().fit(far - 1e7, y), far - 1e7, y).loo_decision_function()
    assert_allclose(one, exact, rtol=1e-7)


def test_the_share_of_the_largest_variance_moves_with_the_row_that_makes_it():
    X, y = _data()
    X[3, 0] = 40.0
    model = GaussianNB(var_smoothing=0.5)
    found = Influence(clone(model).fit(X, y), X, y).loo_decision_function()
    for i in range(6):
        assert_allclose(found[i], _own(model, X, y, i), rtol=1e-9)


def test_a_row_without_which_a_covariance_is_singular_has_no_answer():
    X, y = _data(n=40, n_classes=2)
    X[:, 2] = X[:, 0]
    X[4, 2] += 1.0
    inf = Influence(LinearDiscriminantAnalysis().fit(X, y), X, y)
    with pytest.warns(UserWarning, match="Row 4 has no answer"):
        found = inf.loo_decision_function()
    assert np.isnan(found[4]) and np.isfinite(np.delete(found, 4)).all()


def test_a_singular_covariance_is_refused_in_words():
    X, y = _data()
    X[:, 2] = X[:, 0] + X[:, 1]
    with pytest.raises(ValueError, match="singular"):
        Influence(LinearDiscriminantAnalysis().fit(X, y), X, y)


def test_neighbours_at_one_distance_are_those_of_a_search():
    X = np.repeat(np.arange(12.0), 2)[:, None]
    y = np.arange(24) % 2
    model = KNeighborsClassifier(2).fit(X, y)
    found = Influence(model, X, y).loo_predict_proba()
    # Its twin is nearest; the second is on either side.
    assert ((found[:, 0] == 0.5) | (found.max(axis=1) == 1.0)).all()


def test_votes_that_depend_on_which_of_equally_near_rows_is_asked_are_told():
    """And only they: rows that vote alike may be as near as they like, and a continuous column tells all apart."""
    rng = np.random.default_rng(0)
    X, y = np.round(rng.standard_normal((20, 3))), rng.integers(0, 2, 20)
    with pytest.warns(UserWarning, match=r"Got 1\d of 20 rows with several at the distance"):
        Influence(KNeighborsClassifier(3).fit(X, y), X, y)
    apart = np.column_stack([X, rng.standard_normal(20)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Influence(KNeighborsClassifier(3).fit(apart, y), apart, y)
        Influence(KNeighborsRegressor(3).fit(X, np.ones(20)), X, np.ones(20))
        Influence(KNeighborsClassifier(20).fit(X, y), X, y)


def test_rows_that_count_one_each_take_no_other_weight():
    X, y = _data()
    inf = Influence(LinearDiscriminantAnalysis().fit(X, y), X, y)
    with pytest.raises(ValueError, match="count one each"):
        inf.effect(edits.reweight(3, 2.0), X, y)
    gone = inf.effect(edits.reweight(3, 0.0), X, y).values
    assert_allclose(gone, inf.effect(edits.remove(3), X, y).values, rtol=1e-12)


def test_what_is_no_derivative_is_refused_by_name():
    X, y = _data()
    inf = Influence(GaussianNB().fit(X, y), X, y)
    for question in (
        lambda: inf.influence_up_params(),
        lambda: inf.influence_up_loss(X, y),
        lambda: inf.influence_pert(X, y),
        lambda: inf.self_influence(),
        lambda: inf.removal_effect(X, y, method="influence"),
        lambda: inf.loo_predict(method="influence"),
    ):
        with pytest.raises((TypeError, ValueError), match="Gaussian naive Bayes"):
            question()


@pytest.mark.parametrize("option", [{"solver": "cg"}, {"precision": "mixed"}, {"hold": "lambda"}])
def test_options_of_solvers_are_refused(option):
    X, y = _data()
    with pytest.raises(ValueError, match="naive Bayes"):
        Influence(GaussianNB().fit(X, y), X, y, **option)


def test_shrunk_covariances_are_refused():
    X, y = _data()
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X, y)
    with pytest.raises(ValueError, match="shrinkage='auto'"):
        Influence(model, X, y)


def test_behind_a_step_that_learns_nothing_they_are_the_same():
    X, y = _data()
    pipe = make_pipeline(FunctionTransformer(np.log1p), GaussianNB()).fit(X, y)
    found = Influence(pipe, X, y).loo_decision_function()
    alone = Influence(GaussianNB().fit(np.log1p(X), y), np.log1p(X), y).loo_decision_function()
    assert_allclose(found, alone, rtol=1e-12)


def test_single_precision_fits_are_those_of_their_rows():
    X, y = _data()
    X = X.astype(np.float32)
    for model in CLASSIFIERS.values():
        found = Influence(clone(model).fit(X, y), X, y).loo_decision_function()
        assert_allclose(found[3], _own(model, X.astype(float), y, 3), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("smoothing", [1e-9, 1e-2], ids=["little", "much"])
def test_columns_that_smoothing_moves_by_little_and_by_much_are_those_of_refits(smoothing):
    """To first order where a variance hides what smoothing moves by, whole where it does not."""
    rng = np.random.default_rng(3)
    y = np.arange(40) % 2
    X = rng.standard_normal((40, 4)) * [1.0, 1e-6, 30.0, 1.0] + y[:, None]
    X[:, 3] = y * rng.integers(0, 2, 40)
    model = GaussianNB(var_smoothing=smoothing).fit(X, y)
    found = Influence(model, X, y).loo_decision_function()
    for i in range(0, 40, 3):
        refit = clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
        assert_allclose(found[i], refit.predict_joint_log_proba(X[[i]])[0], rtol=1e-9)


def _among(Z, y, there, rows, edited):
    """A scaler of all rows that are there, and a model of those that weigh something."""
    scaler = StandardScaler().fit(Z[there])
    model = clone(edited).fit(scaler.transform(Z[rows]), y[rows])
    return make_pipeline(scaler, model)


@pytest.mark.parametrize(
    "model", [NearestCentroid(), KNeighborsClassifier(3), GaussianNB()], ids=str
)
def test_a_row_of_weight_zero_is_there_for_steps_and_not_for_the_model(model):
    """Models without weights, too: that ended in the TypeError of their fit."""
    X, y = _data()
    inf = Influence(make_pipeline(StandardScaler(), clone(model)).fit(X, y), X, y)
    there = np.delete(np.arange(40), 5)
    after = _among(X, y, there, np.delete(there, 3), model)
    found = inf.effect(edits.remove(5) + edits.reweight(3, 0.0), X, of="predict_proba")
    change = after.predict_proba(X) - inf.estimator.predict_proba(X)
    assert_allclose(found.values, change, atol=1e-10)


def test_a_process_behind_a_scaler_has_rows_of_any_weight():
    """Of weight 2 it is there twice; the scaler counts it once."""
    X, y = _data()[0], np.arange(40.0) % 7
    model = GaussianProcessRegressor(RBF() + WhiteKernel(0.5), optimizer=None, normalize_y=True)
    inf = Influence(make_pipeline(StandardScaler(), model).fit(X, y), X, y)
    there = np.delete(np.arange(40), 5)
    rows = np.append(there[there != 3], 7)
    after = _among(X, y, there, rows, model)
    edit = edits.remove(5) + edits.reweight(3, 0.0) + edits.reweight(7, 2.0)
    found = inf.effect(edit, X, of="predict").values
    assert_allclose(found, after.predict(X) - inf.estimator.predict(X), atol=1e-9)


def test_a_fit_that_gives_no_numbers_or_lost_its_digits_is_said_to_be_that():
    X, y = np.ones((12, 2)), np.arange(12) % 2
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="no column varies"):
        Influence(GaussianNB().fit(X, y), X, y)
    half = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float16)
    y = np.arange(40) % 2
    with pytest.raises(ValueError, match=r"half precision.*fit on X\.astype\(float\)"):
        Influence(GaussianNB().fit(half, y), half, y)
    assert Influence(GaussianNB().fit(half.astype(float), y), half, y).loo_predict().shape == (40,)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("weight", ["alike", "of some two", "of all kinds"])
def test_counts_that_repeat_are_looked_up_and_are_those_of_refits(norm, weight):
    rng = np.random.default_rng(0)
    X, y = rng.poisson(1.5, (90, 4)).astype(float), np.arange(90) % 3
    X[:, 3] = 0.0
    w = {
        "alike": np.ones(90),
        "of some two": 1.0 + (np.arange(90) % 4 == 0),
        "of all kinds": np.linspace(0.5, 2.0, 90),
    }[weight]
    model = ComplementNB(norm=norm).fit(X, y, sample_weight=w)
    found = Influence(model, X, y, sample_weight=w).loo_predict_proba()
    for i in (0, 7, 44):
        kept = np.delete(np.arange(90), i)
        refit = clone(model).fit(X[kept], y[kept], sample_weight=w[kept])
        assert_allclose(found[i], refit.predict_proba(X[[i]])[0], rtol=1e-9)
