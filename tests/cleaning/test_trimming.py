"""Trimmed leave-one-out: the same as refits without the trimmed rows, and nothing where nothing is claimed."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit
from skinfluence.datasets import flip_labels
from skinfluence.linear_model import LogisticRegression, Ridge

MODEL = LogisticRegression(C=0.1, tol=1e-9, max_iter=5000)


@pytest.fixture(scope="module")
def data():
    X, y = load_breast_cancer(return_X_y=True)
    y, wrong = flip_labels(y, 0.1, random_state=0)
    return StandardScaler().fit_transform(X), y, wrong


@pytest.fixture(scope="module")
def plain(data):
    X, y, _ = data
    return audit(clone(MODEL).fit(X, y), X, y, effects=False)


@pytest.fixture(scope="module")
def once(data):
    X, y, _ = data
    return audit(clone(MODEL).fit(X, y), X, y, effects=False, rounds=1, trim=0.08)


def precision(found, wrong):
    rank = np.empty(len(wrong))
    rank[found.table["row"]] = found.table["rank"]
    return average_precision_score(wrong, -rank)


def test_trimmed_rows_are_judged_by_the_fit_without_all_of_them(once, data):
    X, y, _ = data
    out = np.flatnonzero(once.trimmed)
    assert len(out) == round(0.08 * len(y))
    kept = np.flatnonzero(~once.trimmed)
    without = clone(MODEL).fit(X[kept], y[kept])
    np.testing.assert_allclose(once.loo_proba[out], without.predict_proba(X[out]), atol=1e-6)
    for row in kept[np.argsort(once.loo_proba[kept, y[kept]])[:3]]:
        others = kept[kept != row]
        refit = clone(MODEL).fit(X[others], y[others]).predict_proba(X[[row]])[0]
        np.testing.assert_allclose(once.loo_proba[row], refit, atol=0.02)
    check = once.verify(4)
    np.testing.assert_allclose(check["loo_loss"], check["refit_loss"], rtol=1e-4)


def test_even_errors_are_ranked_better_without_each_other(plain, data):
    X, y, wrong = data
    trimmed = audit(clone(MODEL).fit(X, y), X, y, effects=False, rounds=3)
    assert 0 < trimmed.trimmed.sum() <= round(plain.noise_share * len(y))
    assert precision(trimmed, wrong) >= precision(plain, wrong)
    assert any("were left out of the fit in 3 rounds" in note for note in trimmed.notes)


def test_the_trimmed_score_is_the_order_after_three_rounds(data):
    X, y, _ = data
    model = clone(MODEL).fit(X, y)
    found = audit(model, X, y, effects=False, score="trimmed")
    rounds = audit(model, X, y, effects=False, rounds=3)
    assert found.trimmed.sum() > 10 and found.score == "trimmed"
    np.testing.assert_array_equal(found.table["row"], rounds.table["row"])


def test_no_class_loses_more_than_half_of_its_rows(data):
    X, _, _ = data
    y = np.r_[np.zeros(300, dtype=int), np.ones(12, dtype=int)]
    found = audit(clone(MODEL).fit(X[:312], y), X[:312], y, rounds=2, trim=0.4, effects=False)
    assert found.trimmed[300:].sum() <= 6


def test_nothing_is_trimmed_where_nothing_is_claimed():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    rng = np.random.RandomState(0)
    y = rng.permutation(y)
    found = audit(LogisticRegression(C=1e-4).fit(X, y), X, y, rounds=2, effects=False)
    assert not found.trimmed.any() and any("no errors are claimed" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounds": -1}, "whole number from 0"),
        ({"rounds": 1.5}, "whole number from 0"),
        ({"rounds": 2, "trim": 0.5}, "below a half"),
        ({"trim": 0.1}, "needs rounds="),
        ({"rounds": 1, "groups": ["a", "b"] * 284 + ["a"]}, "cannot be given together"),
    ],
)
def test_rounds_that_are_none_are_refused(data, options, words):
    X, y, _ = data
    with pytest.raises(ValueError, match=words):
        audit(clone(MODEL).fit(X, y), X, y, **options)


def test_numbers_are_not_trimmed():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(TypeError, match="classifiers with probabilities"):
        audit(Ridge().fit(X, y), X, y, rounds=1)
    with pytest.raises(ValueError, match="score of a regressor must be one of"):
        audit(Ridge().fit(X, y), X, y, score="trimmed")
