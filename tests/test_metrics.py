"""Metrics as quantities: their values, their smooth forms, and their effects against refits."""

import autograd
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn import linear_model
from sklearn import metrics as skm

from skinfluence import Influence, edits, metrics
from skinfluence.metrics import pairs
from tests.registries import make_data
from tests.truth import refit, relative_error

N = 40


def logistic():
    return linear_model.LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12)


def sample(task, n=N):
    X, y = make_data(task, n, 4, seed=0)
    return X, np.unique(y, return_inverse=True)[1] if task != "regression" else y


def points(task):
    X, y = make_data(task, 60, 4, seed=5)
    return X, np.unique(y, return_inverse=True)[1] if task != "regression" else y


GROUPS = np.array(["a", "b", "c"])[np.arange(60) % 3]
SLICE = np.arange(60) % 4 == 1


def per_class(eta):
    return np.column_stack([np.zeros(len(eta)), eta]) if eta.ndim == 1 else eta


def rates_gap(eta, rows):
    chosen = per_class(eta).argmax(axis=1) == 1
    rates = [chosen[rows & (GROUPS == g)].mean() for g in "abc"]
    return max(rates) - min(rates)


def soft_gap(eta, rows, temperature):
    p = softmax(per_class(eta) / temperature, axis=1)[:, 1]
    rates = [p[rows & (GROUPS == g)].mean() for g in "abc"]
    return max(rates) - min(rates)


def own(values, y):
    return values[np.arange(len(y)), y]


def others(eta, y):
    keep = np.arange(eta.shape[1]) != y[:, None]
    return eta[keep].reshape(len(eta), -1)


BOTH = ("binary", "softmax")
# name: metric, the same written from scikit-learn's functions and definitions, tasks
METRICS = {
    "margin": (
        metrics.margin,
        lambda eta, y: own(per_class(eta), y) - others(per_class(eta), y).max(axis=1),
        BOTH,
    ),
    "log odds": (
        metrics.log_odds,
        lambda eta, y: np.log(1.0 / (1.0 / own(softmax(per_class(eta), axis=1), y) - 1.0)),
        BOTH,
    ),
    "log loss": (
        metrics.log_loss,
        lambda eta, y: -own(log_softmax(per_class(eta), axis=1), y),
        BOTH,
    ),
    "probability": (
        metrics.probability(1),
        lambda eta, y: softmax(per_class(eta), axis=1)[:, 1],
        BOTH,
    ),
    "squared error": (metrics.squared_error, lambda eta, y: (eta - y) ** 2, ("regression",)),
    "mean log loss": (
        metrics.mean_loss(),
        lambda eta, y: skm.log_loss(y, softmax(per_class(eta), axis=1)),
        BOTH,
    ),
    "loss on a slice": (
        metrics.mean_loss(SLICE),
        lambda eta, y: skm.log_loss(y[SLICE], softmax(per_class(eta), axis=1)[SLICE]),
        ("binary",),
    ),
    "error on a slice": (
        metrics.mean_loss(slice(5, 20), metrics.squared_error),
        lambda eta, y: skm.mean_squared_error(y[5:20], eta[5:20]),
        ("regression",),
    ),
    "auroc": (metrics.auroc(0), lambda eta, y: skm.roc_auc_score(y, eta), ("binary",)),
    "smooth auroc": (
        metrics.auroc(0.3),
        lambda eta, y: np.mean(1.0 / (1.0 + np.exp(-(eta[y == 1][:, None] - eta[y == 0]) / 0.3))),
        ("binary",),
    ),
    "demographic parity": (
        metrics.demographic_parity(GROUPS, temperature=0),
        lambda eta, y: rates_gap(eta, np.ones(60, dtype=bool)),
        BOTH,
    ),
    "probable demographic parity": (
        metrics.demographic_parity(GROUPS),
        lambda eta, y: soft_gap(eta, np.ones(60, dtype=bool), 1.0),
        BOTH,
    ),
    "equal opportunity": (
        metrics.equal_opportunity(GROUPS, temperature=0),
        lambda eta, y: rates_gap(eta, y == 1),
        BOTH,
    ),
    "smooth equal opportunity": (
        metrics.equal_opportunity(GROUPS, temperature=0.2),
        lambda eta, y: soft_gap(eta, y == 1, 0.2),
        BOTH,
    ),
}
COUNTING = ("auroc", "demographic parity", "equal opportunity")
CASES = [(name, task) for name, (_, _, tasks) in METRICS.items() for task in tasks]
EACH = pytest.mark.parametrize(("name", "task"), CASES, ids=lambda one: one.replace(" ", "-"))


def of(name):
    """A metric as ``of=`` takes it, and its definition."""
    metric, definition, _ = METRICS[name]
    return metric, definition


def called(metric, eta, y):
    return metric(eta) if name_wants_no_y(metric) else metric(eta, y)


def name_wants_no_y(metric):
    return metric.__code__.co_argcount == 1


def draw(task, rng):
    y = points(task)[1]
    shape = (60, 3) if task == "softmax" else 60
    return rng.standard_normal(shape) * 2.0, y


def test_every_metric_is_tested():
    assert set(metrics.__all__) == {
        "auroc",
        "demographic_parity",
        "equal_opportunity",
        "log_loss",
        "log_odds",
        "margin",
        "mean_loss",
        "probability",
        "squared_error",
    }


@EACH
def test_values_are_those_of_the_definition(name, task, rng):
    metric, definition = of(name)
    eta, y = draw(task, rng)
    if name == "auroc":
        eta = np.round(eta, 1)
    np.testing.assert_allclose(called(metric, eta, y), definition(eta, y), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "task"),
    [case for case in CASES if case[0] not in COUNTING],
    ids=lambda one: one.replace(" ", "-"),
)
def test_smooth_metrics_can_be_differentiated(name, task, rng):
    """autograd's gradient is the central difference, 1e-6."""
    metric, _ = of(name)
    eta, y = draw(task, rng)
    total = lambda eta: autograd.numpy.sum(called(metric, eta, y))
    direction = rng.standard_normal(eta.shape)
    found = (autograd.grad(total)(eta) * direction).sum()
    h = 1e-6
    expected = (total(eta + h * direction) - total(eta - h * direction)) / (2 * h)
    assert abs(found - expected) <= 1e-6 * max(1.0, abs(expected))


def test_the_smooth_auroc_tends_to_the_auroc_within_the_stated_bound(rng):
    y = np.arange(60) % 2
    eta = np.round(rng.standard_normal(60) + 0.7 * y, 1)
    exact = skm.roc_auc_score(y, eta)
    gaps = np.abs(eta[y == 1][:, None] - eta[y == 0])
    errors = []
    for temperature in (1.0, 0.1, 0.01, 0.001):
        with np.errstate(over="ignore"):
            bound = np.mean((gaps > 0) / (1.0 + np.exp(gaps / temperature)))
        errors.append(abs(metrics.auroc(temperature)(eta, y) - exact))
        assert errors[-1] <= bound + 1e-14
    assert errors[0] > errors[1] > errors[2] and errors[-1] < 1e-12


def test_pairs_are_taken_in_blocks(monkeypatch, rng):
    y, eta = np.arange(60) % 2, rng.standard_normal(60)
    metric = metrics.auroc(0.2)
    gradient = autograd.grad(metric)
    whole = metric(eta, y), gradient(eta, y)
    monkeypatch.setattr(pairs, "_pair_blocks", lambda high, low: [slice(0, 11), slice(11, 30)])
    np.testing.assert_allclose(metric(eta, y), whole[0], rtol=1e-12)
    np.testing.assert_allclose(gradient(eta, y), whole[1], rtol=1e-12)


# Effects ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["binary", "softmax", "regression"])
def fit(request):
    """A model, its Influence, its optimum and the optima without some rows."""
    task = request.param
    X, y = sample(task)
    model = linear_model.Ridge(alpha=2.0) if task == "regression" else logistic()
    model.fit(X, y)
    rows = [2, 5, 11, 17]
    objectives = [refit(model, X, y, np.ones(N))]
    for row in rows:
        keep = np.arange(N) != row
        objectives.append(refit(model, X[keep], y[keep], np.ones(N - 1)))
    X_test, y_test = points(task)
    design = objectives[0].design.like(X_test)
    etas = [one.loss.expand(design.multiply(one.theta.T)) for one in objectives]
    etas = [eta[:, 0] if eta.shape[1] == 1 else eta for eta in etas]
    return task, Influence(model, X, y), rows, X_test, y_test, etas


@pytest.mark.parametrize("name", METRICS, ids=lambda one: one.replace(" ", "-"))
def test_effects_are_those_of_refits(fit, name):
    """method="exact" at 1e-6 of the largest effect, "auto" at its tol, the others nearby."""
    task, inf, rows, X, y, etas = fit
    metric, definition = of(name)
    if task not in METRICS[name][2]:
        return
    values = np.array([definition(eta, y) for eta in etas])
    expected = (values[1:] - values[0]).T
    for method, tol in (("exact", 1e-6), ("auto", 1e-2)):
        found = inf.removal_effect(X, y, of=metric, method=method, indices=rows)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=tol * np.abs(values).max())
        if np.abs(expected).max() > 1e-9 and "smooth" in name:
            assert relative_error(found, expected) < 100 * tol
    for method in ("one-step", "influence"):
        found = inf.removal_effect(X, y, of=metric, method=method, indices=rows)
        if np.ndim(expected) == 2:
            assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", ["margin", "smooth auroc", "probable demographic parity"])
def test_first_order_effects_are_the_gradient_of_the_metric(name):
    """For a light row, "influence" is autograd's gradient times the move of decision values."""
    X, y = sample("binary")
    X_test, y_test = points("binary")
    weight = np.ones(N)
    weight[5] = 1e-5
    inf = Influence(logistic().fit(X, y, sample_weight=weight), X, y, weight)
    metric, _ = of(name)
    options = {"method": "influence", "indices": [5]}
    moves = inf.removal_effect(X_test, of="decision_function", **options)[:, 0]
    eta = inf.estimator.decision_function(X_test)
    slopes = autograd.jacobian(lambda eta: called(metric, eta, y_test))(eta)
    found = inf.removal_effect(X_test, y_test, of=metric, **options)
    np.testing.assert_allclose(found[..., 0], slopes @ moves, rtol=1e-3, atol=1e-12)


def test_other_edits_take_metrics_too():
    X, y = sample("binary")
    X_test, y_test = points("binary")
    inf = Influence(logistic().fit(X, y), X, y)
    area = metrics.auroc(0.1)
    assert inf.relabel_effect(X_test, y_test, of=area, indices=[0, 1]).shape == (2, 2)
    grouped = inf.removal_effect(X_test, y_test, of=area, groups=np.arange(N) % 5)
    assert grouped.shape == (5,)
    single = inf.effect(edits.remove(np.arange(0, N, 5)), X_test, y_test, of=area)
    np.testing.assert_allclose(single.values, grouped[0], rtol=1e-6)


# Misuse -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric", [metrics.auroc(0), metrics.demographic_parity(GROUPS, temperature=0)]
)
def test_without_decision_values_nothing_is_counted(metric):
    eta = np.linspace(-1.0, 1.0, 60)
    eta[7] = np.nan
    assert np.isnan(called(metric, eta, np.arange(60) % 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.auroc(-1.0), "temperature must be a number >= 0"),
        (lambda: metrics.auroc(np.zeros(3)), "made with its temperature first, as auroc\\(0\\) is"),
        (lambda: metrics.auroc("0.1"), "temperature must be a number >= 0"),
        (lambda: metrics.demographic_parity(["a", "a"]), "at least two groups"),
        (lambda: metrics.equal_opportunity([["a", "b"]]), "one label per test point"),
        (lambda: metrics.auroc(0.1)(np.ones(4), np.zeros(4, dtype=int)), "both classes"),
        (lambda: metrics.auroc(0.1)(np.ones((4, 3)), np.arange(4) % 2), "binary classifier"),
        (lambda: metrics.auroc(0.1)(np.ones(3), np.arange(3)), "binary classifier"),
        (lambda: metrics.demographic_parity(["a", "b"])(np.ones(3)), "groups must hold one"),
        (
            lambda: metrics.equal_opportunity(["a", "b"])(np.ones(2), np.array([1, 0])),
            "Group b has none",
        ),
        (lambda: metrics.probability(2)(np.ones(3)), "position in classes_, below 2"),
        (lambda: metrics.margin(np.ones(3), np.array([0.5, 1.0, 2.0])), "needs a classifier"),
        (lambda: metrics.squared_error(np.ones((3, 2)), np.ones(3)), "one decision value"),
        (lambda: metrics.mean_loss([])(np.ones(3), np.ones(3, dtype=int)), "at least one"),
        (lambda: metrics.mean_loss(loss="log"), "must be a function"),
    ],
)
def test_misuse_is_refused_in_words(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_metrics_that_need_y_say_so():
    X, y = sample("binary")
    inf = Influence(logistic().fit(X, y), X, y)
    with pytest.raises(ValueError, match="Pass y"):
        inf.removal_effect(X, of=metrics.margin)


def test_slices_by_the_labels_of_a_frame_are_refused():
    """After a split they are not the positions of the test points."""
    pd = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="a mask"):
        metrics.mean_loss(pd.Index([7, 3]))
