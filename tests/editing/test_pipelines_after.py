"""After an edit of a pipeline, questions are about the pipeline fitted on the rows that are left."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence import svm as our_svm
from tests.editing.models import NEWTON, Xc, Xd, Xz, yc, yd

N = 70
WORDS = "ham egg tea oil rye fig".split()
TEXTS = [" ".join(np.random.default_rng(i).choice(WORDS, 3 + i % 4)) for i in range(N)]
# A copy, or pandas 2 writes the gaps into the rows of everybody else.
TABLE = pd.DataFrame(Xc[:N, :3].copy(), columns=list("abc"))
TABLE.loc[[4, 9, 30], "b"] = np.nan
TABLE["word"] = np.where(np.arange(N) % 3 == 0, "x", np.where(np.arange(N) % 5 == 0, "y", "z"))
SOLD = np.exp(0.3 * Xz[:N, 0]) + Xz[:N, 1] ** 2


def logistic(**parameters):
    return LogisticRegression(**NEWTON, **parameters)


def columns():
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer([("numbers", numbers, list("abc")), ("words", words, ["word"])])


PIPELINES = {
    "scaler": (make_pipeline(StandardScaler(), logistic()), Xc[:N], yc[:N]),
    "scaler, balanced": (
        make_pipeline(StandardScaler(), logistic(class_weight="balanced")),
        Xc[:N],
        yc[:N],
    ),
    "scaler, ridge": (make_pipeline(StandardScaler(), Ridge(solver="cholesky")), Xd[:N], yd[:N]),
    "components": (make_pipeline(StandardScaler(), PCA(3), logistic()), Xc[:N], yc[:N]),
    "selection": (make_pipeline(SelectKBest(k=3), StandardScaler(), logistic()), Xc[:N], yc[:N]),
    "columns": (make_pipeline(columns(), logistic()), TABLE, yc[:N]),
    "texts": (make_pipeline(TfidfVectorizer(), logistic()), TEXTS, yc[:N]),
    "scaler, machine": (make_pipeline(StandardScaler(), our_svm.SVC()), Xc[:N], yc[:N]),
}


def outputs(model, X):
    return model.decision_function(X) if hasattr(model, "decision_function") else model.predict(X)


class Table:
    """The rows as edits left them, and scikit-learn's fits on them."""

    def __init__(self, model, X, y):
        self.model, self.X, self.y = model, X, np.array(y)
        self.left = np.arange(len(y))

    def without(self, rows=()):
        kept = np.setdiff1d(self.left, rows)
        return clone(self.model).fit(_safe_indexing(self.X, kept), self.y[kept])

    def row(self, i):
        return _safe_indexing(self.X, [i])


@pytest.fixture(params=PIPELINES, scope="module")
def edited(request):
    """An Influence after three edits, and the table they left."""
    model, X, y = PIPELINES[request.param]
    inf = Influence(clone(model).fit(X, y), X, y)
    table, new = Table(model, X, y), _safe_indexing(X, [12])
    x = new.iloc[0] if hasattr(new, "iloc") else new[0]
    inf = inf.after(edits.remove([3, 40]) + edits.relabel(8, y[-1])).after(edits.add(x, y[0]))
    inf = inf.after(edits.remove(17))
    if isinstance(X, list):
        table.X = X + new
    else:
        table.X = pd.concat([X, new]) if hasattr(X, "iloc") else np.vstack([X, new])
    table.y = np.append(y, y[0])
    table.y[8] = y[-1]
    table.left = np.setdiff1d(np.arange(N + 1), [3, 17, 40])
    return inf, table


def agree(found, truth):
    np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max())


@pytest.fixture(autouse=True)
def _silence():
    """Nothing is held, and so nothing is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


ROWS = np.array([0, 8, 30, 69, 70])


def test_own_values_are_those_of_the_pipeline_without_the_row_too(edited):
    inf, table = edited
    ask = (
        inf.loo_decision_function if hasattr(table.model, "decision_function") else inf.loo_predict
    )
    found = ask(indices=ROWS, method="exact")
    truth = [outputs(table.without([row]), table.row(row))[0] for row in ROWS]
    agree(found, np.array(truth))


def test_effects_of_rows_are_those_of_whole_refits(edited):
    inf, table = edited
    test = _safe_indexing(table.X, np.arange(4))
    found = inf.removal_effect(test, of="decision_function", indices=[*ROWS, 17], method="exact")
    before = outputs(table.without(), test)
    agree(found[:, :-1].T, np.array([outputs(table.without([row]), test) - before for row in ROWS]))
    assert (found[:, -1] == 0).all(), "a row that was taken out does nothing"


def test_effects_of_edits_are_those_of_whole_refits(edited):
    inf, table = edited
    test = _safe_indexing(table.X, np.arange(4))
    asked = [edits.remove([5, 70, 31]), edits.remove(30), edits.relabel(6, table.y[-2])]
    found = inf.effect(asked, test, of="decision_function", method="exact").values
    other = Table(table.model, table.X, table.y)
    other.left, other.y[6] = table.left, table.y[-2]
    after = [table.without([5, 70, 31]), table.without([30]), other.without()]
    before = outputs(table.without(), test)
    agree(found.T, np.array([outputs(one, test) - before for one in after]))


def test_groups_leave_without_the_rows_that_are_gone_already(edited):
    inf, table = edited
    test = _safe_indexing(table.X, np.arange(4))
    groups = np.where(np.isin(np.arange(N + 1), [3, 17]), 0, 1 + np.arange(N + 1) // 30)
    found = inf.removal_effect(test, of="decision_function", groups=groups, method="exact")
    truth = outputs(table.without(np.flatnonzero(groups == 2)), test) - outputs(
        table.without(), test
    )
    agree(found[:, 2], truth)
    assert (found[:, 0] == 0).all(), "nobody of that group is there"


def test_the_estimate_counts_the_rows_that_are_there(edited):
    inf, _ = edited
    assert sum(inf.estimate("loo").routes.values()) == N - 2


def test_what_no_edit_took_out_is_asked_for_in_effects(edited):
    inf, table = edited
    with pytest.raises(ValueError, match=r"stays removed\. Got an edit of row 17"):
        inf.effect(edits.remove(17), table.row(0), of="decision_function")


def test_the_object_after_an_edit_is_pickled_with_what_it_answers():
    model, X, y = PIPELINES["scaler"]
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove(3))
    before = inf.loo_decision_function()
    np.testing.assert_allclose(pickle.loads(pickle.dumps(inf)).loo_decision_function(), before)


def test_a_model_after_an_edit_is_asked_like_a_refit():
    model, X, y = PIPELINES["components"]
    inf = Influence(clone(model).fit(X, y), X, y)
    left = np.setdiff1d(np.arange(N), [3, 17])
    again = Influence(inf.edited(edits.remove([3, 17])).estimator, X[left], y[left])
    truth = clone(model).fit(X[left[1:]], y[left[1:]]).decision_function(X[left[:1]])
    agree(again.loo_decision_function(indices=[0], method="exact"), truth)


def test_rows_without_an_answer_go_by_the_number_they_had():
    table = TABLE.assign(word=["only" if i == 20 else word for i, word in enumerate(TABLE["word"])])
    encoder = OneHotEncoder(min_frequency=1, handle_unknown="error")
    model = make_pipeline(ColumnTransformer([("words", encoder, ["word"])]), logistic())
    inf = Influence(model.fit(table, yc[:N]), table, yc[:N]).after(edits.remove([3, 4]))
    with pytest.warns(UserWarning, match="Row 20 has no answer"):
        inf.loo_decision_function(indices=[20, 21])


@pytest.mark.parametrize("model", [SVC(tol=1e-10), SVR(tol=1e-10)], ids=["SVC", "SVR"])
def test_gamma_scales_with_the_rows_that_are_left(model):
    """libsvm's counts rows: those that an earlier edit took out are none of them."""
    X, y = Xz[:N], yc[:N] if isinstance(model, SVC) else SOLD
    table = Table(model, X, y)
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove([3, 40, 41]))
    table.left = np.setdiff1d(np.arange(N), [3, 40, 41])
    found = inf.removal_effect(X[:4], of="decision_function", indices=[0, 5, 30])
    truth = [
        outputs(table.without([i]), X[:4]) - outputs(table.without(), X[:4]) for i in (0, 5, 30)
    ]
    np.testing.assert_allclose(found.T, truth, atol=1e-5 * np.abs(truth).max())


def test_gamma_that_counts_rows_knows_none_of_weight_zero_in_a_stream():
    inf = Influence(SVC(tol=1e-10).fit(Xz[:N], yc[:N]), Xz[:N], yc[:N])
    zero, gone = edits.reweight(5, 0.0), edits.remove(3)
    for first, then in ((zero, gone), (gone, zero)):
        with pytest.raises(ValueError, match='gamma="scale" counts rows: in a stream of edits'):
            inf.after(first).after(then)


COUNTED = [
    SVC(gamma=0.1, class_weight="balanced", tol=1e-10),
    RidgeClassifier(class_weight="balanced", solver="cholesky"),
]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("model", COUNTED, ids=["SVC", "ridge"])
def test_rows_that_are_counted_count_whatever_an_edit_makes_them_weigh(model, scaled):
    """Of classes that are balanced by rows, after an edit as before; atol=1e-5: libsvm's tolerance."""
    X, y = Xc[:N], yc[:N]
    model = make_pipeline(StandardScaler(), model) if scaled else model
    name = f"{model.steps[-1][0]}__sample_weight" if scaled else "sample_weight"
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove([3, 40, 41]))
    left = np.setdiff1d(np.arange(N), [3, 40, 41])
    before = outputs(clone(model).fit(X[left], y[left]), X[:4])
    for edit, weight, gone in (
        (edits.reweight(8, 0.0), 0.0, []),
        (edits.reweight(8, 0.5), 0.5, []),
        (edits.remove(12) + edits.reweight(8, 0.0), 0.0, [12]),
    ):
        rows = np.setdiff1d(left, gone)
        weights = np.where(rows == 8, weight, 1.0)
        after = outputs(clone(model).fit(X[rows], y[rows], **{name: weights}), X[:4])
        found = inf.effect(edit, X[:4], of="decision_function", method="exact").values
        np.testing.assert_allclose(found, after - before, atol=1e-5 * np.abs(after).max())
    with pytest.raises(ValueError, match="Balanced class weights count rows: in a stream"):
        inf.after(edits.reweight(8, 0.0))


def test_derivatives_go_through_what_is_learned_from_the_rows_that_are_left():
    """rtol=1e-5: central differences of whole refits at 1e-4 of a column's spread."""
    model, X, y = PIPELINES["scaler"]
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove([3, 40]))
    found = inf.influence_pert(X[:3], y[:3], indices=[10, 20])[:, :, 0]
    left, step, truth = np.setdiff1d(np.arange(N), [3, 40]), 1e-4 * X[:, 0].std(), []
    for row in (10, 20):
        ends = []
        for side in (step, -step):
            moved = X.copy()
            moved[row, 0] += side
            eta = clone(model).fit(moved[left], y[left]).decision_function(X[:3])
            ends.append(np.logaddexp(0.0, np.where(y[:3] == "good", -eta, eta)))
        truth.append((ends[0] - ends[1]) / (2.0 * step) * N)
    np.testing.assert_allclose(found.T, truth, rtol=1e-5)
    with pytest.warns(UserWarning, match="Row 3 has no derivative"):
        assert np.isnan(inf.influence_pert(X[:1], y[:1], indices=[3])).all()


def test_what_an_edit_held_is_refused_where_a_refit_is_meant():
    model, X, y = PIPELINES["scaler"]
    inf = Influence(clone(model).fit(X, y), X, y).after(edits.remove(3), frozen="accept")
    inf.loo_decision_function(indices=[5])
    with pytest.raises(ValueError, match="known after edits that moved all of it"):
        inf.loo_decision_function(indices=[5], frozen="refuse")


@pytest.mark.parametrize(
    "model", [SVC(gamma="auto", tol=1e-10), SVR(gamma="auto", tol=1e-10), KernelRidge(kernel="rbf")]
)
def test_a_gamma_of_one_over_the_columns_is_that_of_the_columns_that_are_left(model):
    """rtol=1e-5: libsvm keeps its kernel in single precision."""
    table = TABLE.assign(word=["only" if i == 20 else word for i, word in enumerate(TABLE["word"])])
    y = yc[:N] if isinstance(model, SVC) else SOLD
    model = make_pipeline(columns(), model).fit(table, y)
    without = clone(model).fit(table.drop(index=20), np.delete(y, 20))
    edited = Influence(model, table, y).edited(edits.remove(20)).estimator
    found, truth = outputs(edited, table[:9]), outputs(without, table[:9])
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max())
    assert np.abs(outputs(model, table[:9]) - truth).max() > 1e-3 * np.abs(truth).max()
