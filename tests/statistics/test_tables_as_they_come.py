"""Dates, nullable columns, categories of one row, columns of nothing: edits of such tables equal refits, too."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)

from skinfluence import Influence, edits

N, NUMBERS = 60, ["size", "age", "same"]


def table():
    rng = np.random.default_rng(5)
    days = pd.to_timedelta(rng.integers(0, 700, N), unit="D")
    X = pd.DataFrame(
        {
            "when": pd.Timestamp("2021-03-01") + days,
            "size": np.exp(rng.standard_normal(N)),
            "age": pd.array(rng.integers(18, 80, N), dtype="Int64"),
            "owns": pd.array(rng.random(N) < 0.4, dtype="boolean"),
            "empty": np.full(N, np.nan),
            "same": np.full(N, 3.0),
            "city": pd.Categorical(rng.choice(["Rome", "Oslo", "Bern"], N)),
            "kind": rng.choice(["a", "b", "c"], N).astype(object),
            "note": pd.array(rng.choice(["x", "y"], N), dtype="string"),
        }
    )
    z = X["size"] + X["age"].astype(float) / 20 + (X["kind"] == "a") + rng.standard_normal(N)
    X.loc[[2, 9, 31], "size"] = np.nan
    X.loc[[7, 12], "age"] = pd.NA
    X.loc[5, "kind"] = "nobody else's"
    return X, np.where(z > z.median(), "yes", "no")


def days(X):
    return (X - pd.Timestamp("2020-01-01")) / pd.Timedelta(days=1)


def filled(*steps, **params):
    return make_pipeline(SimpleImputer(**params), *steps)


WORDS = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
SCALED = ("numbers", filled(StandardScaler()), NUMBERS)
DROPPED = ("nothing", "drop", ["when", "empty", "owns"])
STEPS = {
    "dates, and a column of nothing": ColumnTransformer(
        [
            ("when", make_pipeline(FunctionTransformer(days), StandardScaler()), ["when"]),
            (
                "numbers",
                filled(RobustScaler(), add_indicator=True, keep_empty_features=True),
                [*NUMBERS, "empty"],
            ),
            ("words", OneHotEncoder(handle_unknown="ignore", drop="if_binary"), ["kind", "owns"]),
        ]
    ),
    "a remainder that is scaled": ColumnTransformer(
        [("words", WORDS, ["city", "kind", "note"]), DROPPED],
        remainder=filled(StandardScaler(), MinMaxScaler()),
    ),
    "columns in columns, passed through": ColumnTransformer(
        [
            ("inside", ColumnTransformer([SCALED, ("words", WORDS, ["city"])]), [*NUMBERS, "city"]),
            ("as it is", "passthrough", ["same"]),
            DROPPED,
        ]
    ),
    "a union of components and a choice, of frames": make_pipeline(
        ColumnTransformer([SCALED, ("words", WORDS, ["city", "kind"])]),
        make_union(PCA(2), SelectKBest(k=3)),
        StandardScaler(),
    ).set_output(transform="pandas"),
    "rare ones together, then a scaler": make_pipeline(
        ColumnTransformer(
            [SCALED, ("words", clone(WORDS).set_params(max_categories=3), ["city", "kind"])]
        ),
        MinMaxScaler(),
    ),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.filterwarnings("ignore:Features:UserWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_edits_of_a_table_as_it_comes_equal_refits(name, tmp_path):
    X, y = table()
    last = LogisticRegression(solver="newton-cholesky", tol=1e-12, C=0.5)
    model = Pipeline([("steps before", clone(STEPS[name])), ("last", last)], memory=str(tmp_path))
    inf = Influence(model.fit(X, y), X, y)
    new = X.iloc[[3]].assign(size=9.5, kind="c")
    after = {
        "alone of its kind": (edits.remove(5), np.delete(np.arange(N), 5), []),
        "with a hole": (edits.remove(7), np.delete(np.arange(N), 7), []),
        "group": (edits.remove([1, 5, 9, 20]), np.delete(np.arange(N), [1, 5, 9, 20]), []),
        "replace": (edits.replace(8, new), np.delete(np.arange(N), 8), [y[8]]),
        "add": (edits.add(new, "yes"), np.arange(N), ["yes"]),
    }
    asked = X.iloc[[0, 13, 33]]
    found = inf.effect(
        [edit for edit, *_ in after.values()], asked, of="decision_function", method="exact"
    )
    own = inf.loo_decision_function(indices=[5, 7], method="exact")
    for k, (what, (_, kept, label)) in enumerate(after.items()):
        rows = X.iloc[kept]
        if label:
            rows = pd.concat([rows, new], ignore_index=True).astype(X.dtypes.to_dict())
        again = clone(model).fit(rows, np.append(y[kept], label))
        truth = again.decision_function(asked) - model.decision_function(asked)
        size = np.abs(truth).max()
        np.testing.assert_allclose(
            found.values[:, k], truth, rtol=0, atol=1e-6 * size, err_msg=what
        )
        if k < 2:
            truth = again.decision_function(X.iloc[[(5, 7)[k]]])[0]
            np.testing.assert_allclose(own[k], truth, rtol=1e-6, err_msg=what)
