"""The model after an edit predicts as a refit on the edited rows does, and knows how nearly."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn import linear_model, svm
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler

from skinfluence import Influence, edits
from skinfluence.active_set import near_start
from skinfluence.editing import supports
from skinfluence.editing.solving import solve_edited
from skinfluence.hinge import optimum, regression
from skinfluence.objective import objective_of
from tests.editing.models import (
    MODELS,
    NEWTON,
    SHARES,
    Xc,
    Xd,
    Xi,
    edits_of,
    outputs,
    process,
    yc,
    yd,
    yi,
)
from tests.fewer import turns
from tests.truth import polish


@pytest.mark.parametrize(
    ("name", "kind"), turns(MODELS, ["remove", "several", "relabel", "replace"], 2)
)
def test_the_edited_model_predicts_as_the_refit_does(name, kind):
    """Every estimator, pipelines included, to 1e-8 of the largest output of a refit from scratch."""
    model, X, y = MODELS[name]
    model = clone(model).fit(X, y)
    before = pickle.dumps(model)
    edit, X_after, y_after = edits_of(X, y)[kind]
    after = Influence(model, X, y).edited(edit)
    refit = clone(model).fit(X_after, y_after)
    found, wanted = outputs(after.estimator, X), outputs(refit, X)
    atol = SHARES.get(name, 1e-8) * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
    assert type(after.estimator) is type(model)
    assert (after.error_at(X) >= 0).all()
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    "name", ["logistic", "softmax", "ridge", "poisson", "gamma", "scaler-logistic"]
)
def test_the_error_is_within_its_bound(name):
    """Against refits taken to round-off by Newton's method; a loose tol gives room to be wrong in."""
    model, X, y = MODELS[name]
    model = clone(model).fit(X, y)
    edit, X_after, y_after = edits_of(X, y)["remove"]
    refit = clone(model).fit(X_after, y_after)
    last = refit[-1] if hasattr(refit, "steps") else refit
    seen = refit[:-1].transform(X_after) if hasattr(refit, "steps") else X_after
    at = refit[:-1].transform(X) if hasattr(refit, "steps") else X
    best = polish(objective_of(last, seen, y_after))
    wanted = best.loss.expand(best.design.like(at).multiply(best.theta.T))
    for tol in (0.1, 1e-3, 1e-8):
        after = Influence(model, X, y).edited(edit, tol=tol)
        last = after.estimator[-1] if hasattr(model, "steps") else after.estimator
        eta = at @ np.atleast_2d(last.coef_).T + last.intercept_
        error = np.reshape(after.error_at(X), eta.shape)
        assert (np.abs(eta - wanted) <= error).all()
        # Not a bound that says nothing: tol is of the change.
        assert error.max() < 10 * tol * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", ["lasso", "elastic-net", "positive-lasso", "l1-logistic"])
def test_the_error_of_a_support_is_within_its_bound(name):
    """Of coefficients moved off the optimum by hand, with a bound that is near what they are off by."""
    model, X, y = MODELS[name]
    inf = Influence(clone(model).fit(X, y), X, y)
    answers, at = inf.answers, inf.objective.design
    best = supports.solved_l1(inf.objective)
    assert best.bound < 1e-10 * np.sqrt(len(y) * np.var(inf.objective.y))
    rng, support = np.random.default_rng(0), answers.support
    A = support.active[support.active < X.shape[1]]
    values = at.multiply(np.atleast_2d(best.problem.theta).T)
    for size in (1e-4, 1e-7):
        theta = best.problem.theta.copy()
        theta[A] *= 1.0 + size * rng.standard_normal(len(A))
        answers.theta = support.theta = theta
        if hasattr(support, "b"):
            support.b = theta[: X.shape[1]]
            answers.theta = support.theta = support.rows.theta(support.b, at.intercept)
        vars(support).pop("eta", None)
        found = (supports.solved_squares if "logistic" not in name else supports.solved_smooth)(
            answers
        )
        moved = np.abs(at.multiply(np.atleast_2d(answers.theta).T) - values)
        error = found.bound * found.reach(at) + found.floor
        assert (moved <= error).all()
        assert error.max() < 20 * moved.max()


def test_near_a_tie_no_bound_is_stated():
    """At a penalty that a column's slope just reaches, another support may be the optimum's."""
    model, X, y = MODELS["lasso"]
    Z, r = X - X.mean(axis=0), y - y.mean()
    edge = np.sort(np.abs(Z.T @ r))[-2] / len(y)
    first = np.argsort(np.abs(Z.T @ r))[-1]
    for _ in range(100):
        # Where the second column comes in: its slope after the first one's coefficient is there.
        b = (Z[:, first] @ r - len(y) * edge * np.sign(Z[:, first] @ r)) / (
            Z[:, first] @ Z[:, first]
        )
        edge = np.sort(np.abs(Z.T @ (r - Z[:, first] * b)))[-2] / len(y)
    at_edge = clone(model).set_params(alpha=edge).fit(X, y)
    assert np.isinf(supports.solved_l1(Influence(at_edge, X, y).objective).bound)


def test_the_error_of_a_loss_of_which_nothing_is_known_is_infinite():
    model, X, y = MODELS["m-estimator"]
    after = Influence(clone(model).fit(X, y), X, y).edited(edits.remove(0))
    assert np.isinf(after.error_at(X)).all() and np.isinf(after.report.bound)


@pytest.mark.parametrize("name", ["logistic", "kernel-ridge-ours", "svc", "scaler-logistic"])
def test_the_edited_model_is_an_estimator_like_others(name):
    """It pickles, clones, is cross-validated and fitted again, and the original never notices."""
    model, X, y = MODELS[name]
    model = clone(model).fit(X, y)
    wanted = outputs(model, X)
    after = Influence(model, X, y).edited(edits.remove([3, 77]))
    again = pickle.loads(pickle.dumps(after))
    np.testing.assert_array_equal(outputs(again.estimator, X), outputs(after.estimator, X))
    np.testing.assert_array_equal(again.error_at(X[:5]), after.error_at(X[:5]))
    scores = cross_val_score(after.estimator, X, y), cross_val_score(model, X, y)
    np.testing.assert_array_equal(*scores)
    after.estimator.fit(X[:90], y[:90])
    np.testing.assert_array_equal(outputs(model, X), wanted)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", [name for name in MODELS if name != "liblinear"])
def test_the_edited_model_can_be_asked_about_itself(name):
    """It is a fit on the rows that are left, at its optimum: nothing is refused or warned about."""
    model, X, y = MODELS[name]
    edit, X_after, y_after = edits_of(X, y)["remove"]
    after = Influence(clone(model).fit(X, y), X, y).edited(edit).estimator
    again = Influence(after, X_after, y_after)
    assert again.objective.n_samples == len(y) - 2


@pytest.mark.parametrize(
    "name",
    [
        "kernel-ridge",
        "svc",
        "softmax-ours",
        "scaler-svc",
        "svr",
        "lasso",
        "gaussian-nb",
        "gaussian-process",
    ],
)
def test_the_edited_model_holds_nothing_of_removed_rows(name):
    model, X, y = MODELS[name]
    secret = X.copy()
    secret[3] = 0.12345678901234 + np.arange(X.shape[1])
    model = clone(model).fit(secret, y)
    after = Influence(model, secret, y).edited(edits.remove(3))
    dumped = pickle.dumps(after)
    assert secret[3, :1].tobytes() not in dumped


def test_weights_and_sparse_rows_count():
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 2.0, len(yc))
    X = sp.csr_array(np.where(np.abs(Xc) > 1.0, Xc, 0.0))
    model = linear_model.LogisticRegression(**NEWTON).fit(X, yc, weight)
    inf = Influence(model, X, yc, weight)
    edit = edits.remove([0, 4]) + edits.reweight(9, 3.0) + edits.add(X[[20]], yc[0], 1.5)
    left = np.setdiff1d(np.arange(len(yc)), [0, 4])
    weight[9] = 3.0
    refit = clone(model).fit(
        sp.vstack([X[left], X[[20]]]).tocsr(),
        np.append(yc[left], yc[0]),
        np.append(weight[left], 1.5),
    )
    wanted = refit.decision_function(X)
    np.testing.assert_allclose(inf.edited(edit).estimator.decision_function(X), wanted, rtol=1e-9)


def frame():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "size": rng.normal(size=60),
            "kind": rng.choice(["a", "b"], 60),
            "age": rng.normal(3, 2, 60),
        },
        index=[f"row {i}" for i in range(60)],
    )
    table.loc["row 7", "kind"] = "only here"
    return table, (table["size"] + rng.normal(size=60) > 0).to_numpy()


def test_a_category_that_leaves_with_its_only_row_takes_its_column_along():
    """Frames, names of rows, and a one-hot column that a refit no longer has."""
    X, y = frame()
    steps = make_column_transformer(
        (StandardScaler(), ["size", "age"]), (OneHotEncoder(handle_unknown="ignore"), ["kind"])
    )
    model = make_pipeline(steps, linear_model.LogisticRegression(**NEWTON)).fit(X, y)
    after = Influence(model, X, y).edited(
        edits.remove(labels="row 7") + edits.add([0.3, "new", 2.0], True)
    )
    new = pd.DataFrame([{"size": 0.3, "kind": "new", "age": 2.0}])
    X_after = pd.concat([X.drop(index="row 7"), new])
    refit = clone(model).fit(X_after, np.append(np.delete(y, 7), True))
    assert after.estimator[-1].coef_.shape == refit[-1].coef_.shape
    np.testing.assert_allclose(
        after.estimator.decision_function(X), refit.decision_function(X), atol=1e-9
    )
    assert after.error_at(X).max() < 1e-9


def test_texts_are_edited_as_texts():
    texts = [
        "spam ham eggs",
        "ham ham",
        "cheap spam",
        "eggs and ham",
        "spam spam now",
        "all of it",
    ] * 3
    y = np.array([1, 0, 1, 0, 1, 0] * 3)
    model = make_pipeline(TfidfVectorizer(), linear_model.LogisticRegression(**NEWTON)).fit(
        texts, y
    )
    after = Influence(model, texts, y).edited(edits.remove(0) + edits.add("a new word", 1))
    refit = clone(model).fit([*texts[1:], "a new word"], np.append(y[1:], 1))
    np.testing.assert_allclose(
        after.estimator.decision_function(texts), refit.decision_function(texts), atol=1e-9
    )


def test_wrappers_stay_around_the_edited_model():
    search = GridSearchCV(linear_model.LogisticRegression(**NEWTON), {"C": [0.1, 1.0]}).fit(Xc, yc)
    after = Influence(search, Xc, yc).edited(edits.remove([3, 77])).estimator
    left = np.setdiff1d(np.arange(len(yc)), [3, 77])
    refit = clone(search.best_estimator_).fit(Xc[left], yc[left])
    np.testing.assert_allclose(after.decision_function(Xc), refit.decision_function(Xc), rtol=1e-8)
    assert isinstance(after, GridSearchCV) and after.best_params_ == search.best_params_
    frozen = FrozenEstimator(search.best_estimator_)
    after = Influence(frozen, Xc, yc).edited(edits.remove([3, 77])).estimator
    assert isinstance(after, FrozenEstimator)
    np.testing.assert_allclose(after.decision_function(Xc), refit.decision_function(Xc), rtol=1e-8)


def test_held_transformers_stay_as_fitted():
    """With frozen="accept" the model alone is fitted again, on the features as they were."""
    model, X, y = MODELS["scaler-logistic"]
    model = clone(model).fit(X, y)
    after = Influence(model, X, y).edited(edits.remove([3, 77]), frozen="accept")
    seen = np.delete(model[0].transform(X), [3, 77], 0)
    refit = clone(model[-1]).fit(seen, np.delete(y, [3, 77]))
    wanted = refit.decision_function(model[0].transform(X))
    np.testing.assert_allclose(after.estimator.decision_function(X), wanted, rtol=1e-8)
    assert after.report.fitted_again == () and after.report.route == "edit"
    assert after.estimator[0] is not model[0]
    # As the object was made, unless a call says otherwise.
    held = Influence(model, X, y, frozen="accept")
    assert held.edited(edits.remove(3)).report.fitted_again == ()
    assert held.edited(edits.remove(3), frozen="refuse").report.fitted_again == ("standardscaler",)


def test_what_no_refit_gives_is_refused():
    model = linear_model.LogisticRegression(**NEWTON).fit(Xc, yc)
    inf = Influence(model, Xc, yc)
    with pytest.raises(ValueError, match="tol must lie between"):
        inf.edited(edits.remove(0), tol=0.0)
    with pytest.raises(ValueError, match="frozen must be"):
        inf.edited(edits.remove(0), frozen="held")
    with pytest.raises(ValueError, match="Every class must keep weight"):
        inf.edited(edits.remove(np.flatnonzero(yc == "good")))
    with pytest.raises(ValueError, match="leave hold out"):
        Influence(model, Xc, yc, hold="lambda").edited(edits.remove(0))
    drawing = make_pipeline(
        QuantileTransformer(n_quantiles=5, subsample=50, random_state=np.random.RandomState(0)),
        linear_model.LogisticRegression(**NEWTON),
    ).fit(Xc, yc)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inf = Influence(drawing, Xc, yc)
    with pytest.raises(ValueError, match="fitted again on the same rows, they give others"):
        inf.edited(edits.remove(0))
    assert inf.edited(edits.remove(0), frozen="accept").report.route == "edit"


def test_a_precomputed_kernel_loses_the_columns_of_removed_rows():
    K = np.exp(-0.3 * np.square(Xd[:, None] - Xd).sum(axis=2))
    model = KernelRidge(kernel="precomputed", alpha=0.1).fit(K, yd)
    after = Influence(model, K, yd).edited(edits.remove([3, 77]))
    left = np.setdiff1d(np.arange(len(yd)), [3, 77])
    refit = clone(model).fit(K[np.ix_(left, left)], yd[left])
    wanted = refit.predict(K[:, left])
    np.testing.assert_allclose(after.estimator.predict(K[:, left]), wanted, rtol=1e-10)
    assert np.isinf(after.error_at(K[:, left])).all()


def test_what_has_no_edited_model_is_refused_by_name():
    with pytest.raises(TypeError, match=r"The model after an edit is known of.*Got a smoother"):
        solve_edited(SimpleNamespace(model_name="a smoother"), None, None, 1e-8)
    X, y = Xd[:40], yd[:40]
    chosen = GaussianProcessRegressor(RBF(3.0), alpha=1.0).fit(X, y)
    inf = Influence(chosen, X, y)
    given = Influence(process().fit(X, y), X, y)
    for ask in ("edited", "after"):
        with pytest.raises(TypeError, match="of models that chose nothing on the rows"):
            getattr(inf, ask)(edits.remove(0))
        with pytest.raises(ValueError, match=r"has no weights.*gives one 0\.5"):
            getattr(given, ask)(edits.reweight(0, 0.5))
    with pytest.raises(ValueError, match="count one each"):
        Influence(LinearDiscriminantAnalysis().fit(Xi, yi), Xi, yi).edited(edits.reweight(0, 2.0))


def test_a_row_that_a_gaussian_process_is_given_twice_is_there_twice():
    X, y = Xd[:40], yd[:40]
    after = Influence(process().fit(X, y), X, y).edited(edits.reweight(3, 2.0)).estimator
    refit = process().fit(np.vstack([X, X[3]]), np.append(y, y[3]))
    for found, wanted in zip(
        after.predict(Xd, return_std=True), refit.predict(Xd, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_libsvms_fit_is_the_edited_one_as_far_as_libsvm_goes():
    model = svm.SVC(C=3.0, tol=1e-10).fit(Xi, yi)
    after = Influence(model, Xi, yi).edited(edits.remove([3, 77]))
    refit = clone(model).fit(np.delete(Xi, [3, 77], 0), np.delete(yi, [3, 77]))
    np.testing.assert_allclose(
        after.estimator.decision_function(Xi), refit.decision_function(Xi), atol=1e-6
    )
    np.testing.assert_array_equal(after.estimator.predict(Xi), refit.predict(Xi))


SUPPORTS = {
    "classes": (svm.SVC(C=3.0, tol=1e-10), Xi, yi),
    "tube": (svm.SVR(C=50.0, epsilon=5.0, tol=1e-10), Xd, yd),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_behind_a_scaler_rows_that_keep_their_role_are_not_followed(name, monkeypatch):
    """The scaler moves all rows, and few change roles: no path is followed, and refits say the same."""
    estimator, X, y = SUPPORTS[name]
    model = make_pipeline(StandardScaler(), estimator).fit(X, y)
    inf = Influence(model, X, y)
    inf.edited(edits.remove(5))
    monkeypatch.setattr(near_start, "polish", None)
    monkeypatch.setattr(optimum, "polish", None)
    monkeypatch.setattr(regression, "polish", None)
    gone = [3, 40, 77]
    found = inf.edited(edits.remove(gone)).estimator
    refit = clone(model).fit(np.delete(X, gone, 0), np.delete(y, gone))
    np.testing.assert_allclose(
        outputs(found, X), outputs(refit, X), atol=1e-6 * np.abs(outputs(refit, X)).max()
    )
