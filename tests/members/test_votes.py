"""Votes, and pairs of classes, of models with steps of their own: each is fitted again whole, and they are joined."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import PoissonRegressor, Ridge
from sklearn.multiclass import OneVsOneClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler

from skinfluence import Influence, edits
from tests.members.test_stacks import LINE, NEWTON, ROWS, SCALED, SURE, TWO, WORDS, N, X, output_of

FLAT = make_pipeline(StandardScaler(with_mean=False), GaussianNB())
NEAR = make_pipeline(MinMaxScaler(), KNeighborsClassifier(5))
CASES = {
    "one has a scaler": (
        VotingClassifier(
            [("a", SCALED), ("b", "drop"), ("c", GaussianNB())], voting="soft", weights=[2, 9, 1]
        ),
        TWO,
    ),
    "each has another": (VotingClassifier([("a", SCALED), ("b", NEAR)], voting="soft"), WORDS),
    "of other parameters": (VotingClassifier([("a", SCALED), ("b", FLAT)], voting="soft"), TWO),
    "numbers": (
        VotingRegressor(
            [("a", make_pipeline(PolynomialFeatures(2), Ridge(5.0))), ("b", KNeighborsRegressor(3))]
        ),
        LINE,
    ),
    "pairs of classes": (OneVsOneClassifier(SCALED), WORDS),
    "pairs of classes, by chances": (
        OneVsOneClassifier(make_pipeline(StandardScaler(), GaussianNB())),
        WORDS,
    ),
    "a link": (
        VotingRegressor(
            [("a", make_pipeline(StandardScaler(), PoissonRegressor(**NEWTON))), ("b", Ridge(0.1))]
        ),
        np.abs(LINE),
    ),
    "behind a scaler": (
        make_pipeline(
            StandardScaler(),
            VotingRegressor([("a", make_pipeline(PCA(2), Ridge())), ("b", Ridge(0.1))]),
        ),
        LINE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_edit_is_that_of_refits(name):
    model, y = CASES[name]
    model = clone(model).fit(X, y)
    output, of = output_of(model)
    inf = Influence(model, X, y, frozen="refuse")
    refits = [clone(model).fit(np.delete(X, i, 0), np.delete(y, i)) for i in ROWS]
    own = [getattr(one, output)(X[[i]])[0] for one, i in zip(refits, ROWS, strict=True)]
    sure = {"atol": 1e-10, "rtol": 0}
    assert_allclose(getattr(inf, f"loo_{output}")(method="exact", indices=ROWS), own, **sure)
    before = getattr(model, output)(X[:5])
    expected = np.stack([getattr(one, output)(X[:5]) - before for one in refits], axis=1)
    assert np.abs(expected).max() > 5e-3
    found = inf.removal_effect(X[:5], of=of, indices=ROWS, method="exact")
    assert_allclose(found, expected, **sure)
    edit = edits.remove([1, 5]) + edits.relabel(7, y[0]) + edits.add(X[0] + 0.1, y[3])
    after, left = y.copy(), np.delete(np.arange(N), [1, 5])
    after[7] = y[0]
    refit = clone(model).fit(np.vstack([X[left], X[:1] + 0.1]), np.append(after[left], y[3]))
    change = getattr(refit, output)(X) - getattr(model, output)(X)
    assert_allclose(inf.effect(edit, X, of=of).values, change, **sure)
    assert_allclose(
        getattr(inf.edited(edit).estimator, output)(X), getattr(refit, output)(X), **sure
    )
    assert inf.estimate("loo").seconds > 0


def test_losses_are_of_the_mean_and_helpful_rows_have_positive_effects():
    model, y = CASES["one has a scaler"]
    model = clone(model).fit(X, y)
    refit = clone(model).fit(np.delete(X, 17, 0), np.delete(y, 17))
    loss = [-np.log(one.predict_proba(X)[np.arange(N), y]) for one in (model, refit)]
    found = Influence(model, X, y).removal_effect(X, y, indices=[17], method="exact")[:, 0]
    assert_allclose(found, loss[1] - loss[0], atol=1e-10)


def test_a_row_that_has_a_class_alone_has_no_answer():
    y = np.where(np.arange(N) == 3, 1, 0)
    model = VotingClassifier([("a", SCALED), ("b", SURE)], voting="soft").fit(X, y)
    with pytest.warns(UserWarning, match="3"):
        found = Influence(model, X, y).loo_predict_proba(indices=[3, 7], method="exact")
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_texts_are_read_before_it():
    texts = np.array(["one two", "two three"])[TWO]
    read = [make_pipeline(one, SURE) for one in (CountVectorizer(), TfidfVectorizer())]
    model = VotingClassifier([("a", read[0]), ("b", read[1])], voting="soft").fit(texts, TWO)
    words = r"must be finite numbers here.*make_pipeline\(reader, VotingClassifier"
    with pytest.raises((TypeError, ValueError), match=words):
        Influence(model, texts, TWO)


@pytest.mark.parametrize("name", ["one has a scaler", "pairs of classes", "a stack"])
def test_weights_that_a_model_inside_does_not_take_are_refused(name):
    model, y = CASES.get(name) or (StackingClassifier([("a", SCALED)], SURE, cv=3), TWO)
    inf = Influence(clone(model).fit(X, y), X, y)
    for edit in (edits.reweight(9, 2.0), edits.reweight(9, 0.0)):
        with pytest.raises(ValueError, match="Got Pipeline, whose fit takes none"):
            inf.effect(edit, X[:3], of="decision_function")
        with pytest.raises(ValueError, match="Got Pipeline, whose fit takes none"):
            inf.edited(edit)
