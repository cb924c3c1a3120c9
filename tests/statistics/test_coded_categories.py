"""Categories that are looked up once give what encoders learn from some of the rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from skinfluence import Influence
from skinfluence.statistics import limits
from skinfluence.statistics.coded import CodedEncoder
from skinfluence.statistics.read_once import read_once

N = 40


def table():
    """Categories of words, of numbers and of words some of which are missing, beside a number."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.standard_normal(N), "rooms": rng.integers(0, 3, N)})
    X["town"] = rng.choice(["a", "b", "c", "d"], N, p=[0.5, 0.3, 0.15, 0.05])
    X.loc[3, "town"] = "z"
    X["kind"] = rng.choice(["x", "y", np.nan], N).astype(object)
    X.loc[X["kind"] == "nan", "kind"] = np.nan
    return X


TABLE = table()
RARE = {"handle_unknown": "infrequent_if_exist"}
ENCODERS = {
    "one column each": OneHotEncoder(handle_unknown="ignore"),
    "dense": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    "rare ones together": OneHotEncoder(min_frequency=8, **RARE),
    "a share of the rows": OneHotEncoder(min_frequency=0.2, **RARE),
    "at most three": OneHotEncoder(max_categories=3, **RARE),
    "without the first": OneHotEncoder(drop="first", **RARE),
    "of two one": OneHotEncoder(drop="if_binary", handle_unknown="ignore"),
    "numbers": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "few numbers": OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, max_categories=3
    ),
}


def dense(Z):
    return Z.toarray() if hasattr(Z, "toarray") else np.asarray(Z)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_of_any_rows_and_for_any_others(name):
    encoder = ENCODERS[name]
    columns = ["rooms", "town"] + (["kind"] if isinstance(encoder, OneHotEncoder) else [])
    X = TABLE[columns]
    coded = read_once(encoder)
    coded.fit(X)
    new = X.iloc[[0]].assign(town="nowhere", rooms=7)
    for kept in (np.arange(N) != 3, np.arange(N) % 2 == 0):
        for some in (X[kept], pd.concat([X[kept], new]), X[kept].to_numpy(dtype=object)):
            step, again = clone(coded), clone(encoder)
            found, expected = step.fit_transform(some), again.fit_transform(some)
            np.testing.assert_array_equal(dense(found), dense(expected))
            assert list(step.get_feature_names_out()) == list(again.get_feature_names_out())
            others = pd.concat([X.iloc[[3, 4]], new])
            others = others if hasattr(some, "columns") else others.to_numpy(dtype=object)
            found, expected = step.transform(others), again.transform(others)
            np.testing.assert_array_equal(dense(found), dense(expected))


def test_a_category_that_is_refused_is_named_as_it_is():
    coded = read_once(OneHotEncoder()).fit(TABLE[["town"]])
    without = clone(coded).fit(TABLE[["town"]].drop(index=3))
    with pytest.raises(ValueError, match="'z'"):
        without.transform(TABLE[["town"]].iloc[[3]])


def test_numbers_for_categories_of_which_some_are_missing_are_left_alone():
    with pytest.raises(TypeError, match="missing"):
        read_once(OrdinalEncoder()).fit(TABLE[["kind"]])


@pytest.mark.parametrize(
    "encoder",
    [OneHotEncoder(categories=[["a", "b"]]), OneHotEncoder(drop=["a"]), OneHotEncoder],
    ids=["named", "dropped by name", "a class"],
)
def test_encoders_whose_categories_are_named_stay(encoder):
    assert read_once(encoder) is encoder


def test_the_container_of_outputs_is_the_one_that_was_asked_for():
    encoder = OneHotEncoder(sparse_output=False).set_output(transform="pandas")
    coded, X = read_once(encoder), TABLE[["town"]]
    for some in (X, X.iloc[:20]):
        found, expected = clone(coded).fit_transform(some), clone(encoder).fit_transform(some)
        pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_rows_at_a_limit_of_a_category_cost_no_look_at_the_categories(output, monkeypatch):
    rng = np.random.default_rng(1)
    words = OneHotEncoder(sparse_output=False, min_frequency=8, **RARE)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    steps = make_column_transformer((numbers, ["size"]), (words, ["rooms", "town"]))
    steps.set_output(transform=output)
    y = (TABLE["size"] + rng.standard_normal(N) > 0).to_numpy().astype(int)
    model = make_pipeline(steps, LogisticRegression(tol=1e-12, solver="newton-cholesky"))
    inf = Influence(model.fit(TABLE, y), TABLE, y)
    # One by one: see test_limits.py for those of one category together.
    monkeypatch.setattr(limits, "FEWEST", N)
    seen, fit = [], CodedEncoder.fit_transform
    monkeypatch.setattr(
        CodedEncoder, "fit_transform", lambda self, *args: seen.append(1) or fit(self, *args)
    )
    counts = TABLE["town"].value_counts()
    rows = np.flatnonzero(TABLE["town"].isin(counts.index[counts == 8]) | (TABLE["town"] == "z"))
    assert len(rows) > 1
    found = inf.loo_decision_function(indices=rows, method="exact")
    assert len(seen) > 1
    for i, one in zip(rows, found, strict=True):
        kept = np.delete(np.arange(N), i)
        again = clone(model).fit(TABLE.iloc[kept], y[kept])
        # Newton's method ends at 1e-12 of the gradient.
        assert one == pytest.approx(again.decision_function(TABLE.iloc[[i]])[0], rel=1e-9)
