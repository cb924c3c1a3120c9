"""A function of a user's own is taken for one of each row where it is tried to be; else it moves with every edit."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures

from skinfluence import Influence, edits
from skinfluence.model_selection import leave_one_group_out
from skinfluence.statistics import REFITTED, UNMOVED

rng = np.random.default_rng(0)
X = rng.standard_normal((30, 3))
Y = (X @ [1.0, -2.0, 0.5] + rng.standard_normal(30) > 0).astype(int)
TIGHT = {"solver": "newton-cholesky", "tol": 1e-12}


def test_a_function_of_a_user_may_look_at_all_rows():
    """It is no fit, and moves with the rows all the same."""
    model = make_pipeline(
        FunctionTransformer(lambda X: X - X.mean(axis=0)), LogisticRegression(**TIGHT)
    )
    model.fit(X, Y)
    again = clone(model).fit(np.delete(X, [0, 4], axis=0), np.delete(Y, [0, 4]))
    expected = again.decision_function(X[:5]) - model.decision_function(X[:5])
    inf = Influence(model, X, Y)
    found = inf.effect(edits.remove([0, 4]), X[:5], of="decision_function", method="exact")
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def repeated(X):
    """Whether a row is there twice, beside the row."""
    _, place, count = np.unique(X, axis=0, return_inverse=True, return_counts=True)
    return np.column_stack([X, count[np.ravel(place)] > 1])


LOOKING = {
    "spread": lambda X: X / (1.0 + X.std(axis=0)),
    "largest": lambda X: X - X.max(axis=0),
    "ranks": lambda X: np.argsort(np.argsort(X, axis=0), axis=0) / 10.0,
    "number of rows": lambda X: X / len(X),
    "repeated rows": repeated,
}
ALONE = {
    "numbers": lambda X: np.log1p(np.abs(X)),
    "products": lambda X: X @ np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]),
    "fewer columns": lambda X: X[:, [0, 2]],
    "norms": lambda X: X / np.linalg.norm(X, axis=1, keepdims=True),
}


@pytest.mark.parametrize("name", [*LOOKING, *ALONE])
def test_a_function_that_treats_each_row_alone_costs_no_fit_and_others_move(name):
    """Which it is, is tried on parts of the rows."""
    func = {**LOOKING, **ALONE}[name]
    rows = X.copy()
    rows[12] = rows[8]
    model = make_pipeline(FunctionTransformer(func), LogisticRegression(**TIGHT)).fit(rows, Y)
    inf = Influence(model, rows, Y)
    routes = set(inf.estimate("loo").routes)
    assert routes == ({UNMOVED} if name in ALONE else {REFITTED}), routes
    one, pair = edits.remove(8), edits.remove([3, 4])
    found = inf.effect([one, pair], rows[:20], of="decision_function", method="exact")
    for values, gone in zip(found.values.T, ([8], [3, 4]), strict=True):
        again = clone(model).fit(np.delete(rows, gone, axis=0), np.delete(Y, gone))
        expected = again.decision_function(rows[:20]) - model.decision_function(rows[:20])
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


GRADES = rng.integers(1, 6, (40, 3)).astype(float)
SHARED = {
    "the largest grade": (lambda X: X / X.max(axis=0), GRADES),
    "a median of zeros": (lambda X: X - np.median(X, axis=0), GRADES * (GRADES > 3)),
    "the most common grade where one is missing": (
        lambda X: np.where(np.isnan(X), 1.0 + (np.nansum(X == 1, axis=0) <= len(X) / 5), X),
        np.where(np.arange(40)[:, None] % 20 == 5, np.nan, np.where(GRADES < 5, 1.0, GRADES)),
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_halves_of_the_rows_share_is_seen_by_rows_alone(name):
    """A new row, or the end of a group, moves a statistic that no half of the rows does."""
    func, rows = SHARED[name]
    y = (np.nan_to_num(rows) @ [1.0, -1.0, 0.5] + rng.standard_normal(40) > 1.5).astype(int)
    model = make_pipeline(FunctionTransformer(func), LogisticRegression(**TIGHT)).fit(rows, y)
    group = np.flatnonzero(rows[:, 0] == np.nanmin(rows[:, 0]))[:-1]
    new = np.array([9.0, 2.0, 7.0])
    asked = [edits.add(new, 1), edits.remove(group)]
    after = [
        (np.vstack([rows, new]), np.append(y, 1)),
        (np.delete(rows, group, 0), np.delete(y, group)),
    ]
    inf = Influence(model, rows, y)
    assert set(inf.estimate("loo").routes) == {REFITTED}
    found = inf.effect(asked, rows[:20], of="decision_function", method="exact").values
    for values, (others, labels) in zip(found.T, after, strict=True):
        again = clone(model).fit(others, labels)
        expected = again.decision_function(rows[:20]) - model.decision_function(rows[:20])
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


def test_a_function_that_once_looked_at_other_rows_is_not_trusted_on_others():
    step = FunctionTransformer(lambda X: np.where(np.isnan(X), np.nanmean(X, axis=0), X))
    holes = X.copy()
    holes[3, 1] = np.nan
    model = make_pipeline(step, LogisticRegression(**TIGHT)).fit(holes, Y)
    assert set(Influence(model, holes, Y).estimate("loo").routes) == {REFITTED}
    with_holes = Influence(model, holes, Y)
    model.fit(X, Y)
    assert set(Influence(model, X, Y).estimate("loo").routes) == {REFITTED}
    assert set(with_holes.estimate("loo").routes) == {REFITTED}


def capped(X):
    """A function of each row, as long as no column reaches 100."""
    return X / np.maximum(100.0, np.abs(X).max(axis=0))


NEW = np.array([250.0, 0.3, -1.0])


@pytest.mark.parametrize("kind", ["add", "replace", "an ordinary row"])
def test_a_function_that_a_new_row_alone_shows_to_look_at_others_moves_with_that_row(kind):
    """What the fit's rows cannot tell, those of the edit do: their function is called on them."""
    model = make_pipeline(FunctionTransformer(capped), LogisticRegression(C=1e4, **TIGHT)).fit(X, Y)
    new = NEW / 1e3 if kind == "an ordinary row" else NEW
    edit = edits.replace(4, new) if kind == "replace" else edits.add(new, 1)
    rows = (
        np.where(np.arange(30)[:, None] == 4, new, X) if kind == "replace" else np.vstack([X, new])
    )
    again = clone(model).fit(rows, Y if kind == "replace" else np.append(Y, 1))
    before, truth = model.decision_function(X[:9]), again.decision_function(X[:9])
    edited = Influence(model, X, Y).edited(edit).estimator
    np.testing.assert_allclose(edited.decision_function(X[:9]), truth, rtol=1e-6)
    inf = Influence(clone(model).fit(X, Y), X, Y)
    assert set(inf.estimate("loo").routes) == {UNMOVED}
    found = inf.effect(edit, X[:9], of="decision_function", method="exact")
    assert found.route == (UNMOVED if kind == "an ordinary row" else REFITTED)
    np.testing.assert_allclose(found.values, truth - before, rtol=1e-6, atol=1e-9)


def test_what_moves_with_a_new_row_is_refused_where_earlier_edits_held_it():
    model = make_pipeline(FunctionTransformer(capped), LogisticRegression(**TIGHT)).fit(X, Y)
    inf = Influence(model, X, Y).after(edits.remove(5))
    with pytest.raises(ValueError, match="known after edits that moved all of it"):
        inf.effect(edits.add(NEW, 1), X[:9], Y[:9])


def best_of_household(X):
    """The largest first number of the rows of the same household, beside the others."""
    return np.column_stack([[X[X[:, 2] == one, 0].max() for one in X[:, 2]], X[:, :2]])


# The two best of a household stand where no part of the rows lacks both, the third where it is not tried alone.
HOUSEHOLD = np.array([3, 26, 37])
ALIKE = np.column_stack([rng.standard_normal((40, 2)), np.arange(40.0)])
ALIKE[HOUSEHOLD] = [[0.1, 0.2, 3.0], [0.4, -0.1, 3.0], [0.4, 0.3, 3.0]]
ALIKE_Y = (ALIKE[:, 0] - ALIKE[:, 1] + rng.standard_normal(40) > 0).astype(int)


def without_group(rows):
    model = make_pipeline(FunctionTransformer(best_of_household), LogisticRegression(**TIGHT))
    model.fit(ALIKE, ALIKE_Y)
    again = clone(model).fit(np.delete(ALIKE, rows, axis=0), np.delete(ALIKE_Y, rows))
    # At rows of other households, which are what they were.
    at = np.setdiff1d(np.arange(40), HOUSEHOLD)[:12]
    return model, at, again.decision_function(ALIKE[at]) - model.decision_function(ALIKE[at])


@pytest.mark.parametrize("question", ["effect", "groups", "edited"])
def test_a_function_that_a_group_alone_shows_to_look_at_others_moves_with_that_group(question):
    """It is tried on the rows that the group leaves: no single row tells, nor any part of them."""
    model, at, truth = without_group(HOUSEHOLD[1:])
    inf = Influence(model, ALIKE, ALIKE_Y)
    assert set(inf.estimate("loo").routes) == {UNMOVED}
    asked, how = ALIKE[at], {"of": "decision_function", "method": "exact"}
    if question == "effect":
        edit = edits.remove(HOUSEHOLD[1:])
        assert set(inf.estimate("effect", asked, edits=edit).routes) == {REFITTED}
        found = inf.effect(edit, asked, **how).values
    elif question == "groups":
        group = np.isin(np.arange(40), HOUSEHOLD[1:])
        found = inf.removal_effect(asked, groups=group, **how)[:, 1]
    else:
        edited = inf.edited(edits.remove(HOUSEHOLD[1:])).estimator
        found = edited.decision_function(asked) - model.decision_function(asked)
    np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-9)


def test_rows_left_out_by_group_are_without_what_their_group_alone_moves():
    model, *_ = without_group(HOUSEHOLD[1:])
    groups = np.where(np.isin(np.arange(40), HOUSEHOLD[1:]), 99, np.arange(40))
    found = leave_one_group_out(
        model, ALIKE, ALIKE_Y, groups=groups, response_method="decision_function"
    )
    expected = cross_val_predict(
        model, ALIKE, ALIKE_Y, groups=groups, cv=LeaveOneGroupOut(), method="decision_function"
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_an_ordinary_group_costs_a_function_no_fit():
    model = make_pipeline(FunctionTransformer(np.abs), FunctionTransformer(lambda X: X**3))
    model = make_pipeline(model, LogisticRegression(**TIGHT)).fit(X, Y)
    asked = [edits.remove([1, 2, 3]), edits.remove([4, 9])]
    assert set(Influence(model, X, Y).effect(asked, X[:2], Y[:2]).route) == {UNMOVED}


class Counting(PolynomialFeatures):
    """How often it has seen rows."""

    seen = 0

    def transform(self, X):
        type(self).seen += 1
        return super().transform(X)


@pytest.mark.parametrize("where", ["chain", "columns", "union"])
def test_to_try_a_function_takes_no_other_step(where):
    """Rows go through the steps once for the model and once for the function, where they stand before it."""
    step, function = Counting(1), FunctionTransformer(lambda X: np.abs(X))
    steps = {
        "chain": make_pipeline(step, function),
        "columns": ColumnTransformer([("a", step, [0, 1]), ("b", function, [2])]),
        "union": FeatureUnion([("a", step), ("b", function)]),
    }
    model = make_pipeline(steps[where], LogisticRegression(**TIGHT)).fit(X, Y)
    Counting.seen = 0
    Influence(model, X, Y)
    assert Counting.seen <= 3
    calls = []
    function.func = lambda X: calls.append(len(X)) or np.abs(X)
    Influence(model, X, Y)
    assert sum(calls) < 20 * len(X)


@pytest.mark.parametrize(
    "func",
    [
        lambda X: pd.DataFrame({"a": X[:, 0] > 0, "b": np.where(X[:, 1] > 0, "up", "down")}),
        lambda X: [f"{a:.0f} {b:.0f}" for a, b, _ in 10.0 * X],
    ],
    ids=["a frame", "texts"],
)
def test_functions_that_make_other_things_than_numbers_are_tried_too(func):
    encode = OneHotEncoder(handle_unknown="ignore")
    if isinstance(func(X), list):
        encode = CountVectorizer(token_pattern=r"\S+")
    model = make_pipeline(FunctionTransformer(func), encode, LogisticRegression(**TIGHT)).fit(X, Y)
    inf = Influence(model, X, Y)
    others = make_pipeline(clone(encode), LogisticRegression(**TIGHT)).fit(func(X), Y)
    # As without the function, of which the encoder sees nothing.
    rows = func(X)
    expected = Influence(others, rows, Y).estimate("loo").routes
    assert inf.estimate("loo").routes == expected
    assert UNMOVED in expected
