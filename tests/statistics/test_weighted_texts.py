"""Models behind tf-idf without texts, by products of the counts of all, against refits of the whole pipeline."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skinfluence import Influence
from skinfluence.statistics.again import Again
from skinfluence.statistics.edited_rows import without
from skinfluence.statistics.refits import Refits
from skinfluence.statistics.weighted_texts import WeightedTexts
from tests.statistics.test_routes_of_rows import TEXT_Y, TEXTS

VECTORISERS = [
    TfidfVectorizer(),
    TfidfVectorizer(sublinear_tf=True, norm="l1", min_df=0.05),
    TfidfVectorizer(use_idf=False, max_df=20, stop_words=["egg"]),
    TfidfVectorizer(smooth_idf=False, norm=None, min_df=2),
    TfidfVectorizer(ngram_range=(1, 2), binary=True),
]
MODELS = {
    "two classes": LogisticRegression(C=3.0, solver="newton-cg", tol=1e-12),
    "no intercept": LogisticRegression(fit_intercept=False, solver="newton-cg", tol=1e-12),
    "three classes": LogisticRegression(solver="newton-cg", tol=1e-12),
}


def question(vectoriser, name):
    y = np.array(TEXT_Y)
    if name == "three classes":
        y = y + (np.arange(len(y)) % 3 == 0)
    model = make_pipeline(clone(vectoriser), clone(MODELS[name])).fit(TEXTS, y)
    return model, y


def refit(model, y, gone):
    kept = np.setdiff1d(np.arange(len(y)), gone)
    return clone(model).fit([TEXTS[i] for i in kept], y[kept])


@pytest.mark.parametrize("vectoriser", VECTORISERS, ids=repr)
@pytest.mark.parametrize("name", MODELS)
def test_rows_and_groups_are_left_out_as_by_refits(vectoriser, name):
    model, y = question(vectoriser, name)
    inf = Influence(model, TEXTS, y)
    own = inf.loo_decision_function()
    groups = np.arange(len(y)) % 5
    other = ["egg and ham", *TEXTS[:2], ""]
    grouped = inf.removal_effect(other, of="decision_function", groups=groups)
    before = model.decision_function(other)
    for i in (0, 4, len(y) - 1):
        true = refit(model, y, [i]).decision_function([TEXTS[i]])[0]
        np.testing.assert_allclose(own[i], true, rtol=1e-6, atol=1e-8)
    true = refit(model, y, np.flatnonzero(groups == 1)).decision_function(other) - before
    np.testing.assert_allclose(grouped[:, 1], true, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("vectoriser", VECTORISERS, ids=repr)
def test_no_step_is_fitted_again(vectoriser, monkeypatch):
    model, y = question(vectoriser, "two classes")
    inf, fitted = Influence(model, TEXTS, y), []
    original = Refits.after
    monkeypatch.setattr(
        Refits,
        "after",
        lambda refits, rows, out: fitted.append(rows) or original(refits, rows, out),
    )
    found = inf.loo_decision_function()
    alone = len(fitted)
    assert alone < 0.2 * len(y)
    monkeypatch.setattr(WeightedTexts, "takes", lambda texts, rows: False)
    again = inf.loo_decision_function()
    assert len(fitted) == alone + len(y)
    np.testing.assert_allclose(found, again, rtol=1e-10, atol=1e-12)


def test_a_word_that_comes_within_a_limit_is_a_column_more():
    """Of a word in one text too many the limit is kept without one of them: then steps are fitted again."""
    texts = ["a b c", "a b d", "a c d", "b c e", "e f a", "f b c", "d e f", "c d a"] * 2
    texts = [" ".join(2 * word for word in one.split()) for one in texts]
    y = np.arange(len(texts)) % 2
    steps = TfidfVectorizer(max_df=9), LogisticRegression(solver="newton-cg", tol=1e-12)
    model = make_pipeline(*steps).fit(texts, y)
    inf = Influence(model, texts, y)
    widths, found = [], inf.loo_decision_function()
    for i in range(6):
        kept = np.delete(np.arange(len(y)), i)
        again = clone(model).fit([texts[j] for j in kept], y[kept])
        widths.append(len(again[0].vocabulary_) - len(model[0].vocabulary_))
        np.testing.assert_allclose(found[i], again.decision_function([texts[i]])[0], rtol=1e-6)
    assert max(widths) > 0


def texts_of(model, y):
    inf = Influence(model.fit(TEXTS, y), TEXTS, y)
    refits = Refits([model[0]], TEXTS, y)
    rows = model[0].transform(TEXTS)
    return Again(inf.answers, model[-1], refits, rows, 60.0)._texts


def test_words_that_are_chosen_and_weights_that_move_are_fitted_again():
    last, y = LogisticRegression(tol=1e-10, class_weight="balanced"), np.array(TEXT_Y)
    assert texts_of(make_pipeline(TfidfVectorizer(max_features=8), last), y) is None
    texts = texts_of(make_pipeline(TfidfVectorizer(), last), y)
    problem = texts.objective
    assert not texts.takes(without(problem, y, np.array([3])))
