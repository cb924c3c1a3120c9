"""In a list of edits one that leaves no model has NaN and is named; the others have their answers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import Influence, edits
from skinfluence.edits import NoOptimumError

# The last two rows are the only ones of their class.
LONELY = np.array([38, 39])


def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    y = (X[:, 0] + rng.standard_normal(40) > 0).astype(int)
    y[LONELY] = 2
    return X, y


CLASSIFIERS = {
    "softmax": LogisticRegression(),
    "behind a scaler": make_pipeline(StandardScaler(), LogisticRegression()),
    "naive Bayes": GaussianNB(),
    "kernel machine": SVC(gamma=0.5),
}
ASKED = [edits.remove(0), edits.remove(LONELY), edits.relabel(3, 1), edits.remove([5, 38, 39])]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_edits_that_leave_a_class_empty_are_named_and_the_others_answered(name):
    X, y = table()
    inf = Influence(CLASSIFIERS[name].fit(X, y), X, y)
    ask = {"X": X[:4], "of": "decision_function"}
    if name == "naive Bayes":
        ask["of"] = "predict_proba"
    with pytest.warns(UserWarning, match=r"Edits 1, 3 of the list have no answer .*keep weight"):
        found = inf.effect(ASKED, **ask)
    assert np.isnan(found.values[:, [1, 3]]).all()
    assert (found.bound[[1, 3]] == np.inf).all()
    assert (found.method_used[[1, 3]] == "none").all()
    for i in (0, 2):
        alone = inf.effect(ASKED[i], **ask)
        np.testing.assert_allclose(found.values[:, i], alone.values, rtol=1e-9, atol=1e-12)
        assert found.method_used[i] == alone.method_used
        assert found.route[i] == alone.route
    assert "without an answer" in repr(found)


@pytest.mark.parametrize("method", ["auto", "exact", "one-step"])
def test_an_edit_that_no_row_holds_is_named(method):
    """A count model without a penalty, of whose last column one row with a positive target is left."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 2)), rng.poisson(1.0, 40).astype(float)
    X[:, 1] = 0.0
    X[[3, 7], 1] = 1.0, 2.0
    y[[3, 7]] = 2.0, 0.0
    model = PoissonRegressor(alpha=0, solver="newton-cholesky", tol=1e-10).fit(X, y)
    inf = Influence(model, X, y)
    asked = [edits.remove(1), edits.remove([3, 7]), edits.remove(9)]
    with pytest.warns(UserWarning, match=r"Edit 1 of the list has no answer \(NaN\)\. "):
        found = inf.effect(asked, X[:2], of="decision_function", method=method).values
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[:, [0, 2]]).all()


def test_where_none_of_a_list_has_an_answer_the_first_is_refused():
    X, y = table()
    inf = Influence(LogisticRegression().fit(X, y), X, y)
    for asked in (edits.remove(LONELY), [edits.remove(LONELY)]):
        with pytest.raises(NoOptimumError, match="keep weight"):
            inf.effect(asked, X[:4], of="decision_function")


def test_of_a_score_an_edit_without_an_answer_is_nan_too():
    X, y = table()
    inf = Influence(LogisticRegression().fit(X, y), X, y)
    with pytest.warns(UserWarning, match="Edits 1, 3 of the list"):
        found = inf.effect(ASKED, X, y, of="accuracy").values
    assert np.isnan(found).tolist() == [False, True, False, True]
