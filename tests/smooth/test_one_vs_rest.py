"""OneVsRestClassifier: one objective, edits equal to refits of all binary models."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from skinfluence import Influence, edits
from skinfluence.curvature import Curvature
from skinfluence.edits.points import edited
from skinfluence.model_selection import loo_predict
from tests.registries import NEWTON, make_data
from tests.truth import relative_error

LOGISTIC = LogisticRegression(C=0.7, **NEWTON)
MODELS = {
    "logistic": LOGISTIC,
    "liblinear": LogisticRegression(solver="liblinear", intercept_scaling=3.0, tol=1e-13),
    "ridge": RidgeClassifier(solver="cholesky"),
    "squared hinge": LinearSVC(dual=False, tol=1e-10, max_iter=100_000),
}
EVERY = pytest.mark.parametrize("name", MODELS)


def data(task="softmax", n=48):
    return make_data(task, n, 4, seed=3)


def fitted(name, task="softmax"):
    X, y = data(task)
    return OneVsRestClassifier(MODELS[name]).fit(X, y), X, y


def changed(X, y):
    """Edits with the data they lead to."""
    n = len(y)
    rows = np.arange(n)
    classes = np.unique(y)
    other = classes[(np.searchsorted(classes, y) + 1) % len(classes)]
    new = X[3] + 0.2
    yield edits.remove(5), X[rows != 5], np.delete(y, 5)
    yield edits.remove([1, 8, 20]), np.delete(X, [1, 8, 20], axis=0), np.delete(y, [1, 8, 20])
    yield edits.relabel(7, other[7]), X, np.where(rows == 7, other, y)
    yield edits.replace(2, new), np.where(rows[:, None] == 2, new, X), y
    both = edits.add(new, other[0]) + edits.remove(9)
    yield both, np.vstack([np.delete(X, 9, axis=0), new]), np.append(np.delete(y, 9), other[0])


@pytest.mark.parametrize("task", ["binary", "softmax"])
@EVERY
def test_exact_edits_equal_refits(name, task):
    model, X, y = fitted(name, task)
    inf = Influence(model, X, y)
    for edit, new_X, new_y in changed(X, y):
        refit = OneVsRestClassifier(MODELS[name]).fit(new_X, new_y)
        expected = refit.decision_function(X) - model.decision_function(X)
        found = inf.effect(edit, X, of="decision_function", method="exact").values
        # liblinear stops at about 1e-6 itself, whatever tol.
        assert relative_error(found, expected) < (1e-5 if name == "liblinear" else 1e-6)


@EVERY
def test_certificates_hold(name):
    model, X, y = fitted(name)
    inf = Influence(model, X, y)
    resolved = [inf.data.resolve(edit) for edit, *_ in changed(X, y)]
    base = inf.answers.edit_solver().objective
    truth, _, _ = inf.answers.solve_points(resolved, "exact", 1e-3)
    for tol in (0.5, 1e-3):
        found, bound, _ = inf.answers.solve_points(resolved, "auto", tol)
        assert np.isfinite(bound).all()
        for one, points, limit, reference in zip(found, resolved, bound, truth, strict=True):
            error = (one - reference).ravel()
            assert np.sqrt(error @ (Curvature(edited(base, points)) @ error)) <= limit


@pytest.mark.parametrize("name", ["logistic", "ridge"])
def test_leave_one_out_is_that_of_cross_validation(name):
    model, X, y = fitted(name)
    inf = Influence(model, X, y)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut(), method="decision_function")
    found = inf.loo_decision_function(method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    predicted = np.unique(y)[expected.argmax(axis=1)]
    np.testing.assert_array_equal(inf.loo_predict(), predicted)
    np.testing.assert_array_equal(loo_predict(model, X, y), predicted)


def test_probabilities_are_normalised_as_scikit_learns():
    model, X, y = fitted("logistic")
    inf = Influence(model, X, y)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut(), method="predict_proba")
    np.testing.assert_allclose(inf.loo_predict_proba(method="exact"), expected, rtol=1e-6)


def test_each_class_is_a_binary_problem_of_its_own():
    """The parameters of a class move as those of its own model do."""
    model, X, y = fitted("logistic")
    whole = Influence(model, X, y).influence_up_params()
    for k, label in enumerate(model.classes_):
        one = Influence(model.estimators_[k], X, (y == label).astype(int)).influence_up_params()
        np.testing.assert_allclose(whole[:, [k]], one, rtol=1e-8, atol=1e-12)


def test_the_last_row_of_a_class_cannot_go():
    X, y = data()
    y = np.where(np.arange(48) == 4, 99, y)
    inf = Influence(OneVsRestClassifier(LOGISTIC).fit(X, y), X, y)
    with pytest.raises(ValueError, match="class 99"):
        inf.effect(edits.remove(4), X, y)
    with pytest.warns(UserWarning, match="Row 4"):
        assert np.isnan(inf.loo_decision_function()[4]).all()


def test_one_separable_class_has_no_optimum_without_a_penalty():
    """The other classes overlap; the class alone on the right does not."""
    X = np.r_[np.linspace(-2, 0, 12), np.linspace(3, 4, 6)][:, None]
    y = np.r_[np.arange(12) % 2, np.full(6, 2)]
    model = OneVsRestClassifier(LogisticRegression(C=np.inf, max_iter=50)).fit(X, y)
    with pytest.raises(ValueError, match="must not separate"):
        Influence(model, X, y)


def test_searches_inside_are_opened():
    X, y = data()
    search = GridSearchCV(LOGISTIC, {"C": [0.7]}, cv=2)
    found = Influence(OneVsRestClassifier(search).fit(X, y), X, y)
    expected = Influence(fitted("logistic")[0], X, y)
    np.testing.assert_allclose(found.self_influence(), expected.self_influence(), rtol=1e-9)


@pytest.mark.parametrize(
    ("inside", "error", "message"),
    [
        (
            LinearRegression(),
            TypeError,
            "understood where they are classifiers.*one class at a time",
        ),
        (RandomForestClassifier(3), TypeError, "RandomForestClassifier.*Trees"),
    ],
    ids=["regression", "forest"],
)
def test_what_cannot_be_one_objective_is_refused(inside, error, message):
    X, y = data()
    with pytest.raises(error, match=message):
        Influence(OneVsRestClassifier(inside).fit(X, y), X, y)


def test_models_with_penalties_of_their_own_are_asked_one_by_one():
    model, X, y = fitted("logistic")
    model.estimators_[1].set_params(C=0.1).fit(X, y == 10)
    inf = Influence(model, X, y)
    parts = [
        Influence(one, X, (y == label).astype(int))
        for one, label in zip(model.estimators_, model.classes_, strict=True)
    ]
    expected = sum(one.self_influence() for one in parts)
    np.testing.assert_allclose(inf.self_influence(), expected, rtol=1e-9)
    expected = np.stack([one.loo_decision_function() for one in parts], axis=1)
    np.testing.assert_allclose(inf.loo_decision_function(), expected, rtol=1e-9)


def test_labels_and_rows_are_checked():
    model, X, y = fitted("logistic")
    with pytest.raises(ValueError, match="labels the model was fitted on"):
        Influence(model, X, y + 1)
    with pytest.raises(ValueError, match="same number of rows"):
        Influence(model, X, y[:-1])
    with pytest.raises(ValueError, match="features"):
        Influence(model, X[:, :2], y)
