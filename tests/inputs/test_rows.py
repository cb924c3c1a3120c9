"""Rows, labels and weights as they come: exact where they can be answered, words where not."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LogisticRegression,
    PoissonRegressor,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence import Influence, edits
from skinfluence.model_selection import loo_score
from tests.versions import SCIKIT_LEARN

TIGHT = {"solver": "newton-cholesky", "tol": 1e-12}
N = 40


def _data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, 3))
    return X, (X[:, 0] + rng.standard_normal(N) > 0).astype(int)


# Labels ----------------------------------------------------------------------------------------

LABELS = {
    "uint64 above 2**53": np.array([2**60, 2**60 + 1], dtype=np.uint64),
    "int64 below -2**53": np.array([-(2**60) - 1, -(2**60)]),
    "uint8": np.array([0, 200], dtype=np.uint8),
    "bool": np.array([False, True]),
    "str": np.array(["a", "b"]),
    "object": np.array(["a", "b"], dtype=object),
    "float": np.array([0.0, 2.0]),
}
CLASSIFIERS = {
    "logistic": LogisticRegression(**TIGHT),
    "balanced": LogisticRegression(class_weight="balanced", **TIGHT),
    "ridge": RidgeClassifier(class_weight="balanced"),
    "one-vs-rest": OneVsRestClassifier(LogisticRegression(**TIGHT)),
    "sgd": SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=0),
    "svc": SVC(kernel="linear"),
    "squared hinge": LinearSVC(max_iter=20000),
}


@pytest.mark.filterwarnings("ignore:The fit is not at the optimum")
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("model", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_the_names_of_classes_change_no_answer(model, labels):
    if isinstance(model, RidgeClassifier) and labels.dtype.kind == "u" and SCIKIT_LEARN == (1, 8):
        pytest.skip(
            "RidgeClassifier of scikit-learn 1.8 fits differences that unsigned labels have not."
        )
    X, y = _data()
    expected = Influence(model.fit(X, y), X, y).relabel_effect(X[:4], y[:4])
    inf = Influence(model.fit(X, labels[y]), X, labels[y])
    np.testing.assert_allclose(inf.relabel_effect(X[:4], labels[y[:4]]), expected, atol=1e-9)
    as_list = labels[y[:4]].tolist()
    np.testing.assert_allclose(inf.relabel_effect(X[:4], as_list), expected, atol=1e-9)
    edit = edits.relabel(3, labels[1 - y[3]]) + edits.add(X[0] + 0.1, labels[1])
    assert np.isfinite(inf.effect(edit, X[:4], labels[y[:4]]).values).all()
    assert set(inf.loo_predict().tolist()) <= set(labels.tolist())


def test_integers_of_other_types_are_the_same_labels_if_they_are_the_same_numbers():
    X, y = _data()
    labels = np.array([2**60, 2**60 + 1], dtype=np.uint64)[y]
    inf = Influence(LogisticRegression(**TIGHT).fit(X, labels), X, labels)
    expected = inf.removal_effect(X[:3], labels[:3])
    np.testing.assert_array_equal(inf.removal_effect(X[:3], labels[:3].astype(np.int64)), expected)
    for other in (np.array([2**60 + 2] * 3), np.full(3, float(2**60) + 512), np.array(["a"] * 3)):
        with pytest.raises(ValueError, match="labels the model was fitted on"):
            inf.removal_effect(X[:3], other)


# Classes without weight ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        LogisticRegression(class_weight={0: 1.0, 1: 0.0}),
        OneVsRestClassifier(LogisticRegression(class_weight=None)),
    ],
    ids=["sample weights", "class weights", "one-vs-rest"],
)
def test_a_class_without_weight_has_its_optimum_at_infinity(model):
    X, y = _data()
    weight = None if getattr(model, "class_weight", None) else np.where(y == 1, 0.0, 1.0)
    if isinstance(model, OneVsRestClassifier):
        model.fit(X, y)
    else:
        model.fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match=r"Every class must have rows.*class 1"):
        Influence(model, X, y, weight)


@pytest.mark.parametrize("solver", ["liblinear", "lbfgs"])
def test_a_balanced_class_without_weight_has_an_infinite_one(solver):
    """Zero times infinity is no number: neither the rows of the fit nor the solver are blamed."""
    X, y = _data()
    weight = np.where(y == 1, 0.0, 1.0)
    model = LogisticRegression(solver=solver).fit(X, y, weight).set_params(class_weight="balanced")
    with pytest.raises(ValueError, match=r"Balanced, every class must have .* none of class 1"):
        Influence(model, X, y, weight)


def test_one_of_three_classes_without_weight_too():
    X, _ = _data()
    y = np.arange(N) % 3
    weight = np.where(y == 2, 0.0, 1.0)
    model = LogisticRegression().fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="class 2"):
        Influence(model, X, y, weight)


def test_counts_that_are_all_zero_have_their_optimum_at_infinity():
    X, y = _data()
    weight = np.where(y == 1, 0.0, 1.0)
    model = PoissonRegressor().fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="positive target"):
        Influence(model, X, y, weight)


@pytest.mark.parametrize(
    "model",
    [
        RidgeClassifier(),
        LogisticRegression(fit_intercept=False, **TIGHT),
    ],
    ids=["squared error", "no intercept"],
)
def test_where_the_optimum_is_finite_a_class_may_have_no_weight(model):
    X, y = _data()
    weight = np.where(y == 1, 0.0, 1.0)
    inf = Influence(model.fit(X, y, sample_weight=weight), X, y, weight)
    row = int(np.flatnonzero(y == 0)[0])
    keep = np.arange(N) != row
    before = model.decision_function(X[:3])
    refit = model.fit(X[keep], y[keep], sample_weight=weight[keep]).decision_function(X[:3])
    found = inf.removal_effect(X[:3], of="decision_function", indices=[row], method="exact")
    np.testing.assert_allclose(found[:, 0], refit - before, rtol=1e-4, atol=1e-6)


# Rows of tables --------------------------------------------------------------------------------


def _table():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "c": np.array(list("uvw"))[rng.integers(0, 3, N)],
            "i": pd.array([None if k % 7 == 0 else k % 5 for k in range(N)], dtype="Int64"),
            "x": rng.standard_normal(N),
            "k": rng.integers(0, 4, N),
        }
    )
    y = (table.x + rng.standard_normal(N) > 0).astype(int).to_numpy()
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["c"]), (SimpleImputer(), ["i", "x", "k"])
    )
    return table, y, make_pipeline(columns, LogisticRegression(**TIGHT)).fit(table, y)


@pytest.mark.parametrize("row", [0, 1, 7], ids=["missing", "whole", "missing again"])
@pytest.mark.parametrize(
    "form",
    [
        lambda frame: frame,
        lambda frame: frame.iloc[0],
        lambda frame: frame.iloc[0].tolist(),
        lambda frame: dict(frame.iloc[0]),
        lambda frame: frame.iloc[0][::-1],
    ],
    ids=["frame", "series", "list", "mapping", "series in another order"],
)
def test_a_row_of_mixed_types_is_the_same_row_in_every_form(row, form):
    table, y, model = _table()
    inf = Influence(model, table, y)
    one = table.iloc[[row]].assign(x=0.25)
    expected = inf.effect(edits.add(one, 1), table[:3], of="decision_function", method="exact")
    fresh = clone(model).fit(pd.concat([table, one]), np.append(y, 1))
    change = fresh.decision_function(table[:3]) - model.decision_function(table[:3])
    np.testing.assert_allclose(expected.values, change, rtol=1e-7, atol=1e-9)
    found = inf.effect(edits.add(form(one), 1), table[:3], of="decision_function", method="exact")
    np.testing.assert_array_equal(found.values, expected.values)


def test_values_that_a_column_cannot_hold_are_not_rounded_to_it():
    """1.5 in a column of integers is 1.5; a category that was never seen is not a missing one."""
    table, y, model = _table()
    inf = Influence(model, table, y)
    whole = table.iloc[1]
    for name, value in (("k", 1.5), ("i", 2.5), ("c", "z")):
        values = {**whole, name: value}
        one = pd.DataFrame({key: [cell] for key, cell in values.items()})
        expected = inf.effect(edits.add(one, 1), table[:3], of="decision_function").values
        found = inf.effect(edits.add(values, 1), table[:3], of="decision_function").values
        np.testing.assert_array_equal(found, expected)


def test_a_row_without_a_column_is_refused():
    table, y, model = _table()
    inf = Influence(model, table, y)
    with pytest.raises(ValueError, match=r"none of \['x'\]"):
        inf.effect(edits.add(table.iloc[1].drop("x"), 1), table[:2], y[:2])
    with pytest.raises(ValueError, match="must have 4 values"):
        inf.effect(edits.add([1, 2], 1), table[:2], y[:2])


def test_derivatives_at_missing_cells_of_nullable_columns():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.standard_normal(20), "n": pd.array([pd.NA, *range(19)], dtype="Int64")}
    )
    y = np.arange(20) % 2
    plain = frame.astype({"n": "Float64"}).astype({"n": float})
    found, expected = (
        Influence(
            make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(X, y), X, y
        ).influence_pert(X[1:3], y[1:3])
        for X in (frame, plain)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found[:, 0, 1] == 0.0).all() and (found[:, 1, 1] != 0.0).all()


def test_rows_of_polars_frames():
    pl = pytest.importorskip("polars")
    X, y = _data()
    frame = pl.DataFrame({name: X[:, j] for j, name in enumerate("abc")})
    inf = Influence(make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y), frame, y)
    row = {"c": 0.3, "a": 0.1, "b": 0.2}
    expected = inf.effect(edits.add([0.1, 0.2, 0.3], 1), frame[:2], y[:2]).values
    np.testing.assert_array_equal(inf.effect(edits.add(row, 1), frame[:2], y[:2]).values, expected)


def test_rows_where_the_loss_overflows_are_refused():
    """Of a count model: exp of their decision value has no square in float64."""
    X, y = _data()
    inf = Influence(PoissonRegressor(alpha=1e-3).fit(X, y), X, y)
    far = X[0] + 4000.0 * np.sign(inf.estimator.coef_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in ("auto", "exact", "one-step", "influence"):
            for edit in (edits.add(far, 1.0), edits.replace(3, far)):
                with pytest.raises(ValueError, match="where it overflows"):
                    inf.effect(edit, X[:2], y[:2], method=method)


# Estimators that cannot be asked about ---------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: CalibratedClassifierCV(model, cv=KFold(3, shuffle=True, random_state=0)),
        lambda model: StackingClassifier([("a", model)], cv=KFold(3, shuffle=True, random_state=0)),
        lambda model: VotingClassifier([("a", model)], voting="hard"),
    ],
    ids=["calibrated", "stacking", "voting"],
)
def test_what_cannot_be_asked_about_is_said_before_rows_are_read(wrap):
    table, y, model = _table()
    wrapped = wrap(model).fit(table, y)
    with pytest.raises(TypeError, match=type(wrapped).__name__):
        Influence(wrapped, table, y)


def test_trees_are_refused_for_being_trees():
    X, y = _data()
    X[0, 0] = np.nan
    with pytest.raises(TypeError, match="Trees"):
        Influence(HistGradientBoostingClassifier(max_iter=2).fit(X, y), X, y)


def test_samplers_are_refused_with_a_way_that_works():
    sampling = pytest.importorskip("imblearn.over_sampling")
    pipeline = pytest.importorskip("imblearn.pipeline")
    X, y = _data()
    model = pipeline.make_pipeline(
        StandardScaler(), sampling.RandomOverSampler(random_state=0), LogisticRegression()
    ).fit(X, y)
    for ask in (
        lambda: Influence(model, X, y),
        lambda: loo_score(model, X, y),
        lambda: loo_score(model, X, y, frozen="accept"),
    ):
        with pytest.raises(TypeError, match=r"RandomOverSampler.*fit_resample"):
            ask()
    Z, z = model[1].fit_resample(model[0].transform(X), y)
    Influence(LogisticRegression().fit(Z, z), Z, z)


# Tensors ---------------------------------------------------------------------------------------

ON_TENSORS = """
import numpy as np, torch
from sklearn import config_context, linear_model
import skinfluence.linear_model as ours
from skinfluence import Influence
rng = np.random.default_rng(0)
X = rng.standard_normal((40, 3))
y = (X[:, 0] + rng.standard_normal(40) > 0).astype(int)
for cls in (linear_model.LogisticRegression, ours.LogisticRegression):
    model = cls(tol=1e-10, max_iter=1000).fit(X, y)
    expected = Influence(model, X, y).removal_effect(X[:3], y[:3], method="exact")
    with config_context(array_api_dispatch=True):
        T, t = torch.tensor(X), torch.tensor(y)
        model = cls(tol=1e-10, max_iter=1000).fit(T, t)
        assert hasattr(model.classes_, "detach")
        found = Influence(model, T, t).removal_effect(T[:3], t[:3], method="exact")
        assert Influence(model, X, y).loo_predict().shape == (40,)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
"""


def test_models_fitted_on_tensors_are_answered_about():
    """In a process of its own: scipy decides at its import whether it takes tensors."""
    pytest.importorskip("torch")
    subprocess.run(
        [sys.executable, "-c", ON_TENSORS],
        check=True,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )


# Precision -------------------------------------------------------------------------------------


def test_rows_that_are_all_zero_are_answered_in_either_precision():
    """Nothing is learned from them: no removal changes a decision value."""
    X, y = np.zeros((6, 2)), np.array([0, 1, 2, 0, 1, 2])
    model = LogisticRegression(fit_intercept=False).fit(X, y)
    for precision in ("float64", "mixed"):
        inf = Influence(model, X, y, precision=precision)
        found = inf.removal_effect(np.ones((1, 2)), of="decision_function")
        np.testing.assert_array_equal(found, np.zeros((1, 6, 3)))


@pytest.mark.parametrize("hold", ["auto", "lambda"])
def test_mixed_precision_says_at_once_where_it_would_need_a_factor_for_each_row(hold):
    X, y = _data()
    weight = np.linspace(0.5, 2.0, N)
    cls = PoissonRegressor if hold == "auto" else RidgeClassifier
    model = cls().fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match=r"needs equal weights.*from 0\.5 to 2"):
        Influence(model, X, y, weight, precision="mixed", hold=hold)
    if hold == "lambda":
        # Edits one by one take one factorisation each.
        found, exact = (
            Influence(model, X, y, weight, precision=precision).effect(
                [edits.remove(row) for row in range(4)], X[:2], y[:2], hold="lambda", method="exact"
            )
            for precision in ("mixed", "float64")
        )
        np.testing.assert_allclose(found.values, exact.values, rtol=1e-8, atol=1e-10)
    equal = Influence(cls().fit(X, y), X, y, precision="mixed", hold=hold)
    exact = Influence(cls().fit(X, y), X, y, hold=hold)
    ask = {"of": "decision_function", "method": "exact"}
    np.testing.assert_allclose(
        equal.removal_effect(X[:3], **ask), exact.removal_effect(X[:3], **ask), atol=1e-9
    )
