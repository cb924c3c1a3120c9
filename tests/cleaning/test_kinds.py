"""Audits of every kind of model: the losses are those of refits, and what is not known is said."""

import autograd.numpy as anp
import numpy as np
import pytest
from sklearn import linear_model
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.multiclass import OneVsOneClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, SVR

from skinfluence.cleaning import audit
from skinfluence.linear_model import Ridge
from skinfluence.m_estimation import MEstimator


def huber(theta, x, y):
    return anp.sqrt(1 + (y - x @ theta[:-1] - theta[-1]) ** 2)


def robust():
    return MEstimator(huber, 4, l2=0.1, decision=lambda theta, X: X @ theta[:-1] + theta[-1])


CLASSIFIERS = {
    "naive Bayes": GaussianNB(),
    "counts": MultinomialNB(),
    "discriminants": LinearDiscriminantAnalysis(),
    "neighbours": KNeighborsClassifier(9),
    "a machine": SVC(C=1.0, gamma=0.5, tol=1e-8),
}
REGRESSORS = {
    "support vectors": SVR(C=2.0, gamma=0.5, epsilon=0.05, tol=1e-8),
    "neighbours": KNeighborsRegressor(7),
    "a loss of one's own": robust(),
}


@pytest.fixture(scope="module")
def classes():
    X, y = load_breast_cancer(return_X_y=True)
    y = y[:90].copy()
    y[[3, 40, 70]] = 1 - y[[3, 40, 70]]
    return MinMaxScaler().fit_transform(X[:90, :4]), y


@pytest.fixture(scope="module")
def targets():
    X, y = load_diabetes(return_X_y=True)
    y = y[:70] / 100
    y[11] += 8
    return MinMaxScaler().fit_transform(X[:70, [2, 3, 7]]), y


def agrees_with_refits(found):
    check = found.verify(4)
    predicted, refitted = check["loo_loss"].to_numpy(), check["refit_loss"].to_numpy()
    np.testing.assert_allclose(predicted, refitted, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_are_judged_as_refits_judge_them(name, classes):
    X, y = classes
    found = audit(CLASSIFIERS[name].fit(X, y), X, y)
    agrees_with_refits(found)
    assert "effect_of_dropping" not in found.table
    assert any("no effect_of_dropping" in note for note in found.notes)


# Chances that are fitted to decision values have their border where labels are even, the model elsewhere.
WITHOUT_CHANCES = {
    "a machine with weights for classes": SVC(class_weight={0: 1, 1: 3}, tol=1e-8),
    "ridge with weights for classes": linear_model.RidgeClassifier(class_weight={0: 1, 1: 3}),
    "votes of pairs": OneVsOneClassifier(linear_model.RidgeClassifier()),
    "a machine of pairs": SVC(tol=1e-8),
}


@pytest.mark.parametrize("name", WITHOUT_CHANCES)
def test_rows_that_stay_are_shown_with_the_prediction_of_the_model_that_has_not_seen_them(name):
    rng = np.random.default_rng(4)
    y = np.arange(60) % (3 if "pairs" in name else 2)
    X = rng.standard_normal((60, 3)) + 0.6 * np.eye(3)[y]
    model = WITHOUT_CHANCES[name].fit(X, y)
    found = audit(model, X, y, effects=False)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut())
    np.testing.assert_array_equal(found.loo_prediction, expected)
    stay = found.table[found.table["action"] == "keep"]
    np.testing.assert_array_equal(stay["suggested"], expected[stay["row"]])


@pytest.mark.parametrize("name", REGRESSORS)
def test_targets_are_judged_as_refits_judge_them(name, targets):
    X, y = targets
    found = audit(REGRESSORS[name].fit(X, y), X, y)
    agrees_with_refits(found)
    assert found.table["row"][0] == 11 and found.table["action"][0] == "drop"
    assert any("no effect_of_dropping" in note for note in found.notes)


def test_nothing_is_said_of_effects_that_are_there_or_were_not_asked_for(targets):
    X, y = targets
    model = Ridge(alpha=0.1).fit(X, y)
    assert not any("no effect_of_dropping" in note for note in audit(model, X, y).notes)
    machine = REGRESSORS["support vectors"].fit(X, y)
    assert not any(
        "effect_of_dropping" in note for note in audit(machine, X, y, effects=False).notes
    )


def test_a_score_that_needs_a_derivative_is_refused_where_there_is_none(classes):
    X, y = classes
    with pytest.raises(TypeError, match=r"Got .*; leave score= out"):
        audit(GaussianNB().fit(X, y), X, y, score="self_influence")


@pytest.fixture(scope="module")
def amounts():
    """Prices that spread by factors, four of them twenty times too high and four as much too low."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(150, 3))
    y = np.exp(8 + X @ [0.8, -0.5, 0.3] + 0.4 * rng.normal(size=150))
    wrong = rng.choice(150, 8, replace=False)
    y[wrong] *= np.repeat([20.0, 0.05], 4)
    return X, y, wrong


def test_targets_behind_a_curve_are_judged_in_the_units_that_the_model_saw(amounts):
    """Truth: refits of scikit-learn's model of the logarithm."""
    X, y, wrong = amounts
    model = TransformedTargetRegressor(Ridge(alpha=1.0), func=np.log, inverse_func=np.exp)
    table = audit(model.fit(X, y), X, y).table.sort_values("row")
    left_out = cross_val_predict(linear_model.Ridge(alpha=1.0), X, np.log(y), cv=LeaveOneOut())
    residual = np.log(y) - left_out
    middle = np.median(residual)
    spread = 1.4826 * np.median(np.abs(residual - middle))
    np.testing.assert_allclose(table["residual_z"], (residual - middle) / spread, rtol=1e-5)
    np.testing.assert_allclose(table["suggested"], np.exp(left_out), rtol=1e-6)
    assert set(table["row"][table["action"] == "drop"]) == set(wrong)


def test_targets_that_are_far_off_and_stay_are_counted_in_a_note():
    rng = np.random.RandomState(4)
    X = rng.normal(size=(120, 3))
    y = X @ [1.0, -1.0, 0.5] + 0.2 * rng.standard_t(2, 120)
    found = audit(Ridge(alpha=1.0).fit(X, y), X, y)
    far = found.table["residual_z"].abs() > 3.5
    stay = int((far & (found.table["action"] == "keep")).sum())
    (note,) = (one for one in found.notes if "robust standard deviations off" in one)
    assert 0 < stay < far.sum() and note.startswith(f"{stay} row")
