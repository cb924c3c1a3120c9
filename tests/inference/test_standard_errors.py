"""Standard errors of metrics are the jackknife of true refits, and near the bootstrap's."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import scale

import skinfluence.linear_model as ours
from skinfluence import Influence, metrics
from skinfluence.inference import bootstrap, covariance, standard_error
from tests.fewer import turns
from tests.registries import make_data

TIGHT = {"tol": 1e-10, "max_iter": 1000, "solver": "newton-cholesky"}


@pytest.fixture(scope="module")
def cancer():
    """A model of 160 rows, the rows, and 200 test points."""
    X, y = load_breast_cancer(return_X_y=True)
    X, order = scale(X[:, :6]), np.random.default_rng(0).permutation(len(y))
    train, test = order[:160], order[160:360]
    model = linear_model.LogisticRegression(C=1.0, **TIGHT).fit(X[train], y[train])
    return Influence(model, X[train], y[train]), X[train], y[train], X[test], y[test]


@pytest.fixture(scope="module")
def refitted(cancer):
    """Decision values at the test points without each row, by true refits."""
    influence, X, y, X_test, _ = cancer
    return [one.decision_function(X_test) for one in refits(influence.estimator, X, y)]


def jackknife(values):
    n = len(values)
    return np.sqrt((n - 1) / n * ((values - np.mean(values, axis=0)) ** 2).sum(axis=0))


def refits(model, X, y, groups=None):
    groups = np.arange(len(y)) if groups is None else groups
    for g in np.unique(groups):
        yield clone(model).fit(X[groups != g], y[groups != g])


GROUPS = np.arange(200) % 3
SCALARS = {
    "auroc": metrics.auroc(0.2),
    "auroc-in-steps": metrics.auroc(0),
    "mean-loss": metrics.mean_loss(),
    "slice": metrics.mean_loss(slice(10, 90)),
    "parity": metrics.demographic_parity(GROUPS),
    "opportunity": metrics.equal_opportunity(GROUPS),
    "own": lambda eta, y: np.tanh(eta).mean(),
}


def without_one_point(name, eta, y):
    """The metric without each test point, made anew for the others."""
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        rows = np.arange(10, 90)
        rows = rows[rows != i] - (rows[rows != i] > i)
        of = {
            "slice": metrics.mean_loss(rows),
            "parity": metrics.demographic_parity(GROUPS[kept]),
            "opportunity": metrics.equal_opportunity(GROUPS[kept]),
        }.get(name, SCALARS[name])
        called = of(eta[kept]) if name == "parity" else of(eta[kept], y[kept])
        yield float(called)


def test_scorers_by_name_are_metrics_too(cancer):
    influence, _, _, X_test, y_test = cancer
    X_test, y_test = X_test[:40], y_test[:40]
    pairs = [("roc_auc", metrics.auroc(0)), ("neg_log_loss", metrics.mean_loss())]
    for sampled, (name, of) in turns(("test", "train", "both"), pairs):
        found = standard_error(influence, name, X_test, y_test, sampled=sampled)
        expected = standard_error(influence, of, X_test, y_test, sampled=sampled)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", SCALARS)
def test_both_samples_are_left_out_one_at_a_time(cancer, refitted, name):
    influence, _, _, X_test, y_test = cancer
    of = SCALARS[name]
    eta = influence.estimator.decision_function(X_test)
    test = jackknife(np.array(list(without_one_point(name, eta, y_test))))
    found = standard_error(influence, of, X_test, y_test, sampled="test")
    np.testing.assert_allclose(found, test, rtol=1e-6)
    values = [of(one) if name == "parity" else of(one, y_test) for one in refitted]
    train = jackknife(np.array(values))
    options = {"sampled": "train", "method": "exact"}
    found = standard_error(influence, of, X_test, y_test, **options)
    np.testing.assert_allclose(found, train, rtol=1e-5)
    found = standard_error(influence, of, X_test, y_test, method="exact")
    np.testing.assert_allclose(found, np.hypot(test, train), rtol=1e-5)


def test_single_points_have_the_error_of_the_model_at_them(cancer, refitted):
    influence, _, _, X_test, _ = cancer
    fitted = [1 / (1 + np.exp(np.stack([eta[:4], -eta[:4]], axis=1))) for eta in refitted]
    found = standard_error(influence, "predict_proba", X_test[:4], method="exact")
    np.testing.assert_allclose(found, jackknife(np.array(fitted)), rtol=1e-5)


def test_clusters_of_training_rows_are_left_out_together(cancer):
    influence, X, y, X_test, _ = cancer
    groups = np.arange(len(y)) % 12
    fitted = [
        one.decision_function(X_test[:4]) for one in refits(influence.estimator, X, y, groups)
    ]
    found = standard_error(
        influence, "decision_function", X_test[:4], groups=groups, method="exact"
    )
    np.testing.assert_allclose(found, jackknife(np.array(fitted)), rtol=1e-5)


def test_the_training_sample_itself_is_left_out_of_fit_and_metric(cancer):
    influence, X, y, _, _ = cancer
    of = metrics.mean_loss()
    eta = influence.estimator.decision_function(X)
    whole = of(eta, y)
    changes = []
    for i, one in enumerate(refits(influence.estimator, X, y)):
        kept = np.arange(len(y)) != i
        changes.append(of(one.decision_function(X), y) - whole + of(eta[kept], y[kept]))
    found = standard_error(influence, of, method="exact")
    np.testing.assert_allclose(found, jackknife(np.array(changes)), rtol=1e-5)


def test_the_error_of_a_linear_function_is_that_of_its_coefficients():
    X, y = make_data("regression", 60, 3, 5)
    model = ours.LinearRegression().fit(X, y)
    point = np.append(X[:1], 1.0)
    expected = np.sqrt(point @ covariance(model, "jackknife") @ point)
    found = standard_error(model, "decision_function", X[:1])
    np.testing.assert_allclose(found, [expected], rtol=1e-9)


def test_the_auroc_is_as_uncertain_as_bootstrapped_refits_say(cancer):
    """Both the rows of the fit and the test points drawn anew; 250 draws know 4.5 %."""
    influence, X, y, X_test, y_test = cancer
    rng, n, m = np.random.default_rng(1), len(y), len(y_test)
    drawn = []
    model = clone(influence.estimator).set_params(tol=1e-6)
    for _ in range(250):
        rows, points = rng.integers(n, size=n), rng.integers(m, size=m)
        eta = model.fit(X[rows], y[rows]).decision_function(X_test[points])
        drawn.append(roc_auc_score(y_test[points], eta))
    expected = np.std(drawn, ddof=1)
    found = standard_error(influence, metrics.auroc(0), X_test, y_test)
    assert abs(found / expected - 1) < 0.12
    linear = bootstrap(influence, metrics.auroc(0), X_test, y_test, random_state=0)
    assert abs(linear.std(ddof=1) / expected - 1) < 0.12


def test_linearised_resamples_have_the_infinitesimal_jackknife_as_their_covariance():
    X, y = make_data("regression", 60, 3, 5)
    model = ours.LinearRegression().fit(X, y)
    groups = np.arange(60) % 10
    points = np.vstack([np.eye(3), np.zeros(3)])
    A = np.column_stack([points, np.ones(4)])
    for clusters in (None, groups):
        draws = bootstrap(model, X=points, n_resamples=20000, groups=clusters, random_state=0)
        expected = A @ covariance(model, "ij", groups=clusters) @ A.T
        error = np.abs(np.cov(draws.T) - expected).max() / np.abs(expected).max()
        # 20,000 draws know a variance to 1 %.
        assert error < 0.05
        np.testing.assert_allclose(
            draws.mean(axis=0), model.predict(points), atol=0.03 * np.sqrt(expected.max())
        )


def test_draws_repeat_with_their_seed(cancer):
    influence, _, _, X_test, _ = cancer
    of = metrics.probability(1)
    one, two = (
        bootstrap(influence, of, X_test[:3], n_resamples=5, random_state=3) for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    assert ((one > 0) & (one < 1)).all()


def test_questions_without_a_meaning_are_refused(cancer):
    influence, X, y, X_test, y_test = cancer
    with pytest.raises(ValueError, match="sampled must be"):
        standard_error(influence, metrics.auroc(0), X_test, y_test, sampled="all")
    with pytest.raises(ValueError, match="sampled='test' is for a metric"):
        standard_error(influence, "loss", X_test, y_test, sampled="test")
    with pytest.raises(ValueError, match="one scalar of all rows"):
        standard_error(influence, "loss")
    with pytest.raises(ValueError, match="n_resamples"):
        bootstrap(influence, X=X_test, n_resamples=0)
    with pytest.raises(ValueError, match=r"metrics\.probability"):
        bootstrap(influence, "predict_proba", X_test)
    with pytest.raises(ValueError, match="bootstrap needs X"):
        bootstrap(influence)
    with pytest.raises(ValueError, match="one scalar"):
        bootstrap(influence, X=X_test, sampled="test")
    alone = np.where(np.arange(len(y)) == 0, 5, y)
    lonely = ours.LogisticRegression(**TIGHT).fit(X, alone)
    with (
        pytest.raises(ValueError, match="holds a class"),
        pytest.warns(UserWarning, match="only one of its class"),
    ):
        standard_error(lonely, "predict_proba", X_test[:2])
