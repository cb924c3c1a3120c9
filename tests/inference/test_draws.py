"""Draws of the training rows with ``method="exact"`` are refits on the rows that are drawn."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler
from sklearn.svm import LinearSVC

from skinfluence import Influence, metrics
from skinfluence.inference import bootstrap
from skinfluence.inference.draws import Refitted
from skinfluence.smooth.optimum import resampled

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}


def table(n, d, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    eta = X @ rng.standard_normal((d, classes - 1 if classes == 2 else classes))
    return X, (eta[:, 0] > rng.logistic(size=n)).astype(int) if classes == 2 else eta.argmax(axis=1)


def outputs(model, X):
    if hasattr(model, "decision_function"):
        return model.decision_function(X)
    return np.log(model.predict(X)) if isinstance(model, PoissonRegressor) else model.predict(X)


CASES = {
    "logistic": (LogisticRegression(**NEWTON), 80, 4, 2),
    "nothing penalised": (LogisticRegression(C=np.inf, **NEWTON), 300, 2, 2),
    "softmax": (LogisticRegression(**NEWTON), 80, 3, 3),
    "poisson, a penalty per unit of weight": (PoissonRegressor(alpha=0.1, **NEWTON), 80, 4, 2),
    "ridge": (Ridge(), 60, 4, 2),
    "least squares": (linear_model.LinearRegression(), 60, 4, 2),
    "more columns than rows": (LogisticRegression(**NEWTON), 30, 60, 2),
    "squared hinge": (LinearSVC(dual=False, tol=1e-12, max_iter=10000), 80, 4, 2),
}


# scikit-learn 1.8 says of C=inf what it says of a penalty that was taken away.
@pytest.mark.filterwarnings("ignore:Setting penalty=None")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CASES)
def test_draws_are_refits_of_the_rows_that_are_drawn(name):
    model, n, d, classes = CASES[name]
    X, y = table(n + 5, d, classes)
    X, y, points = X[:n], y[:n], X[n:]
    weight = np.random.default_rng(1).uniform(0.5, 2.0, n)
    model = clone(model).fit(X, y, sample_weight=weight)
    draws = Refitted(Influence(model, X, y, weight), points, None, None)
    counts = np.random.default_rng(2).multinomial(n, np.full(n, 1.0 / n), size=8)
    found = outputs(model, points) + draws.moved(counts)
    for one, values in zip(counts, found, strict=True):
        rows = np.repeat(np.arange(n), one)
        wanted = outputs(clone(model).fit(X[rows], y[rows], sample_weight=weight[rows]), points)
        # liblinear stops at some 1e-7 of the decision values.
        rtol = 2e-6 if name == "squared hinge" else 1e-8
        np.testing.assert_allclose(values, wanted, rtol=0, atol=rtol * np.abs(wanted).max())


def test_draws_far_from_the_fit_are_solved_alone_and_are_refits_too(monkeypatch):
    """Twenty rows that some draws separate, hardly penalised: full steps go astray."""
    X, y = table(20, 3)
    model = LogisticRegression(C=1e3, **NEWTON).fit(X, y)
    counts = np.random.default_rng(0).multinomial(20, np.full(20, 1.0 / 20), size=24)
    alone, solve = [], resampled._solved
    monkeypatch.setattr(resampled, "_solved", lambda *args: alone.append(1) or solve(*args))
    found = model.decision_function(X)
    found = found + Refitted(Influence(model, X, y), X, None, None).moved(counts)
    assert 2 < len(alone) < 20
    for one, values in zip(counts, found, strict=True):
        rows = np.repeat(np.arange(20), one)
        wanted = clone(model).fit(X[rows], y[rows]).decision_function(X)
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())


def test_clusters_are_drawn_together_and_the_bootstrap_repeats_with_its_seed():
    X, y = table(90, 3)
    model = LogisticRegression(**NEWTON).fit(X, y)
    influence, groups = Influence(model, X, y), np.arange(90) % 9
    options = {"groups": groups, "n_resamples": 6, "method": "exact", "random_state": 5}
    found = bootstrap(influence, X=X[:4], **options)
    counts = np.random.RandomState(5).multinomial(9, np.full(9, 1.0 / 9), size=6)
    for one, values in zip(counts, found, strict=True):
        rows = np.repeat(np.arange(90), one[groups])
        wanted = clone(model).fit(X[rows], y[rows]).decision_function(X[:4])
        np.testing.assert_allclose(values, wanted, rtol=1e-8)


def test_draws_through_curves_lines_and_several_outputs_are_refits():
    X, _ = table(60, 3)
    y = X @ [1.0, -2.0, 0.5] + np.random.default_rng(3).standard_normal(60)
    line = TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    curve = TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp)
    counts = np.random.default_rng(2).multinomial(60, np.full(60, 1.0 / 60), size=2)
    cases = [(line, y), (Ridge(), np.column_stack([y, y**2])), (curve, np.exp(y))]
    for model, target in cases:
        model = clone(model).fit(X, target)
        draws = Refitted(Influence(model, X, target), X[:5], None, None)
        for one, change in zip(counts, draws.moved(counts), strict=True):
            rows = np.repeat(np.arange(60), one)
            wanted = clone(model).fit(X[rows], target[rows]).predict(X[:5])
            # Decision values of a curve are those of its regressor.
            wanted = np.log(wanted) if target is cases[2][1] else wanted
            np.testing.assert_allclose(draws.quantity.before + change, wanted, atol=1e-10)


def test_draws_of_many_rows_are_first_order_s():
    X, y = table(2000, 3)
    influence = Influence(LogisticRegression(**NEWTON).fit(X, y), X, y)
    options = {"n_resamples": 30, "sampled": "train", "random_state": 0}
    linear, exact = (
        bootstrap(influence, metrics.mean_loss(), X, y, method=method, **options)
        for method in ("influence", "exact")
    )
    assert np.corrcoef(linear, exact)[0, 1] > 0.98


def test_what_a_refit_would_move_besides_the_model_is_refused():
    X, y = table(60, 3)
    options = {"X": X[:3], "n_resamples": 3, "method": "exact", "random_state": 0}
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(**NEWTON)).fit(X, y)
    with pytest.raises(TypeError, match="transformers that learn from the rows"):
        bootstrap(Influence(pipeline, X, y), **options)
    found = bootstrap(Influence(pipeline, X, y, frozen="accept"), **options)
    Z = pipeline[0].transform(X)
    wanted = bootstrap(Influence(pipeline[1], Z, y), **{**options, "X": Z[:3]})
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    scaled = TransformedTargetRegressor(Ridge(), transformer=PowerTransformer()).fit(X, X[:, 0])
    with pytest.raises(TypeError, match="or from their targets"):
        bootstrap(Influence(scaled, X, X[:, 0]), **options)
    balanced = LogisticRegression(class_weight="balanced", **NEWTON).fit(X, y)
    with pytest.raises(TypeError, match="class_weight='balanced'"):
        bootstrap(Influence(balanced, X, y), **options)
    with pytest.raises(TypeError, match="smooth linear models"):
        bootstrap(Influence(GaussianNB().fit(X, y), X, y), **options)
    chosen = linear_model.RidgeCV().fit(X, y)
    with pytest.raises(TypeError, match="chose nothing"):
        bootstrap(Influence(chosen, X, y), **options)
    with pytest.raises(ValueError, match="method must be"):
        bootstrap(Influence(pipeline, X, y), **{**options, "method": "one-step"})


def test_a_draw_without_a_class_is_refused_and_is_none_to_first_order():
    X, _ = table(40, 3)
    options = {"X": X[:3], "n_resamples": 60, "random_state": 0}
    few = (np.arange(40) < 2).astype(int)
    influence = Influence(LogisticRegression(**NEWTON).fit(X, few), X, few)
    with pytest.raises(ValueError, match=r"Got one without class 1.* Use method='influence'"):
        bootstrap(influence, method="exact", **options)
    assert np.isfinite(bootstrap(influence, method="influence", **options)).all()


@pytest.mark.filterwarnings("ignore:Row 7 is the only one")
def test_draws_of_the_only_row_of_a_class_are_refused():
    """They were NaN."""
    X, _ = table(40, 3)
    lonely = (np.arange(40) == 7).astype(int)
    influence = Influence(LogisticRegression(**NEWTON).fit(X, lonely), X, lonely)
    with pytest.raises(ValueError, match="leaves none: it holds a class"):
        bootstrap(influence, X=X[:3], n_resamples=3, random_state=0)
