"""Effects on scores and predictions are those of refits, and say which way is better."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import fbeta_score, get_scorer, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import Influence, edits
from tests.registries import make_data

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
LOGISTIC = linear_model.LogisticRegression(C=0.5, **NEWTON)
CASES = {
    "logistic": (LOGISTIC, "binary", ("accuracy", "roc_auc", "neg_log_loss", "balanced_accuracy")),
    "softmax": (LOGISTIC, "softmax", ("accuracy", "roc_auc_ovr", "f1_macro", "neg_log_loss")),
    "pipeline": (make_pipeline(StandardScaler(), LOGISTIC), "binary", ("accuracy", "roc_auc")),
    "ridge-classifier": (
        linear_model.RidgeClassifier(2.0, solver="cholesky"),
        "softmax",
        ("accuracy", "f1_macro"),
    ),
    "svc": (SVC(kernel="linear", C=0.5, tol=1e-10), "binary", ("accuracy", "roc_auc")),
    "ridge": (
        linear_model.Ridge(2.0, solver="cholesky"),
        "regression",
        ("r2", "neg_mean_squared_error", "neg_median_absolute_error"),
    ),
    "kernel-ridge": (KernelRidge(alpha=0.5, kernel="rbf"), "regression", ("r2", "max_error")[:1]),
    "poisson": (
        linear_model.PoissonRegressor(alpha=0.1, **NEWTON),
        "counts",
        ("neg_mean_poisson_deviance", "r2"),
    ),
}


def case(name, n=60):
    estimator, task, scorers = CASES[name]
    X, y = make_data(task, n + 40, 3, 5)
    model = clone(estimator).fit(X[:n], y[:n])
    return Influence(model, X[:n], y[:n]), X[:n], y[:n], X[n:], y[n:], scorers


@pytest.mark.parametrize("name", CASES)
def test_scores_by_name_change_as_those_of_refits(name):
    influence, X, y, X_test, y_test, scorers = case(name)
    rows = np.arange(12)
    refits = [clone(influence.estimator).fit(np.delete(X, i, 0), np.delete(y, i)) for i in rows]
    for scorer in scorers:
        ask = get_scorer(scorer)
        before = ask(influence.estimator, X_test, y_test)
        expected = [ask(one, X_test, y_test) - before for one in refits]
        found = influence.removal_effect(X_test, y_test, of=scorer, indices=rows, method="exact")
        np.testing.assert_allclose(found, expected, atol=1e-7, err_msg=scorer)


@pytest.mark.parametrize("name", CASES)
def test_predictions_are_changed_or_not(name):
    influence, X, y, X_test, _, _ = case(name)
    groups = np.arange(60) % 4
    found = influence.removal_effect(X_test, of="predict", groups=groups, method="exact")
    before = influence.estimator.predict(X_test)
    for g in range(4):
        kept = groups != g
        after = clone(influence.estimator).fit(X[kept], y[kept]).predict(X_test)
        expected = after != before if influence.objective.labels is not None else after - before
        np.testing.assert_allclose(found[:, g], expected, atol=1e-6)


def test_effects_say_whether_greater_is_better():
    influence, _, _, X_test, y_test, _ = case("logistic")
    edit = edits.remove([0, 1])
    for of, better in {
        "loss": False,
        "accuracy": True,
        "neg_log_loss": True,
        "decision_function": None,
        "predict": None,
    }.items():
        assert influence.effect(edit, X_test, y_test, of=of).greater_is_better is better
    many = influence.effect([edit, edit], X_test, y_test, of="roc_auc")
    assert many.greater_is_better is True and many.values.shape == (2,)


def test_scorers_of_scikit_learn_are_asked_as_they_are():
    influence, X, y, X_test, y_test, _ = case("logistic")
    scorer = make_scorer(fbeta_score, beta=0.5, pos_label="yes")
    found = influence.removal_effect(X_test, y_test, of=scorer, indices=[3], method="exact")
    one = clone(influence.estimator).fit(np.delete(X, 3, 0), np.delete(y, 3))
    expected = scorer(one, X_test, y_test) - scorer(influence.estimator, X_test, y_test)
    np.testing.assert_allclose(found, [expected], atol=1e-10)


def test_edits_without_an_answer_have_no_score():
    X, y = make_data("binary", 40, 3, 5)
    y[1:][y[1:] == "no"] = "yes"
    y[0] = "no"
    influence = Influence(clone(LOGISTIC).fit(X, y), X, y)
    with pytest.warns(UserWarning, match="only one of its class"):
        for of in ("accuracy", "predict"):
            found = influence.removal_effect(X, y, of=of, indices=[0, 1])
            assert np.isnan(found[..., 0]).all() and np.isfinite(found[..., 1]).all()


def test_scores_need_targets_and_a_name_that_is_known():
    influence, _, _, X_test, y_test, _ = case("ridge")
    with pytest.raises(ValueError, match="A score needs y"):
        influence.removal_effect(X_test, of="r2")
    with pytest.raises(ValueError, match=r"name of a scorer.*Got 'acuracy'"):
        influence.removal_effect(X_test, y_test, of="acuracy")


@pytest.mark.parametrize("name", ["roc_auc", "f1", "precision", "recall", "jaccard"])
def test_scores_of_two_classes_are_refused_of_more_with_one_that_answers(name):
    X, y = make_data("softmax", 40, 3, 0)
    inf = Influence(clone(LOGISTIC).fit(X, y), X, y)
    asked = (
        lambda of: inf.removal_effect(X, y, of=of, indices=[0]),
        lambda of: inf.loo_score(scoring=of),
    )
    for ask in asked:
        with pytest.raises(ValueError, match=f"'{name}' is of two classes. Got a model of") as said:
            ask(name)
        other = str(said.value).split("Ask for '")[1].split("'")[0]
        assert np.isfinite(ask(other)).all()
