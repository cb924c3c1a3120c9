"""Leave-one-out outputs, scores, groups and search, against refits by scikit-learn."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import logsumexp
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.feature_selection import (
    RFE,
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
)
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    make_scorer,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    LeaveOneGroupOut,
    LeaveOneOut,
    cross_val_predict,
    cross_val_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler, TargetEncoder
from sklearn.svm import SVC, LinearSVC

from skinfluence import Influence, linear_model, objective_of
from skinfluence.cleaning import audit
from skinfluence.inputs.frozen import check_frozen, uses_y
from skinfluence.leave_one_out import loo_loss
from skinfluence.model_selection import (
    LeaveOneOutSearch,
    leave_one_group_out,
    leave_one_group_out_score,
    loo_predict,
    loo_score,
)
from skinfluence.model_selection.path import certified, one_step
from skinfluence.smooth.one_step.steps import own_eta_steps, removals
from skinfluence.solvers import Exact
from tests.registries import make_data
from tests.versions import parametrize_with_checks

TIGHT = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 500}
GRID = np.logspace(-2, 3, 6)


def small_sets():
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", StandardScaler().fit_transform(X)[::12], y[::12]
    X, y = load_digits(return_X_y=True)
    chosen = (y == 3) | (y == 8)
    yield "digits", X[chosen][::9] / 16.0, y[chosen][::9]
    X, y = load_wine(return_X_y=True)
    yield "wine", StandardScaler().fit_transform(X)[::5], y[::5]


SMALL = list(small_sets())


def brute_losses(X, y, grid=GRID, sample_weight=None):
    """Log loss of every row from the model refitted without it, (n_values, n_samples)."""
    losses = np.empty((len(grid), len(y)))
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        weights = None if sample_weight is None else sample_weight[kept]
        for k, C in enumerate(grid):
            model = LogisticRegression(C=C, **TIGHT).fit(X[kept], y[kept], weights)
            eta = np.atleast_1d(model.decision_function(X[[i]])[0])
            eta = np.append(0.0, eta) if len(eta) == 1 else eta
            losses[k, i] = logsumexp(eta) - eta[list(model.classes_).index(y[i])]
    return losses


# loo_predict, loo_score ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
@pytest.mark.parametrize("task", ["binary", "softmax"])
def test_loo_predict_is_cross_val_predict_with_leave_one_out(task, response):
    X, y = make_data(task, 40, 4, 0)
    model = LogisticRegression(C=3.0, **TIGHT)
    expected = cross_val_predict(model, X, y, cv=LeaveOneOut(), method=response)
    found = loo_predict(model, X, y, response_method=response, method="exact")
    if response == "predict":
        np.testing.assert_array_equal(found, expected)
        return
    if response == "decision_function" and task == "softmax":
        expected = expected - expected.mean(axis=1, keepdims=True)
    # rtol: scikit-learn's own tolerance on the gradient, times the conditioning.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_loo_predict_of_a_regression():
    X, y = make_data("regression", 30, 4, 0)
    expected = cross_val_predict(Ridge(0.3), X, y, cv=LeaveOneOut())
    np.testing.assert_allclose(loo_predict(Ridge(0.3), X, y), expected, rtol=1e-9)
    np.testing.assert_allclose(
        loo_predict(Ridge(0.3), X, y, response_method="loss"), 0.5 * (y - expected) ** 2, rtol=1e-8
    )


def test_loss_response_is_the_log_loss_of_the_proba_response(rng):
    X, y = make_data("softmax", 40, 4, 0)
    weights = rng.uniform(0.2, 2.0, len(y))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    options = {"sample_weight": weights, "frozen": "accept"}
    proba = loo_predict(model, X, y, response_method="predict_proba", **options)
    loss = loo_predict(model, X, y, response_method="loss", **options)
    assert loss.mean() == pytest.approx(log_loss(y, proba), rel=1e-12)
    assert loo_score(model, X, y, scoring="neg_log_loss", **options) == pytest.approx(-loss.mean())


@pytest.mark.parametrize(
    ("scoring", "response", "metric"),
    [
        (None, "predict", accuracy_score),
        ("balanced_accuracy", "predict", balanced_accuracy_score),
        ("roc_auc", "decision_function", roc_auc_score),
        ("neg_log_loss", "predict_proba", lambda y, p: -log_loss(y, p)),
    ],
)
def test_loo_score_is_the_scorer_on_pooled_outputs(scoring, response, metric):
    X, y = make_data("binary", 50, 4, 1)
    outputs = loo_predict(LogisticRegression(), X, y, response_method=response)
    found = loo_score(LogisticRegression(), X, y, scoring=scoring)
    assert found == pytest.approx(metric(y, outputs), rel=1e-12)


def test_the_estimator_is_not_fitted_or_changed():
    X, y = make_data("binary", 30, 3, 0)
    model = LogisticRegression(C=0.7)
    loo_predict(model, X, y)
    loo_score(model, sp.csr_array(X), y)
    assert not hasattr(model, "coef_")


def test_our_estimators_and_sparse_data_give_the_same():
    X, y = make_data("binary", 40, 4, 0)
    expected = loo_predict(LogisticRegression(), X, y, response_method="predict_proba")
    found = loo_predict(
        linear_model.LogisticRegression(), sp.csr_array(X), y, response_method="predict_proba"
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sample_weights_reach_the_last_step_of_a_pipeline(rng):
    X, y = make_data("binary", 40, 4, 0)
    weights = rng.integers(1, 4, len(y)).astype(float)
    model = make_pipeline(FunctionTransformer(), LogisticRegression(**TIGHT))
    found = loo_predict(model, X, y, sample_weight=weights, response_method="loss")
    expected = brute_losses(X, y, [1.0], weights)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_a_row_alone_in_its_class_has_no_prediction_and_no_say():
    X, y = make_data("softmax", 40, 4, 0)
    y[3] = 99
    model = LogisticRegression()
    with (
        pytest.raises(ValueError, match=r"Without row 3.*decision_function"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", UserWarning)
        loo_predict(model, X, y)
    with pytest.warns(UserWarning, match="Row 3 is the only one of its class"):
        proba = loo_predict(model, X, y, response_method="predict_proba")
    assert np.isnan(proba[3]).all()
    with pytest.warns(UserWarning, match="Row 3 is the only one of its class"):
        score = loo_score(model, X, y)
    others = np.delete(np.arange(40), 3)
    predicted = np.unique(y)[np.nan_to_num(proba).argmax(axis=1)]
    assert score == np.mean(predicted[others] == y[others])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X, y: loo_predict(object(), X, y), TypeError, "known objective"),
        (
            lambda X, y: loo_predict(GridSearchCV(LogisticRegression(), {"C": [1.0]}), X, y),
            TypeError,
            "must not be a search.*best_estimator_",
        ),
        (
            lambda X, y: loo_predict(RidgeClassifier(), X, y, response_method="predict_proba"),
            AttributeError,
            "RidgeClassifier has no predict_proba",
        ),
        (
            lambda X, y: loo_predict(LogisticRegression(), X, y, response_method="proba"),
            ValueError,
            "response_method must be one of",
        ),
        (lambda X, y: loo_predict(LogisticRegression(), X, y[:-1]), ValueError, "inconsistent"),
        (lambda X, y: loo_predict(LogisticRegression(), X, None), ValueError, "y to be passed"),
        (
            lambda X, y: loo_predict(Ridge(), X, np.ones((len(X), 2))),
            ValueError,
            "y must be one-dimensional",
        ),
        (
            lambda X, y: loo_score(LogisticRegression(), X, y, scoring=["accuracy"]),
            TypeError,
            "scoring must be None, the name of one scorer",
        ),
        (
            lambda X, y: loo_predict(LogisticRegression(), X, y, frozen=True),
            ValueError,
            "frozen must be None, 'accept' or 'refuse'",
        ),
        (
            lambda X, y: leave_one_group_out(LogisticRegression(), X, y, None),
            ValueError,
            "'groups' parameter should not be None",
        ),
        (
            lambda X, y: leave_one_group_out(LogisticRegression(), X, y, np.zeros(len(y))),
            ValueError,
            "at least two groups",
        ),
        (
            lambda X, y: leave_one_group_out(LogisticRegression(), X, y, [0, 1]),
            ValueError,
            "inconsistent",
        ),
    ],
)
def test_refusals(call, error, message):
    X, y = make_data("binary", 30, 3, 0)
    with pytest.raises(error, match=message):
        call(X, y)


# Groups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["binary", "softmax", "regression"])
@pytest.mark.parametrize("sparse", [False, True])
def test_groups_equal_cross_val_predict_with_leave_one_group_out(task, sparse, rng):
    X, y = make_data(task, 60, 4, 0)
    X = sp.csr_array(X) if sparse else X
    groups = rng.choice(["a", "b", "c", "d", "e"], len(y))
    model = Ridge(0.5, solver="sparse_cg", tol=1e-12) if sparse else Ridge(0.5)
    response = "predict"
    if task != "regression":
        model, response = LogisticRegression(C=2.0, **TIGHT), "predict_proba"
    model = model.set_params(solver="lbfgs") if sparse and task != "regression" else model
    expected = cross_val_predict(model, X, y, groups=groups, cv=LeaveOneGroupOut(), method=response)
    for method, tolerance in (("exact", 1e-6), ("auto", 1e-3)):
        found = leave_one_group_out(model, X, y, groups, response_method=response, method=method)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scoring", [None, "roc_auc", "neg_log_loss"])
def test_group_scores_equal_cross_val_score(scoring):
    X, y = make_data("binary", 80, 4, 0)
    groups = np.arange(80) % 6
    model = LogisticRegression(**TIGHT)
    expected = cross_val_score(model, X, y, groups=groups, cv=LeaveOneGroupOut(), scoring=scoring)
    found = leave_one_group_out_score(model, X, y, groups, scoring=scoring, method="exact")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_groups_of_one_row_are_leave_one_out():
    X, y = make_data("binary", 40, 4, 0)
    model = LogisticRegression()
    options = {"response_method": "decision_function", "method": "exact"}
    found = leave_one_group_out(model, X, y, np.arange(40)[::-1], **options)
    np.testing.assert_allclose(found, loo_predict(model, X, y, **options), rtol=1e-7)


def test_a_group_that_holds_a_class_is_nan_and_one_that_holds_everything_is_refused(rng):
    X, y = make_data("softmax", 40, 4, 0)
    groups = np.where(y == 20, 9, rng.integers(0, 3, 40))
    model = LogisticRegression()
    with pytest.warns(UserWarning, match="All rows of class 20 are in group 9"):
        scores = leave_one_group_out_score(model, X, y, groups)
    assert np.isnan(scores).tolist() == [False, False, False, True]
    weights = (groups == 0).astype(float)
    with pytest.raises(ValueError, match="Group 0 does: without it"):
        leave_one_group_out(Ridge(), X, y, groups, sample_weight=weights)


@pytest.mark.parametrize("method", ["auto", "exact"])
@pytest.mark.parametrize("behind", [[], [StandardScaler()]], ids=["alone", "behind a scaler"])
@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression(C=np.inf, **TIGHT)])
def test_a_group_without_which_no_optimum_is_left_is_named_and_the_others_are_answered(
    model, behind, method, rng
):
    """It decides a column alone, or has the only rows that a plane does not separate."""
    X, groups = rng.standard_normal((60, 3)), np.repeat(list("abcdef"), 10)
    y = X[:, 0] + rng.standard_normal(60)
    if isinstance(model, LinearRegression):
        X[groups != "c", 2] = 0.0
    else:
        y = (X[:, 0] > 0) ^ ((groups == "c") & (np.arange(60) % 3 == 0))
    model = make_pipeline(*behind, model)
    response = "decision_function" if hasattr(model, "decision_function") else "predict"
    options = {"method": method, "response_method": response}
    with pytest.warns(UserWarning, match=r"[Gg]roup c|Rows 20, 21"):
        found = leave_one_group_out(model, X, y, groups, **options)
    assert np.isnan(found[groups == "c"]).all()
    if response == "decision_function":
        with (
            pytest.warns(UserWarning),
            pytest.raises(ValueError, match="Without row 20, or its group"),
        ):
            leave_one_group_out(model, X, y, groups, method=method)
    for group in "abdef":
        rows = groups == group
        refit = clone(model).fit(X[~rows], y[~rows])
        np.testing.assert_allclose(
            found[rows], getattr(refit, response)(X[rows]), rtol=1e-3 if method == "auto" else 1e-6
        )


# Frozen transformers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transformer",
    [
        SelectKBest(k=2),
        SelectPercentile(),
        RFE(LogisticRegression()),
        SelectFromModel(LogisticRegression()),
        TargetEncoder(),
        PLSRegression(),
        LinearDiscriminantAnalysis(),
        NeighborhoodComponentsAnalysis(),
    ],
    ids=lambda t: type(t).__name__,
)
@pytest.mark.parametrize("nested", [False, True])
def test_transformers_that_used_y_are_refused(transformer, nested):
    assert uses_y(transformer)
    if nested:
        columns = ColumnTransformer([("scale", StandardScaler(), [0]), ("own", transformer, [1])])
        transformer = FeatureUnion([("id", "passthrough"), ("columns", Pipeline([("c", columns)]))])
    model = make_pipeline(StandardScaler(), transformer, LogisticRegression())
    with pytest.raises(ValueError, match=r"none may have used y.*frozen='accept'"):
        check_frozen(model, None)
    check_frozen(model, "accept")


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        PCA(),
        VarianceThreshold(),
        SelectFromModel(IsolationForest()),
        ColumnTransformer([("scale", StandardScaler(), [0])], remainder="passthrough"),
    ],
    ids=lambda t: type(t).__name__,
)
def test_transformers_that_learned_from_the_rows_are_announced(transformer):
    with pytest.warns(UserWarning, match="preprocessing as fitted on all rows"):
        check_frozen(make_pipeline(transformer, Ridge()), None)


@pytest.mark.parametrize(
    "transformer",
    [FunctionTransformer(), Normalizer(), FrozenEstimator(SelectKBest()), "passthrough"],
    ids=str,
)
def test_transformers_that_learn_nothing_are_not_announced(transformer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_frozen(make_pipeline(transformer, Ridge()), None)


def leaking_pipeline():
    X, y = make_data("binary", 40, 5, 0)
    return make_pipeline(SelectKBest(k=3), LogisticRegression()), X, y


FROZEN_CALLS = {
    "loo_predict": lambda m, X, y, **o: loo_predict(m, X, y, **o),
    "loo_score": lambda m, X, y, **o: loo_score(m, X, y, scoring="roc_auc", **o),
    "groups": lambda m, X, y, **o: leave_one_group_out(m, X, y, np.arange(len(y)) % 5, **o),
    "group scores": lambda m, X, y, **o: leave_one_group_out_score(
        m, X, y, np.arange(len(y)) % 5, **o
    ),
    "search": lambda m, X, y, **o: LeaveOneOutSearch(
        m, {"logisticregression__C": [0.1, 1.0]}, **o
    ).fit(X, y),
    "Influence.loo_predict": lambda m, X, y, **o: Influence(m.fit(X, y), X, y).loo_predict(**o),
    "Influence.loo_predict_proba": lambda m, X, y, **o: Influence(
        m.fit(X, y), X, y
    ).loo_predict_proba(**o),
    "Influence.loo_decision_function": lambda m, X, y, **o: Influence(
        m.fit(X, y), X, y
    ).loo_decision_function(**o),
    "Influence.loo_score": lambda m, X, y, **o: Influence(m.fit(X, y), X, y).loo_score(**o),
    "audit": lambda m, X, y, **o: audit(m.fit(X, y), X, y, **o),
    "loo_loss": lambda m, X, y, **o: loo_loss(Influence(m.fit(X, y), X, y), **o),
}


# What they give is no array.
OBJECTS = ("search", "audit")


@pytest.mark.parametrize("name", [name for name in FROZEN_CALLS if name not in OBJECTS])
def test_leave_one_out_is_about_the_whole_pipeline_and_has_nothing_to_warn_of(name):
    """Selecting columns by y, too: the row's own label is in none of its answers."""
    call = FROZEN_CALLS[name]
    selecting, X, y = leaking_pipeline()
    for model in (selecting, make_pipeline(StandardScaler(), LogisticRegression())):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found, held = call(model, X, y, frozen="refuse"), call(model, X, y, frozen="accept")
            np.testing.assert_array_equal(call(model, X, y), found)
        if np.size(found) > 1 and np.asarray(found).dtype.kind == "f" and name != "group scores":
            assert np.abs(found - held).max() > 1e-6


@pytest.mark.parametrize("call", [FROZEN_CALLS[name] for name in OBJECTS], ids=OBJECTS)
def test_searches_and_audits_are_about_the_whole_pipeline_without_a_warning(call):
    leaking, X, y = leaking_pipeline()
    for model in (leaking, make_pipeline(StandardScaler(), LogisticRegression())):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for frozen in (None, "accept", "refuse"):
                call(model, X, y, frozen=frozen)


def test_a_grid_may_bring_in_a_supervised_transformer():
    X, y = make_data("binary", 40, 5, 0)
    model = Pipeline([("first", StandardScaler()), ("model", LogisticRegression())])
    search = LeaveOneOutSearch(model, {"first": [StandardScaler(), SelectKBest(k=2)]})
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    for first, score in zip((StandardScaler(), SelectKBest(k=2)), scores, strict=True):
        one = clone(model).set_params(first=first)
        loss = loo_predict(one, X, y, response_method="loss", method="exact")
        assert score == pytest.approx(-loss.mean(), rel=0.05)


# Search ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("X", "y"), [data[1:] for data in SMALL], ids=[d[0] for d in SMALL])
def test_search_picks_the_penalty_of_brute_force(X, y):
    """One refit per row and value; the scores of all values too, where they are solved exactly."""
    truth = brute_losses(X, y).mean(axis=1)
    search = LeaveOneOutSearch(LogisticRegression(), {"C": GRID}).fit(X, y)
    assert truth[search.best_index_] <= truth.min() + 1e-4
    # The bound is on the distance to the optimum; 1e-7 is the tolerance of the refits.
    error = abs(search.best_score_ + truth[search.best_index_])
    assert error <= search.cv_results_["score_bound"][search.best_index_] + 1e-7
    assert search.cv_results_["score_bound"][search.best_index_] <= 1e-4 * truth.min() + 1e-9
    exact = LeaveOneOutSearch(LogisticRegression(), {"C": GRID}, method="exact").fit(X, y)
    np.testing.assert_allclose(-exact.cv_results_["mean_test_score"], truth, rtol=1e-5)
    scan = LeaveOneOutSearch(LogisticRegression(), {"C": GRID}, method="one-step").fit(X, y)
    assert (scan.cv_results_["score_method"] == "one-step").all()
    assert spearmanr(scan.cv_results_["mean_test_score"], -truth)[0] > 0.8


def test_bounds_of_scores_are_infinite_or_hold_where_rows_weigh_nothing(rng):
    """Zero times infinity was NaN, with a bare warning of numpy."""
    X, y = make_data("binary", 40, 4, 0)
    weights = rng.integers(0, 3, 40).astype(float)
    search = LeaveOneOutSearch(LogisticRegression(), {"C": GRID}, refit=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        search.fit(X, y, sample_weight=weights)
    bound = search.cv_results_["score_bound"]
    best = search.best_index_
    exact = clone(search).set_params(method="exact").fit(X, y, sample_weight=weights)
    error = abs(search.cv_results_["mean_test_score"] - exact.cv_results_["mean_test_score"])
    assert np.isfinite(bound[best])
    assert (error <= bound + 1e-9).all()


@pytest.mark.parametrize("shape", [(40, 6), (20, 50)], ids=["tall", "wide"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("sparse", [False, True])
def test_ridge_path_equals_refits(shape, fit_intercept, sparse, rng):
    X = rng.standard_normal(shape) + 1.0
    y = X[:, 0] + rng.standard_normal(len(X))
    weights = rng.uniform(0.2, 2.0, len(y))
    weights[3] = 0.0
    grid = np.logspace(-3, 3, 4)
    model = Ridge(fit_intercept=fit_intercept, solver="sparse_cg" if sparse else "auto")
    search = LeaveOneOutSearch(model, {"alpha": grid})
    search.fit(sp.csr_array(X) if sparse else X, y, sample_weight=weights)
    for alpha, score in zip(grid, search.cv_results_["mean_test_score"], strict=True):
        losses = []
        for i in range(len(y)):
            kept = np.arange(len(y)) != i
            refit = Ridge(alpha, fit_intercept=fit_intercept)
            refit.fit(X[kept], y[kept], sample_weight=weights[kept])
            losses.append(0.5 * (y[i] - refit.predict(X[[i]])[0]) ** 2)
        # 1e-7: 1 - leverage is of the order of alpha over the largest eigenvalue.
        assert -score == pytest.approx(np.average(losses, weights=weights), rel=1e-7)
    assert (search.cv_results_["score_bound"] == 0.0).all()


@pytest.mark.parametrize("model", [RidgeClassifier(), LogisticRegression(**TIGHT)], ids=str)
@pytest.mark.parametrize("task", ["binary", "softmax"])
@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_scores_equal_those_of_single_fits(model, task, scoring, rng):
    """The path shares data, starts and eigenvectors; the scores are those of separate fits."""
    X, y = make_data(task, 28, 4, 0)
    name = "alpha" if isinstance(model, RidgeClassifier) else "C"
    weights = rng.uniform(0.2, 2.0, len(y))
    grid = {name: [0.01, 30.0], "class_weight": [None, "balanced"]}
    search = LeaveOneOutSearch(model, grid, scoring=scoring, method="exact")
    search.fit(X, y, sample_weight=weights)
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        one = clone(model).set_params(**params)
        options = {"sample_weight": weights, "method": "exact"}
        if scoring:
            expected = loo_score(one, X, y, scoring=scoring, **options)
        else:
            loss = loo_predict(one, X, y, response_method="loss", **options)
            expected = -np.average(loss, weights=weights)
        assert score == pytest.approx(expected, rel=1e-6)


def test_classes_that_a_binary_model_inside_balances_are_weighed_without_the_row():
    """As the model's own balanced weights are: what moves is asked of the model, not of its wrapper."""
    X, y = make_data("softmax", 30, 3, 0)
    model = OneVsRestClassifier(LogisticRegression(class_weight="balanced", **TIGHT))
    search = LeaveOneOutSearch(model, {"estimator__C": [0.1]}, scoring="neg_log_loss").fit(X, y)
    proba = cross_val_predict(
        clone(model).set_params(estimator__C=0.1), X, y, cv=LeaveOneOut(), method="predict_proba"
    )
    assert search.best_score_ == pytest.approx(-log_loss(y, proba), rel=1e-6)


def test_the_certified_bound_holds_for_the_mean_loss():
    """Against the exact answer, at values where one step is far off."""
    for _, X, y in SMALL:
        for C in (1.0, 100.0):
            model = LogisticRegression(C=C, **TIGHT).fit(X, y)
            inf = Influence(model, X, y)
            exact = loo_loss(inf, "exact")
            for tol in (1e-1, 1e-2, 1e-4):
                found = certified(inf.objective, "auto", tol)
                error = np.abs(found.objective.loss.value(found.eta, inf.objective.y) - exact)
                assert (error <= found.bound + 1e-8).all()
                assert found.bound.mean() <= tol * exact.mean()


def test_transformers_are_fitted_once_per_setting_of_theirs():
    X, y = make_data("binary", 50, 5, 0)
    fits = []

    class Counting(PCA):
        def fit_transform(self, X, y=None):
            fits.append(self.n_components)
            return super().fit_transform(X, y)

    model = Pipeline([("pca", Counting()), ("model", LogisticRegression())])
    grid = {
        "pca__n_components": [2, 3],
        "model__C": np.logspace(-2, 2, 5),
        "model__class_weight": [None, "balanced"],
    }
    search = LeaveOneOutSearch(model, grid, refit=False, frozen="accept").fit(X, y)
    assert sorted(fits) == [2, 3]
    assert len(search.cv_results_["params"]) == 20
    one = clone(model).set_params(**search.best_params_)
    loss = loo_predict(one, X, y, response_method="loss", method="exact", frozen="accept")
    assert search.best_score_ == pytest.approx(-loss.mean(), rel=1e-4)


def test_steps_can_be_swapped_and_grids_listed():
    X, y = make_data("softmax", 60, 4, 0)
    model = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])
    grid = [
        {"model": [LogisticRegression(), RidgeClassifier()], "scale": ["passthrough"]},
        {"model__C": [0.1, 1.0]},
    ]
    search = LeaveOneOutSearch(model, grid, scoring="accuracy", frozen="accept").fit(X, y)
    results = search.cv_results_
    assert results["param_model__C"].mask.tolist() == [True, True, False, False]
    for params, score in zip(results["params"], results["mean_test_score"], strict=True):
        one = clone(model).set_params(**params)
        assert score == pytest.approx(loo_score(one, X, y, frozen="accept"), abs=0.02)
    with pytest.raises(ValueError, match=r"same loss. Got Multinomial and SquaredError"):
        LeaveOneOutSearch(model, grid, frozen="accept").fit(X, y)


def test_the_protocol_of_scikit_learn():
    X, y = make_data("binary", 60, 4, 0)
    search = LeaveOneOutSearch(LogisticRegression(), {"C": [0.01, 1.0]})
    with pytest.raises(NotFittedError):
        search.predict(X)
    assert clone(search).get_params()["estimator__C"] == 1.0
    search.fit(X, y)
    best = clone(LogisticRegression()).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.best_estimator_.coef_, best.coef_)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(search, method)(X), getattr(best, method)(X))
    assert search.score(X, y) == best.score(X, y)
    assert search.n_features_in_ == 4
    assert search.classes_.tolist() == ["no", "yes"]
    assert not hasattr(search, "transform")
    assert search.best_params_ == search.cv_results_["params"][search.best_index_]
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()
    assert sorted(search.cv_results_["rank_test_score"]) == [1, 2]
    theirs = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=2).fit(X, y).cv_results_
    missing = {key for key in theirs if not key.startswith("split")} - set(search.cv_results_)
    assert not missing
    assert search.cv_results_["param_C"].dtype == theirs["param_C"].dtype
    scored = LeaveOneOutSearch(LogisticRegression(), {"C": [1.0]}, scoring="neg_log_loss")
    assert scored.fit(X, y).score(X, y) < 0
    assert not hasattr(LeaveOneOutSearch(Ridge(), {}, refit=False), "predict")


def test_standard_deviation_is_over_rows():
    X, y = make_data("binary", 40, 4, 0)
    search = LeaveOneOutSearch(LogisticRegression(), {"C": [1.0]}, method="exact").fit(X, y)
    loss = loo_predict(LogisticRegression(), X, y, response_method="loss", method="exact")
    assert search.cv_results_["std_test_score"][0] == pytest.approx(loss.std(), rel=1e-4)


@pytest.mark.parametrize("strange", [-1.0, "a"])
def test_a_candidate_that_fails_changes_nothing_of_what_others_are_asked(strange):
    """It came first, and the transformers of all were held."""
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[::8, :4], y[::8]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = []
    for values in ([1.0], [strange, 1.0]):
        search = LeaveOneOutSearch(model, {"logisticregression__C": values})
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            scores.append(search.fit(X, y).best_score_)
        assert not any("frozen" in str(one.message) for one in said)
    assert scores[0] == scores[1]


def test_failing_candidates_get_the_error_score():
    X, y = make_data("binary", 40, 4, 0)
    with pytest.warns(FitFailedWarning, match=r"1 of 3 candidates.*'C' parameter"):
        search = LeaveOneOutSearch(LogisticRegression(), {"C": [1.0, -1.0, 0.1]}).fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True, False]
    assert search.cv_results_["rank_test_score"][1] == 3
    with pytest.raises(ValueError, match=r"All 1 failed.*'C' parameter"):
        LeaveOneOutSearch(LogisticRegression(), {"C": [-1.0]}).fit(X, y)
    with pytest.raises(ValueError, match="'C' parameter"):
        LeaveOneOutSearch(LogisticRegression(), {"C": [1, -1]}, error_score="raise").fit(X, y)
    for strange in (0, "a", None, [1.0]):
        with pytest.raises((ValueError, TypeError)):
            LeaveOneOutSearch(LogisticRegression(), {"C": [1.0, strange]}, error_score="raise").fit(
                X, y
            )
    with pytest.raises(ValueError, match="method must be one of"):
        LeaveOneOutSearch(LogisticRegression(), {"C": [1]}, method="influence").fit(X, y)


def test_values_named_twice_or_not_at_all_score_the_same():
    X, y = make_data("binary", 40, 4, 0)
    grid = [{"C": [1.0]}, {"C": [1.0, np.inf]}, {}]
    options = {"error_score": "raise", "method": "exact"}
    search = LeaveOneOutSearch(LogisticRegression(**TIGHT), grid, **options).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores[[1, 3]], scores[0], rtol=1e-6)
    free = LogisticRegression(C=np.inf, **TIGHT)
    loss = loo_predict(free, X, y, response_method="loss", method="exact")
    assert scores[2] == pytest.approx(-loss.mean(), rel=1e-6)


def test_rows_alone_in_their_class_do_not_count():
    X, y = make_data("softmax", 40, 4, 0)
    y[3] = 99
    with pytest.warns(UserWarning, match="Row 3 is the only one") as said:
        search = LeaveOneOutSearch(LogisticRegression(), {"C": [0.1, 1.0]}).fit(X, y)
    assert len([one for one in said if "only one" in str(one.message)]) == 1
    assert np.isfinite(search.best_score_)


def test_scorers_written_by_hand():
    X, y = make_data("binary", 40, 4, 0)
    mine = make_scorer(lambda y, predicted: np.mean(y == predicted))
    search = LeaveOneOutSearch(LogisticRegression(), {"C": [0.1, 1.0]}, scoring=mine).fit(X, y)
    named = LeaveOneOutSearch(LogisticRegression(), {"C": [0.1, 1.0]}, scoring="accuracy")
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], named.fit(X, y).cv_results_["mean_test_score"]
    )


@parametrize_with_checks(
    [
        LeaveOneOutSearch(LogisticRegression(), {"C": [0.1, 1.0]}, error_score="raise"),
        LeaveOneOutSearch(Ridge(), {"alpha": [0.1, 1.0]}, error_score="raise"),
        LeaveOneOutSearch(
            Pipeline([("pca", PCA()), ("ridge", Ridge())]),
            {"ridge__alpha": [0.1, 1.0]},
            error_score="raise",
            frozen="accept",
        ),
    ],
    expected_failed_checks=lambda search: {
        f"check_sample_weight_equivalence_on_{kind}_data": "a row of weight two is left out whole"
        for kind in ("dense", "sparse")
    },
)
def test_scikit_learn_conventions(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize(
    ("model", "grid", "scoring"),
    [
        (KernelRidge(kernel="rbf"), {"alpha": [0.1, 1.0], "gamma": [0.1, 0.5]}, "r2"),
        (SVC(gamma=0.2, tol=1e-8), {"C": [0.1, 10.0]}, "accuracy"),
        (LinearSVC(loss="hinge", tol=1e-8, max_iter=10**6), {"C": [0.01, 0.1]}, "accuracy"),
    ],
)
def test_models_without_a_penalty_path_are_fitted_at_each_candidate(model, grid, scoring):
    """Their leave-one-out answers are exact: the scores are those of brute force."""
    X, y = load_wine(return_X_y=True)
    X, y = StandardScaler().fit_transform(X)[40:110, :5], y[40:110]
    search = LeaveOneOutSearch(model, grid, scoring=scoring).fit(X, y)
    scorer = {"r2": r2_score, "accuracy": accuracy_score}[scoring]
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        one = clone(model).set_params(**params)
        assert score == pytest.approx(
            scorer(y, cross_val_predict(one, X, y, cv=LeaveOneOut())), abs=1e-6
        )


def test_a_scan_asks_no_more_digits_of_leverages_than_one_step_has(monkeypatch):
    """Columns that add up to one, under a weak penalty: no solve for each row, and the same scores."""
    rng = np.random.default_rng(0)
    X = np.eye(5)[rng.integers(0, 5, (80, 3))].reshape(80, 15)
    y = (X @ rng.standard_normal(15) + rng.logistic(size=80) > 0).astype(int)
    model = LogisticRegression(C=1e8, solver="newton-cholesky", tol=1e-10).fit(X, y)
    objective = objective_of(model, X, y)
    factor = Exact("primal").factor(objective)
    edits = removals(objective, np.arange(80))
    true = objective.eta + own_eta_steps(factor, edits, "one-step")
    solved = []
    monkeypatch.setattr(
        type(factor), "leverages_by_solves", lambda self, design, shift=0.0: solved.append(design)
    )
    found = one_step(objective, factor).eta
    assert not solved
    moved = np.abs(true - objective.eta).max()
    assert np.abs(found - true).max() < 1e-4 * moved
    monkeypatch.undo()
    monkeypatch.setattr(type(factor), "leverages_by_solves", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        own_eta_steps(factor, edits, "one-step")
