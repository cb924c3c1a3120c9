"""Models without a penalty that have no optimum: counts of zero fall without end, or some rows of a class part from all others."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from skinfluence import Influence, edits
from skinfluence.edits import NoOptimumError
from tests.truth import polish, relative_error

POISSON = PoissonRegressor(alpha=0, solver="newton-cholesky", max_iter=1000, tol=1e-10)
TWEEDIE = TweedieRegressor(power=1.5, link="log", alpha=0, max_iter=1000)
MODELS = pytest.mark.parametrize("model", [POISSON, TWEEDIE], ids=["Poisson", "Tweedie"])


def counts(rng, n=60):
    X = rng.standard_normal((n, 3))
    y = rng.poisson(np.exp(0.3 * X[:, 0])).astype(float)
    return X, y, np.flatnonzero(y == 0), np.flatnonzero(y > 0)


def held_by(rng, rows):
    """Counts whose last column is there where the target is 0, and in some other rows."""
    X, y, zero, positive = counts(rng)
    X[:, 2] = 0.0
    X[zero[:6], 2] = rng.uniform(1.0, 2.0, 6)
    X[positive[:rows], 2] = 1.5
    return X, y, positive[:rows]


@MODELS
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_a_column_of_rows_whose_target_is_zero_leaves_no_optimum(model, form, rng):
    X, y, _ = held_by(rng, 0)
    with pytest.raises(NoOptimumError, match="along column 2, in which none of them moves"):
        Influence(model.fit(form(X), y), form(X), y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_combination_of_columns_leaves_none_either(rng):
    """Two directions are left open, of which some combination falls in all rows."""
    X, y, zero, _ = counts(rng)
    X = np.column_stack([X[:, :2], np.zeros((len(X), 2))])
    X[zero, 2:] = rng.standard_normal((len(zero), 2))
    X[zero, 2] = np.abs(X[zero, 2]) + 2.0 * np.abs(X[zero, 3])
    X = X @ rng.standard_normal((4, 4))
    with pytest.raises(NoOptimumError, match="columns 0, 1, 2, 3"):
        Influence(POISSON.fit(X, y), X, y)


def test_rows_that_pull_a_column_both_ways_leave_an_optimum(rng):
    """No row of a positive target moves along it, and those of target 0 fall and rise."""
    X, y, zero, _ = counts(rng)
    X[:, 2] = 0.0
    X[zero, 2] = rng.standard_normal(len(zero))
    row, kept = zero[3], np.delete(np.arange(len(y)), zero[3])
    inf = Influence(POISSON.fit(X, y), X, y)
    found = inf.effect(edits.remove(row), X, of="decision_function", method="exact")
    after = Influence(POISSON.fit(X[kept], y[kept]), X[kept], y[kept])
    move = polish(after.objective).theta - polish(inf.objective).theta
    assert relative_error(found.values, X @ move[0, :3] + move[0, 3]) < 1e-8


def test_what_a_penalty_or_the_loss_holds_is_answered(rng):
    X, y, _ = held_by(rng, 0)
    model = PoissonRegressor(alpha=1e-3, solver="newton-cholesky", tol=1e-10).fit(X, y)
    assert np.isfinite(Influence(model, X, y).loo_decision_function()).all()
    # Positive amounts pull both ways, however small they are.
    model = GammaRegressor(alpha=0, solver="newton-cholesky", tol=1e-10).fit(X, y + 0.01)
    assert np.isfinite(Influence(model, X, y + 0.01).loo_decision_function()).all()


@MODELS
@pytest.mark.parametrize("method", ["auto", "exact"])
def test_an_edit_that_takes_the_last_hold_is_refused(model, method, rng):
    X, y, (row,) = held_by(rng, 1)
    inf = Influence(model.fit(X, y), X, y, polish=True)
    ask = {"of": "decision_function", "method": method}
    for edit in (edits.remove(row), edits.relabel(row, 0.0), edits.remove([row, 3])):
        with pytest.raises(NoOptimumError, match="along column 2"):
            inf.effect(edit, X[:3], **ask)
    # In a batch the others keep their answers, and a warning names the one that has none.
    with pytest.warns(ConvergenceWarning, match=f"Row {row} has no answer .*target is 0 fall"):
        found = inf.removal_effect(X[:3], **ask)
    assert np.isnan(found[:, row]).all()
    assert np.isfinite(np.delete(found, row, axis=1)).all()


def test_an_edited_model_that_has_no_optimum_is_refused(rng):
    X, y, (row,) = held_by(rng, 1)
    inf = Influence(POISSON.fit(X, y), X, y)
    for ask in (inf.edited, inf.after):
        with pytest.raises(NoOptimumError, match="Fit with alpha > 0"):
            ask(edits.remove(row))


def classes(rng, n_classes, extra=0, n=80):
    """Classes that overlap, and a column that only rows of class 1 have, and ``extra`` of class 0."""
    X = rng.standard_normal((n, 3))
    y = (X[:, 0] + rng.standard_normal(n) > 0).astype(int)
    y[: 20 * (n_classes - 2)] = 2
    X[:, 2] = 0.0
    X[np.flatnonzero(y == 1)[:6], 2] = rng.uniform(1.0, 2.0, 6)
    others = np.flatnonzero(y == 0)[:extra]
    X[others, 2] = 1.5
    return X, y, others


UNPENALISED = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8, max_iter=1000)
SOFT = pytest.mark.filterwarnings("ignore:Setting penalty=None")


@SOFT
@pytest.mark.parametrize(
    "model, n_classes",
    [(UNPENALISED, 2), (UNPENALISED, 3), (OneVsRestClassifier(UNPENALISED), 3)],
    ids=["binary", "softmax", "one against the rest"],
)
def test_a_column_of_rows_of_one_class_leaves_no_optimum(model, n_classes, rng):
    """No plane is between the classes, but some rows go to their side for ever, and no row to another."""
    X, y, _ = classes(rng, n_classes)
    inf = Influence(clone(model).fit(X, y), X, y)
    for method in ("auto", "exact"):
        with pytest.raises(
            NoOptimumError, match="along column 2, in which no row moves to another"
        ):
            inf.removal_effect(X[:3], of="decision_function", method=method)
    # What the error says to do works.
    model = LogisticRegression(C=10.0).fit(X, y)
    assert np.isfinite(Influence(model, X, y).loo_decision_function()).all()


@SOFT
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_so_does_such_a_column_where_the_fit_stopped_too_far_out_for_any_row_to_pull(
    form, n_classes, rng
):
    """There Newton's method ends before it begins."""
    X, y, _ = classes(rng, n_classes)
    model = clone(UNPENALISED).fit(X, y)
    model.coef_[n_classes - 2, 2] += 200.0
    with pytest.raises(NoOptimumError, match="along column 2, in which no row moves to another"):
        Influence(model, form(X), y)


@SOFT
def test_rows_that_are_sure_of_their_class_leave_an_optimum_where_others_hold_the_columns(rng):
    """atol=1e-8: refits by Newton's method to tol=1e-12."""
    X, y, _ = classes(rng, 2, extra=2)
    X[0], y[0] = [400.0, 0.0, 0.0], 1
    model = clone(UNPENALISED).set_params(tol=1e-12).fit(X, y)
    inf = Influence(model, X, y)
    assert model.decision_function(X[:1]) > 100.0
    after = clone(model).fit(np.delete(X, 5, 0), np.delete(y, 5))
    expected = after.decision_function(X) - model.decision_function(X)
    found = inf.effect(edits.remove(5), X, of="decision_function", method="exact").values
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())


@SOFT
@pytest.mark.parametrize("n_classes", [2, 3])
def test_an_edit_that_leaves_a_column_to_one_class_is_refused(n_classes, rng):
    """One row of each other class holds the column; of three classes one is enough to let it go."""
    X, y, (row,) = classes(rng, n_classes, extra=1)
    X[y == 2, 2] = 1.0 * (np.arange((y == 2).sum()) == 3)
    inf = Influence(clone(UNPENALISED).fit(X, y), X, y)
    ask = {"of": "decision_function"}
    for edit in (edits.remove(row), edits.relabel(row, 1), edits.remove([row, 40])):
        with pytest.raises(
            NoOptimumError, match="must not separate its training classes, nor some"
        ):
            inf.effect(edit, X[:3], **ask)
    with pytest.raises(NoOptimumError, match="nor some rows"):
        inf.edited(edits.remove(row))
    rows = [row, row + 1, 45]
    with pytest.warns(ConvergenceWarning, match=f"Row {row} has no answer .*classes are separated"):
        found = inf.removal_effect(X[:3], indices=rows, **ask)
    assert np.isnan(found[:, 0]).all()
    # Of the others answers are refits.
    kept = np.delete(np.arange(len(y)), 45)
    after = Influence(clone(UNPENALISED).fit(X[kept], y[kept]), X[kept], y[kept])
    move = polish(after.objective, 3).theta - polish(inf.objective, 3).theta
    expected = inf.objective.loss.expand(X[:3] @ move[:, :3].T + move[:, 3]).reshape(3, -1)
    found = found[:, 2].reshape(3, -1)
    assert relative_error(found, expected) < 1e-3


def separable_without(rng):
    """Classes that one row keeps from being parted by a plane, and that row."""
    X = rng.standard_normal((30, 2))
    y = (X[:, 0] > 0).astype(int)
    row = int(X[:, 0].argmax())
    y[row] = 0
    return X, y, row


def zeros_fall_without(rng):
    X, y, (row,) = held_by(rng, 1)
    return X, y, row


def undetermined_without(rng):
    X = rng.standard_normal((30, 3))
    X[:, 2] = 1.0 * (np.arange(30) == 4)
    return X, X[:, 0] + rng.standard_normal(30), 4


@pytest.mark.parametrize("steps", [[], [PCA()]], ids=["alone", "behind a step"])
@pytest.mark.parametrize(
    "model, table, why",
    [
        (UNPENALISED, separable_without, "is not determined, or the classes are separated, so"),
        (POISSON, zeros_fall_without, "is not determined, or rows whose target is 0 fall .*, so"),
        (LinearRegression(), undetermined_without, "a parameter is not determined, so"),
    ],
    ids=["separated", "falling", "least squares"],
)
@SOFT
@pytest.mark.filterwarnings("ignore:lbfgs", "ignore:.*could not be certified")
def test_why_a_row_has_no_answer_is_said_of_the_model_that_it_is(steps, model, table, why, rng):
    X, y, row = table(rng)
    inf = Influence(make_pipeline(*steps, clone(model)).fit(X, y), X, y)
    with pytest.warns(ConvergenceWarning, match=f"Row {row} has no answer .*{why}"):
        found = inf.removal_effect(X[:2], of="decision_function", indices=[row, row - 1])
    assert np.isnan(found).any(axis=0).tolist() == [True, False]
