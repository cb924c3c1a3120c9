"""Artifacts: what is said of a feature is what fits without it say."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.cleaning import artifacts
from skinfluence.inspection import ArtifactsDisplay

TIGHT = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}


def _cancer():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)[:, :8]
    rng = np.random.default_rng(0)
    leak = np.where(np.arange(569) < 300, y, rng.integers(0, 2, 569))
    return np.column_stack([X, leak]), y


def _iris():
    X, y = load_iris(return_X_y=True)
    return X[:, :3], y


def _diabetes():
    X, y = load_diabetes(return_X_y=True)
    # Far from zero: the design is moved, which must not be seen.
    return 20.0 * X[:, :6] + 1e4, y


CASES = {
    "binary": (LogisticRegression(C=0.1, **TIGHT), *_cancer()),
    "no-intercept": (LogisticRegression(C=0.1, fit_intercept=False, **TIGHT), *_cancer()),
    "sparse": (LogisticRegression(C=0.1, **TIGHT), sp.csr_array(_cancer()[0]), _cancer()[1]),
    "softmax": (LogisticRegression(C=1.0, **TIGHT), *_iris()),
    "balanced": (LogisticRegression(class_weight="balanced", **TIGHT), *_iris()),
    "squared": (Ridge(alpha=2.0), *_diabetes()),
}


def _split(case):
    model, X, y = CASES[case]
    order = np.random.default_rng(1).permutation(len(y))
    if case in ("binary", "no-intercept", "sparse"):
        order = np.arange(len(y))
    n = min(300, 2 * len(y) // 3)
    return model, X[order[:n]], y[order[:n]], X[order[n : n + 40]], y[order[n : n + 40]]


def _loss(model, X, y):
    """Of scikit-learn's predictions alone."""
    if isinstance(model, Ridge):
        return 0.5 * np.mean((model.predict(X) - y) ** 2)
    log = model.predict_log_proba(X)
    return -log[np.arange(len(y)), np.searchsorted(model.classes_, y)].mean()


def _faded(X, j, by, to=0.0):
    """Column j nearer to a number."""
    out = X.toarray() if sp.issparse(X) else X.copy()
    out[:, j] += by * (to - out[:, j])
    return sp.csr_array(out) if sp.issparse(X) else out


@pytest.mark.parametrize("case", CASES)
def test_effects_are_those_of_fits_without_the_feature(case):
    """rtol=1e-6: scikit-learn's Newton to 1e-12."""
    model, X, y, X_test, y_test = _split(case)
    model.fit(X, y)
    found = artifacts(Influence(model, X, y), X_test, y_test, k=3)
    before = _loss(model, X_test, y_test)
    assert found.loss == pytest.approx(before, rel=1e-8)
    for name, effect in found.table[["feature", "effect"]].iloc[:3].itertuples(index=False):
        model.fit(_faded(X, int(name[1:]), 1.0), y)
        expected = _loss(model, X_test, y_test) - before
        assert effect == pytest.approx(expected, rel=1e-6, abs=1e-9 * max(1.0, before))
    assert found.table["effect"].iloc[3:].isna().all()


@pytest.mark.parametrize("case", CASES)
def test_first_order_is_the_derivative_as_a_feature_fades(case):
    """rtol=1e-4: central difference at 1e-3 in float64."""
    model, X, y, X_test, y_test = _split(case)
    found = artifacts(Influence(model.fit(X, y), X, y), X_test, y_test, k=0)
    name, through = found.table.loc[0, ["feature", "through"]]
    j, to = int(name[1:]), 0.0
    if model.fit_intercept:
        weight = np.ones(len(y))
        if getattr(model, "class_weight", None):
            weight = 1.0 / np.bincount(y)[y]
        to = np.average(X[:, [j]].toarray()[:, 0] if sp.issparse(X) else X[:, j], weights=weight)
    losses = [_loss(model.fit(_faded(X, j, by, to), y), X_test, y_test) for by in (1e-3, -1e-3)]
    assert through == pytest.approx((losses[0] - losses[1]) / 2e-3, rel=1e-4)


def test_a_feature_that_leaks_the_label_is_found_by_the_rows_it_misleads():
    model, X, y, *_ = _split("binary")
    model.fit(X, y)
    X_test, y_test = _cancer()[0][300:], _cancer()[1][300:]
    wrong = model.predict(X_test) != y_test
    found = artifacts(Influence(model, X, y), X_test[wrong], y_test[wrong])
    assert found.table["feature"][0] == "x8" and found.table["effect"][0] < 0


def test_words_have_their_names_and_lift_counts_the_rows_that_have_them():
    """Lift, written out: mean influence of the rows with the word over that of all rows."""
    texts = ["win cash now", "cash prize", "meet at noon", "see you at lunch", "now or never"] * 4
    y = np.array([1, 1, 0, 0, 0] * 4)
    model = make_pipeline(CountVectorizer(binary=True), LogisticRegression(**TIGHT)).fit(texts, y)
    inf = Influence(model, texts, y)
    found = artifacts(inf, ["cash at noon"], [0], k=20).table.set_index("feature")
    assert found.loc["cash", "effect"] < 0 < found.loc["at", "effect"]
    assert found.loc["cash", "rows"] == 8
    size = np.abs(inf.influence_up_loss(["cash at noon"], [0]))[0]
    has = np.array(["cash" in text for text in texts])
    assert found.loc["cash", "lift"] == pytest.approx(size[has].mean() / size.mean())


def test_rare_features_are_left_out():
    model, X, y, X_test, y_test = _split("binary")
    X = X.copy()
    X[5:, 2] = 0.0
    found = artifacts(Influence(model.fit(X, y), X, y), X_test, y_test, k=0, min_rows=6)
    assert len(found.table) == 8 and "x2" not in set(found.table["feature"])


def test_an_unpenalised_model_says_what_to_do_and_it_works():
    X, y = _iris()[0], np.arange(150) % 2
    inf = Influence(LogisticRegression(C=np.inf, **TIGHT).fit(X, y), X, y)
    with pytest.raises(ValueError, match="k=0"):
        artifacts(inf, X, y)
    assert len(artifacts(inf, X, y, k=0).table) == 3


@pytest.mark.parametrize("name, value", [("k", -1), ("k", 1.5), ("min_rows", 0)])
def test_numbers_that_are_none_are_refused(name, value):
    model, X, y, *_ = _split("softmax")
    with pytest.raises(ValueError, match=f"{name} must be an integer"):
        artifacts(Influence(model.fit(X, y), X, y), X, y, **{name: value})


def test_models_without_features_of_their_own_are_refused():
    X, y = _iris()
    with pytest.raises(TypeError, match="smooth linear model"):
        artifacts(Influence(KNeighborsClassifier().fit(X, y), X, y), X, y)


def test_the_picture_needs_a_feature_that_was_solved():
    pytest.importorskip("matplotlib").use("Agg")
    model, X, y, X_test, y_test = _split("softmax")
    inf = Influence(model.fit(X, y), X, y)
    drawn = artifacts(inf, X_test, y_test, k=2).plot()
    assert isinstance(drawn, ArtifactsDisplay) and len(drawn.bars_) == 2
    with pytest.raises(ValueError, match="k of at least 1"):
        artifacts(inf, X_test, y_test, k=0).plot()
