"""Leverages that are not exact say so: mixed precision and random probes."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, objective_of
from skinfluence.solvers import CG, Exact


@pytest.fixture(scope="module")
def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return LogisticRegression(C=100, solver="newton-cholesky", tol=1e-10).fit(X, y), X, y


def shifts(influence, method="one-step"):
    return influence.loo_decision_function(method=method) - influence.estimator.decision_function(
        influence.data.inputs.training_X
    )


@pytest.mark.filterwarnings("ignore:Leverages are estimated")
def test_random_probes_converge_and_their_standard_error_is_theirs(breast_cancer):
    """Errors halve with four times the probes and are one standard error on average."""
    truth = shifts(Influence(*breast_cancer))
    keep = np.abs(truth) > 1e-12
    errors = []
    for probes in (64, 1024):
        inf = Influence(*breast_cancer, solver=CG(probes=probes, random_state=0))
        relative = shifts(inf)[keep] / truth[keep] - 1.0
        errors.append(np.median(np.abs(relative)))
        standardised = relative / inf.answers.factor.standard_error[keep]
        assert 0.8 < np.sqrt(np.mean(standardised**2)) < 1.25
        assert inf.report().leverage_error == pytest.approx(
            np.median(inf.answers.factor.standard_error)
        )
    assert 2.5 < errors[0] / errors[1] < 6.5


def test_random_probes_are_never_silent_nor_certified(breast_cancer):
    with pytest.warns(UserWarning, match="standard error"):
        inf = Influence(*breast_cancer, solver=CG(probes=16, random_state=0))
    with pytest.raises(ValueError, match="exact leverages"):
        inf.loo_decision_function()
    X, y = load_digits(return_X_y=True)
    model = LogisticRegression(C=0.01, max_iter=1000).fit(X[:200], y[:200])
    with pytest.raises(ValueError, match="one output"):
        Influence(model, X[:200], y[:200], solver=CG(probes=16))


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_mixed_precision_answers_within_its_bounds(C):
    """One-step to 1e-4; certified answers inside the same relative error; derivatives refined."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(X, y)
    double, mixed = Influence(model, X, y), Influence(model, X, y, precision="mixed")
    assert 0 < mixed.report().leverage_error < 1e-3
    np.testing.assert_allclose(
        mixed.influence_up_loss(X[:5], y[:5]), double.influence_up_loss(X[:5], y[:5]), rtol=1e-9
    )
    for method, tol in (("one-step", 1e-4), ("auto", 2e-3)):
        a, b = (inf.loo_decision_function(method=method) for inf in (double, mixed))
        shift = a - double.objective.loss.expand(double.objective.eta)
        assert np.linalg.norm(a - b) <= tol * np.linalg.norm(shift)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_leverages_of_single_precision_are_counted_with_in_double(n_classes):
    """Of one output and of several, so that nothing made of them is rounded to single precision again."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), np.arange(30) % n_classes
    objective = objective_of(LogisticRegression().fit(X, y), X, y)
    h = Exact(precision="mixed").factor(objective).leverages()
    assert h.dtype == np.float64
    np.testing.assert_allclose(h, Exact().factor(objective).leverages(), rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_a_penalty_there_is_no_share_of_it_to_hold(rng):
    """Rows of other weights took other shares of nothing, which single precision does not solve for."""
    X = rng.standard_normal((60, 3))
    y, weight = (X[:, 0] + 2 * rng.standard_normal(60) > 0).astype(int), rng.uniform(0.5, 2.0, 60)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X, y, weight)
    C, by_weight = (
        Influence(model, X, y, weight, hold=hold, precision=precision)
        for hold, precision in (("C", "float64"), ("lambda", "mixed"))
    )
    for method in ("exact", "one-step"):
        found, held = (inf.loo_decision_function(method=method) for inf in (by_weight, C))
        np.testing.assert_allclose(found, held, rtol=1e-6)


def test_mixed_precision_is_refused_where_it_does_not_apply():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)[:20]
    model = LogisticRegression(C=0.01).fit(X, y[:20])
    with pytest.raises(ValueError, match="solver='auto' or 'exact'"):
        Influence(model, X, y[:20], precision="mixed", solver="cg")
    with pytest.raises(ValueError, match="'float64' or 'mixed'"):
        Influence(model, X, y[:20], precision="float16")


@pytest.mark.parametrize("seed", range(4))
def test_leverages_in_single_precision_know_their_error(seed):
    """Nearly equal columns: seven digits of the factor are three of the leverages."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((92, 3))
    X[:, 1] = X[:, 0] + 2e-3 * rng.standard_normal(92)
    y = X.sum(axis=1) + rng.standard_normal(92)
    model = Ridge(alpha=1e-3).fit(X, y)
    exact, mixed = Influence(model, X, y), Influence(model, X, y, precision="mixed")
    h, rough = exact.answers.factor.leverages(), mixed.answers.factor.leverages()
    assert np.median(np.abs(rough - h) / h) < mixed.report().leverage_error
    truth = exact.loo_predict(method="exact")
    error = np.abs(mixed.loo_predict() - truth) / np.abs(truth - model.predict(X))
    assert error.max() < 1e-3
