"""A search by leave-one-out is about each whole pipeline, and says what hangs on single rows."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence.model_selection import LeaveOneOutSearch

TIGHT = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500}


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X[::14, :8], y[::14]


def losses(model, X, y):
    """Log loss, or half squared error, of each row from the pipeline refitted without it."""
    out = []
    for i in range(len(y)):
        again = clone(model).fit(np.delete(X, i, 0), np.delete(y, i))
        if hasattr(again, "predict_proba"):
            out.append(-np.log(again.predict_proba(X[[i]])[0, y[i]]))
        else:
            out.append(0.5 * (again.predict(X[[i]])[0] - y[i]) ** 2)
    return np.array(out)


@pytest.mark.parametrize(
    "steps", [(StandardScaler(),), (SelectKBest(k=4), StandardScaler())], ids=["moved", "fitted"]
)
def test_scores_are_those_of_refits_of_the_whole_pipeline(cancer, steps):
    X, y = cancer
    model = make_pipeline(*steps, LogisticRegression(**TIGHT))
    grid = {"logisticregression__C": [0.01, 0.1, 1.0]}
    truth = np.array(
        [losses(clone(model).set_params(logisticregression__C=C), X, y) for C in (0.01, 0.1, 1.0)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        search = LeaveOneOutSearch(model, grid, method="exact").fit(X, y)
        scanned = LeaveOneOutSearch(model, grid).fit(X, y)
    results = search.cv_results_
    np.testing.assert_allclose(results["mean_test_score"], -truth.mean(axis=1), rtol=1e-6)
    assert (np.abs(results["mean_test_score"] + truth.mean(axis=1)) <= results["score_bound"]).all()
    assert scanned.best_params_ == search.best_params_
    assert scanned.best_score_ == pytest.approx(search.best_score_, rel=1e-4)
    held = LeaveOneOutSearch(model, grid, method="exact", frozen="accept").fit(X, y)
    assert not np.allclose(held.cv_results_["mean_test_score"], -truth.mean(axis=1), rtol=1e-4)


def test_the_choice_without_a_row_is_that_of_the_other_losses():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:60], y[:60]
    model = make_pipeline(StandardScaler(), Ridge())
    alphas = [1.0, 3.0, 10.0, 30.0, 100.0]
    search = LeaveOneOutSearch(model, {"ridge__alpha": alphas}).fit(X, y)
    truth = np.array([losses(clone(model).set_params(ridge__alpha=a), X, y) for a in alphas])
    choices = [np.delete(truth, i, axis=1).mean(axis=1).argmin() for i in range(60)]
    np.testing.assert_array_equal(search.choices_, choices)
    same = int(np.sum(np.array(choices) == search.best_index_))
    assert search.choice_report_ == (
        f"ridge__alpha={alphas[search.best_index_]} would have been chosen without the loss of {same} "
        f"of 60 rows, one at a time; bounds leave no doubt for {same}."
    )
    assert 0 < same <= 60


def test_weights_count_in_the_choice():
    X, y = load_diabetes(return_X_y=True)
    X, y, weight = X[:50], y[:50], np.random.default_rng(0).uniform(0.1, 5.0, 50)
    search = LeaveOneOutSearch(Ridge(), {"alpha": [0.01, 0.1, 1.0]}).fit(X, y, weight)
    truth = []
    for alpha in (0.01, 0.1, 1.0):
        each = []
        for i in range(50):
            kept = np.delete(np.arange(50), i)
            again = Ridge(alpha).fit(X[kept], y[kept], weight[kept])
            each.append(weight[i] * (again.predict(X[[i]])[0] - y[i]) ** 2)
        truth.append(each)
    choices = [np.delete(truth, i, axis=1).sum(axis=1).argmin() for i in range(50)]
    np.testing.assert_array_equal(search.choices_, choices)


def test_a_scorer_leaves_the_choice_unsaid(cancer):
    X, y = cancer
    search = LeaveOneOutSearch(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        scoring="roc_auc",
    ).fit(X, y)
    assert search.choices_ is None and search.choice_report_ is None


def test_steps_are_searched_too(cancer):
    X, y = cancer
    model = make_pipeline(StandardScaler(), PCA(2), LogisticRegression(**TIGHT))
    search = LeaveOneOutSearch(model, {"pca__n_components": [2, 4]}, method="exact").fit(X, y)
    truth = [-losses(clone(model).set_params(pca__n_components=k), X, y).mean() for k in (2, 4)]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], truth, rtol=1e-6)


def test_machines_behind_scalers_are_searched_whole(cancer):
    X, y = cancer
    model = make_pipeline(StandardScaler(), SVC(tol=1e-9))
    search = LeaveOneOutSearch(model, {"svc__C": [0.1, 1.0]}, scoring="accuracy").fit(X, y)
    truth = []
    for C in (0.1, 1.0):
        one = clone(model).set_params(svc__C=C)
        found = [
            clone(one).fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[[i]])[0]
            for i in range(len(y))
        ]
        truth.append(np.mean(found == y))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], truth)


def test_draws_are_held_and_said_once(cancer):
    X, y = cancer
    model = make_pipeline(
        StandardScaler(), Nystroem(n_components=5, random_state=0), LogisticRegression(**TIGHT)
    )
    grid = {"logisticregression__C": [0.1, 1.0], "nystroem__gamma": [0.1, 0.3]}
    with pytest.warns(UserWarning, match="nystroem.*draws") as said:
        found = LeaveOneOutSearch(model, grid).fit(X, y)
    assert len([one for one in said if "frozen" in str(one.message)]) == 1
    held = LeaveOneOutSearch(model, grid, frozen="accept").fit(X, y)
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], held.cv_results_["mean_test_score"]
    )
    with pytest.raises(ValueError, match="frozen='refuse'"):
        LeaveOneOutSearch(model, grid, frozen="refuse").fit(X, y)
