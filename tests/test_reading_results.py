"""Results can be read: short texts, tables that escape what is the user's, frames beside the rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence.cleaning import audit
from skinfluence.linear_model import LogisticRegression
from skinfluence.svm import SVC


@pytest.fixture(scope="module")
def data():
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = pd.DataFrame(StandardScaler().fit_transform(X), columns=X.columns)[:120]
    return X, y.to_numpy()[:120]


@pytest.fixture(scope="module")
def influence(data):
    X, y = data
    return Influence(LogisticRegression(tol=1e-8, max_iter=1000).fit(X, y), X, y)


def test_an_effect_says_how_many_how_large_and_how_sure(influence, data):
    X, y = data
    effect = influence.effect([edits.remove(i) for i in range(4)], X[:3], y[:3])
    text = repr(effect)
    assert text.startswith("Effect(4 edits, values of shape (3, 4)") and "bound at most" in text
    assert f"{np.max(effect.values):.3g}" in text and "\n" not in text
    frame = effect.to_frame(names=list("abcd"))
    assert list(frame.index) == list("abcd")
    np.testing.assert_allclose(frame["mean_effect"], effect.values.mean(axis=0))
    largest = np.abs(effect.values).argmax(axis=0)
    np.testing.assert_array_equal(frame["largest_effect"], effect.values[largest, range(4)])
    np.testing.assert_array_equal(frame["bound"], effect.bound)
    one = influence.effect(edits.remove(3), X[:3], y[:3])
    assert repr(one).startswith("Effect(one edit") and len(one.to_frame()) == 1
    assert "<table" in effect._repr_html_() and "<table" in one._repr_html_()
    proba = influence.effect([edits.remove(0)], X[:3], of="predict_proba")
    assert proba.to_frame()["mean_effect"][0] == pytest.approx(proba.values.mean())
    scalar = influence.effect([edits.remove(0), edits.remove(1)], X[:3], of=lambda eta: eta.sum())
    np.testing.assert_allclose(scalar.to_frame()["mean_effect"], scalar.values)


def test_an_effect_of_a_machine_reads_alike(data):
    X, y = data
    machine = Influence(SVC().fit(X, y), X, y)
    text = repr(machine.effect([edits.remove(0), edits.remove(5)], X[:2], y[:2]))
    assert text.startswith("HingeEffect(2 edits") and "array" not in text


def test_top_names_its_rows_and_shows_them(influence, data):
    X, y = data
    top = influence.top(X[:4], y[:4], k=5)
    lines = repr(top).splitlines()
    assert lines[0] == "Top(4 test points, 5 rows each way)" and len(lines) == 8
    assert f"{top.helpful[0, 0]} ({top.helpful_effects[0, 0]:+.3g})" in lines[1]
    frame = top.to_frame(X, y)
    assert len(frame) == 40 and frame["side"].tolist()[:6] == ["helpful"] * 5 + ["harmful"]
    harmful = frame[(frame["test"] == 2) & (frame["side"] == "harmful")]
    np.testing.assert_array_equal(harmful["row"], top.harmful[2])
    np.testing.assert_array_equal(harmful["effect"], top.harmful_effects[2])
    np.testing.assert_array_equal(frame["y"], y[frame["row"]])
    np.testing.assert_array_equal(frame["mean area"], X["mean area"].to_numpy()[frame["row"]])
    np.testing.assert_array_equal(top.to_frame(X.to_numpy())["x3"], X.to_numpy()[frame["row"], 3])
    assert "<table" in top._repr_html_()


def test_an_audit_is_shown_escaped_and_beside_its_rows(data):
    X, y = data
    labels = np.array(["<b>no</b>", "yes"])[y]
    found = audit(LogisticRegression(tol=1e-8, max_iter=1000).fit(X, labels), X, labels)
    page = found._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;no" in page
    frame = found.to_frame(X)
    np.testing.assert_array_equal(frame["mean area"], X["mean area"].to_numpy()[frame["row"]])
    assert found.to_frame() is not found.table
    assert "x0" in found.to_frame(X.to_numpy()).columns
