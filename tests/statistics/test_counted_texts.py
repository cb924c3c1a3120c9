"""Texts that are counted once give what vectorisers learn from some of them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skinfluence import Influence
from skinfluence.smooth.old_factor import by_chords
from skinfluence.statistics.counted import CountedTexts
from tests.statistics.test_routes_of_rows import TEXT_Y, TEXTS


@pytest.mark.parametrize(
    "vectoriser",
    [
        CountVectorizer(),
        CountVectorizer(ngram_range=(1, 2), min_df=2),
        CountVectorizer(max_features=6, binary=True),
        CountVectorizer(analyzer=str.split, max_df=0.5),
        TfidfVectorizer(),
        TfidfVectorizer(sublinear_tf=True, norm="l1", min_df=0.05),
        TfidfVectorizer(use_idf=False, max_df=20, stop_words=["egg"]),
        TfidfVectorizer(smooth_idf=False, norm=None, max_features=9),
    ],
    ids=repr,
)
def test_of_any_texts_and_for_any_others(vectoriser):
    texts = CountedTexts.of(vectoriser.fit(TEXTS), TEXTS)
    for kept in (np.arange(1, len(TEXTS)), np.arange(0, len(TEXTS), 2)):
        step = clone(texts.step)
        found = step.fit_transform(texts.counts[kept])
        again = clone(vectoriser)
        expected = again.fit_transform([TEXTS[i] for i in kept])
        np.testing.assert_allclose(found.toarray(), expected.toarray(), rtol=1e-14)
        assert step.get_feature_names_out().tolist() == again.get_feature_names_out().tolist()
        others = ["egg and words nobody knows", TEXTS[0]]
        np.testing.assert_allclose(
            step.transform(texts.of_texts(others)).toarray(),
            again.transform(others).toarray(),
            rtol=1e-14,
        )


def test_of_other_transformers_and_words_that_are_named_nothing_is_counted():
    assert CountedTexts.of(TfidfVectorizer(vocabulary=["egg"]).fit(TEXTS), TEXTS) is None
    assert CountedTexts.of(TfidfVectorizer(dtype=np.float32).fit(TEXTS), TEXTS) is None
    # Fitted on other texts than these.
    assert CountedTexts.of(TfidfVectorizer().fit(TEXTS[:20]), TEXTS) is None


def test_no_row_costs_a_fit_of_the_vectoriser(monkeypatch):
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(tol=1e-8)).fit(TEXTS, TEXT_Y)
    inf = Influence(model, TEXTS, TEXT_Y)
    inf.loo_decision_function(indices=[0])
    count, fit = [], TfidfVectorizer.fit_transform
    monkeypatch.setattr(
        TfidfVectorizer, "fit_transform", lambda self, *args: count.append(1) or fit(self, *args)
    )
    inf.loo_decision_function(indices=np.arange(6))
    assert not count


def test_a_factor_of_another_problem_is_no_help():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
    weak, strong = (
        Influence(LogisticRegression(C=C, tol=1e-10).fit(X, y), X, y).answers.edit_solver()
        for C in (1e-4, 1e4)
    )
    problem = strong.objective
    start = problem.at(np.zeros_like(problem.theta))
    assert by_chords(weak.factor, start, weak.accuracy.noise) is None
    found = by_chords(strong.factor, problem.at(0.95 * problem.theta), strong.accuracy.noise)
    np.testing.assert_allclose(found.theta, problem.theta, rtol=1e-7)
