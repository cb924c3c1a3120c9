"""What a search chose on the rows is held by name: said, accepted, refused, and never refitted by chance."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import Influence, edits, unlearning
from skinfluence.model_selection import LeaveOneOutSearch
from tests.versions import logistic_cv

Xd = np.random.default_rng(0).standard_normal((60, 5))
yd = Xd @ [3.0, -2.0, 1.0, 0.5, 0.0] + np.random.default_rng(1).standard_normal(60)
Xc, yc = load_breast_cancer(return_X_y=True)
Xc, yc = Xc[:120, :5] / Xc[:, :5].std(axis=0), yc[:120]
LOGISTIC = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12)
CS = {"C": [0.1, 1.0]}

# The fitted estimator, its rows, what is named, and the same model with that given.
SEARCHES = {
    "ridge": (linear_model.RidgeCV([0.1, 1.0]), Xd, yd, "alpha_"),
    "ridge classifier": (linear_model.RidgeClassifierCV([0.1, 1.0]), Xc, yc, "alpha_"),
    "lasso": (linear_model.LassoCV(cv=3, tol=1e-8), Xd, yd, "alpha_"),
    "elastic net": (
        linear_model.ElasticNetCV(cv=3, l1_ratio=[0.5, 0.9], tol=1e-8),
        Xd,
        yd,
        "alpha_ .* and l1_ratio_",
    ),
    "logistic": (logistic_cv(Cs=3, cv=3, solver="newton-cholesky", tol=1e-12), Xc, yc, "C_"),
    "grid": (GridSearchCV(LOGISTIC, CS, cv=3), Xc, yc, "the parameters {'C': "),
    "leave-one-out": (LeaveOneOutSearch(LOGISTIC, CS), Xc, yc, "the parameters {'C': "),
    "of a pipeline": (
        GridSearchCV(
            make_pipeline(StandardScaler(), LOGISTIC), {"logisticregression__C": [0.1, 1.0]}, cv=3
        ),
        Xc,
        yc,
        "logisticregression__C",
    ),
    "of a kernel machine": (GridSearchCV(SVC(gamma=0.3), CS, cv=3), Xc, yc, "{'C': "),
    "of sums": (GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}), Xc, yc, "smoothing"),
    "of neighbours": (
        GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [3, 5]}),
        Xd,
        yd,
        "n_neighbors",
    ),
    "of a lasso": (
        GridSearchCV(linear_model.Lasso(tol=1e-10), {"alpha": [0.1, 1.0]}),
        Xd,
        yd,
        "alpha",
    ),
    "one per class": (OneVsRestClassifier(GridSearchCV(LOGISTIC, CS, cv=3)), Xc, yc, "{'C': "),
    "of a search": (
        GridSearchCV(linear_model.RidgeCV([0.1, 1.0]), {"fit_intercept": [True, False]}),
        Xd,
        yd,
        "fit_intercept.* and alpha_",
    ),
}


@pytest.fixture(params=SEARCHES)
def searched(request):
    model, X, y, words = SEARCHES[request.param]
    model = clone(model).fit(X, y)
    return Influence(model, X, y), words


def test_what_was_chosen_is_named_accepted_and_refused(searched):
    inf, words = searched
    assert inf.report().held is not None
    with pytest.warns(UserWarning, match=f"Held as chosen on all rows: .*{words}"):
        inf.loo_predict(indices=[0, 3])
    with pytest.raises(ValueError, match=f"whose fit chose .*{words}"):
        inf.loo_predict(indices=[0], frozen="refuse")
    with pytest.raises(ValueError, match="whose fit chose"):
        inf.effect(
            edits.remove(0), inf.data.inputs.raw[:2], of="decision_function", frozen="refuse"
        )
    with pytest.raises(TypeError, match="chose nothing on the rows"):
        unlearning.forget(inf, 0)


@pytest.mark.filterwarnings("error:Held as chosen")
def test_what_is_accepted_is_silent(searched):
    inf, _ = searched
    inf.loo_predict(indices=[0], frozen="accept")


@pytest.mark.filterwarnings("error:Held as chosen")
@pytest.mark.parametrize(
    "model",
    [
        linear_model.RidgeCV([0.3]),
        linear_model.LassoCV(alphas=[0.3], cv=3, tol=1e-8),
        logistic_cv(Cs=[0.3], cv=3, solver="newton-cholesky", tol=1e-12),
        GridSearchCV(LOGISTIC, {"C": [0.3]}, cv=3),
    ],
    ids=["ridge", "lasso", "logistic", "grid"],
)
def test_where_there_was_one_candidate_nothing_was_chosen(model):
    X, y = (Xd, yd) if hasattr(model, "alphas") else (Xc, yc)
    inf = Influence(model.fit(X, y), X, y)
    assert getattr(inf.report(), "held", None) is None
    inf.loo_predict(indices=[0], frozen="refuse")


GIVEN = {
    "lasso": (
        linear_model.LassoCV(alphas=[0.3, 3.0], cv=3, tol=1e-10),
        lambda m: linear_model.Lasso(m.alpha_, tol=1e-12),
        Xd,
        yd,
    ),
    "elastic net": (
        linear_model.ElasticNetCV(alphas=[0.3, 3.0], l1_ratio=[0.5, 0.9], cv=3, tol=1e-10),
        lambda m: linear_model.ElasticNet(m.alpha_, l1_ratio=m.l1_ratio_, tol=1e-12),
        Xd,
        yd,
    ),
    "ridge": (
        linear_model.RidgeCV([0.1, 3.0]),
        lambda m: linear_model.Ridge(m.alpha_, solver="cholesky"),
        Xd,
        yd,
    ),
    "logistic": (
        logistic_cv(Cs=[0.1, 1.0], cv=3, solver="newton-cholesky", tol=1e-12),
        lambda m: clone(LOGISTIC).set_params(C=float(np.ravel(m.C_)[0])),
        Xc,
        yc,
    ),
}


@pytest.mark.filterwarnings("ignore:Held as chosen")
@pytest.mark.parametrize("name", GIVEN)
def test_behind_a_scaler_the_choice_is_held_and_the_scaler_is_not(name):
    """The truth is the pipeline with the choice given, fitted again on the other rows."""
    model, given, X, y = GIVEN[name]
    pipe = make_pipeline(StandardScaler(), clone(model)).fit(X, y)
    truth = make_pipeline(StandardScaler(), given(pipe[-1]))
    inf = Influence(pipe, X, y)
    of = "decision_function"
    decide = (lambda m: m.predict) if name != "logistic" else (lambda m: m.decision_function)
    before, alone = decide(truth.fit(X, y))(X[:4]), inf.removal_effect(X[:4], of=of, indices=[5, 9])
    for j, row in enumerate([5, 9]):
        after = decide(clone(truth).fit(np.delete(X, row, 0), np.delete(y, row)))(X[:4])
        np.testing.assert_allclose(alone[:, j], after - before, atol=1e-6 * np.abs(before).max())
    both = inf.effect(edits.remove([5, 9]), X[:4], of=of).values
    after = decide(clone(truth).fit(np.delete(X, [5, 9], 0), np.delete(y, [5, 9])))(X[:4])
    np.testing.assert_allclose(both, after - before, atol=1e-6 * np.abs(before).max())


def test_the_model_after_an_edit_says_what_it_holds():
    search = GridSearchCV(LOGISTIC, CS, cv=3).fit(Xc, yc)
    inf = Influence(search, Xc, yc)
    with pytest.warns(UserWarning, match="Held as chosen on all rows"):
        after = inf.edited(edits.remove([3, 7])).estimator
    refit = clone(search.best_estimator_).fit(np.delete(Xc, [3, 7], 0), np.delete(yc, [3, 7]))
    np.testing.assert_allclose(after.decision_function(Xc), refit.decision_function(Xc), rtol=1e-7)
    with pytest.raises(ValueError, match="whose fit chose"):
        inf.edited(edits.remove(3), frozen="refuse")
    # And the remedies work.
    Influence(search.best_estimator_, Xc, yc).edited(edits.remove(3), frozen="refuse")
    unlearning.forget(Influence(search.best_estimator_, Xc, yc), 3)
