"""Texts that are counted once give what vectorisers learn from some of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence.smooth.optimum.old_factor import by_chords
from skinfluence.statistics import refitting
from skinfluence.statistics.read_once import read_once
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
    counted = read_once(vectoriser)
    counted.fit(TEXTS)
    for kept in (range(1, len(TEXTS)), range(0, len(TEXTS), 2)):
        some = [TEXTS[i] for i in kept]
        # New words among them, or none.
        strange = ["an egg nobody knows", some[0], "?", "an egg a hen nobody knows", *some[1:]]
        for texts in (some, [*some, "an egg nobody knows"], strange):
            step, again = clone(counted), clone(vectoriser)
            found, expected = step.fit_transform(texts), again.fit_transform(texts)
            np.testing.assert_allclose(found.toarray(), expected.toarray(), rtol=1e-14)
            names = again.get_feature_names_out().tolist()
            assert step.get_feature_names_out().tolist() == names
            for others in (["egg and words nobody knows", TEXTS[0]], TEXTS[:2]):
                np.testing.assert_allclose(
                    step.transform(others).toarray(), again.transform(others).toarray(), rtol=1e-14
                )


def test_of_words_that_are_named_and_of_other_transformers_nothing_is_counted():
    for step in (
        TfidfVectorizer(vocabulary=["egg"]),
        TfidfVectorizer(dtype=np.float32),
        StandardScaler(),
        make_pipeline(HashingVectorizer(), StandardScaler(with_mean=False)),
    ):
        assert read_once(step) is step


def table():
    """A column of texts beside numbers."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({"body": TEXTS, "size": rng.standard_normal(len(TEXTS))})


WORDS = make_union(TfidfVectorizer(), CountVectorizer(analyzer="char", ngram_range=(2, 2)))
HIDDEN = {
    "first": (make_pipeline(TfidfVectorizer()), TEXTS),
    "behind numbers": (make_pipeline(CountVectorizer(), TfidfTransformer()), TEXTS),
    "union": (make_pipeline(WORDS), TEXTS),
    "columns": (
        make_pipeline(
            ColumnTransformer([("n", StandardScaler(), ["size"]), ("t", TfidfVectorizer(), "body")])
        ),
        table(),
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_wherever_a_vectoriser_stands_no_row_costs_a_fit_of_it(name, monkeypatch):
    steps, X = HIDDEN[name]
    model = make_pipeline(*clone(steps), LogisticRegression(tol=1e-10, max_iter=1000))
    inf = Influence(model.fit(X, TEXT_Y), X, TEXT_Y)
    inf.loo_decision_function(indices=[0])
    fits, fit = [], CountVectorizer.fit_transform
    monkeypatch.setattr(
        CountVectorizer, "fit_transform", lambda self, *args: fits.append(1) or fit(self, *args)
    )
    found = inf.loo_decision_function(indices=np.arange(6), method="exact")
    # One of the counts of which words there are, where that is all that moves.
    assert len(fits) <= 1
    for i in range(6):
        kept = np.delete(np.arange(len(TEXT_Y)), i)
        again = clone(model).fit(_safe_indexing(X, kept), TEXT_Y[kept])
        truth = again.decision_function(_safe_indexing(X, [i]))[0]
        # lbfgs stops at 1e-10 of the gradient.
        assert found[i] == pytest.approx(truth, rel=0, abs=1e-6)


@pytest.mark.parametrize("kind", ["add", "replace", "a category"])
@pytest.mark.parametrize("least", [1, 2])
def test_new_words_and_categories_need_no_other_count_and_no_other_factor(kind, least, monkeypatch):
    """Their columns were not there: the old factor knows their penalty, and steps with it go there."""
    last = LogisticRegression(C=2.0, tol=1e-12, max_iter=1000, solver="newton-cholesky")
    model, X = make_pipeline(TfidfVectorizer(min_df=least), last), TEXTS
    new = "an egg and a hen that nobody knows and fig"
    if kind == "a category":
        model = make_pipeline(OneHotEncoder(min_frequency=least, handle_unknown="ignore"), last)
        X = np.array([one.split()[:2] for one in TEXTS], dtype=object)
        new = np.array(["hen", "fig"], dtype=object)
    inf = Influence(model.fit(X, TEXT_Y), X, TEXT_Y)
    edit = edits.replace(3, new) if kind == "replace" else edits.add(new, 1)
    inf.effect(edits.remove([0, 1]), X[:9], of="decision_function")
    counted, count = [], CountVectorizer.fit_transform
    monkeypatch.setattr(
        CountVectorizer,
        "fit_transform",
        lambda self, X, y=None: counted.append(len(X)) or count(self, X, y),
    )
    monkeypatch.setattr(refitting, "minimise", lambda *args: pytest.fail("Newton's method"))
    found = inf.effect(edit, X[:9], of="decision_function", method="exact")
    assert max(counted, default=0) <= 1
    monkeypatch.undo()
    rows, y = list(X), np.array(TEXT_Y)
    if kind == "replace":
        rows[3] = new
    else:
        rows, y = [*rows, new], np.append(y, 1)
    rows = rows if kind != "a category" else np.array([list(one) for one in rows], dtype=object)
    again = clone(model).fit(rows, y)
    truth = again.decision_function(X[:9]) - model.decision_function(X[:9])
    np.testing.assert_allclose(found.values, truth, rtol=1e-6, atol=1e-6 * abs(truth).max())
    assert np.isfinite(found.bound)


def solved(factor, problems, noise):
    """The optima of some problems by chords, from where they are."""

    def gradients(which, theta):
        return np.array(
            [problems[k].at(one).gradient() for k, one in zip(which, theta, strict=True)]
        )

    return by_chords(factor, np.array([one.theta for one in problems]), gradients, noise)


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
    assert solved(weak.factor, [start], weak.accuracy.noise) == [None]
    near = problem.at(0.95 * problem.theta)
    (found,) = solved(strong.factor, [near], strong.accuracy.noise)
    np.testing.assert_allclose(found, problem.theta, rtol=1e-7)


def test_problems_side_by_side_are_those_alone():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
    solver = Influence(LogisticRegression(tol=1e-10).fit(X, y), X, y).answers.edit_solver()
    noise, problem = solver.accuracy.noise, solver.objective
    moved = [replace(problem, weights=problem.weights * rng.uniform(0.9, 1.1, 60)) for _ in "abc"]
    far = problem.at(np.full_like(problem.theta, np.nan))
    together = solved(solver.factor, [moved[0], far, *moved[1:]], noise)
    assert together[1] is None
    for one, found in zip(moved, [together[0], *together[2:]], strict=True):
        (alone,) = solved(solver.factor, [one], noise)
        np.testing.assert_allclose(found, alone, rtol=1e-12)
        assert np.abs(one.at(found).gradient()).max() < 1e-10
