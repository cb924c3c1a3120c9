"""Derivatives: against true refits, against each other, and what is refused."""

import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import linear_model
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

import skinfluence.linear_model
from skinfluence import Influence
from skinfluence.solvers import SingularHessianError
from tests.registries import ESTIMATORS, SOLVERS, Case, make_data, name_of
from tests.truth import class_factor, parameters_of, refit, relative_error, set_parameters
from tests.versions import l1_logistic, logistic_cv

HOLDS = ("C", "lambda")
EVERY = pytest.mark.parametrize("case", ESTIMATORS, ids=name_of)


@dataclass(frozen=True)
class Fitted:
    """A model at its optimum, and what it was fitted to."""

    inf: Influence
    model: object
    X: object
    y: np.ndarray
    weight: np.ndarray
    factor: np.ndarray
    frozen: dict | None


def fitted(case, hold="C", **options):
    """Influence around the optimum itself: the fit, polished to round-off."""
    X, y, given = case.data()
    model = case.fit(X, y, given)
    factor, frozen = class_factor(model, y, given)
    weight = np.ones(len(y)) if given is None else given
    set_parameters(model, refit(model, X, y, weight, frozen))
    inf = Influence(model, X, y, given, hold=hold, **options)
    return Fitted(inf, model, X, y, weight, factor, frozen)


# Truth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", HOLDS)
@EVERY
def test_weight_derivative_matches_refits(case, hold):
    """d theta / d s_i = class weight / n * I_up is the central difference of two true refits.

    Error at most 1e-6 of the row's largest entry: the step of 1e-4 leaves about 1e-8.
    """
    fit = fitted(case, hold)
    inf, model, X, y, weight, factor, frozen = (
        fit.inf,
        fit.model,
        fit.X,
        fit.y,
        fit.weight,
        fit.factor,
        fit.frozen,
    )
    rows = np.array([0, 20])
    found = inf.influence_up_params(indices=rows) * factor[rows, None, None] / len(y)
    total = (factor * weight).sum()
    h = 1e-4
    for row, derivative in zip(rows, found, strict=True):
        ends = []
        for sign in (1, -1):
            moved = weight.copy()
            moved[row] += sign * h
            ends.append(parameters_of(refit(model, X, y, moved, frozen, total, hold)))
        assert relative_error(derivative, (ends[0] - ends[1]) / (2 * h)) < 1e-6


MOVED = [
    case
    for case in ESTIMATORS
    if not case.sparse and (case.weighted or "class_weight" not in dict(case.params))
]


def losses_at(objective, model, X, y):
    """Test losses of an objective's parameters, through the labels of the model."""
    eta = objective.design.like(X).multiply(objective.theta.T)
    target = objective.labels.targets[objective.labels.codes(y)] if objective.labels else y
    return objective.loss.value(eta, target)


@pytest.mark.parametrize("case", MOVED, ids=name_of)
def test_feature_derivative_matches_refits(case):
    """(w_i / n) * I_pert is the central difference of refits with a feature moved; 1e-5."""
    fit = fitted(case)
    inf, model, X, y, weight, factor, frozen = (
        fit.inf,
        fit.model,
        fit.X,
        fit.y,
        fit.weight,
        fit.factor,
        fit.frozen,
    )
    X_test, y_test = make_data(case.task, 36, 4, seed=0)
    X_test = X_test[:5] + 0.3
    y_test = y_test[5:10]
    row, h = 11, 1e-4
    found = inf.influence_pert(X_test, y_test, indices=[row])[:, 0]
    found = found * (weight * factor)[row] / len(y)
    expected = np.empty_like(found)
    for feature in range(X.shape[1]):
        ends = []
        for sign in (1, -1):
            moved = X.copy()
            moved[row, feature] += sign * h
            new = refit(model, moved, y, weight, frozen)
            ends.append(losses_at(new, model, X_test, y_test))
        expected[:, feature] = (ends[0] - ends[1]) / (2 * h)
    for mine, truth in zip(found, expected, strict=True):
        assert relative_error(mine, truth) < 1e-5


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        StandardScaler(with_std=False),
        MinMaxScaler((-1, 2)),
        MaxAbsScaler(),
        RobustScaler(),
        PCA(3),
        PCA(2, whiten=True),
        make_pipeline(StandardScaler(), PCA(3)),
    ],
    ids=str,
)
def test_feature_derivative_goes_through_frozen_transformers(transformer):
    """Refits of the model on transformed rows; the transformer stays as it was fitted."""
    X, y, _ = Case("LogisticRegression").data()
    X = 3.0 * X + 5.0
    steps = [s for _, s in getattr(transformer, "steps", [("", transformer)])]
    model = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-12)
    pipeline = make_pipeline(*steps, model).fit(X, y)
    front, last = pipeline[:-1], pipeline[-1]
    set_parameters(last, refit(last, front.transform(X), y, np.ones(len(y))))
    X_test, y_test = X[:4] + 0.2, y[4:8]
    inf = Influence(pipeline, X, y)
    found = inf.influence_pert(X_test, y_test, indices=[3, 9], frozen="accept")
    assert found.shape == (4, 2, 4)
    h = 1e-4
    for position, row in enumerate((3, 9)):
        expected = np.empty((4, 4))
        for feature in range(4):
            ends = []
            for sign in (1, -1):
                moved = X.copy()
                moved[row, feature] += sign * h
                new = refit(last, front.transform(moved), y, np.ones(len(y)))
                ends.append(losses_at(new, last, front.transform(X_test), y_test))
            expected[:, feature] = (ends[0] - ends[1]) / (2 * h) * len(y)
        assert relative_error(found[:, position], expected) < 1e-5


def test_influence_through_a_pipeline_is_that_of_its_last_step():
    X, y, _ = Case("LogisticRegression").data()
    pipeline = make_pipeline(StandardScaler(), "passthrough", linear_model.LogisticRegression())
    pipeline.fit(X, y)
    whole = Influence(pipeline, X, y)
    last = Influence(pipeline[-1], pipeline[:-1].transform(X), y)
    np.testing.assert_array_equal(
        whole.influence_up_loss(X[:3], y[:3]),
        last.influence_up_loss(pipeline[:-1].transform(X[:3]), y[:3]),
    )
    np.testing.assert_array_equal(whole.influence_up_params(), last.influence_up_params())


def test_an_unknown_transformer_is_refused_with_the_way_out():
    from sklearn.preprocessing import QuantileTransformer

    X, y, _ = Case("LogisticRegression").data()
    pipeline = make_pipeline(QuantileTransformer(n_quantiles=10), linear_model.LogisticRegression())
    inf = Influence(pipeline.fit(X, y), X, y)
    with pytest.raises(TypeError, match=r"QuantileTransformer.*pullback.register"):
        inf.influence_pert(X[:2], y[:2])


# The chosen model of cross-validated estimators ------------------------------------------------


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("task", ["binary", "softmax"])
def test_logistic_cv_is_the_model_at_its_chosen_c(task, legacy):
    X, y, weight = Case("LogisticRegressionCV", task=task, weighted=True).data(n=60)
    # The newton-cholesky of 1.7 gives the refit of a softmax an intercept that is no optimum.
    options = {"cv": 3, "tol": 1e-10, "solver": "newton-cg"}
    model = logistic_cv(Cs=[0.03, 0.3, 3.0], legacy=legacy, **options)
    model.fit(X, y, sample_weight=weight)
    chosen = float(np.ravel(model.C_)[0])
    plain = linear_model.LogisticRegression(C=chosen, tol=1e-10, solver="newton-cholesky")
    plain.fit(X, y, sample_weight=weight)
    expected = Influence(plain, X, y, weight).influence_up_params()
    found = Influence(model, X, y, weight).influence_up_params()
    assert relative_error(found, expected) < 1e-6


@pytest.mark.parametrize("name", ["RidgeCV", "RidgeClassifierCV"])
@pytest.mark.parametrize("cv", [None, 3])
def test_ridge_cv_is_the_model_at_its_chosen_alpha(name, cv):
    task = "regression" if name == "RidgeCV" else "softmax"
    X, y, weight = Case(name, task=task, weighted=True).data()
    model = getattr(linear_model, name)(alphas=[0.3, 3.0], cv=cv).fit(X, y, sample_weight=weight)
    plain = getattr(linear_model, name[:-2])(alpha=model.alpha_)
    plain.fit(X, y, sample_weight=weight)
    expected = Influence(plain, X, y, weight).influence_up_params()
    found = Influence(model, X, y, weight).influence_up_params()
    assert relative_error(found, expected) < 1e-8


# Identities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", HOLDS)
@EVERY
def test_weighted_sum_of_derivatives(case, hold):
    """C held: sum_i w_i dtheta/dw_i = H^-1 R theta. lambda held: 0. Both to 1e-10."""
    inf = fitted(case, hold).inf
    objective = inf.objective
    derivative = inf.influence_up_params() / objective.n_samples
    weighted = objective.weights[:, None, None] * derivative
    found = weighted.sum(axis=0)
    pull = inf.answers.factor.solve((objective.penalty * objective.theta).reshape(-1, 1))
    expected = parameters_of(objective.at(pull.reshape(objective.theta.shape)))
    scale = np.abs(weighted).sum(axis=0).max()
    assert np.abs(found - (expected if hold == "C" else 0.0)).max() < 1e-10 * scale


@EVERY
def test_derivatives_agree_with_each_other(case):
    """Loss, parameter and self influence are one thing seen through test gradients."""
    fit = fitted(case, "lambda")
    inf, X, y = fit.inf, fit.X, fit.y
    objective = inf.objective
    gradient = objective.loss.gradient(objective.eta, objective.y)
    full = objective.loss.expand(gradient)
    rows = objective.design.dense_rows()
    if objective.design.intercept:
        rows = rows / np.r_[np.ones(rows.shape[1] - 1), objective.design.intercept]
    steps = inf.influence_up_params()
    expected = np.einsum("tk,td,ikd->ti", full, rows, steps)
    found = inf.influence_up_loss(X, y)
    assert relative_error(found, expected) < 1e-10
    np.testing.assert_allclose(
        inf.self_influence(), -np.diag(found), rtol=1e-8, atol=1e-10 * np.abs(found).max()
    )


@EVERY
def test_self_influence_is_not_negative_when_c_is_held(case):
    inf = fitted(case).inf
    assert (inf.self_influence() >= 0).all()


def test_aggregate_mean_is_the_mean_over_test_points():
    fit = fitted(Case("LogisticRegression", task="softmax", weighted=True), "lambda")
    inf, X, y = fit.inf, fit.X, fit.y
    for ask in (inf.influence_up_loss, inf.influence_pert):
        full = ask(X[:9], y[:9])
        np.testing.assert_allclose(
            ask(X[:9], y[:9], aggregate="mean"), full.mean(axis=0), rtol=1e-10
        )
        part = ask(X[:9], y[:9], aggregate="mean", indices=[5, -1, 5])
        np.testing.assert_allclose(part, full.mean(axis=0)[[5, -1, 5]], rtol=1e-10)


@pytest.mark.parametrize("ask", ["influence_up_loss", "influence_pert", "removal_effect"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
def test_indices_select_rows(ask, sparse):
    case = Case("LogisticRegression", task="softmax", sparse=sparse)
    fit = fitted(case)
    inf, X, y = fit.inf, fit.X, fit.y
    options = {"method": "one-step"} if ask == "removal_effect" else {}
    full = getattr(inf, ask)(X[:4], y[:4], **options)
    for indices in ([3, 0, 30], np.arange(36) % 3 == 0, 7, [-2], np.arange(5, dtype=np.uint8)):
        rows = np.atleast_1d(np.arange(36)[indices])
        part = getattr(inf, ask)(X[:4], y[:4], indices=indices, **options)
        np.testing.assert_allclose(part, full[:, rows], rtol=1e-9, atol=1e-13)


# Solvers and storage ---------------------------------------------------------------------------

# Weights and class weights together, with and without intercept; penalised, as the dual needs.
HARDEST = [
    case
    for case in ESTIMATORS
    if case.weighted
    and not case.sparse
    and case.name != "LinearRegression"
    and (
        case.name in ("Ridge", "PoissonRegressor")
        or {"class_weight", "intercept_scaling"} & set(dict(case.params))
    )
]


# Where each edit has a penalty of its own, the dual form factors for each row.
FEW = range(0, 40, 7)


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", HARDEST, ids=name_of)
def test_solvers_agree_on_every_question(case, solver, hold):
    """Primal, dual and CG (rtol 1e-10): 1e-8 of the largest answer."""
    fit = fitted(case, hold)
    inf, model, X, y = fit.inf, fit.model, fit.X, fit.y
    X_test, y_test = X[:4], y[:4]
    other = Influence(model, X, y, case.data()[2], solver=SOLVERS[solver], hold=hold)
    for ask in (
        lambda i: i.influence_up_params(),
        lambda i: i.influence_up_loss(X_test, y_test),
        lambda i: i.influence_pert(X_test, y_test, indices=[0, 5]),
        lambda i: i.self_influence(),
        lambda i: i.removal_effect(X_test, y_test, method="one-step", indices=FEW),
        lambda i: i.loo_decision_function(method="one-step", indices=FEW),
    ):
        assert relative_error(ask(other), ask(inf)) < 1e-8


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", HARDEST, ids=name_of)
def test_sparse_equals_dense(case, solver):
    """The same numbers in CSR: 1e-10."""
    fit = fitted(case, "lambda")
    model, X, y = fit.model, fit.X, fit.y
    dense = Influence(model, X, y, case.data()[2], solver=SOLVERS[solver], hold="lambda")
    sparse = Influence(
        model, sp.csr_array(X), y, case.data()[2], solver=SOLVERS[solver], hold="lambda"
    )
    tolerance = 1e-10 if solver != "cg" else 1e-8
    for ask in (
        lambda i, T: i.influence_up_params(),
        lambda i, T: i.influence_up_loss(T, y[:4]),
        lambda i, T: i.influence_pert(T, y[:4]),
        lambda i, T: i.self_influence(),
        lambda i, T: i.removal_effect(T, y[:4], method="one-step", indices=FEW),
        lambda i, T: i.loo_decision_function(method="one-step", indices=FEW),
    ):
        assert relative_error(ask(sparse, sp.csr_array(X[:4])), ask(dense, X[:4])) < tolerance


@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_csr_with_repeated_entries_is_their_sum(solver, rng):
    X = rng.standard_normal((20, 30))
    y = rng.integers(0, 2, 20)
    halves = np.concatenate([0.3 * X, 0.7 * X], axis=1).ravel()
    columns = np.tile(np.r_[np.arange(30), np.arange(30)], 20)
    repeated = sp.csr_array((halves, columns, np.arange(21) * 60), shape=X.shape)
    assert not repeated.has_canonical_format
    model = linear_model.LogisticRegression(tol=1e-10).fit(X, y)
    expected = Influence(model, X, y, solver=solver)
    found = Influence(model, repeated, y, solver=solver)
    for ask in ("self_influence", "influence_up_params"):
        assert relative_error(getattr(found, ask)(), getattr(expected, ask)()) < 1e-8
    assert repeated.nnz == 20 * 60, "the user's matrix was changed"


@pytest.mark.parametrize("dtype", [np.float32, np.int64, "fortran", "matrix"])
def test_any_storage_gives_the_same_answer(dtype, rng):
    X = rng.integers(-4, 5, (40, 3)).astype(float)
    y = rng.integers(0, 2, 40)
    model = linear_model.LogisticRegression(tol=1e-10).fit(X, y)
    expected = Influence(model, X, y).influence_up_loss(X[:3], y[:3])
    if dtype == "fortran":
        stored = np.asfortranarray(X)
    elif dtype == "matrix":
        stored = sp.csr_matrix(X)
    else:
        stored = X.astype(dtype)
    found = Influence(model, stored, y).influence_up_loss(X[:3], y[:3])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# Weights ---------------------------------------------------------------------------------------

WEIGHTED = [
    Case("LogisticRegression"),
    Case("LogisticRegression", task="softmax"),
    Case("LogisticRegression", (("solver", "liblinear"), ("tol", 1e-12))),
    Case("Ridge", task="regression"),
    Case("RidgeClassifier", task="softmax"),
    Case("LinearRegression", task="regression"),
    Case("PoissonRegressor", (("alpha", 0.1),), "counts"),
    Case("LogisticRegression", task="softmax", one_vs_rest=True),
]


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize(
    ("case", "solver"),
    # The dual needs a penalty.
    [(c, s) for c in WEIGHTED for s in SOLVERS if (c.name, s) != ("LinearRegression", "dual")],
    ids=lambda value: value if isinstance(value, str) else value.id,
)
def test_weight_zero_is_an_absent_row(case, solver, hold):
    fit = fitted(case, hold)
    inf, model, X, y = fit.inf, fit.model, fit.X, fit.y
    n = len(y)
    more, more_y = np.vstack([X, 5.0 + X[:3]]), np.r_[y, y[3:6]]
    weight = np.r_[np.ones(n), np.zeros(3)]
    padded = Influence(model, more, more_y, weight, hold=hold, solver=SOLVERS[solver])
    # I_up is per unit of w_i / n, and n counts the rows given to fit.
    ratio = n / (n + 3)
    for ask in (
        lambda i: i.influence_up_params(indices=range(n)) / i.objective.n_samples,
        lambda i: i.influence_up_loss(X[:3], y[:3], indices=range(n)) / i.objective.n_samples,
        lambda i: i.removal_effect(X[:3], y[:3], indices=range(n), method="one-step"),
        lambda i: i.loo_decision_function(method="one-step")[:n],
    ):
        assert relative_error(ask(padded), ask(inf)) < 1e-8
    assert relative_error(padded.self_influence()[:n] * ratio, inf.self_influence()) < 1e-8
    absent = padded.removal_effect(X[:3], y[:3], indices=[n, n + 1, n + 2], method="one-step")
    np.testing.assert_array_equal(absent, 0.0)
    np.testing.assert_allclose(
        padded.loo_decision_function(method="one-step")[n:], model_output(model, more[n:])
    )


def model_output(model, X):
    if hasattr(model, "decision_function"):
        return model.decision_function(X)
    predicted = model.predict(X)
    return np.log(predicted) if isinstance(model, linear_model.PoissonRegressor) else predicted


@pytest.mark.parametrize("hold", HOLDS)
@pytest.mark.parametrize("case", WEIGHTED, ids=name_of)
def test_integer_weights_are_repetitions(case, hold, rng):
    """A row of weight 3 is three rows: the same steps when all of it goes."""
    X, y, _ = case.data()
    count = rng.integers(1, 4, len(y))
    repeated = np.repeat(np.arange(len(y)), count)
    model = case.fit(X, y, count.astype(float))
    set_parameters(model, refit(model, X, y, count.astype(float)))
    weighted = Influence(model, X, y, count, hold=hold)
    copies = Influence(model, X[repeated], y[repeated], hold=hold)
    first = np.r_[0, np.cumsum(count)[:-1]]
    assert (
        relative_error(
            copies.influence_up_params(indices=first) / len(repeated),
            weighted.influence_up_params() / len(y),
        )
        < 1e-8
    )
    assert (
        relative_error(
            copies.removal_effect(X[:3], y[:3], groups=repeated, method="one-step"),
            weighted.removal_effect(X[:3], y[:3], method="one-step"),
        )
        < 1e-8
    )


# What a user passes ----------------------------------------------------------------------------


@pytest.mark.parametrize("ask", ["influence_up_loss", "influence_pert", "removal_effect", "top"])
def test_bad_test_data_gives_one_clear_error(ask):
    fit = fitted(Case("LogisticRegression"))
    inf, X, y = fit.inf, fit.X, fit.y
    ask = getattr(inf, ask)
    with pytest.raises(ValueError, match="labels the model was fitted on"):
        ask(X[:2], ["yes", "perhaps"])
    with pytest.raises(ValueError, match="X has 3 features, but LogisticRegression is expecting 4"):
        ask(X[:2, :3], y[:2])
    with pytest.raises(ValueError, match="NaN"):
        ask(np.full((1, 4), np.nan), y[:1])
    with pytest.raises(ValueError, match="0 sample"):
        ask(X[:0], y[:0])
    with pytest.raises(ValueError, match="one row each per test point"):
        ask(X[:2], y[:3])
    with pytest.raises(ValueError, match="needs y"):
        ask(X[:2], None)


def test_bad_indices_are_refused():
    inf = fitted(Case("LogisticRegression")).inf
    with pytest.raises(IndexError, match="below 36"):
        inf.influence_up_params(indices=[36])
    with pytest.raises(IndexError, match="-37"):
        inf.influence_up_params(indices=[0, -37])
    for bad in ([1.0], ["0"], [[0, 1]]):
        with pytest.raises(TypeError, match="integer positions"):
            inf.influence_up_params(indices=bad)
    with pytest.raises(ValueError, match="A mask must have one entry per training row, 36"):
        inf.influence_up_params(indices=[True, False])


def test_no_indices_give_an_empty_answer():
    fit = fitted(Case("LogisticRegression"))
    inf, X, y = fit.inf, fit.X, fit.y
    for empty in ([], np.array([], dtype=int), np.zeros(36, dtype=bool)):
        assert inf.influence_up_params(indices=empty).shape == (0, 1, 5)
        assert inf.influence_up_loss(X[:2], y[:2], indices=empty).shape == (2, 0)
        found = inf.removal_effect(X[:2], y[:2], indices=empty, method="one-step")
        assert found.shape == (2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold": "alpha"}, "hold must be"),
        ({"solver": "lu"}, "solver must be"),
        ({"precision": "float16"}, "precision must be"),
        ({"sample_weight": np.ones(35)}, "one entry per row"),
        ({"sample_weight": -np.ones(36)}, "non-negative"),
        ({"sample_weight": np.zeros(36)}, "non-zero"),
        ({"sample_weight": np.full(36, np.nan)}, "finite"),
    ],
)
def test_bad_options_are_refused(options, message):
    fit = fitted(Case("LogisticRegression"))
    model, X, y = fit.model, fit.X, fit.y
    with pytest.raises(ValueError, match=message):
        Influence(model, X, y, **options)


def test_aggregate_is_mean_or_nothing():
    fit = fitted(Case("LogisticRegression"))
    inf, X, y = fit.inf, fit.X, fit.y
    with pytest.raises(ValueError, match="aggregate must be None or 'mean'"):
        inf.influence_up_loss(X, y, aggregate="sum")


def test_asking_changes_nothing():
    """The estimator, the data and the answers are the same after any question."""
    case = Case("LogisticRegression", task="softmax", weighted=True)
    X, y, weight = case.data()
    model = case.fit(X, y, weight)
    before = pickle.dumps(model), X.copy(), y.copy(), weight.copy()
    inf = Influence(model, X, y, weight, hold="lambda")
    first = inf.influence_up_loss(X, y)
    inf.removal_effect(X, y, method="one-step")
    inf.relabel_effect(X[:2], y[:2], method="one-step")
    inf.influence_pert(X[:2], y[:2])
    inf.loo_predict(method="one-step")
    assert pickle.dumps(model) == before[0]
    for now, then in zip((X, y, weight), before[1:], strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(inf.influence_up_loss(X, y), first)


@pytest.mark.parametrize("solver", SOLVERS)
def test_influence_survives_pickling(solver):
    fit = fitted(Case("LogisticRegression"), "lambda", solver=SOLVERS[solver])
    inf, X, y = fit.inf, fit.X, fit.y
    again = pickle.loads(pickle.dumps(inf))
    np.testing.assert_array_equal(
        again.removal_effect(X, y, method="one-step"), inf.removal_effect(X, y, method="one-step")
    )


def test_questions_may_run_concurrently():
    from concurrent.futures import ThreadPoolExecutor

    fit = fitted(Case("LogisticRegression", task="softmax", weighted=True), "lambda")
    inf, X, y = fit.inf, fit.X, fit.y
    expected = inf.removal_effect(X, y, method="one-step")
    fresh = pickle.loads(pickle.dumps(inf))
    with ThreadPoolExecutor(8) as pool:
        ask = lambda _: fresh.removal_effect(X, y, method="one-step")
        for found in pool.map(ask, range(16)):
            np.testing.assert_array_equal(found, expected)


# Top -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [None, 2_000])
@pytest.mark.parametrize("k", [1, 5, 36, 100])
def test_top_is_the_sorted_full_matrix(k, blocks, monkeypatch):
    """Also when the training rows come in many small blocks."""
    fit = fitted(Case("LogisticRegression", task="softmax"))
    inf, X, y = fit.inf, fit.X, fit.y
    effect = inf.removal_effect(X[:6], y[:6], method="one-step")
    if blocks:
        from skinfluence._utils import memory

        original = memory.row_blocks
        monkeypatch.setattr(
            "skinfluence.smooth.one_step.effects.row_blocks",
            lambda n, size: original(n, size, budget=blocks),
        )
    top = inf.top(X[:6], y[:6], k=k, method="one-step")
    order = np.argsort(-effect, axis=1, kind="stable")[:, : min(k, 36)]
    np.testing.assert_array_equal(top.helpful, order)
    np.testing.assert_allclose(top.helpful_effects, np.take_along_axis(effect, order, 1), rtol=1e-9)
    order = np.argsort(effect, axis=1, kind="stable")[:, : min(k, 36)]
    np.testing.assert_array_equal(top.harmful, order)
    np.testing.assert_allclose(top.harmful_effects, np.take_along_axis(effect, order, 1), rtol=1e-9)


def test_top_needs_a_positive_k():
    fit = fitted(Case("LogisticRegression"))
    inf, X, y = fit.inf, fit.X, fit.y
    with pytest.raises(ValueError, match="k must be a positive integer"):
        inf.top(X, y, k=0)


# Refusals --------------------------------------------------------------------------------------


def test_an_l1_penalty_of_a_softmax_is_refused_with_the_remedy():
    X, y, _ = Case("LogisticRegression", task="softmax").data()
    for share in (1.0, 0.5):
        model = l1_logistic(share=share, solver="saga", max_iter=5000)
        with pytest.raises(
            ValueError,
            match=r"L1 share of .*fit OneVsRestClassifier of this model, or one with an L2 penalty",
        ):
            Influence(model.fit(X, y), X, y)


def test_a_fit_without_influence_still_fits():
    X, y, _ = Case("LogisticRegression", task="softmax").data()
    model = l1_logistic(skinfluence.linear_model.LogisticRegression, solver="saga", max_iter=5000)
    assert model.fit(X, y).predict(X).shape == y.shape
    with pytest.raises(ValueError, match="L1"):
        model.self_influence()


@pytest.mark.parametrize("name", ["Ridge", "LinearRegression"])
def test_positive_coefficients_are_refused(name):
    X, y = make_data("regression", 30, 4, 0)
    model = getattr(linear_model, name)(positive=True).fit(X, y)
    with pytest.raises(ValueError, match="positive=False"):
        Influence(model, X, y)


def test_penalties_per_target_are_refused():
    X, y = make_data("regression", 30, 4, 0)
    both = np.column_stack([y, -y])
    for model in (
        linear_model.Ridge(alpha=np.array([1.0, 2.0])),
        linear_model.RidgeCV(alpha_per_target=True),
    ):
        with pytest.raises(ValueError, match="one model per target"):
            Influence(model.fit(X, both), X, both)


def test_one_alpha_in_an_array_is_one_alpha():
    X, y = make_data("regression", 30, 4, 0)
    found = Influence(linear_model.Ridge(alpha=np.array([2.0])).fit(X, y), X, y).self_influence()
    expected = Influence(linear_model.Ridge(alpha=2.0).fit(X, y), X, y).self_influence()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_an_unpenalised_fit_on_separable_classes_is_refused(classes):
    X, y = load_iris(return_X_y=True)
    if classes == 2:
        X, y = X[:100], y[:100]
    else:
        X = np.eye(3)[y] + 0.1 * X[:, :3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = linear_model.LogisticRegression(C=np.inf, max_iter=200).fit(X, y)
    with pytest.raises(ValueError, match="finite C"):
        Influence(model, X, y)


@pytest.mark.parametrize("kind", ["duplicate", "constant", "wide"])
@pytest.mark.parametrize("solver", ["auto", "exact"])
def test_a_rank_deficient_fit_is_refused(kind, solver, rng):
    """But least squares with fewer directions than rows, see tests/smooth/test_row_space.py."""
    X, y = make_data("counts", 30, 4, 0)
    model = linear_model.PoissonRegressor(alpha=0.0)
    if kind == "duplicate":
        X = np.column_stack([X, X[:, 0]])
    elif kind == "constant":
        X = np.column_stack([X, np.ones(30)])
    else:
        X, model = rng.standard_normal((30, 40)), linear_model.LinearRegression()
    model.fit(X, y)
    with pytest.raises(SingularHessianError, match="Penalise the model"):
        Influence(model, X, y, solver=solver)


def test_an_average_over_folds_is_refused():
    X, y, _ = Case("LogisticRegression").data()
    model = logistic_cv(Cs=3, refit=False, scoring="accuracy", legacy=True).fit(X, y)
    with pytest.raises(ValueError, match="refit=True"):
        Influence(model, X, y)


def test_an_unknown_estimator_names_the_known_ones():
    class Centroids(BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

    X, y, _ = Case("LogisticRegression").data()
    with pytest.raises(TypeError, match=r"LogisticRegression.*Got Centroids"):
        Influence(Centroids().fit(X, y), X, y)


def test_an_unfitted_estimator_is_refused():
    X, y, _ = Case("LogisticRegression").data()
    with pytest.raises(NotFittedError):
        Influence(linear_model.LogisticRegression(), X, y)
    with pytest.raises(NotFittedError):
        skinfluence.linear_model.LogisticRegression().self_influence()


def test_forgotten_training_data_is_an_error_with_the_way_out():
    X, y, _ = Case("LogisticRegression").data()
    model = skinfluence.linear_model.LogisticRegression().fit(X, y)
    assert model.self_influence().shape == (36,)
    with pytest.raises(ValueError, match=r"fit again.*skinfluence.Influence"):
        model.forget_training_data().self_influence()


@pytest.mark.parametrize("wrong", ["permuted rows", "other labels", "no weights"])
def test_wrong_training_data_are_refused(wrong, rng):
    X, y, weight = Case("LogisticRegression", weighted=True).data()
    model = linear_model.LogisticRegression(tol=1e-10).fit(X, y, sample_weight=weight)
    if wrong == "permuted rows":
        X = rng.permutation(X)
    elif wrong == "other labels":
        y = rng.permutation(y)
    else:
        weight = None
    with pytest.raises(ValueError, match="X, y and sample_weight must be those of the fit"):
        Influence(model, X, y, weight)


def test_a_fit_that_has_not_converged_gives_a_warning():
    X, y = load_breast_cancer(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = linear_model.LogisticRegression(max_iter=20).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="Newton decrement"):
        Influence(model, X, y)


@pytest.mark.parametrize(
    "load", [load_breast_cancer, load_wine, load_iris, load_digits], ids=lambda f: f.__name__
)
def test_a_default_fit_gives_no_warning(load):
    """At the default tol, where the penalty keeps the problem well conditioned."""
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X[:600])
    y = y[:600]
    model = linear_model.LogisticRegression(C=0.01).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Influence(model, X, y)


def test_the_report_says_how_the_fit_stands():
    X, y = load_diabetes(return_X_y=True)
    inf = Influence(linear_model.Ridge(alpha=0.1).fit(X, y), X, y)
    report = inf.report()
    assert report.solver == "primal Cholesky"
    assert report.n_parameters == 11
    assert report.converged
    assert report.residual < 1e-10
    assert 0 < report.rcond <= 1
    assert report.relative_gradient < 1e-12
    loose = linear_model.LogisticRegression(tol=1e-3).fit(X, y > 150)
    tight = linear_model.LogisticRegression(tol=1e-8).fit(X, y > 150)
    decrements = [Influence(m, X, y > 150).report().newton_decrement for m in (loose, tight)]
    assert decrements[1] < 1e-2 * decrements[0]
    assert Influence(tight, X, y > 150, solver="cg").report().iterations > 0
