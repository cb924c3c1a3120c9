"""Rows in another order, forgotten weights: refused as what they are, and no honest fit is."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    SGDClassifier,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence import Influence
from skinfluence.objective import objective_of
from tests.registries import ESTIMATORS, make_data, name_of
from tests.trials.drawing import draw
from tests.versions import SCIKIT_LEARN

N = 200
ORDER = np.random.default_rng(4).permutation(N)

FITS = {
    "lbfgs": (LogisticRegression(), "binary"),
    "lbfgs softmax": (LogisticRegression(), "softmax"),
    "lbfgs weak": (LogisticRegression(C=1e-4), "binary"),
    "newton-cg": (LogisticRegression(solver="newton-cg"), "binary"),
    "newton-cholesky": (LogisticRegression(solver="newton-cholesky"), "binary"),
    "liblinear": (LogisticRegression(solver="liblinear"), "binary"),
    "balanced": (LogisticRegression(class_weight="balanced"), "binary"),
    "ridge": (Ridge(), "regression"),
    "ridge svd": (Ridge(solver="svd"), "regression"),
    "ridge cg": (Ridge(solver="sparse_cg"), "regression"),
    "ridge lsqr": (Ridge(solver="lsqr"), "regression"),
    "ridge gcv": (RidgeCV(), "regression"),
    "least squares": (LinearRegression(), "regression"),
    "ridge classifier": (RidgeClassifier(), "softmax"),
    "poisson": (PoissonRegressor(), "counts"),
    "poisson newton": (PoissonRegressor(solver="newton-cholesky"), "counts"),
    "kernel ridge": (KernelRidge(alpha=0.5, kernel="rbf"), "regression"),
    "kernel ridge weak": (KernelRidge(alpha=1e-6, kernel="rbf"), "regression"),
    "svc": (SVC(), "binary"),
}
WEIGHTED = pytest.mark.parametrize(("model", "task"), FITS.values(), ids=FITS)
# Where no rule of the solver says what it leaves, the objective still may not rise above nothing.
BY_VALUE = {
    "sag": (LogisticRegression(solver="sag", max_iter=2000), "binary"),
    "saga": (LogisticRegression(solver="saga", max_iter=2000), "softmax"),
    "ridge saga": (Ridge(solver="saga", max_iter=5000), "regression"),
    "squared hinge": (LinearSVC(max_iter=20000), "binary"),
    "hinge": (LinearSVC(loss="hinge", max_iter=20000), "binary"),
    "one-vs-rest": (OneVsRestClassifier(LogisticRegression()), "softmax"),
}


def _data(task):
    X, y = make_data(task, N, 5, seed=1)
    return X, y, np.random.default_rng(2).uniform(0.2, 3.0, N)


@WEIGHTED
def test_the_data_of_the_fit_are_accepted(model, task):
    X, y, w = _data(task)
    for scale in (1.0, np.array([1.0, 1e3, 1e-3, 30.0, 1.0])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            Influence(model.fit(X * scale, y, sample_weight=w), X * scale, y, w)


@WEIGHTED
def test_forgotten_weights_are_refused(model, task):
    X, y, w = _data(task)
    model.fit(X, y, sample_weight=w)
    with pytest.raises(ValueError, match="those of the fit"):
        Influence(model, X, y)


@pytest.mark.parametrize(
    ("model", "task"), [*FITS.values(), *BY_VALUE.values()], ids=[*FITS, *BY_VALUE]
)
@pytest.mark.parametrize("what", ["rows", "targets"])
def test_another_order_is_refused(model, task, what):
    X, y, _ = _data(task)
    model.fit(X, y)
    X, y = (X[ORDER], y) if what == "rows" else (X, y[ORDER])
    with pytest.raises(ValueError, match=r"those of the fit|rows given to fit"):
        Influence(model, X, y)


def test_behind_a_pipeline_and_on_sparse_rows():
    X, y, _ = _data("binary")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match="the rows in the same order"):
        Influence(model, X[ORDER], y)
    csr = sp.csr_array(X)
    with pytest.raises(ValueError, match="the rows in the same order"):
        Influence(Ridge().fit(csr, X[:, 0] + X[:, 1] ** 2), csr[ORDER], X[:, 0] + X[:, 1] ** 2)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "sag", "saga", "liblinear"])
def test_a_fit_that_ran_out_of_iterations_is_warned_about(solver):
    """It is near no optimum, and its rows are right: said as before."""
    X, y, w = _data("binary")
    X = X * np.array([1.0, 1e3, 1e-3, 30.0, 1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(solver=solver, max_iter=1).fit(X, y, sample_weight=w)
    with pytest.warns(ConvergenceWarning, match="not at the optimum"):
        Influence(model, X, y, w)


def test_stochastic_descent_that_stopped_early_is_warned_about():
    X, y, _ = _data("binary")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = SGDClassifier(loss="log_loss", max_iter=1, random_state=0).fit(50 * X, y)
    with pytest.warns(ConvergenceWarning, match="not at the optimum"):
        Influence(model, 50 * X, y)


@pytest.mark.parametrize("case", ESTIMATORS, ids=name_of)
def test_no_fit_of_the_registry_is_refused(case):
    X, y, w = case.data()
    Influence(case.fit(X, y, w), X, y, w)


@pytest.mark.parametrize("solver", ["cholesky", "svd", "lsqr", "sparse_cg"])
@pytest.mark.parametrize("value", [0.1, 7.3, 1e9])
def test_constant_targets_are_those_of_the_fit(solver, value):
    """Residuals are round-off then, and so is all that is left."""
    X, _, w = _data("regression")
    y = np.full(N, value)
    for weight in (None, w):
        Influence(Ridge(solver=solver).fit(X, y, sample_weight=weight), X, y, weight)
    Influence(RidgeCV().fit(X, y), X, y)


@pytest.mark.parametrize("solver", ["newton-cg", "lbfgs"])
def test_one_of_many_models_may_run_out_of_iterations(solver):
    """The first says nothing about the others."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((100, 4)) * 10.0 ** rng.uniform(-2, 2, 4)
        unit = X / X.std(axis=0)
        y = (unit[:, 0] + 0.3 * rng.standard_normal(100) > 0).astype(int)
        y[unit[:, 1] > 0.7] = 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            inside = LogisticRegression(C=1e3, solver=solver, max_iter=15)
            Influence(OneVsRestClassifier(inside).fit(X, y), X, y)


@pytest.mark.parametrize("solver", ["sag", "saga"])
def test_stochastic_averages_may_stop_above_where_they_began(solver):
    X, y = np.array([[0.0], [0.0], [0.0], [1.0], [0.0], [0.0], [0.0], [1.0]]), np.arange(8) % 2
    for seed in range(8):
        rng = np.random.default_rng(seed)
        wide = rng.standard_normal((60, 8)) * 10.0 ** rng.uniform(-6, 6, 8)
        coarse = LogisticRegression(solver=solver, tol=0.1, max_iter=2000, random_state=seed)
        fine = LogisticRegression(solver=solver, C=1e4, random_state=seed)
        labels = rng.integers(0, 2, 60)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            Influence(coarse.fit(wide, labels), wide, labels)
            Influence(fine.fit(X, y), X, y)


@pytest.mark.parametrize("solver", ["svd", "cholesky", "lsqr", "sparse_cg", "auto"])
@pytest.mark.parametrize("unit", [1e-20, 1e8])
@pytest.mark.parametrize("size", [1.0, 1e10, 1e20])
def test_targets_and_columns_in_any_unit_are_those_of_the_fit(size, unit, solver):
    """A factorisation rounds small columns away beside large ones; lsqr adds eps to residuals."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 4)) * [1, 1, size, 1]
    y = unit * (X[:, 0] + rng.standard_normal(30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Influence(Ridge(solver=solver, alpha=1e-3).fit(X, y), X, y)


@pytest.mark.parametrize("solver", ["sag", "saga"])
def test_stochastic_descent_that_heavy_rows_drove_off_is_no_other_data(solver):
    """The steps of its fit are as long as rows of weight 1 allow; where it ends says nothing of the data."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((40, 4))
        y = (X[:, 0] + rng.standard_normal(40) > 0).astype(int)
        weight = 10.0 ** rng.uniform(-2, 6, 40)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(solver=solver, C=1e-3, tol=1e-4, max_iter=1000)
            Influence(model.fit(X, y, sample_weight=weight), X, y, weight, polish=True)


@pytest.mark.parametrize("model", [GammaRegressor, PoissonRegressor])
def test_a_newton_fit_that_went_on_in_single_precision_is_that_of_its_rows(model):
    """Where the Hessian has no digits in float32 lbfgs goes on, and its coefficients come in float64."""
    kept = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((12, 5)) + np.array([900, 120, 760, 1000, 50])
        X, y = X.astype(np.float32), np.exp(rng.standard_normal(12))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            newton = model(alpha=0.2, fit_intercept=False, solver="newton-cholesky", tol=1e-10)
            newton.set_params(max_iter=1000).fit(X, y)
            Influence(newton, X, y)
        kept += newton.coef_.dtype == np.float64
    assert kept


def test_a_fit_that_the_rounding_of_its_objective_stopped_is_that_of_its_rows():
    """Terms of 16,000 that cancel: line searches see 1e-13 of the objective, and end at a gradient of .02."""
    trial = draw(301719)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(
            C=trial.params["C"], solver="newton-cholesky", max_iter=1000, tol=1e-10
        ).fit(trial.X, trial.y, trial.weights)
        gradient = objective_of(model, trial.X, trial.y, trial.weights).gradient()
        # 1.7 with scipy 1.11 goes on to 1e-8: that fit is of its rows, too.
        assert np.abs(gradient).max() > 0.01 or SCIKIT_LEARN < (1, 8)
        Influence(model, trial.X, trial.y, trial.weights)
        with pytest.raises(ValueError, match="those of the fit"):
            Influence(model, trial.X, trial.y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_line_search_that_overflow_ended_is_not_blamed_on_the_rows(rng):
    """lbfgs says that it converged, at a gradient of 150; the same rows in another order are still refused."""
    trial = draw(903238)
    model = GammaRegressor(**trial.params, **trial.fitting).fit(trial.X, trial.y)
    assert model.n_iter_ < model.max_iter
    # A warning says how far the fit is from its optimum, from which answers start.
    assert np.isfinite(Influence(model, trial.X, trial.y).removal_effect(trial.X, trial.y)).any()
    X = rng.standard_normal((40, 3))
    y = np.exp(X[:, 0]) * rng.uniform(0.5, 2.0, 40)
    model = GammaRegressor(alpha=1e-3, tol=1e-8, max_iter=1000).fit(X, y)
    with pytest.raises(ValueError, match="must be those of the fit"):
        Influence(model, X, y[::-1])


def test_residuals_within_what_large_coefficients_allow_are_those_of_the_fit(rng):
    """lsqr stops there, too, whatever the gradient is: fitted to the same rows again it ends there again."""
    trial = draw(1001348)
    X, y, weight = sp.csr_array(trial.X), trial.y, trial.weights
    for model in (LinearRegression(), Ridge(1e-8, solver="lsqr", tol=1e-6)):
        model.fit(X, y, sample_weight=weight)
        with pytest.warns(ConvergenceWarning, match="not at the optimum"):
            found = Influence(model, X, y, weight).removal_effect(X, y)
        assert np.isfinite(found).all()
        with pytest.raises(ValueError, match="must be those of the fit"):
            Influence(model, X, y, rng.permutation(weight))
