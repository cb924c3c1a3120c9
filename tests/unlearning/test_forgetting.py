"""Rows are forgotten: receipts bound the distance from refits, and the retained rows verify them."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import HuberRegressor, LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVR
from sklearn.svm import LinearSVC as LinearSVC_
from sklearn.utils.estimator_checks import check_estimator

from skinfluence import Influence, edits, unlearning
from skinfluence._utils._compat import write_svr
from skinfluence.m_estimation import MEstimator
from skinfluence.objective import objective_of
from skinfluence.svm import SVC, LinearSVC
from skinfluence.unlearning.gaussian import delta_of
from skinfluence.unlearning.receipts import _digest
from tests.editing.models import MODELS, NEWTON, SHARES, huber, outputs, plane
from tests.oracle.huber import Huber
from tests.row_losses.test_huber_bounds import data as huber_data
from tests.truth import polish

FORGETTING = [
    "logistic",
    "softmax",
    "softmax-ours",
    "ridge",
    "no-intercept",
    "least-squares",
    "poisson",
    "gamma",
    "one-vs-rest",
    "kernel-ridge",
    "svc",
    "svc-scale",
    "squared-hinge",
    "smooth-hinge",
    "scaler-logistic",
    "scaler-ridge",
    "logistic-balanced",
    "linear-hinge",
    "linear-hinge-balanced",
    "svr",
    "svr-scale",
    "linear-svr",
    "squared-tube",
    "scaler-squared-tube",
    "scaler-svr",
    "lasso",
    "elastic-net",
    "lasso-no-intercept",
    "positive-lasso",
    "l1-logistic",
    "elastic-logistic",
    "gaussian-nb",
    "bernoulli-nb",
    "lda",
    "qda",
    "centroids",
    "neighbours",
    "neighbour-regression",
    "gaussian-process",
]


@pytest.mark.parametrize("name", FORGETTING)
def test_requests_are_forgotten_and_the_receipt_holds(name):
    """Two requests, one of a group; the model is the refit, and its receipt is verified."""
    model, X, y = MODELS[name]
    model = clone(model).fit(X, y)
    done = unlearning.forget(Influence(model, X, y), [3, 77])
    done = unlearning.forget(done.influence, 10)
    left = np.setdiff1d(np.arange(len(y)), [3, 10, 77])
    refit = outputs(clone(model).fit(X[left], y[left]), X)
    np.testing.assert_allclose(
        outputs(done.estimator, X), refit, rtol=0, atol=SHARES.get(name, 1e-8) * np.abs(refit).max()
    )
    assert done.receipt.n_rows == len(left)
    assert np.isfinite(done.receipt.distance) and np.isfinite(done.receipt.decision_values)
    kept = unlearning.retained(done.influence)
    np.testing.assert_array_equal(kept[0], X[left])
    check = unlearning.verify(done.receipt, done.estimator, *kept)
    assert check.holds and check.reasons == ()
    # In another process too, where nothing is left of the deleted rows.
    again = pickle.loads(pickle.dumps((done.receipt, done.estimator, X[left], y[left])))
    assert unlearning.verify(*again).holds


@pytest.mark.parametrize("name", ["logistic", "softmax", "ridge", "poisson", "scaler-logistic"])
def test_the_receipt_bounds_the_distance_from_the_optimum(name):
    """Of parameters that are moved from it on purpose, by what Newton's method says is the distance."""
    model, X, y = MODELS[name]
    model = clone(model).fit(X, y)
    last = model[-1] if hasattr(model, "steps") else model
    seen = model[:-1].transform(X) if hasattr(model, "steps") else X
    best = polish(objective_of(last, seen, y))
    theta = best.design.in_units(best.loss.expand(best.theta.T).T)
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-6, 1e-9):
        step = size * rng.standard_normal(np.shape(last.coef_))
        last.coef_ = np.reshape(theta[:, :-1], np.shape(last.coef_)) + step
        given = unlearning.receipt(model, X, y)
        moved = np.atleast_2d(last.coef_) - theta[:, :-1]
        offset = np.ravel(last.intercept_) - theta[:, -1]
        away = np.sqrt(np.sum(moved**2) + np.sum(offset**2))
        assert away <= given.distance < 1e3 * away + 1e-9
        assert np.abs(seen @ moved.T + offset).max() <= given.decision_values


@pytest.mark.parametrize(
    "model", [SVC(C=1.0, gamma=0.5), KernelRidge(kernel="rbf", alpha=0.1, gamma=0.3)], ids=str
)
def test_the_receipt_of_a_kernel_model_bounds_its_function(model):
    _, X, y = MODELS["svc"]
    y = y if isinstance(model, SVC) else y.astype(float)
    model = clone(model).fit(X[:100], y[:100])
    best = outputs(model, X)
    for size in (1e-3, 1e-6):
        dual = model.dual_coef_
        if isinstance(model, SVC):
            # Less of every support vector: inside the bounds, and the sum stays zero.
            model.dual_coef_, model._dual_coef_ = (1 - size) * dual, (1 - size) * model._dual_coef_
        else:
            model.dual_coef_ = dual + size * np.cos(np.arange(len(dual)))
        given = unlearning.receipt(model, X[:100], y[:100])
        away = np.abs(outputs(model, X) - best)
        assert 0 < away.max() <= given.decision_values
        model.dual_coef_ = dual
        if isinstance(model, SVC):
            model._dual_coef_ = model._dual_coef_ / (1 - size)


@pytest.mark.parametrize(
    "name", ["lasso", "positive-lasso", "elastic-net", "lasso-no-intercept", "l1-logistic"]
)
def test_the_receipt_of_a_model_with_an_l1_penalty_bounds_its_distance(name):
    """Of coefficients moved on purpose, on their support and off it; descent to round-off says from where."""
    model, X, y = MODELS[name]
    model = clone(model).fit(X, y)
    best = np.ravel(model.coef_).copy()
    rng = np.random.default_rng(0)
    for size, moved in ((1e-3, best != 0), (1e-6, best != 0), (1e-3, np.ones(len(best), bool))):
        step = size * np.abs(rng.standard_normal(len(best))) * moved
        model.coef_ = np.reshape(best + step, np.shape(model.coef_))
        given = unlearning.receipt(model, X, y)
        away = np.linalg.norm(step)
        assert 0.999 * away <= given.distance < 1.001 * away + 1e-8
        # Descent ended within 1e-9 of the optimum.
        assert np.abs(X @ step).max() <= given.decision_values + 1e-8
        assert given.decision_values < 1.001 * np.abs(X @ step).max() + 1e-8


@pytest.mark.parametrize(
    "model",
    [
        LinearSVC_(loss="hinge", C=0.5, intercept_scaling=2.0, tol=1e-8, max_iter=10**6),
        LinearSVR(C=0.5, epsilon=0.2, intercept_scaling=2.0, tol=1e-8, max_iter=10**6),
        SVR(C=3.0, gamma=0.2, tol=1e-10),
    ],
    ids=str,
)
def test_the_receipt_of_a_support_vector_machine_bounds_its_function(model):
    """By the gap between primal and dual: of a machine that is known by its coefficients, against its best dual."""
    _, X, y = MODELS["linear-hinge"]
    X, y = X[:80], y[:80]
    if not isinstance(model, LinearSVC_):
        y = X @ np.arange(X.shape[1]) + (y == y[0])
    model = clone(model).fit(X, y)
    best = outputs(model, X)
    rng = np.random.default_rng(0)
    for size in (1e-2, 1e-4):
        moved = copy.deepcopy(model)
        if hasattr(model, "dual_coef_"):
            # Less of every support vector: inside the bounds, and the sum stays zero.
            write_svr(
                moved,
                model.support_,
                model.support_vectors_,
                (1 - size) * model.dual_coef_,
                model.intercept_,
            )
        else:
            moved.coef_ = model.coef_ + size * rng.standard_normal(model.coef_.shape)
        given = unlearning.receipt(moved, X, y)
        away = np.abs(outputs(moved, X) - best).max()
        assert 0 < away <= given.decision_values
        assert given.decision_values < 100.0 * np.sqrt(size) * (1.0 + np.abs(best).max())


def test_a_receipt_that_does_not_hold_is_false():
    """``if verify(...)`` is how it is read."""
    X, y, _ = huber_data("plain")
    model = Ridge().fit(X, y)
    given = unlearning.receipt(model, X, y)
    assert unlearning.verify(given, model, X, y)
    assert not unlearning.verify(given, model, X[1:], y[1:])


def test_the_receipt_of_a_huber_regression_bounds_its_distance():
    """Of parameters moved on purpose, the scale too, against the optimum in long double."""
    X, y, w = huber_data("plain")
    inf = Influence(HuberRegressor(epsilon=1.2, max_iter=1000, tol=1e-9).fit(X, y), X, y)
    done = unlearning.forget(unlearning.forget(inf, [3, 17]).influence, 8)
    kept = unlearning.retained(done.influence)
    assert unlearning.verify(done.receipt, done.estimator, *kept).holds
    model = done.estimator
    fitted = np.append(model.coef_, [model.intercept_, model.scale_])
    best = Huber(model, *kept, w[: len(kept[1])]).optimum(fitted)
    rng = np.random.default_rng(0)
    for size in (0.0, 1e-9, 1e-6, 1e-4):
        at = fitted + size * rng.standard_normal(len(fitted))
        model.coef_, model.intercept_, model.scale_ = at[:-2], at[-2], at[-1]
        given = unlearning.receipt(model, *kept)
        away = float(np.linalg.norm(at - best))
        assert away <= given.distance < 4.0 * away + 1e-11
        values = kept[0] @ (at - best)[:-2] + (at - best)[-2]
        assert np.abs(values).max() <= given.decision_values
        assert unlearning.verify(done.receipt, model, *kept).holds == (size == 0.0)


@pytest.mark.parametrize("kind", [SVR, LinearSVR])
def test_a_tube_that_holds_all_rows_has_a_receipt(kind):
    """No support vector is left, and any intercept whose tube holds them is best."""
    X, y = MODELS["linear-hinge"][1][:40], np.linspace(-1.0, 1.0, 40)
    model = kind(epsilon=5.0).fit(X, y)
    done = unlearning.forget(Influence(model, X, y), 3)
    assert done.receipt.distance == done.receipt.decision_values == 0.0
    kept = unlearning.retained(done.influence)
    assert unlearning.verify(done.receipt, done.estimator, *kept).holds
    if kind is SVR:
        # The last tube that holds the row of target -1 lies about 4.
        write_svr(model, model.support_, model.support_vectors_, model.dual_coef_, [4.5])
        given = unlearning.receipt(model, X, y)
        assert 0.5 <= given.decision_values + 1e-12 and given.decision_values < 10.0


def test_a_model_in_closed_form_is_at_no_distance_or_at_an_infinite_one():
    """It is fitted again: what was never shown the rows is the same to the last bit, what was is refused."""
    for name in ("neighbours", "gaussian-nb", "lda"):
        model, X, y = MODELS[name]
        model = clone(model).fit(X, y)
        done = unlearning.forget(Influence(model, X, y), [3, 77])
        assert done.receipt.distance == done.receipt.decision_values == 0.0
        kept = unlearning.retained(done.influence)
        if name == "neighbours":
            assert unlearning.receipt(model, *kept).distance == np.inf
            assert not unlearning.verify(done.receipt, model, *kept).holds
        else:
            check = unlearning.verify(done.receipt, model, *kept)
            assert not check.holds and check.measured is None
            assert "must be those of the fit" in check.reasons[0]


def test_a_false_receipt_is_found_out():
    """Other parameters, other rows, deleted rows that are still in the model."""
    model, X, y = MODELS["logistic"]
    model = clone(model).fit(X, y)
    done = unlearning.forget(Influence(model, X, y), [3, 77])
    kept = unlearning.retained(done.influence)
    assert not unlearning.verify(done.receipt, model, *kept).holds
    assert not unlearning.verify(done.receipt, done.estimator, X, y).holds
    # The model that never forgot: its own receipt says how far it is.
    given = unlearning.receipt(model, *kept)
    assert given.distance > 1e3 * done.receipt.distance
    reasons = unlearning.verify(done.receipt, model, *kept).reasons
    assert "The parameters are not those" in reasons[0] and "is above" in reasons[1]


def test_steps_that_saw_deleted_rows_get_no_receipt():
    model, X, y = MODELS["scaler-logistic"]
    inf = Influence(clone(model).fit(X, y), X, y)
    with pytest.raises(ValueError, match="fitted again on them, they give other features"):
        unlearning.forget(inf, [3, 77], frozen="accept")


def test_models_without_a_known_distance_are_refused_by_name():
    X, y = MODELS["m-estimator"][1:]
    model = MEstimator(huber, n_params=X.shape[1] + 1, l2=0.1, decision=plane).fit(X, y)
    with pytest.raises(TypeError, match="Got MEstimator"):
        unlearning.forget(Influence(model, X, y), 0)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
def test_the_noise_is_that_of_the_analytic_gaussian_mechanism(epsilon):
    """Balle and Wang's condition, written out with scipy's normal distribution, holds with equality."""
    release = unlearning.GaussianRelease(epsilon, 1e-5, distance=0.01)
    a, b = 0.01 / (2 * release.sigma), epsilon * release.sigma / 0.01
    found = norm.cdf(a - b) - np.exp(epsilon) * norm.cdf(-a - b)
    np.testing.assert_allclose(found, 1e-5, rtol=1e-6)
    # One release is one release; of four the distance is twice as far.
    np.testing.assert_allclose(release.composed(1), epsilon, rtol=1e-6)
    together = release.composed(4)
    assert epsilon < together < 4 * epsilon
    np.testing.assert_allclose(delta_of(together, release.sigma / 0.02), 1e-5, rtol=1e-5)


def test_releases_have_noise_of_their_own_size():
    X, y = MODELS["logistic"][1:]
    model = LogisticRegression(C=1.0, fit_intercept=False, **NEWTON).fit(X, y)
    done = unlearning.forget(Influence(model, X, y), [3, 77])
    release = unlearning.GaussianRelease(1.0, 1e-5, distance=1e-3)
    rng = np.random.RandomState(0)
    moved = [release.release(done.influence, rng).coef_ - done.estimator.coef_ for _ in range(200)]
    np.testing.assert_allclose(np.std(moved), release.sigma, rtol=0.1)
    assert np.abs(np.mean(moved, axis=0)).max() < 4 * release.sigma / np.sqrt(200)


@pytest.mark.filterwarnings("ignore:The fit is not at the optimum")
def test_releases_without_a_distance_free_of_the_data_are_refused():
    X, y = MODELS["logistic"][1:]
    release = unlearning.GaussianRelease(1.0, 1e-5)
    free = Influence(LogisticRegression(**NEWTON).fit(X, y), X, y)
    with pytest.raises(ValueError, match="a free intercept"):
        release.release(free)
    steps = make_pipeline(StandardScaler(), LogisticRegression(fit_intercept=False, **NEWTON)).fit(
        X, y
    )
    with pytest.raises(ValueError, match="standardscaler, which learned from the rows"):
        release.release(Influence(steps, X, y))
    hinge = Influence(SVC().fit(X, y), X, y)
    with pytest.raises(ValueError, match="without a penalised convex objective"):
        release.release(hinge)
    loose = LogisticRegression(fit_intercept=False, tol=1e-1).fit(X, y)
    with pytest.raises(ValueError, match="within the distance that was fixed in advance"):
        release.release(Influence(loose, X, y))
    # After a request it is at its optimum.
    after = Influence(loose, X, y).after(edits.remove(0))
    assert release.release(after).coef_.shape == loose.coef_.shape
    with pytest.raises(ValueError, match="epsilon and distance must be positive"):
        unlearning.GaussianRelease(0.0, 1e-5)


@pytest.mark.parametrize(
    "model",
    [
        Ridge(alpha=0.5, fit_intercept=False),
        PoissonRegressor(alpha=0.1, fit_intercept=False, **NEWTON),
        LinearSVC(),
    ],
    ids=str,
)
def test_every_penalised_model_is_released(model):
    X, y = MODELS["logistic"][1:]
    y = y if isinstance(model, LinearSVC) else (y == "good").astype(float)
    inf = Influence(model.fit(X, y), X, y).after(edits.remove(3))
    noisy = unlearning.GaussianRelease(1.0, 1e-5).release(inf, 0)
    away = np.abs(noisy.coef_ - inf.estimator.coef_)
    assert 0 < away.max() < 1e-4


def test_digests_are_those_of_every_process():
    code = (
        "import numpy as np; from skinfluence.unlearning.receipts import _digest;"
        "print(_digest([np.arange(5.0), ['a', 'b'], None]))"
    )
    # Python's own hashes of texts differ there.
    seed = {"PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **seed}
    )
    assert other.stdout.strip() == str(_digest([np.arange(5.0), ["a", "b"], None]))


def test_the_perturbed_objective_is_solved_before_and_after_requests():
    """By the gradient, written out, and by scipy from scratch with the same draw."""
    X, y = MODELS["logistic"][1:]
    model = unlearning.PerturbedLogisticRegression(residual=1e-3, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.sigma_, 1e-3 * np.sqrt(2 * np.log(1.5e5)))
    b, signs = model._b, np.where(y == "good", 1.0, -1.0)
    for left in (
        np.arange(len(y)),
        np.setdiff1d(np.arange(len(y)), [3, 77]),
        np.setdiff1d(np.arange(5, len(y)), [77]),
    ):
        gone = np.setdiff1d(model._rows, left)
        if len(gone):
            model.forget(gone)
        A, s = X[left], signs[left]

        def value(theta, A=A, s=s):
            return np.logaddexp(0, -s * (A @ theta)).sum() + theta @ theta / 2 + b @ theta

        pull = -s / (1 + np.exp(s * (A @ model.coef_[0])))
        gradient = A.T @ pull + model.coef_[0] + b
        assert np.linalg.norm(gradient) <= 1e-3
        best = minimize(value, np.zeros(X.shape[1]), tol=1e-10).x
        # The penalty is one: a gradient of 1e-3 is at most as far from the optimum.
        assert np.linalg.norm(model.coef_[0] - best) <= 1e-3 + 1e-5
    with pytest.raises(ValueError, match="A removed row stays removed"):
        model.forget(3)
    with pytest.raises(ValueError, match="Both classes must keep a row"):
        model.forget(np.intersect1d(np.flatnonzero(y == "good"), model._rows))


@pytest.mark.filterwarnings("ignore:Skipping check")
def test_the_perturbed_model_is_an_estimator_of_scikit_learn():
    check_estimator(unlearning.PerturbedLogisticRegression(residual=1e-4, random_state=0))
    X, y = MODELS["logistic"][1:]
    model = unlearning.PerturbedLogisticRegression(residual=1e-9, random_state=0).fit(X, y)
    plain = LogisticRegression(fit_intercept=False, **NEWTON).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    assert model.score(X, y) == plain.score(X, y)
