"""Explanations name the rows that refits name, and what they add up from adds up."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import PoissonRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.cleaning import audit
from skinfluence.datasets import flip_labels
from skinfluence.inspection import FoundDisplay, explain
from skinfluence.linear_model import LogisticRegression, Ridge, RidgeClassifier
from skinfluence.svm import SVC, LinearSVC

TIGHT = {"tol": 1e-10, "max_iter": 10_000}


def some(load, n, seed=0):
    X, y = load(return_X_y=True, as_frame=True)
    rows = np.random.RandomState(seed).permutation(len(y))[:n]
    return X.iloc[rows].reset_index(drop=True), y.iloc[rows].to_numpy()


def counts():
    X, y = some(load_diabetes, 34)
    return X, np.round(y / 30)


CASES = {
    "two classes": (LogisticRegression(C=0.5, **TIGHT), lambda: some(load_breast_cancer, 34)),
    "three classes": (LogisticRegression(C=0.5, **TIGHT), lambda: some(load_wine, 34)),
    "ridge": (Ridge(alpha=0.1), lambda: some(load_diabetes, 34)),
    "ridge classifier": (RidgeClassifier(), lambda: some(load_breast_cancer, 34)),
    "counts": (PoissonRegressor(alpha=0.1, **TIGHT), counts),
    "linear machine": (LinearSVC(C=0.1, **TIGHT), lambda: some(load_breast_cancer, 34)),
    "kernel machine": (SVC(kernel="rbf", tol=1e-8), lambda: some(load_breast_cancer, 34)),
}


def of_class(model, X, label, others):
    """The decision value of a fitted pipeline for one class, in the symmetric gauge of its loss."""
    if others is None:
        return model[-1].coef_ @ model[:-1].transform(X)[0] + model[-1].intercept_
    values = model.decision_function(X)[0]
    if np.ndim(values):
        return values[list(others).index(label)]
    return values if label == others[1] else -values


@pytest.mark.parametrize(("model", "load"), CASES.values(), ids=CASES)
def test_the_rows_are_those_that_refits_find(model, load):
    """Of the whole pipeline: each row in turn is left out, for scaler and model alike."""
    X, y = load()
    model = make_pipeline(StandardScaler(), model).fit(X, y)
    row = X.iloc[[7]]
    classes = getattr(model, "classes_", None)
    label = model.predict(row)[0]
    before = of_class(model, row, label, classes)
    refits = np.array(
        [
            of_class(clone(model).fit(X.drop(index=i), np.delete(y, i)), row, label, classes)
            - before
            for i in range(len(y))
        ]
    ).ravel()
    found = explain(Influence(model, X, y), row, k=3, checks=3)
    assert found.prediction == label and found.decision == pytest.approx(float(before), abs=1e-9)
    scale = np.abs(refits).max()
    for line in found.rows.to_dict("records"):
        assert abs(line["effect"] - refits[line["row"]]) < 1e-4 * scale
        assert abs(line["refit"] - refits[line["row"]]) < 1e-4 * scale
    assert found.largest_difference < 1e-3
    # Rows are looked for with the scaler held, which can swap neighbours.
    least, most = refits.argmin(), refits.argmax()
    assert least in found.rows.loc[found.rows["side"] == "for", "row"].tolist()
    assert most in found.rows.loc[found.rows["side"] == "against", "row"].tolist()


@pytest.mark.parametrize("name", ["two classes", "three classes", "ridge", "counts"])
def test_contributions_sum_to_the_decision_and_their_changes_to_the_effect(name):
    model, load = CASES[name]
    X, y = load()
    model = make_pipeline(StandardScaler(), model).fit(X, y)
    found = explain(Influence(model, X, y), X.iloc[[3]], n_features=4)
    assert found.features["contribution"].sum() == pytest.approx(found.decision, rel=1e-9)
    assert len(found.features) == 6 and set(found.features["feature"][:4]) <= set(X.columns)
    every = explain(Influence(model, X, y), X.iloc[[3]], n_features=100, k=1)
    (line, _) = every.rows.to_dict("records")
    others = np.delete(np.arange(len(y)), line["row"])
    after = clone(model).fit(X.iloc[others], y[others])
    z, z_after = (one[:-1].transform(X.iloc[[3]])[0] for one in (model, after))
    labels = getattr(model, "classes_", None)
    at, sign = 0, 1.0
    if labels is not None:
        at = list(labels).index(every.prediction)
        at, sign = (0, 2.0 * at - 1) if len(labels) == 2 else (at, 1.0)
    change = sign * (
        np.atleast_2d(after[-1].coef_)[at] * z_after - np.atleast_2d(model[-1].coef_)[at] * z
    )
    through = dict(line["through"])
    np.testing.assert_allclose(
        [through[name] for name in X.columns], change, atol=2e-4 * np.abs(change).max()
    )


def test_a_training_row_is_explained_by_the_model_without_it():
    X, y = some(load_breast_cancer, 34)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, **TIGHT)).fit(X, y)
    found = explain(Influence(model, X, y), row=11)
    others = np.delete(np.arange(len(y)), 11)
    without = clone(model).fit(X.iloc[others], y[others])
    by_hand = explain(Influence(without, X.iloc[others], y[others]), X.iloc[[11]])
    assert found.left_out == 11 and 11 not in found.rows["row"].tolist()
    assert found.decision == pytest.approx(by_hand.decision, abs=1e-5)
    assert found.rows["row"].tolist() == others[by_hand.rows["row"]].tolist()
    np.testing.assert_allclose(found.rows["effect"], by_hand.rows["effect"], atol=1e-5)


def test_words_are_named():
    texts = ["good movie", "great movie", "bad plot", "awful plot", "good plot", "bad movie"] * 4
    y = np.array([1, 1, 0, 0, 1, 0] * 4)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=2.0, **TIGHT)).fit(texts, y)
    found = explain(Influence(model, texts, y), ["good film"])
    assert found.features["feature"][0] == "good" and found.prediction == 1
    assert all(line[0][0] == "good" for line in found.rows["through"])


@pytest.mark.parametrize("alike", [False, True])
def test_weights_go_into_the_refits(alike):
    """Be they all alike, too: twice the weight is half the penalty."""
    X, y = some(load_breast_cancer, 34)
    weight = np.full(34, 2.0) if alike else np.random.RandomState(0).uniform(0.5, 3, 34)
    scaled = StandardScaler().fit_transform(X)
    model = LogisticRegression(C=0.5, **TIGHT).fit(scaled, y, sample_weight=weight)
    found = explain(Influence(model, scaled, y, weight), scaled[[2]], checks=2)
    assert found.rows["refit"].notna().sum() == 4 and found.largest_difference < 1e-4


def test_it_can_be_read(capsys):
    X, y = some(load_breast_cancer, 34)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, **TIGHT)).fit(X, y)
    found = explain(Influence(model, X, y), row=4, k=2)
    text = repr(found)
    assert "for: row" in text and "against: row" in text and "through" in text
    frame = found.to_frame(X)
    np.testing.assert_array_equal(frame["mean radius"], X["mean radius"][found.rows["row"]])
    renamed = X.rename(columns={"mean radius": "<b>&"})
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, **TIGHT)).fit(renamed, y)
    page = explain(Influence(model, renamed, y), row=4, n_features=30)._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;&amp;" in page


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either X, one row, or row="),
        ({"row": 1, "X": [[0.0, 1.0]]}, "either X, one row, or row="),
        ({"X": [[0.0, 1.0], [1.0, 2.0]]}, "one row"),
        ({"row": 1, "k": -1}, "k must be a whole number"),
        ({"row": 99}, "99"),
    ],
)
def test_a_question_that_is_none_is_refused(options, words):
    X = np.random.RandomState(0).normal(size=(30, 2))
    y = (X[:, 0] > 0).astype(int)
    with pytest.raises((ValueError, IndexError), match=words):
        explain(Influence(LogisticRegression(**TIGHT).fit(X, y), X, y), **options)


def test_a_frame_without_names_gets_numbers():
    X = np.random.RandomState(0).normal(size=(30, 2))
    y = X @ [1.0, -1.0]
    found = explain(Influence(Ridge().fit(X, y), X, y), row=0)
    assert set(found.features["feature"]) == {"x0", "x1", "intercept"}
    assert isinstance(found.to_frame(pd.DataFrame(X)), pd.DataFrame)


def test_errors_found_are_counted_along_each_order():
    pytest.importorskip("matplotlib").use("Agg")
    X, y = some(load_breast_cancer, 200)
    X = StandardScaler().fit_transform(X)
    noisy, wrong = flip_labels(y, 0.1, random_state=0)
    found = audit(LogisticRegression(C=0.1, **TIGHT).fit(X, noisy), X, noisy)
    display = FoundDisplay.from_audit(found, wrong, others={"noise": np.arange(200)})
    assert display.found("this audit")[19] > 0.7 and display.found("noise")[-1] == 1
    assert set(display.lines_) == {
        *("perfect order", "random order", "this audit", "by loss", "by self-influence", "noise")
    }
    line = display.lines_["this audit"]
    np.testing.assert_allclose(line.get_ydata()[1:], 100 * display.found("this audit"))
    with pytest.raises(ValueError, match="each of the 200 rows once"):
        FoundDisplay(wrong, {"twice": np.zeros(200, dtype=int)})


def test_models_without_decision_values_are_refused_with_what_to_ask():
    X, y = load_wine(return_X_y=True)
    inf = Influence(GaussianNB().fit(X, y), X, y)
    with pytest.raises(TypeError, match=r"Got GaussianNB, which has none; ask Influence.top"):
        explain(inf, X[:1])
