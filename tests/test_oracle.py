"""The oracle that answers are compared with: independent of the package, and as accurate as it says."""

import ast
from pathlib import Path

import numpy as np
import pytest
from sklearn import kernel_ridge, linear_model, svm
from sklearn.multiclass import OneVsRestClassifier

from tests import oracle
from tests.oracle.algebra import Factor, NotPositiveDefiniteError

FOLDER = Path(oracle.__file__).parent
LD = np.longdouble


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_the_oracle_imports_numpy_and_itself_only(path):
    tops = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            tops |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            tops.add(node.module)
    allowed = {"numpy", "dataclasses"}
    assert {top for top in tops if not top.startswith("tests.oracle")} <= allowed


def bisected(slope, low=-100.0, high=100.0):
    """Where an increasing function of one number is zero, in long double."""
    low, high = LD(low), LD(high)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize(
    ("weight", "C", "x"), [(1.0, 1.0, 1.0), (5e4, 1e8, 1.0), (1e4, 1.0, 3e4), (1e-4, 1e6, 1e8)]
)
def test_an_optimum_that_one_equation_decides_is_met_to_the_stated_error(weight, C, x):
    """Two columns without common rows: each parameter is the root of an equation of its own."""
    X = np.array([[1, 0], [1, 0], [0, x], [0, x]])
    problem = oracle.problem_of(
        "LogisticRegression",
        {"C": C, "fit_intercept": False},
        X,
        [0, 1, 1, 1],
        np.array([weight, 2 * weight, 1, 1]),
        classes=[0, 1],
    )
    found = oracle.minimise(problem)
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    eta = bisected(lambda t: t / (LD(C) * LD(x) ** 2) - 2 * sigmoid(-t))
    first = bisected(lambda t: t / LD(C) - weight * (2 * sigmoid(-t) - sigmoid(t)))
    true = np.array([first, eta / LD(x)])
    assert found.converged
    assert found.error < 1e-10
    assert found.factor.norm(found.theta[0] - true) <= found.error + 1e-17


FITS = {
    "binary": ("LogisticRegression", linear_model.LogisticRegression, {"C": 2.0}, 2),
    "balanced": (
        "LogisticRegression",
        linear_model.LogisticRegression,
        {"C": 0.3, "class_weight": "balanced"},
        3,
    ),
    "liblinear": (
        "LogisticRegression",
        linear_model.LogisticRegression,
        {"solver": "liblinear", "intercept_scaling": 3.0, "tol": 1e-12},
        2,
    ),
    "ridge": ("Ridge", linear_model.Ridge, {"alpha": 0.3}, 0),
    "least squares": ("LinearRegression", linear_model.LinearRegression, {}, 0),
    "ridge classifier": (
        "RidgeClassifier",
        linear_model.RidgeClassifier,
        {"class_weight": "balanced"},
        3,
    ),
    "poisson": ("PoissonRegressor", linear_model.PoissonRegressor, {"alpha": 0.2}, -1),
    "gamma": ("GammaRegressor", linear_model.GammaRegressor, {"alpha": 0.2}, -1),
    "tweedie": ("TweedieRegressor", linear_model.TweedieRegressor, {"power": 1.5}, -1),
    "squared hinge": (
        "LinearSVC",
        svm.LinearSVC,
        {"dual": False, "tol": 1e-12, "intercept_scaling": 2.0, "max_iter": 100_000},
        2,
    ),
    "squared hinge, 3 classes": (
        "LinearSVC",
        svm.LinearSVC,
        {"dual": False, "tol": 1e-12, "class_weight": "balanced", "max_iter": 100_000},
        3,
    ),
}
NEWTON = {"LogisticRegression", "PoissonRegressor", "GammaRegressor", "TweedieRegressor"}


def rows(k, seed=0, n=60, d=4):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    score = X[:, 0] + rng.standard_normal(n)
    if k > 0:
        y = np.digitize(score, np.quantile(score, np.arange(1, k) / k))
    else:
        y = score if k == 0 else np.exp(score / 2) + 0.01
    return X, y, rng.gamma(1.0, size=n)


@pytest.mark.parametrize("name", FITS)
def test_objectives_are_those_of_scikit_learn(name):
    kind, cls, params, k = FITS[name]
    X, y, weights = rows(k)
    fitting = {"solver": "newton-cholesky", "tol": 1e-12} if kind in NEWTON else {}
    model = cls(**{**fitting, **params}).fit(X, y, sample_weight=weights)
    problem = oracle.problem_of(kind, params, X, y, weights, classes=np.arange(max(k, 0)))
    found = oracle.minimise(problem)
    theirs = problem.inner(model.coef_, model.intercept_)
    assert found.converged
    # 1e-6: where liblinear stops.
    assert found.factor.norm((theirs - found.theta).ravel()) < 1e-6 * found.factor.norm(
        found.theta.ravel()
    )


def test_one_vs_rest_is_a_problem_per_class():
    X, y, _ = rows(3)
    inner = linear_model.LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12)
    model = OneVsRestClassifier(inner).fit(X, y)
    problem = oracle.problem_of("OneVsRestClassifier", {"C": 0.5}, X, y, classes=range(3))
    found = oracle.minimise(problem)
    coef = np.vstack([one.coef_ for one in model.estimators_])
    offset = np.ravel([one.intercept_ for one in model.estimators_])
    assert np.allclose((found.theta - problem.inner(coef, offset)).astype(float), 0, atol=1e-8)


@pytest.mark.parametrize("temperature", [0.5, 0.001])
def test_two_starts_end_within_their_errors(temperature):
    X, y, weights = rows(2)
    params = {"loss": "smooth_hinge", "temperature": temperature, "C": 10.0}
    problem = oracle.problem_of("LinearSVC", params, X, y, weights, classes=[0, 1])
    first = oracle.minimise(problem)
    second = oracle.minimise(problem, np.full(problem.shape, 3.0))
    distance = first.factor.norm((first.theta - second.theta).ravel())
    assert first.converged
    assert second.converged
    assert distance <= first.error + second.error


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_hinge_machines_are_within_their_duality_gap_of_libsvm(kernel):
    X, y, weights = rows(2, n=30)
    model = svm.SVC(C=2.0, kernel=kernel, gamma=0.3, tol=1e-10).fit(X, y, sample_weight=weights)
    machine = oracle.MachineProblem(
        X.astype(LD), 2 * y - 1, 2.0 * weights, kernel, {"gamma": 0.3}, True
    )
    values, error = machine.values(X[:5])
    # 1e-5: libsvm's own stop.
    assert np.abs(values - model.decision_function(X[:5])).max() < 1e-5
    assert error.max() < 1e-5


def test_kernel_ridge_is_the_closed_form():
    X, y, weights = rows(0, n=30)
    weights[3] = 0.0
    model = kernel_ridge.KernelRidge(alpha=0.1, kernel="rbf", gamma=0.2)
    model.fit(X, y, sample_weight=weights)
    problem = oracle.KernelRidgeProblem(X, y, weights, 0.1, "rbf", {"gamma": 0.2})
    values, error, _ = problem.values(X[:5])
    assert np.abs(values - model.predict(X[:5])).max() < 1e-10
    assert error.max() < 1e-15


def test_an_edit_moves_the_penalty_of_a_mean_only():
    X, y, weights = rows(-1)
    change = {}
    for hold in ("C", "lambda"):
        problem = oracle.problem_of("PoissonRegressor", {"alpha": 0.2}, X, y, weights, hold)
        change[hold] = problem.edited({0: 0.0}).penalty / problem.penalty.max()
    left = 1 - weights[0] / weights.sum()
    assert np.allclose(change["C"][:-1].astype(float), 1.0)
    assert np.allclose(change["lambda"][:-1].astype(float), left)


def test_a_singular_matrix_has_no_factor():
    with pytest.raises(NotPositiveDefiniteError):
        Factor(np.ones((3, 3)))
