"""Rows by position, by mask, by the labels of the training frame: the row meant, or words."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits

N = 30
TIGHT = {"solver": "newton-cholesky", "tol": 1e-12}


def _frame(index):
    rng = np.random.default_rng(3)
    X = pd.DataFrame(rng.standard_normal((N, 3)), columns=list("abc"), index=index)
    y = pd.Series(np.where(X.a + rng.standard_normal(N) > 0, "p", "q"), index=index)
    return X, y


INDEXES = {
    "shuffled": np.random.default_rng(0).permutation(N),
    "far": np.arange(N)[::-1] + 100,
    "text": [f"id{i:02d}" for i in np.random.default_rng(1).permutation(N)],
    "dates": pd.date_range("2020-01-01", periods=N)[::-1],
    "two levels": pd.MultiIndex.from_product([["u", "v"], range(N // 2)]),
}
EVERY_INDEX = pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)


def _influence(X, y):
    return Influence(LogisticRegression(**TIGHT).fit(X, y), X, y)


def _refit_effect(X, y, gone, test):
    keep = np.ones(N, dtype=bool)
    keep[gone] = False
    before = LogisticRegression(**TIGHT).fit(X, y).decision_function(test)
    return LogisticRegression(**TIGHT).fit(X[keep], y[keep]).decision_function(test) - before


def _decision(inf, edit, test):
    return inf.effect(edit, test, of="decision_function", method="exact").values


@EVERY_INDEX
def test_labels_and_aligned_masks_remove_the_rows_they_name(index):
    X, y = _frame(index)
    inf, gone = _influence(X, y), [4, 11]
    expected = _refit_effect(X, y, gone, X[:3])
    mask = pd.Series(np.isin(np.arange(N), gone), index=X.index)
    shuffled = mask.sample(frac=1.0, random_state=2)
    named = [
        edits.remove(gone),
        edits.remove(np.array(gone, dtype=np.uint64)),
        edits.remove(labels=X.index[gone]),
        edits.remove(labels=list(X.index[gone])),
        edits.remove(mask),
        edits.remove(mask.to_numpy()),
        edits.remove(mask.tolist()),
        edits.remove(mask.astype("boolean")),
        edits.remove(shuffled),
        pickle.loads(pickle.dumps(edits.remove(shuffled))),
    ]
    for edit in named:
        np.testing.assert_allclose(_decision(inf, edit, X[:3]), expected, rtol=1e-7, atol=1e-9)


@EVERY_INDEX
def test_questions_about_some_rows_take_the_same_names(index):
    X, y = _frame(index)
    inf, rows = _influence(X, y), [2, 9, 20]
    mask = pd.Series(np.isin(np.arange(N), rows), index=X.index).sample(frac=1.0, random_state=5)
    asks = {
        "up_params": inf.influence_up_params,
        "up_loss": lambda **named: inf.influence_up_loss(X[:2], y[:2], **named),
        "pert": lambda **named: inf.influence_pert(X[:2], y[:2], **named),
        "removal": lambda **named: inf.removal_effect(X[:2], y[:2], **named),
        "relabel": lambda **named: inf.relabel_effect(X[:2], y[:2], **named),
    }
    for ask in asks.values():
        expected = ask(indices=rows)
        np.testing.assert_array_equal(ask(labels=X.index[rows]), expected)
        np.testing.assert_array_equal(ask(indices=mask), expected)
        with pytest.raises(TypeError, match="Got both"):
            ask(indices=rows, labels=X.index[rows])


def test_every_edit_takes_labels():
    X, y = _frame(INDEXES["shuffled"])
    inf, other = _influence(X, y), {"p": "q", "q": "p"}
    i, j = 3, 8
    pairs = [
        (
            edits.reweight([i, j], [0.5, 2.0]),
            edits.reweight(labels=X.index[[i, j]], sample_weight=[0.5, 2.0]),
        ),
        (edits.relabel(i, other[y.iloc[i]]), edits.relabel(labels=X.index[i], y=other[y.iloc[i]])),
        (edits.replace(i, X.iloc[j]), edits.replace(x=X.iloc[j], labels=X.index[i])),
    ]
    for by_position, by_label in pairs:
        np.testing.assert_array_equal(
            _decision(inf, by_label, X[:4]), _decision(inf, by_position, X[:4])
        )


@EVERY_INDEX
def test_a_pandas_index_is_not_taken_as_positions(index):
    X, y = _frame(index)
    inf = _influence(X, y)
    rows = [pd.Index([0, 1]), pd.Series([0, 1])]
    if index is not INDEXES["two levels"]:
        rows += [X.index[:2], pd.Series(X.index[:2])]
    for some in rows:
        with pytest.raises(TypeError, match=r"labels="):
            inf.effect(edits.remove(some), X[:2], y[:2])
        with pytest.raises(TypeError, match=r"labels="):
            inf.removal_effect(X[:2], y[:2], indices=some)


@pytest.mark.parametrize("index", [None, np.arange(N)], ids=["range", "array"])
def test_where_labels_are_positions_both_are_taken(index):
    X, y = _frame(index)
    inf = _influence(X, y)
    expected = _decision(inf, edits.remove([5, 7]), X[:3])
    for rows in (X.index[[5, 7]], pd.Series([5, 7], index=[1, 0])):
        np.testing.assert_array_equal(_decision(inf, edits.remove(rows), X[:3]), expected)
    np.testing.assert_array_equal(_decision(inf, edits.remove(labels=[5, 7]), X[:3]), expected)


def test_the_targets_name_the_rows_of_an_array():
    X, y = _frame(INDEXES["far"])
    inf = _influence(X.to_numpy(), y)
    expected = _decision(inf, edits.remove([6]), X[:2].to_numpy())
    found = _decision(inf, edits.remove(labels=y.index[6]), X[:2].to_numpy())
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match="labels="):
        _decision(inf, edits.remove(y.index[:1]), X[:2].to_numpy())


def test_arrays_have_no_labels():
    X, y = _frame(None)
    inf = _influence(X.to_numpy(), y.to_numpy())
    with pytest.raises(TypeError, match="without an index"):
        inf.removal_effect(X[:2].to_numpy(), y[:2], labels=[1])
    with pytest.raises(TypeError, match="training data have none"):
        inf.removal_effect(X[:2].to_numpy(), y[:2], indices=X.index[:1])
    expected = inf.removal_effect(X[:2].to_numpy(), y[:2], indices=[1])
    found = inf.removal_effect(X[:2].to_numpy(), y[:2], indices=pd.Series([1]))
    np.testing.assert_array_equal(found, expected)


def test_a_label_that_several_rows_have_names_none_of_them():
    X, y = _frame(np.arange(N) // 2)
    inf = _influence(X, y)
    with pytest.raises(ValueError, match="2 rows have"):
        inf.removal_effect(X[:2], y[:2], labels=[3])
    mask = pd.Series(np.arange(N) == 6, index=X.index)
    np.testing.assert_array_equal(
        inf.removal_effect(X[:2], y[:2], indices=mask),
        inf.removal_effect(X[:2], y[:2], indices=[6]),
    )


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda X: edits.remove(), TypeError, "Got neither"),
        (lambda X: edits.remove(1, labels=1), TypeError, "Got both"),
        (lambda X: edits.remove(labels=[]), ValueError, "at least one row"),
        (lambda X: edits.remove(np.zeros(N, bool)), ValueError, "at least one row"),
        (lambda X: edits.remove(True), TypeError, "one-dimensional"),
        (lambda X: edits.remove(np.ones(N - 1, bool)), ValueError, "29 entries"),
        (lambda X: edits.remove(labels=[-1]), IndexError, r"Got -1, which"),
        (lambda X: edits.remove(labels=["a"]), IndexError, r"Got 'a', which"),
        (lambda X: edits.remove(labels=[True, False]), TypeError, "pass a mask"),
        (lambda X: edits.remove(["a"]), TypeError, "labels="),
        (lambda X: edits.remove([0.0]), TypeError, "integer positions"),
        (lambda X: edits.remove(pd.array([True, None] * 15)), ValueError, "missing values"),
        (lambda X: edits.remove(pd.Series([True] * N)), ValueError, "aligned by its index"),
        (lambda X: edits.remove(2**64 - 1), IndexError, "below 30"),
        (lambda X: edits.relabel(1), TypeError, "needs y"),
        (lambda X: edits.reweight(1), TypeError, "needs sample_weight"),
        (lambda X: edits.replace(1), TypeError, "needs x"),
        (lambda X: edits.replace([1, 2], X.iloc[0]), ValueError, "one row. Got 2"),
    ],
)
def test_what_names_no_row_is_said(ask, kind, words):
    X, y = _frame(INDEXES["far"])
    inf = _influence(X, y)
    with pytest.raises(kind, match=words):
        inf.effect(ask(X), X[:2], y[:2])


def test_groups_are_in_the_order_of_the_rows_or_refused():
    X, y = _frame(INDEXES["far"])
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, y == "p")
    inf = Influence(model, X, y == "p")
    groups = pd.Series(np.arange(N) % 5, index=X.index)
    expected = inf.removal_effect(X[:2], of="decision_function", groups=groups.to_numpy())
    found = inf.removal_effect(X[:2], of="decision_function", groups=groups)
    np.testing.assert_array_equal(found, expected)
    for other in (groups.iloc[::-1], groups.reset_index(drop=True)):
        with pytest.raises(ValueError, match="order of the training rows"):
            inf.removal_effect(X[:2], of="decision_function", groups=other)


def test_polars_names_rows_by_position_and_by_mask():
    pl = pytest.importorskip("polars")
    X, _ = _frame(None)
    frame = pl.from_pandas(X)
    inf = Influence(Ridge().fit(frame, X.b), frame, X.b.to_numpy())
    expected = inf.removal_effect(frame[:2], of="decision_function", indices=[4, 9])
    for rows in (pl.Series([4, 9]), pl.Series(np.isin(np.arange(N), [4, 9]))):
        found = inf.removal_effect(frame[:2], of="decision_function", indices=rows)
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match="without an index"):
        inf.removal_effect(frame[:2], of="decision_function", labels=[4])
