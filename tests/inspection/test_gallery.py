"""Galleries of rows that help and harm: their effects are those of refits, and what is marked acts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.inspection import GalleryDisplay
from skinfluence.linear_model import LogisticRegression

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

SPAM = [
    "win a free prize today",
    "free entry to win cash",
    "cheap loans call now",
    "call to claim a prize",
]
HAM = [
    "see you at lunch",
    "are you free for lunch today",
    "call me at home",
    "the meeting is at noon",
]
TEXTS, LABELS = SPAM + HAM, np.repeat(["spam", "ham"], 4)
MESSAGE = "free for a call now"


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def mails():
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0, tol=1e-8))
    return Influence(model.fit(TEXTS, LABELS), TEXTS, LABELS)


def test_effects_are_those_of_refits_of_the_whole_pipeline(mails):
    display = GalleryDisplay.from_influence(mails, [MESSAGE], ["ham"], k=8, n_features=0)
    model = mails.estimator
    before = log_loss(["ham"], model.predict_proba([MESSAGE]), labels=["ham", "spam"])
    assert sorted(display.names) == sorted(f"row {i}: {y}" for i, y in enumerate(LABELS))
    for name, effect in zip(display.names, display.effects, strict=True):
        others = np.delete(np.arange(8), int(name.split()[1][:-1]))
        refit = clone(model).fit([TEXTS[i] for i in others], LABELS[others])
        after = log_loss(["ham"], refit.predict_proba([MESSAGE]), labels=["ham", "spam"])
        assert effect == pytest.approx(after - before, rel=2e-3, abs=1e-5)


def test_words_that_act_are_marked_and_others_are_not(mails):
    display = GalleryDisplay.from_influence(mails, [MESSAGE], ["ham"], k=2)
    words = {text.get_text(): text.get_bbox_patch() for text in display.texts_}
    assert words["call"] is not None and words["free"] is not None
    unknown = {"lunch", "cheap", "loans"} & set(words)
    assert unknown and all(words[word] is None for word in unknown)
    assert "predicted as" in display.texts_[0].get_text()


def test_pictures_are_shown_in_the_order_of_what_they_do():
    X, y = load_digits(return_X_y=True)
    pictures, X, y = X[:201].reshape(-1, 8, 8), X[:201] / 16, y[:201]
    inf = Influence(LogisticRegression(C=0.1).fit(X[:200], y[:200]), X[:200], y[:200])
    display = GalleryDisplay.from_influence(
        inf, X[200:], y[200:], k=2, items=pictures[:200], item=pictures[200], n_features=0
    )
    top = inf.top(X[200:], y[200:], 2)
    shown = [image.get_array() for image in display.images_]
    rows = [*top.helpful[0], *top.harmful[0]]
    for image, right in zip(shown, [pictures[200], *pictures[rows]], strict=True):
        np.testing.assert_array_equal(image, right)


def test_cells_are_found_by_the_names_of_their_columns():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8)).fit(X, y)
    display = GalleryDisplay.from_influence(Influence(model, X, y), X.iloc[[70]], [1], k=1)
    marked = [t.get_text() for t in display.texts_ if t.get_bbox_patch() is not None]
    assert "petal width (cm) 1.8" in marked


def test_models_without_coefficients_mark_nothing():
    X, y = load_iris(return_X_y=True)
    inf = Influence(KNeighborsClassifier(30).fit(X, y), X, y)
    display = GalleryDisplay.from_influence(inf, X[[70]], [1], k=2)
    assert len(display.items) and not any(t.get_bbox_patch() for t in display.texts_)


def test_long_texts_are_cut_around_what_is_marked():
    text = " ".join(["padding"] * 40 + ["prize"] + ["padding"] * 40)
    display = GalleryDisplay("prize", [text], [0.1], through=[(("tfidf__prize", 0.5),)]).plot()
    line = [t.get_text() for t in display.texts_ if t.get_text() in ("…", "padding", "prize")]
    assert line[0] == "prize" and line[1] == "…" and line[-1] == "…" and line.count("prize") == 2
    assert len(" ".join(line)) < 110


def test_one_hot_cells_carry_the_weight_of_their_levels():
    row = pd.Series({"work": "private $5", "work_hours": 40}).to_dict()
    through = [(("onehot__work_private $5", 0.3), ("scale__work_hours", 0.2))]
    display = GalleryDisplay(row, [row], [0.1], through=through).plot()
    marked = [t.get_text() for t in display.texts_ if t.get_bbox_patch() is not None]
    assert marked[:2] == ["work private $5", "work_hours 40"]
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"items": TEXTS}, "go together"),
        ({"n_features": -1}, "whole number from 0"),
        ({"y": ["ham", "ham"]}, "about one row"),
    ],
)
def test_what_cannot_be_shown_is_refused(mails, given, words):
    given = {"y": ["ham"], **given}
    with pytest.raises(ValueError, match=words):
        GalleryDisplay.from_influence(mails, [MESSAGE], **given)


def test_pictures_beside_texts_are_refused():
    with pytest.raises(ValueError, match="of one kind"):
        GalleryDisplay("text", [np.zeros((2, 2))], [1.0])
    with pytest.raises(ValueError, match="one entry per row"):
        GalleryDisplay("text", ["a", "b"], [1.0])
