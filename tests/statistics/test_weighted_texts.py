"""Models behind tf-idf without texts, by products of the counts of all, against refits of the whole pipeline."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, StandardScaler

from skinfluence import Influence, edits
from skinfluence.solvers import Exact, dual
from skinfluence.statistics.again import Again
from skinfluence.statistics.near_optimum import Nearness
from skinfluence.statistics.refits import Refits
from skinfluence.statistics.weighted_texts import WeightedTexts
from tests.fewer import LONG
from tests.statistics.test_routes_of_rows import TEXT_Y, TEXTS

VECTORISERS = [
    TfidfVectorizer(),
    TfidfVectorizer(sublinear_tf=True, norm="l1", min_df=0.05),
    TfidfVectorizer(use_idf=False, max_df=20, stop_words=["egg"]),
    TfidfVectorizer(smooth_idf=False, norm=None, min_df=2),
    TfidfVectorizer(ngram_range=(1, 2), binary=True),
    make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)),
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


IDS = [" ".join(repr(one).split()) for one in VECTORISERS]


# Each way of counting with two models, each model with half of the ways or more.
SOME = [
    pytest.param(vectoriser, name, id=f"{name}-{said}")
    for at, (vectoriser, said) in enumerate(zip(VECTORISERS, IDS, strict=True))
    for turn, name in enumerate(MODELS)
    if LONG or (at + turn) % 3
]


@pytest.mark.parametrize(("vectoriser", "name"), SOME)
def test_rows_and_groups_are_left_out_as_by_refits(vectoriser, name):
    model, y = question(vectoriser, name)
    inf = Influence(model, TEXTS, y)
    own, near = (inf.loo_decision_function(method=method) for method in ("exact", "auto"))
    groups = np.arange(len(y)) % 5
    other = ["egg and ham", *TEXTS[:2], ""]
    grouped = inf.removal_effect(other, of="decision_function", groups=groups)
    before = model.decision_function(other)
    for i in (0, 4, len(y) - 1):
        true = refit(model, y, [i]).decision_function([TEXTS[i]])[0]
        np.testing.assert_allclose(own[i], true, rtol=1e-6, atol=1e-8)
        moved = np.abs(true - model.decision_function([TEXTS[i]])[0])
        # The tolerance, and what refits are off by.
        assert (np.abs(near[i] - true) <= 1e-3 * moved.max() + 1e-8).all()
    true = refit(model, y, np.flatnonzero(groups == 1)).decision_function(other) - before
    np.testing.assert_allclose(grouped[:, 1], true, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("vectoriser", VECTORISERS, ids=IDS)
def test_no_step_is_fitted_again(vectoriser, monkeypatch):
    model, y = question(vectoriser, "two classes")
    inf, fitted = Influence(model, TEXTS, y), []
    original = Refits.after
    monkeypatch.setattr(
        Refits,
        "after",
        lambda refits, rows, out: fitted.append(rows) or original(refits, rows, out),
    )
    found = inf.loo_decision_function(method="exact")
    alone = len(fitted)
    assert alone < 0.2 * len(y)
    monkeypatch.setattr(WeightedTexts, "takes", lambda texts, rows: False)
    again = inf.loo_decision_function(method="exact")
    assert len(fitted) == alone + len(y)
    np.testing.assert_allclose(found, again, rtol=1e-10, atol=1e-12)


def test_effects_without_texts_have_bounds_and_fit_no_step(monkeypatch):
    model, y = question(TfidfVectorizer(), "two classes")
    inf = Influence(model, TEXTS, y)
    asked, gone = [edits.remove(3), edits.remove([5, 9])], ([3], [5, 9])
    monkeypatch.setattr(Refits, "after", None)
    found = inf.effect(asked, TEXTS[:4], of="decision_function", method="exact")
    assert (found.bound < 1e-8).all(), found.bound
    before = model.decision_function(TEXTS[:4])
    for values, rows in zip(found.values.T, gone, strict=True):
        truth = refit(model, y, rows).decision_function(TEXTS[:4]) - before
        np.testing.assert_allclose(values, truth, rtol=1e-6, atol=1e-8)


def test_a_word_that_comes_within_a_limit_is_a_column_more():
    """Of a word in one text too many the limit is kept without one of them: then steps are fitted again."""
    texts = ["a b c", "a b d", "a c d", "b c e", "e f a", "f b c", "d e f", "c d a"] * 2
    texts = [" ".join(2 * word for word in one.split()) for one in texts]
    y = np.arange(len(texts)) % 2
    steps = TfidfVectorizer(max_df=9), LogisticRegression(solver="newton-cg", tol=1e-12)
    model = make_pipeline(*steps).fit(texts, y)
    inf = Influence(model, texts, y)
    widths, found = [], inf.loo_decision_function(method="exact")
    for i in range(6):
        kept = np.delete(np.arange(len(y)), i)
        again = clone(model).fit([texts[j] for j in kept], y[kept])
        widths.append(len(again[0].vocabulary_) - len(model[0].vocabulary_))
        np.testing.assert_allclose(found[i], again.decision_function([texts[i]])[0], rtol=1e-6)
    assert max(widths) > 0


def numbers():
    """A column of texts beside others."""
    rng, n = np.random.default_rng(0), len(TEXTS)
    X = pd.DataFrame({"size": np.exp(rng.standard_normal(n)), "lines": rng.standard_normal(n)})
    X["body"], X["kind"] = TEXTS, rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1])
    # A category of one row.
    X.loc[2, "kind"] = "w"
    return X


COLUMNS = {
    "scaled": [("words", TfidfVectorizer(), "body"), ("n", StandardScaler(), ["size", "lines"])],
    "on both sides": [
        ("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"]),
        ("words", TfidfVectorizer(min_df=2), "body"),
        ("n", MinMaxScaler(), ["size", "lines"]),
    ],
    "the most frequent": [
        ("words", TfidfVectorizer(max_features=12), "body"),
        ("rest", "passthrough", ["size"]),
    ],
    "alone": [("words", TfidfVectorizer(norm="l1"), "body")],
    "counted, then weighed": [
        ("words", make_pipeline(CountVectorizer(max_features=15), TfidfTransformer()), "body"),
        ("n", StandardScaler(), ["size"]),
    ],
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("weight", [None, "balanced"])
def test_columns_beside_texts_move_with_them(name, weight, monkeypatch):
    X, y = numbers(), np.array(TEXT_Y)
    steps = ColumnTransformer(clone(COLUMNS[name], safe=False), sparse_threshold=1.0)
    last = LogisticRegression(C=2.0, solver="newton-cg", tol=1e-12, class_weight=weight)
    model = make_pipeline(steps, last).fit(X, y)
    inf, seen, after = Influence(model, X, y), [], WeightedTexts.after

    def counted(self, edits, *args):
        seen.extend(one.gone[0] for one in edits)
        return after(self, edits, *args)

    monkeypatch.setattr(WeightedTexts, "after", counted)
    rows = np.arange(2, len(y), 9)
    exact, auto = (inf.loo_decision_function(indices=rows, method=way) for way in ("exact", "auto"))
    effect = inf.removal_effect(X[:3], of="decision_function", indices=rows, method="exact")
    assert len(seen) > 2 * len(rows)
    before = model.decision_function(X)
    for place, i in enumerate(rows):
        kept = np.delete(np.arange(len(y)), i)
        again = clone(model).fit(X.iloc[kept], y[kept])
        true, moved = again.decision_function(X.iloc[[i]])[0], again.decision_function(X[:3])
        assert exact[place] == pytest.approx(true, rel=1e-6, abs=1e-8)
        assert abs(auto[place] - true) <= 1e-3 * abs(true - before[i]) + 1e-8
        np.testing.assert_allclose(effect[:, place], moved - before[:3], rtol=1e-6, atol=1e-8)


def test_steps_that_count_and_weigh_are_one(monkeypatch):
    y, seen, after = np.array(TEXT_Y), [], WeightedTexts.after
    monkeypatch.setattr(
        WeightedTexts, "after", lambda self, *args: seen.append(self.T.shape) or after(self, *args)
    )
    last = LogisticRegression(solver="newton-cg", tol=1e-12)
    one = make_pipeline(TfidfVectorizer(min_df=2), last).fit(TEXTS, y)
    two = make_pipeline(CountVectorizer(min_df=2), TfidfTransformer(), clone(last)).fit(TEXTS, y)
    ask = {"indices": [0, 3, 7], "method": "exact"}
    found = [Influence(model, TEXTS, y).loo_decision_function(**ask) for model in (one, two)]
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert len(seen) > 1 and len(set(seen)) == 1


@pytest.mark.parametrize(
    "name, step",
    [
        ("components", PCA(1)),
        ("fills", SimpleImputer()),
    ],
)
def test_beside_what_moves_otherwise_steps_are_fitted_again(name, step):
    X, y = numbers(), np.array(TEXT_Y)
    if name == "fills":
        X.loc[5:9, "size"] = np.nan
    parts = [("words", TfidfVectorizer(), "body"), ("n", step, ["size", "lines"])]
    model = make_pipeline(
        ColumnTransformer(parts, sparse_threshold=1.0), LogisticRegression(tol=1e-10)
    )
    inf = Influence(model.fit(X, y), X, y)
    refits = Refits([model[0]], X, y)
    again = Again(inf.answers, model[-1], refits, model[:-1].transform(X), 60.0)
    assert again._texts is None


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("C", [0.1, 30.0])
def test_no_decision_value_is_further_off_than_its_bound(intercept, C, monkeypatch):
    """Along the whole way, from the start on, which is where the bound is worst."""
    X, y = numbers(), np.array(TEXT_Y)
    parts = [("words", TfidfVectorizer(), "body"), ("n", StandardScaler(), ["size", "lines"])]
    last = LogisticRegression(C=C, fit_intercept=intercept, solver="newton-cg", tol=1e-12)
    if not intercept:
        # Without one a scaler that shifts is another problem.
        parts[1] = ("n", MaxAbsScaler(), ["size", "lines"])
    model = make_pipeline(ColumnTransformer(parts, sparse_threshold=1.0), last).fit(X, y)
    seen = []

    def watched(self, which, theta, gradients):
        for k, one, bound in zip(which, theta, self.bounds(which, gradients), strict=True):
            seen.append((self.asked, k, self.asked(k, one), bound))
        return np.zeros(len(which), dtype=bool)

    monkeypatch.setattr(Nearness, "__call__", watched)
    Influence(model, X, y).loo_decision_function(indices=np.arange(0, len(y), 2))
    last = {(id(asked), k): eta for asked, k, eta, _ in seen}
    known = [(last[id(asked), k] - eta, bound) for asked, k, eta, bound in seen if bound < np.inf]
    assert len(known) > 2 * len(last)
    # The last one is at the optimum but for round-off.
    assert all(abs(error[0, 0]) <= bound + 1e-10 for error, bound in known)
    assert max(abs(error[0, 0]) / bound for error, bound in known if bound > 1e-6) > 0.001


def test_steps_in_single_precision_end_where_others_do(monkeypatch):
    y = np.array(TEXT_Y)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(solver="newton-cg", tol=1e-12))
    model.fit(TEXTS, y)
    found = []
    for few in (1, len(TEXTS) + 1):
        monkeypatch.setattr(dual, "FEW", few)
        inf = Influence(model, TEXTS, y, solver=Exact("dual"))
        factor = inf.answers.edit_solver().factor
        assert (factor.for_steps() is factor) == (few > 1)
        found.append(inf.loo_decision_function(indices=[0, 5, 9], method="exact"))
    np.testing.assert_allclose(*found, rtol=1e-10)
