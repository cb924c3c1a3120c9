"""SVC: scikit-learn's contract, an exact fit, and scikit-learn's fitted attributes."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.svm
from sklearn.base import clone

from skinfluence import Influence
from skinfluence.svm import SVC, LinearSVC
from tests.registries import make_data
from tests.versions import parametrize_with_checks

KERNELS = [
    {"kernel": "rbf"},
    {"kernel": "linear"},
    {"kernel": "poly", "coef0": 1.0, "gamma": 0.3},
]
EVERY = pytest.mark.parametrize("params", KERNELS, ids=lambda p: p["kernel"])
TASK = pytest.mark.parametrize("task", ["binary", "softmax"])


@parametrize_with_checks([SVC(), LinearSVC(loss="hinge")])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@EVERY
@TASK
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_the_fit_is_libsvms_to_its_tolerance(params, task, sparse):
    X, y = make_data(task, 80, 4, 0)
    X = sp.csr_array(X) if sparse else X
    weight = np.random.default_rng(0).uniform(0.5, 2, 80)
    mine = SVC(C=0.8, **params).fit(X, y, weight)
    theirs = sklearn.svm.SVC(C=0.8, tol=1e-10, **{**params, "gamma": mine._gamma})
    theirs.fit(X, y, weight)
    for shape in ("ovo", "ovr"):
        mine.set_params(decision_function_shape=shape)
        theirs.set_params(decision_function_shape=shape)
        found, expected = mine.decision_function(X), theirs.decision_function(X)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))


@EVERY
@TASK
def test_fitted_attributes_are_laid_out_as_scikit_learns(params, task):
    """One pair's rows are another pair's columns: nothing may be swapped."""
    X, y = make_data(task, 60, 4, 1)
    mine = SVC(**params).fit(X, y)
    theirs = sklearn.svm.SVC(tol=1e-10, **params).fit(X, y)
    np.testing.assert_array_equal(mine.support_, theirs.support_)
    np.testing.assert_array_equal(mine.n_support_, theirs.n_support_)
    np.testing.assert_array_equal(mine.support_vectors_, theirs.support_vectors_)
    np.testing.assert_allclose(mine.dual_coef_, theirs.dual_coef_, rtol=0, atol=2e-3)
    np.testing.assert_allclose(mine.intercept_, theirs.intercept_, rtol=0, atol=1e-5)
    assert mine.support_.dtype == theirs.support_.dtype
    assert mine.fit_status_ == 0
    if params["kernel"] == "linear":
        np.testing.assert_allclose(mine.coef_, theirs.coef_, rtol=0, atol=1e-5)
    missing = {name for name in vars(theirs) if name.endswith("_")} - set(vars(mine))
    assert not missing


@pytest.mark.parametrize(
    "model",
    [
        SVC(),
        SVC(class_weight="balanced"),
        SVC(kernel="linear", C=0.5),
        LinearSVC(loss="hinge"),
        LinearSVC(loss="hinge", class_weight="balanced", fit_intercept=False),
    ],
    ids=repr,
)
@TASK
def test_weight_is_repetition(model, task):
    """Weight 2 is the row twice, weight 0 the row absent, gamma="scale" included."""
    X, y = make_data(task, 50, 4, 0)
    weight = np.random.default_rng(0).integers(0, 4, 50)
    weighted = clone(model).fit(X, y, weight)
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    found, expected = weighted.decision_function(X), repeated.decision_function(X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_the_start_does_not_matter():
    X, y = make_data("binary", 60, 4, 0)
    loose = SVC(tol=0.5, max_iter=3).fit(X, y)
    tight = SVC(tol=1e-10).fit(X, y)
    np.testing.assert_allclose(
        loose.decision_function(X), tight.decision_function(X), rtol=0, atol=1e-10
    )


def test_gamma_scale_is_scikit_learns_without_weights():
    X, y = make_data("binary", 60, 4, 0)
    for gamma in ("scale", "auto", 0.2):
        theirs = sklearn.svm.SVC(gamma=gamma).fit(X, y)
        assert SVC(gamma=gamma).fit(X, y)._gamma == pytest.approx(theirs._gamma, rel=1e-14)
    sparse = SVC().fit(sp.csr_array(X), y)
    assert sparse._gamma == pytest.approx(SVC().fit(X, y)._gamma, rel=1e-14)


def test_clone_pickle_and_parameters():
    X, y = make_data("softmax", 50, 4, 0)
    model = SVC(C=3.0).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.loo_predict(), model.loo_predict())
    assert SVC().get_params() == sklearn.svm.SVC().get_params()
    assert clone(model).get_params() == model.get_params()


def _cosine(A, B):
    return A @ B.T


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kernel": "sigmoid"}, "positive semi-definite"),
        ({"kernel": "poly", "coef0": -1.0}, "positive semi-definite"),
        ({"kernel": _cosine}, "known between any two rows"),
        ({"kernel": "precomputed"}, "known between any two rows"),
        ({"probability": True}, "CalibratedClassifierCV"),
        ({"C": -1.0}, "'C' parameter"),
        ({"gamma": "scales"}, "gamma must be 'scale'"),
    ],
    ids=lambda p: "-".join(p) if isinstance(p, dict) else "",
)
def test_bad_parameters_are_refused_by_name(params, message):
    X, y = make_data("binary", 20, 20, 0)
    with pytest.raises(ValueError, match=message):
        SVC(**params).fit(X, y)


@pytest.mark.parametrize("shift", [0.0, 1e8])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_gamma_scale_keeps_the_spread_of_columns_far_from_zero(shift, sparse):
    rng = np.random.default_rng(0)
    X, y = np.round(8.0 * rng.standard_normal((40, 3))) / 8.0, np.arange(40) % 2
    X[0, 1] = -shift
    rows = sp.csr_array(X + shift) if sparse else X + shift
    model = SVC().fit(rows, y)
    assert model._gamma == pytest.approx(1.0 / (3.0 * np.var(X)), rel=1e-12)


@pytest.mark.parametrize(
    "model", [SVC(), SVC(kernel="linear"), LinearSVC(), LinearSVC(loss="hinge")]
)
def test_what_no_answer_can_come_from_is_refused_in_words(model):
    """And without a warning of numpy's."""
    X, y = make_data("binary", 20, 3, 0)
    large, weight = X.copy(), np.ones(20)
    large[3, 1], weight[4] = 1e160, -1.0
    with pytest.raises(ValueError, match=r"Got an entry of size 1.0e\+160"):
        clone(model).fit(large, y)
    with pytest.raises(ValueError, match="Got -1 in 1 of 20 rows"):
        clone(model).fit(X, y, weight)
    theirs = getattr(sklearn.svm, type(model).__name__)().fit(X, y)
    with pytest.raises(ValueError, match=r"Got an entry of size 1.0e\+160"):
        Influence(theirs, large, y)


@pytest.mark.parametrize(
    "model",
    [
        SVC(tol="a"),
        SVC(max_iter=1.5),
        SVC(gamma=-1.0),
        SVC(C=np.inf),
        LinearSVC(tol="a"),
        LinearSVC(fit_intercept="no"),
        LinearSVC(max_iter=1.5),
        LinearSVC(C=np.inf),
        LinearSVC(dual=3),
    ],
    ids=repr,
)
def test_parameters_are_validated_as_scikit_learns(model):
    X, y = make_data("binary", 20, 3, 0)
    with pytest.raises(ValueError, match="must be"):
        model.fit(X, y)


def test_libsvm_may_not_end_and_the_fit_does():
    """Its iterations have a limit; the path goes on to the optimum."""
    X, y = make_data("binary", 40, 3, 0)
    exact = SVC(kernel="linear", C=10.0).fit(X, y)
    cut = SVC(kernel="linear", C=10.0, max_iter=3).fit(X, y)
    np.testing.assert_allclose(cut.coef_, exact.coef_, rtol=0, atol=1e-9)
