"""Fits that are not at their optimum: said, measured around, or polished on request."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import pearsonr
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skinfluence import Influence, edits, losses
from skinfluence.curvature import Curvature
from skinfluence.design import design_of
from skinfluence.influence import influence_of_fit
from skinfluence.m_estimation import MEstimator
from skinfluence.objective import Objective
from skinfluence.smooth.optimum.newton import polish
from skinfluence.solvers import Exact, SingularHessianError
from tests.registries import NEWTON, make_data
from tests.truth import relative_error

N = 60
ALPHA = 0.02
ITERATIONS = pytest.mark.parametrize("iterations", [10, 30, 100])
SGD = {"alpha": ALPHA, "random_state": 0, "max_iter": 200, "tol": None, "average": 50}
RATE = {"learning_rate": "invscaling", "eta0": 0.1, "power_t": 0.5}


def scaled(task):
    X, y = make_data(task, N, 4, seed=2)
    return StandardScaler().fit_transform(X), y


def questions(inf, X, y):
    yield inf.influence_up_params()
    yield inf.influence_up_loss(X[:5], y[:5])
    yield inf.self_influence()
    yield inf.removal_effect(X[:5], y[:5], method="one-step")
    yield inf.removal_effect(X[:5], y[:5], method="exact")
    yield inf.loo_decision_function(method="one-step")
    yield inf.effect(edits.remove([3, 4]), X[:5], y[:5]).values


# Stochastic gradient descent: the same objectives as exact estimators ---------------------------

TWINS = {
    "log loss": (
        SGDClassifier(loss="log_loss", **SGD, **RATE),
        LogisticRegression(C=1 / (ALPHA * N), **NEWTON),
        "binary",
    ),
    "log loss, 3 classes": (
        SGDClassifier(loss="log_loss", **SGD, **RATE),
        OneVsRestClassifier(LogisticRegression(C=1 / (ALPHA * N), **NEWTON)),
        "softmax",
    ),
    "no intercept": (
        SGDClassifier(loss="log_loss", fit_intercept=False, **SGD, **RATE),
        LogisticRegression(C=1 / (ALPHA * N), fit_intercept=False, **NEWTON),
        "binary",
    ),
    "squared error": (SGDRegressor(**SGD), Ridge(alpha=ALPHA * N), "regression"),
}


@pytest.fixture(params=TWINS)
def twins(request):
    sgd, exact, task = TWINS[request.param]
    X, y = scaled(task)
    return sgd.fit(X, y), exact.fit(X, y), X, y


@pytest.mark.parametrize("hold", ["C", "lambda"])
def test_polished_descent_answers_as_the_exact_estimator(twins, hold):
    """To 1e-7: the objectives are the same, only the road is another."""
    sgd, exact, X, y = twins
    found = Influence(sgd, X, y, hold=hold, polish=True)
    expected = Influence(exact, X, y, hold=hold)
    for mine, theirs in zip(questions(found, X, y), questions(expected, X, y), strict=True):
        assert relative_error(mine, theirs) < 1e-7


def test_a_row_that_goes_takes_its_share_of_alpha(twins):
    """As fitting on the rest would: the mean form, by default."""
    sgd, exact, X, y = twins
    found = Influence(sgd, X, y, polish=True).removal_effect(X[:5], y[:5])
    expected = Influence(exact, X, y, hold="lambda").removal_effect(X[:5], y[:5])
    assert relative_error(found, expected) < 1e-3


@pytest.mark.parametrize("loss", ["squared_hinge", "squared_error"])
@pytest.mark.parametrize("task", ["binary", "softmax"])
def test_other_smooth_losses_reach_their_optimum(loss, task):
    """The gradient vanishes where scikit-learn's own loss has its minimum."""
    X, y = scaled(task)
    slow = SGDClassifier(loss=loss, **SGD, learning_rate="invscaling", eta0=0.01, power_t=0.5)
    inf = Influence(slow.fit(X, y), X, y, polish=True)
    objective, h = inf.objective, 1e-6
    sign = np.where(np.unique(y) == y[:, None], 1.0, -1.0)
    sign = sign[:, 1:] if sign.shape[1] == 2 else sign

    def value(theta):
        eta = X @ theta[:, :-1].T + theta[:, -1]
        loss_of = {"squared_error": 0.5 * (sign - eta) ** 2}
        loss_of["squared_hinge"] = np.maximum(0.0, 1.0 - sign * eta) ** 2
        return loss_of[loss].sum() / N + 0.5 * ALPHA * (theta[:, :-1] ** 2).sum()

    for entry in np.ndindex(objective.theta.shape):
        ends = []
        for step in (h, -h):
            theta = objective.theta.copy()
            theta[entry] += step
            ends.append(value(theta))
        assert abs(ends[0] - ends[1]) / (2 * h) < 1e-8


def test_the_report_says_how_far_the_model_moved(twins):
    sgd, _, X, y = twins
    before = {name: np.copy(getattr(sgd, name)) for name in ("coef_", "intercept_")}
    inf = Influence(sgd, X, y, polish=True)
    moved = inf.report().moved
    theta = np.column_stack([np.atleast_2d(sgd.coef_), sgd.intercept_ + np.zeros(1)])
    theta = theta if sgd.fit_intercept else theta[:, :-1]
    change = inf.objective.theta - theta
    expected = np.linalg.norm(change) / np.linalg.norm(inf.objective.theta)
    np.testing.assert_allclose(moved.parameters, expected, rtol=1e-6)
    output = sgd.decision_function(X) if hasattr(sgd, "decision_function") else sgd.predict(X)
    largest = np.abs(np.squeeze(inf.objective.eta) - output).max()
    np.testing.assert_allclose(moved.decision_values, largest, rtol=1e-6)
    assert inf.report().newton_decrement < 1e-9 < moved.newton_decrement
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(sgd, name), value)


def test_descent_that_stopped_far_away_is_never_taken_silently():
    X, y = scaled("binary")
    sgd = SGDClassifier(loss="log_loss", alpha=ALPHA, max_iter=2, tol=None, random_state=0)
    sgd.fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"Newton decrement.*polish=True"):
        Influence(sgd, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        Influence(sgd, X, y, polish=True)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "hinge"}, "LinearSVC"),
        ({"loss": "modified_huber"}, "must be smooth"),
        ({"penalty": "l1"}, "must be L2"),
        ({"penalty": "elasticnet"}, "L1 share of 0.15"),
        ({"early_stopping": True}, "early_stopping=False"),
        ({"class_weight": {"yes": 2.0, "no": 1.0}}, r"C = 1 / \(alpha \* n_samples\)"),
    ],
    ids=lambda value: str(value),
)
def test_descent_on_other_objectives_is_refused_with_the_way_out(params, message):
    X, y = scaled("binary")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SGDClassifier(**{"loss": "log_loss", **params}).fit(X, y)
    with pytest.raises(ValueError, match=message):
        Influence(model, X, y)


def test_descent_with_unequal_weights_is_refused():
    """Its penalty counts rows: neither meaning of an edit is what fitting again would do."""
    X, y = scaled("regression")
    weight = np.linspace(1, 2, N)
    model = SGDRegressor(**SGD).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="must all be the same"):
        Influence(model, X, y, weight)
    with pytest.raises(ValueError, match="must be smooth"):
        Influence(SGDRegressor(loss="huber").fit(X, y), X, y)
    same = SGDRegressor(**SGD).fit(X, y, sample_weight=np.full(N, 2.0))
    found = Influence(same, X, y, np.full(N, 2.0), polish=True).influence_up_params()
    twin = Ridge(alpha=ALPHA * N).fit(X, y, np.full(N, 2.0))
    expected = Influence(twin, X, y, np.full(N, 2.0), hold="lambda").influence_up_params()
    assert relative_error(found, expected) < 1e-7


# Softmax stopped early ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16.0, y[:300]


def stopped(digits, iterations, C):
    X, y = digits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=C, max_iter=iterations, tol=1e-12).fit(X, y)


@pytest.mark.parametrize(("iterations", "far"), [(10, True), (30, True), (200, False)])
def test_stopping_early_is_warned_about_while_it_matters(digits, iterations, far):
    model = stopped(digits, iterations, C=1.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Influence(model, *digits)
    messages = [str(one.message) for one in said]
    assert any("raise max_iter, or pass polish=True" in one for one in messages) == far


@ITERATIONS
def test_polishing_gives_the_answers_of_the_optimum(digits, iterations):
    X, y = digits
    early = Influence(stopped(digits, iterations, C=1.0), X, y, polish=True)
    tight = Influence(LogisticRegression(C=1.0, **NEWTON).fit(X, y), X, y)
    for mine, theirs in (
        (early.influence_up_loss(X[:5], y[:5]), tight.influence_up_loss(X[:5], y[:5])),
        (early.self_influence(), tight.self_influence()),
        (early.loo_decision_function(), tight.loo_decision_function()),
    ):
        assert relative_error(mine, theirs) < 1e-6


@ITERATIONS
def test_local_answers_track_one_newton_step_of_the_edited_problem(digits, iterations):
    """Koh and Liang, appendix B, at their regularisation (lambda = 0.01): Pearson >= 0.95.

    A Newton step from where the fit stopped moves every row's problem by much the same; what
    removing the row adds to that is what influence says.
    """
    X, y = digits
    rows, tests = np.arange(0, 300, 10), slice(0, 30)
    model = stopped(digits, iterations, C=1 / (0.01 * len(y)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        inf = Influence(model, X, y)
    objective = inf.objective

    def losses_after_a_step(problem):
        step = np.linalg.solve(Curvature(problem).dense(), problem.gradient())
        moved = objective.at(problem.theta - step.reshape(problem.theta.shape))
        return objective.loss.value(moved.eta[tests], objective.y[tests])

    every = losses_after_a_step(objective)
    truth = []
    for row in rows:
        weights = objective.weights * (np.arange(len(y)) != row)
        truth.append(losses_after_a_step(replace(objective, weights=weights)) - every)
    truth = np.array(truth).T
    up = -inf.influence_up_loss(X[tests], y[tests], indices=rows) / len(y)
    one = inf.removal_effect(X[tests], y[tests], indices=rows, method="one-step")
    for found in (up, one):
        assert pearsonr(found.ravel(), truth.ravel())[0] >= 0.95
        assert np.median([pearsonr(a, b)[0] for a, b in zip(found, truth, strict=True)]) >= 0.95


# At the optimum, and through wrappers ------------------------------------------------------------


def test_polishing_an_optimal_fit_changes_nothing(digits):
    X, y = digits
    model = LogisticRegression(C=0.1, **NEWTON).fit(X, y)
    polished = Influence(model, X, y, polish=True)
    assert polished.report().moved.parameters < 1e-9
    assert Influence(model, X, y).report().moved is None
    expected = Influence(model, X, y).influence_up_loss(X[:3], y[:3])
    assert relative_error(polished.influence_up_loss(X[:3], y[:3]), expected) < 1e-9


def test_polishing_goes_through_one_vs_rest():
    X, y = scaled("softmax")
    early = LogisticRegression(max_iter=2, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = OneVsRestClassifier(early).fit(X, y)
    tight = OneVsRestClassifier(LogisticRegression(**NEWTON)).fit(X, y)
    found = Influence(model, X, y, polish=True).self_influence()
    assert relative_error(found, Influence(tight, X, y).self_influence()) < 1e-7
    hinge = LinearSVC(max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        inf = Influence(hinge.fit(X, y), X, y, polish=True)
    assert inf.report().newton_decrement < 1e-8


# Warnings ----------------------------------------------------------------------------------------


def half_square(params, x, y):
    return 0.5 * (y - x @ params[:-1] - params[-1]) ** 2


def _targets(X, rng):
    beta = rng.standard_normal(X.shape[1])
    return {
        "constant": np.full(len(X), 7.3),
        "a large constant": np.full(len(X), 1e9),
        "a larger one": np.full(len(X), -3e12),
        "nearly constant": 7.3 + 1e-13 * rng.standard_normal(len(X)),
        "a perfect fit": X @ beta,
        "a large perfect fit": 1e6 * (X @ beta) + 1e7,
        "far from zero": 1e8 + rng.standard_normal(len(X)),
    }


@pytest.mark.parametrize("name", _targets(np.zeros((1, 1)), np.random.default_rng()))
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize(
    "model",
    [
        Ridge(alpha=1.0),
        Ridge(alpha=1e-8, solver="svd"),
        LinearRegression(),
        RidgeCV(),
        MEstimator(half_square, 4),
    ],
    ids=lambda model: type(model).__name__,
)
def test_residuals_that_are_round_off_are_no_sign_of_another_optimum(model, offset, name):
    """A gradient is judged beside what rounding of targets and decision values leaves of it."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((60, 3)) + [0, offset, 0]
        y = _targets(X, rng)[name]
        fitted = clone(model).fit(X, y)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Influence(fitted, X, y)


def test_a_perfect_target_does_not_hide_a_fit_that_stopped_early(rng):
    X = rng.standard_normal((60, 3))
    y = X @ [1.0, 2.0, 3.0]
    model = SGDRegressor(alpha=1e-8, tol=1e-12, max_iter=10_000).fit(X, y)
    model.coef_ = model.coef_ + 1e-3
    with pytest.warns(ConvergenceWarning, match="not at the optimum"):
        Influence(model, X, y)


@pytest.mark.parametrize("away", [-12.0, -40.0, 3.0])
def test_a_step_that_overflows_is_no_optimum(away):
    """Where a count model is far too small its Newton step is e^40 too long: NaN is not zero."""
    X, y = make_data("counts", N, 4, 0)
    objective = Objective(
        loss=losses.Poisson(),
        design=design_of(X),
        y=y.astype(float),
        weights=np.ones(N),
        penalty=np.r_[np.full(4, 0.3), 0.0],
        theta=np.r_[np.zeros(4), away][None],
    )

    def value(theta):
        eta = np.column_stack([X, np.ones(N)]) @ theta
        return np.sum(np.exp(eta) - y * eta) + 0.15 * np.sum(theta[:4] ** 2)

    def slope(theta):
        D = np.column_stack([X, np.ones(N)])
        return D.T @ (np.exp(D @ theta) - y) + np.r_[0.3 * theta[:4], 0.0]

    true = minimize(value, np.zeros(5), jac=slope, tol=1e-12).x
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = polish(Exact("primal").factor(objective), Exact("primal")).objective
    np.testing.assert_allclose(found.theta[0], true, atol=1e-5)


@pytest.mark.parametrize("model", [SGDClassifier("log_loss", alpha=0.1), LogisticRegression(C=0.5)])
def test_a_fit_where_no_row_curves_any_longer_is_said_to_be_far_and_can_be_polished(model, rng):
    X = rng.standard_normal((20, 3))
    y = (X[:, 0] + rng.standard_normal(20) > 0).astype(int)
    model = clone(model).fit(X, y)
    model.coef_, model.intercept_ = model.coef_ + 1e6, model.intercept_ + 1e7
    with pytest.raises(SingularHessianError, match=r"ended far from its optimum.*polish=True"):
        influence_of_fit(model, X, y, None)
    if isinstance(model, LogisticRegression):
        # Its solver does not end there: other data, as is said before.
        return
    inf = Influence(model, X, y, polish=True)
    C = 1 / (model.alpha * 20)
    truth = Influence(LogisticRegression(C=C, tol=1e-10).fit(X, y), X, y, polish=True)
    ask = dict(of="decision_function", method="exact")
    np.testing.assert_allclose(
        inf.effect(edits.relabel(3, 1 - y[3]), X, **ask).values,
        truth.effect(edits.relabel(3, 1 - y[3]), X, **ask).values,
        rtol=1e-6,
    )
    assert inf.report().moved.decision_values > 1e6
