"""LinearSVC: scikit-learn's contract, an exact fit, and answers equal to refits."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.svm
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, edits
from skinfluence.objective import objective_of
from skinfluence.solvers import CG
from skinfluence.svm import LinearSVC
from tests.registries import make_data
from tests.truth import relative_error, relative_l2
from tests.versions import parametrize_with_checks

SMOOTH = [
    {"loss": "squared_hinge"},
    {"loss": "smooth_hinge", "temperature": 0.1},
    {"loss": "smooth_hinge"},
]
SMOOTHLY = pytest.mark.parametrize("params", SMOOTH, ids=lambda p: "-".join(map(str, p.values())))
TASK = pytest.mark.parametrize("task", ["binary", "softmax"])


def digits(classes, n):
    X, y = load_digits(return_X_y=True)
    keep = np.flatnonzero(np.isin(y, classes))[:n]
    return X[keep] / 16.0, y[keep]


@parametrize_with_checks([LinearSVC(), LinearSVC(loss="smooth_hinge", temperature=0.1)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@TASK
@pytest.mark.parametrize("intercept", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_squared_hinge_is_scikit_learns(task, intercept, class_weight):
    """The same optimum, which liblinear reaches to its tolerance."""
    X, y = make_data(task, 60, 4, 0)
    weight = np.random.default_rng(0).uniform(0.5, 2, 60)
    params = {"C": 0.7, "fit_intercept": bool(intercept), "intercept_scaling": intercept or 1.0}
    params["class_weight"] = class_weight
    mine = LinearSVC(**params).fit(X, y, weight)
    theirs = sklearn.svm.LinearSVC(dual=False, tol=1e-10, max_iter=10**5, **params)
    theirs.fit(X, y, weight)
    np.testing.assert_allclose(mine.coef_, theirs.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(mine.intercept_, theirs.intercept_, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))
    assert np.shape(mine.intercept_) == np.shape(theirs.intercept_)


@SMOOTHLY
@TASK
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_the_fit_is_optimal(params, task, sparse):
    """The gradient of the objective at the fitted attributes is round-off."""
    X, y = make_data(task, 80, 5, 1)
    X = sp.csr_array(X) if sparse else X
    for C in (1e-3, 1.0, 100.0):
        objective = objective_of(LinearSVC(C=C, **params).fit(X, y), X, y)
        size = np.abs(objective.penalty * objective.theta).max()
        assert np.abs(objective.gradient()).max() < 1e-8 * size


def test_the_smooth_hinge_tends_to_the_hinge():
    X, y = make_data("binary", 60, 4, 0)
    hinge = sklearn.svm.LinearSVC(loss="hinge", tol=1e-8, max_iter=10**6).fit(X, y)
    errors = [
        np.abs(LinearSVC(loss="smooth_hinge", temperature=t).fit(X, y).coef_ - hinge.coef_).max()
        for t in (1e-1, 1e-2, 1e-3, 1e-4)
    ]
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-3


@SMOOTHLY
@TASK
def test_weight_is_repetition(params, task):
    """Weight 2 is the row twice, weight 0 the row absent, exactly."""
    X, y = make_data(task, 40, 4, 0)
    weight = np.random.default_rng(0).integers(0, 4, 40)
    weighted = LinearSVC(**params).fit(X, y, weight)
    repeated = LinearSVC(**params).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-7, atol=1e-9)


@SMOOTHLY
@TASK
def test_derivatives_match_refits(params, task):
    """Central differences of fits with a changed weight and a moved row."""
    X, y = make_data(task, 40, 3, 2)
    model = LinearSVC(**params)
    inf = Influence(clone(model).fit(X, y), X, y)
    tests, step = X[:4] + 0.1, 1e-5

    def losses(X, weight):
        fitted = objective_of(clone(model).fit(X, y, weight), X, y, weight)
        at = fitted.design.like(tests).multiply(fitted.theta.T)
        return fitted.loss.value(at, fitted.y[:4])

    up, pert = inf.influence_up_loss(tests, y[:4]), inf.influence_pert(tests, y[:4])
    for i in np.argsort(-np.abs(up).max(axis=0))[:3]:
        more, less = np.ones(40), np.ones(40)
        more[i], less[i] = 1 + step, 1 - step
        slope = (losses(X, more) - losses(X, less)) / (2 * step) * 40
        assert relative_error(up[:, i], slope) < 1e-5
        moved = [X.copy(), X.copy()]
        moved[0][i, 1] += step
        moved[1][i, 1] -= step
        slope = (losses(moved[0], None) - losses(moved[1], None)) / (2 * step) * 40
        assert relative_error(pert[:, i, 1], slope) < 1e-5


@TASK
@pytest.mark.parametrize("C", [0.01, 1.0, 10.0])
def test_squared_hinge_edits_equal_scikit_learns_refits(task, C):
    """Finite Newton against LinearSVC(dual=False, tol=1e-12)."""
    X, y = digits([3, 8], 150) if task == "binary" else digits([1, 4, 7], 150)
    theirs = sklearn.svm.LinearSVC(C=C, dual=False, tol=1e-12, max_iter=10**5).fit(X, y)
    inf = Influence(theirs, X, y)
    rows = np.argsort(-inf.self_influence())[:6]
    found = inf.removal_effect(X[:10], of="decision_function", indices=rows)
    truth = np.empty_like(found)
    for j, i in enumerate(rows):
        refit = clone(theirs).fit(np.delete(X, i, axis=0), np.delete(y, i))
        truth[:, j] = refit.decision_function(X[:10]) - theirs.decision_function(X[:10])
    assert relative_l2(found, truth) < 5e-5


@SMOOTHLY
@TASK
@pytest.mark.filterwarnings("ignore:.*could not be certified")
def test_every_edit_equals_a_refit(params, task):
    """With sample weights and balanced class weights."""
    X, y = make_data(task, 50, 4, 3)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 2.0, 50)
    model = LinearSVC(class_weight="balanced", **params).fit(X, y, weight)
    inf = Influence(model, X, y, weight)
    group, new_x, new_y = np.arange(5, 15), rng.standard_normal(4), y[0]
    without = np.ones(50, dtype=bool)
    without[group] = False
    relabelled, moved, reweighted = y.copy(), X.copy(), weight.copy()
    relabelled[7], moved[8], reweighted[9] = inf.objective.labels.classes[0], new_x, 0.1
    cases = {
        edits.remove(group): (X[without], y[without], weight[without]),
        edits.relabel(7, relabelled[7]): (X, relabelled, weight),
        edits.replace(8, new_x): (moved, y, weight),
        edits.reweight(9, 0.1): (X, y, reweighted),
        edits.add(new_x, new_y): (np.vstack([X, new_x]), np.append(y, new_y), np.append(weight, 1)),
    }
    found = inf.effect(list(cases), X[:6], of="decision_function", method="exact").values
    for j, (X_new, y_new, weight_new) in enumerate(cases.values()):
        refit = LinearSVC(class_weight="balanced", **params).fit(X_new, y_new, weight_new)
        truth = refit.decision_function(X[:6]) - model.decision_function(X[:6])
        np.testing.assert_allclose(
            found[:, j], truth, rtol=0, atol=1e-6 * np.abs(truth).max() + 1e-10
        )


def test_sparse_answers_are_dense_answers():
    X, y = make_data("softmax", 50, 4, 0)
    model = LinearSVC(loss="smooth_hinge", temperature=0.1)
    dense = model.fit(X, y).removal_effect(X[:5], y[:5])
    sparse = model.fit(sp.csr_array(X), y).removal_effect(sp.csr_array(X[:5]), y[:5])
    np.testing.assert_allclose(sparse, dense, rtol=1e-6, atol=1e-12)


def test_clone_pickle_and_parameters():
    X, y = make_data("binary", 40, 4, 0)
    model = LinearSVC(loss="smooth_hinge", temperature=0.5).fit(X, y)
    assert clone(model).temperature == 0.5
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.loo_predict(), model.loo_predict())
    theirs = sklearn.svm.LinearSVC().get_params()
    assert {k: v for k, v in LinearSVC().get_params().items() if k != "temperature"} == theirs


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"penalty": "l1"}, "penalty of LinearSVC must be 'l2'"),
        ({"multi_class": "crammer_singer"}, "multi_class must be 'ovr'"),
        ({"loss": "logistic"}, "loss must be one of"),
        ({"C": 0.0}, "C must be positive"),
        ({"C": np.inf}, "C must be positive and finite"),
        ({"loss": "smooth_hinge", "temperature": 0.0}, "temperature must be positive"),
        ({"intercept_scaling": -1.0}, "intercept_scaling must be positive"),
    ],
)
def test_bad_parameters_are_refused_by_name(params, message):
    X, y = make_data("binary", 20, 2, 0)
    with pytest.raises(ValueError, match=message):
        LinearSVC(**params).fit(X, y)


def test_fits_of_scikit_learn_without_an_answer_are_refused():
    X, y = make_data("softmax", 40, 3, 0)
    for params, message in (
        ({"penalty": "l1", "dual": False}, "'l2'"),
        ({"multi_class": "crammer_singer"}, "multi_class"),
    ):
        model = sklearn.svm.LinearSVC(**params).fit(X, y)
        with pytest.raises(ValueError, match=message):
            Influence(model, X, y)


def test_a_fit_far_from_its_optimum_is_reported():
    X, y = make_data("binary", 60, 3, 0)
    model = sklearn.svm.LinearSVC(tol=1e-10).fit(X, y)
    model.coef_ = model.coef_ + 0.05
    with pytest.warns(ConvergenceWarning, match="not at the optimum"):
        Influence(model, X, y)


def test_edits_of_a_cold_smooth_hinge_end_soon_whatever_solves_the_rest():
    """Conjugate gradients on seven columns of very different sizes took minutes for each edit."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((18, 7)) * 10.0 ** rng.uniform(-2, 3, 7) + 10.0 ** rng.uniform(0, 3, 7)
    y = np.arange(18) % 2
    model = LinearSVC(loss="smooth_hinge", temperature=0.01, C=50.0).fit(X, y)
    factored = []

    class Counted(CG):
        def factor(self, objective):
            factored.append(objective)
            return super().factor(objective)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Influence(model, X, y, solver=Counted()).removal_effect(
            X[:2], indices=[0, 1], of="decision_function"
        )
        expected = Influence(model, X, y).removal_effect(
            X[:2], indices=[0, 1], of="decision_function"
        )
    assert len(factored) <= 3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", ["squared_hinge", "log_loss"])
def test_a_class_that_liblinear_left_out_is_refused_in_these_words(loss, n_classes, rng):
    """Of two classes scikit-learn's decision values have the sign of the one without weight."""
    if (loss, n_classes) == ("log_loss", 3):
        pytest.skip("liblinear fits no softmax")
    X, y = rng.standard_normal((30, 2)), np.arange(30) % n_classes
    weight = np.where(y == n_classes - 1, 0.0, 1.0)
    model = (
        sklearn.svm.LinearSVC()
        if loss == "squared_hinge"
        else LogisticRegression(solver="liblinear")
    )
    with pytest.raises(ValueError, match=r"liblinear leaves such a class out .* Drop those rows"):
        Influence(model.fit(X, y, weight), X, y, weight)
    # What is told to do works.
    kept = weight > 0
    if n_classes == 3:
        Influence(model.fit(X[kept], y[kept]), X[kept], y[kept]).removal_effect(X, y % 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_our_fit_knows_a_class_without_weight(rng):
    """With a penalised intercept its optimum is a finite one."""
    X, y = rng.standard_normal((30, 2)), np.arange(30) % 3
    weight = np.where(y == 2, 0.0, 1.0)
    inf = Influence(LinearSVC().fit(X, y, weight), X, y, weight)
    assert np.isfinite(inf.loo_decision_function()).all()
