"""Effects of edits of whole pipelines equal refits of whole pipelines on the edited rows."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr
from sklearn import linear_model
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence.pipeline import OverBudgetError
from skinfluence.pipeline import make_pipeline as our_pipeline
from skinfluence.statistics import HELD, REFITTED, RESCALED, UNMOVED

EXACT = 1e-6  # what "exact" promises, relative to the largest change


def logistic(**params):
    return linear_model.LogisticRegression(
        **{"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 500, **params}
    )


def poisson(**params):
    return linear_model.PoissonRegressor(
        **{"solver": "newton-cholesky", "tol": 1e-12, "alpha": 0.1, **params}
    )


def outputs(model, X):
    """Decision values, without a word of the package: scikit-learn's own."""
    if hasattr(model, "decision_function"):
        return model.decision_function(X)
    found = model.predict(X)
    return np.log(found) if hasattr(model[-1], "power") or "Poisson" in repr(model[-1]) else found


def changed(model, X, y, X_test, weight=None, rows=None, X_rows=None):
    """Change of the decision values when the pipeline is fitted on other rows."""
    left = {} if weight is None else {f"{model.steps[-1][0]}__sample_weight": weight}
    return outputs(clone(model).fit(X, y, **left), X_test) - outputs(model, X_test)


def without(model, X, y, rows, X_test, weight=None):
    kept = np.delete(np.arange(len(y)), rows)
    some = None if weight is None else weight[kept]
    return changed(model, _safe_indexing(X, kept), np.asarray(y)[kept], X_test, some)


def agree(found, truth, tol=EXACT):
    np.testing.assert_allclose(found, truth, rtol=tol, atol=tol * np.abs(truth).max())


@pytest.fixture(scope="module")
def cancer():
    return load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    X = np.exp(1.2 * rng.standard_normal((110, 4)))
    return X, rng.poisson(np.exp(0.3 * np.log(X[:, 0]))).astype(float)


def table(n=80):
    """Numbers with holes beside categories of which some are rare."""
    rng = np.random.default_rng(3)
    X = pd.DataFrame(
        {
            "size": rng.standard_normal(n) + 3.0,
            "age": np.exp(rng.standard_normal(n)),
            "colour": rng.choice(["red", "green", "blue"], n, p=[0.6, 0.35, 0.05]),
        }
    )
    y = (X["size"] + X["age"] + (X["colour"] == "red") + rng.standard_normal(n) > 5.0).astype(int)
    X.loc[[4, 9, 30], "size"] = np.nan
    X.loc[7, "colour"] = "violet"
    return X, y.to_numpy()


def columns():
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size", "age"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        ]
    )


TEXTS = [
    " ".join(np.random.default_rng(i).choice("ham egg tea oil rye fig nut pea".split(), 3 + i % 4))
    + (f" word{i}" if i % 7 == 0 else "")
    for i in range(60)
]
TEXT_Y = np.array([int("egg" in text) ^ (i % 5 == 0) for i, text in enumerate(TEXTS)])


def cases():
    X, y = load_breast_cancer(return_X_y=True)
    yield "scaler, logistic", make_pipeline(StandardScaler(), logistic()), X[::3], y[::3]
    X, y = load_digits(return_X_y=True)
    yield "scaler, softmax", make_pipeline(StandardScaler(), logistic(C=0.05)), X[:150], y[:150]
    X, y = load_diabetes(return_X_y=True)
    yield "scaler, ridge", make_pipeline(StandardScaler(), linear_model.Ridge(30.0)), X, y
    yield (
        "scaler, ridge without intercept",
        make_pipeline(StandardScaler(), linear_model.Ridge(30.0, fit_intercept=False)),
        X[::4],
        y[::4],
    )
    yield "columns, logistic", make_pipeline(columns(), logistic()), *table()
    yield "tf-idf, logistic", make_pipeline(TfidfVectorizer(), logistic()), TEXTS, TEXT_Y
    rng = np.random.default_rng(0)
    X = np.exp(1.2 * rng.standard_normal((110, 4)))
    y = rng.poisson(np.exp(0.3 * np.log(X[:, 0]))).astype(float)
    yield "min-max, Poisson", make_pipeline(MinMaxScaler(), poisson()), X, y
    yield (
        "max-abs, sparse",
        make_pipeline(MaxAbsScaler(), logistic()),
        sp.csr_array(np.where(X > 1.5, X, 0.0)),
        (y > 1) * 1,
    )
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[::4], y[::4]
    yield "scaler, PCA", make_pipeline(StandardScaler(), PCA(4), logistic()), X, y
    yield "selection, scaler", make_pipeline(SelectKBest(k=5), StandardScaler(), logistic()), X, y


CASES = {name: rest for name, *rest in cases()}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    model, X, y = CASES[request.param]
    return clone(model).fit(X, y), X, np.asarray(y)


# Rows -------------------------------------------------------------------------------------------


def test_effects_of_removals_are_those_of_refits(case):
    model, X, y = case
    n = len(y)
    rows, tests = np.arange(0, n, n // 13), np.arange(0, n, n // 5)
    X_test = _safe_indexing(X, tests)
    truth = np.array([without(model, X, y, i, X_test) for i in rows])
    inf = Influence(model, X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        exact, auto = (
            np.swapaxes(
                inf.removal_effect(X_test, of="decision_function", indices=rows, method=method),
                0,
                1,
            )
            for method in ("exact", "auto")
        )
    agree(exact, truth)
    assert np.linalg.norm(auto - truth) <= 1e-3 * np.linalg.norm(truth)
    # Rows that are alike have the same effects, whose ranks say nothing.
    ranked = (np.round(one.ravel() / np.abs(truth).max(), 7) for one in (auto, truth))
    assert spearmanr(*ranked)[0] >= 0.9999


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25])
def test_effects_of_groups_are_those_of_refits(case, share):
    model, X, y = case
    n = len(y)
    rng = np.random.default_rng(int(100 * share))
    group = np.sort(rng.choice(n, max(2, int(share * n)), replace=False))
    X_test = _safe_indexing(X, np.arange(0, n, n // 5))
    truth = without(model, X, y, group, X_test)
    inf = Influence(model, X, y)
    found = inf.effect(edits.remove(group), X_test, of="decision_function")
    agree(found.values, truth)
    assert found.route == REFITTED
    names = np.where(np.isin(np.arange(n), group), "gone", "left")
    with warnings.catch_warnings():
        # Without those that are left there is no model.
        warnings.simplefilter("ignore")
        values = inf.removal_effect(X_test, of="decision_function", groups=names)
    agree(values[:, 0], truth)


def row_of(X, i):
    one = _safe_indexing(X, [i])
    if isinstance(one, list):
        return one[0]
    return (
        one
        if sp.issparse(one)
        else np.ravel(np.asarray(one, dtype=object if hasattr(X, "iloc") else None))
    )


def put(X, kept, *rows):
    """Some rows and then others, of the same container."""
    if isinstance(X, list):
        return [X[i] for i in kept] + [X[i] for i in rows]
    return _safe_indexing(X, np.concatenate([kept, rows]).astype(int))


def test_replaced_and_added_rows_are_those_of_refits(case):
    """Row 3 becomes a copy of row 20, and rows 30 and 31 come once more."""
    model, X, y = case
    n = len(y)
    X_test = _safe_indexing(X, np.arange(0, n, n // 5))
    edit = (
        edits.replace(3, row_of(X, 20))
        + edits.add(row_of(X, 30), y[30])
        + edits.add(row_of(X, 31), y[31])
    )
    kept = np.delete(np.arange(n), 3)
    truth = changed(model, put(X, kept, 20, 30, 31), np.r_[y[kept], y[3], y[30], y[31]], X_test)
    inf = Influence(model, X, y)
    found = inf.effect(edit, X_test, of="decision_function", method="exact")
    agree(found.values, truth)
    both = inf.effect([edit, edits.remove(5)], X_test, of="decision_function", method="exact")
    agree(both.values[:, 0], truth)
    agree(both.values[:, 1], without(model, X, y, 5, X_test))


def test_other_labels_are_those_of_refits(case):
    model, X, y = case
    n = len(y)
    X_test = _safe_indexing(X, np.arange(0, n, n // 5))
    y_new = y.copy()
    y_new[[2, 8]] = y[::-1][[2, 9]] if len(np.unique(y)) > 10 else np.max(y) - y[[2, 8]]
    inf = Influence(model, X, y)
    found = inf.effect(
        edits.relabel([2, 8], y_new[[2, 8]]), X_test, of="decision_function", method="exact"
    )
    truth = changed(model, X, y_new, X_test)
    agree(found.values, truth)
    supervised = isinstance(model[0], SelectKBest)
    assert found.route == (REFITTED if supervised else UNMOVED)


@pytest.mark.parametrize(
    "case", ["scaler, ridge", "min-max, Poisson", "tf-idf, logistic"], indirect=True
)
def test_top_is_that_of_all_effects(case):
    model, X, y = case
    X_test, y_test = _safe_indexing(X, [1, 4]), y[[1, 4]]
    inf = Influence(model, X, y)
    top, every = inf.top(X_test, y_test, k=3), inf.removal_effect(X_test, y_test)
    np.testing.assert_allclose(top.helpful_effects, -np.sort(-every, axis=1)[:, :3], rtol=1e-9)
    np.testing.assert_allclose(top.harmful_effects, np.sort(every, axis=1)[:, :3], rtol=1e-9)


# What is counted --------------------------------------------------------------------------------


def test_a_weight_of_zero_is_not_a_row_that_is_gone(counts):
    """The model does not see either, the scaler sees the first."""
    X, y = counts
    y = (y > 1) * 1
    i = int(X[:, 0].argmax())
    model = make_pipeline(StandardScaler(), logistic()).fit(X, y)
    inf = Influence(model, X, y)
    ask = {"of": "decision_function", "method": "exact"}
    gone = inf.effect(edits.remove(i), X[:5], **ask)
    silent = inf.effect(edits.reweight(i, 0.0), X[:5], **ask)
    weight = np.ones(len(y))
    weight[i] = 0.0
    agree(gone.values, without(model, X, y, i, X[:5]))
    agree(silent.values, changed(model, X, y, X[:5], weight))
    assert (gone.route, silent.route) == (RESCALED, UNMOVED)
    assert np.linalg.norm(gone.values - silent.values) > 0.05 * np.linalg.norm(gone.values)


@pytest.mark.parametrize("make", [logistic, poisson])
def test_weights_of_the_model_are_not_those_of_the_scaler(counts, make):
    X, y = counts
    y = (y > 1) * 1 if make is logistic else y
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y))
    weight[7] = 0.0
    model = make_pipeline(StandardScaler(), make())
    model.fit(X, y, **{f"{model.steps[-1][0]}__sample_weight": weight})
    inf = Influence(model, X, y, weight)
    rows = [7, 12, 40]
    truth = np.array([without(model, X, y, i, X[:4], weight) for i in rows])
    ask = {"of": "decision_function", "method": "exact"}
    agree(inf.removal_effect(X[:4], indices=rows, **ask).T, truth)
    agree(
        inf.effect(edits.remove(rows), X[:4], **ask).values,
        without(model, X, y, rows, X[:4], weight),
    )
    more = np.concatenate([weight, [0.7]])
    more[3] = 2.5
    edit = edits.add(X[9], y[9], sample_weight=0.7) + edits.reweight(3, 2.5)
    truth = changed(model, X[[*range(len(y)), 9]], y[[*range(len(y)), 9]], X[:4], more)
    agree(inf.effect(edit, X[:4], **ask).values, truth)


@pytest.mark.parametrize("count", [logistic, SVC])
def test_balanced_weights_move_with_the_rows_of_a_pipeline(counts, count):
    """LogisticRegression counts sample weights, SVC rows."""
    X, y = counts
    y = (y > 1) * 1
    last = count(class_weight="balanced", **({"tol": 1e-10} if count is SVC else {}))
    model = make_pipeline(StandardScaler(), last).fit(X, y)
    inf = Influence(model, X, y)
    rows = np.arange(0, 110, 22)
    truth = np.array([without(model, X, y, i, X[:4]) for i in rows])
    ask = {"of": "decision_function", "method": "exact"}
    found = inf.removal_effect(X[:4], indices=rows, **ask).T
    agree(found, truth, 1e-5 if count is SVC else EXACT)
    y_new = y.copy()
    y_new[5] = 1 - y[5]
    found = inf.relabel_effect(X[:4], indices=[5], **ask)[:, 0, y_new[5]]
    agree(found, changed(model, X, y_new, X[:4]), 1e-5 if count is SVC else EXACT)


# Other models -----------------------------------------------------------------------------------

MACHINES = {
    "SVC": SVC(tol=1e-10, gamma=0.3),
    "SVC, gamma from the rows": SVC(tol=1e-10),
    "LinearSVC": LinearSVC(C=0.1, tol=1e-10, max_iter=10**6),
    "LinearSVC, hinge": LinearSVC(C=0.1, loss="hinge", tol=1e-10, max_iter=10**6),
    "KernelRidge": KernelRidge(alpha=0.5, kernel="rbf", gamma=0.2),
    "RidgeClassifier": linear_model.RidgeClassifier(3.0),
}


@pytest.mark.parametrize("name", MACHINES)
def test_other_models_behind_a_scaler(counts, name):
    X, y = counts
    X = np.log(X)
    y = y if name == "KernelRidge" else (X[:, 0] + np.sin(np.arange(110.0)) > 0) * 1
    model = make_pipeline(StandardScaler(), MACHINES[name]).fit(X, y)
    inf = Influence(model, X, y)
    rows, X_test = np.arange(0, 110, 17), X[[0, 5, 50]]
    caught = warnings.catch_warnings()
    with caught:
        warnings.simplefilter("error", UserWarning)
        found = inf.removal_effect(X_test, of="decision_function", indices=rows).T
    truth = np.array([without(model, X, y, i, X_test) for i in rows])
    # How far scikit-learn's own solver goes.
    agree(found, truth, 1e-5)
    group = inf.effect(edits.remove(rows), X_test, of="decision_function")
    agree(group.values, without(model, X, y, rows, X_test), 1e-5)
    assert group.route == REFITTED
    own = (
        inf.loo_predict(indices=rows)
        if name == "KernelRidge"
        else inf.loo_decision_function(indices=rows)
    )
    truth = [
        outputs(clone(model).fit(np.delete(X, i, 0), np.delete(y, i)), X[[i]])[0] for i in rows
    ]
    np.testing.assert_allclose(own, truth, rtol=1e-5, atol=1e-5)


# Local methods ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps", [(StandardScaler(),), (StandardScaler(), PCA(3))], ids=["moved", "fitted"]
)
def test_one_step_is_one_newton_step_on_the_edited_pipeline(counts, steps):
    """Worked out with plain arrays: for squared error it is the refit itself."""
    X, y = counts
    model = make_pipeline(*steps, linear_model.Ridge(5.0)).fit(X, y)
    inf = Influence(model, X, y)
    rows = np.arange(0, 110, 13)
    truth = np.array([without(model, X, y, i, X[:4]) for i in rows])
    ask = {"of": "decision_function", "indices": rows}
    agree(inf.removal_effect(X[:4], method="one-step", **ask).T, truth)


def test_local_methods_are_local(cancer):
    """The error of one step falls with the square of what is changed, of the influence as well."""
    X, y = cancer
    rng = np.random.default_rng(0)
    errors = {"one-step": [], "influence": []}
    for n in (140, 560):
        some = rng.permutation(569)[:n]
        model = make_pipeline(StandardScaler(), logistic(C=20.0 / n)).fit(X[some], y[some])
        inf = Influence(model, X[some], y[some])
        rows = np.arange(0, n, n // 20)
        truth = np.array([without(model, X[some], y[some], i, X[:5]) for i in rows])
        for method, found in errors.items():
            got = inf.removal_effect(X[:5], of="decision_function", indices=rows, method=method).T
            found.append(np.linalg.norm(got - truth) / np.linalg.norm(truth))
    assert errors["one-step"][1] < 0.6 * errors["one-step"][0] < 0.1
    assert errors["influence"][1] < 0.7 * errors["influence"][0]


@pytest.mark.parametrize("method", ["one-step", "influence"])
def test_components_that_turn_or_change_their_signs_are_followed(cancer, method):
    """A step from the old coefficients, in the places that they had, would be off by 22 times."""
    X, y = cancer
    model = make_pipeline(StandardScaler(), PCA(5), logistic()).fit(X, y)
    rows, X_test = np.arange(0, 569, 40), X[::60]
    truth = np.array([without(model, X, y, i, X_test) for i in rows])
    inf = Influence(model, X, y)
    found = inf.removal_effect(X_test, of="decision_function", indices=rows, method=method).T
    assert np.linalg.norm(found - truth) < 0.2 * np.linalg.norm(truth)
    assert spearmanr(found.ravel(), truth.ravel())[0] > 0.97


# Options ----------------------------------------------------------------------------------------


def test_held_transformers_are_asked_for_once_or_each_time(cancer):
    X, y = cancer
    model = make_pipeline(StandardScaler(), logistic()).fit(X, y)
    inner = Influence(model[-1], model[:-1].transform(X), y)
    expected = inner.removal_effect(model[:-1].transform(X[:3]), y[:3], indices=[4, 9])
    held = Influence(model, X, y, frozen="accept")
    whole = Influence(model, X, y)
    for found in (
        held.removal_effect(X[:3], y[:3], indices=[4, 9]),
        whole.removal_effect(X[:3], y[:3], indices=[4, 9], frozen="accept"),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert held.effect(edits.remove(4), X[:3], y[:3]).route == HELD
    assert whole.effect(edits.remove(4), X[:3], y[:3]).route == RESCALED
    np.testing.assert_allclose(
        held.loo_decision_function(), whole.loo_decision_function(frozen="accept"), rtol=1e-9
    )
    top = held.top(X[:2], y[:2], k=2)
    np.testing.assert_array_equal(
        top.helpful, inner.top(model[:-1].transform(X[:2]), y[:2], k=2).helpful
    )


def test_the_bridge_of_estimators_asks_the_same(cancer):
    X, y = cancer
    model = our_pipeline(StandardScaler(), logistic()).fit(X, y)
    ask = {"indices": [3, 5], "method": "exact"}
    found = model.removal_effect(X[:3], y[:3], **ask)
    np.testing.assert_allclose(found, Influence(model, X, y).removal_effect(X[:3], y[:3], **ask))
    held = model.removal_effect(X[:3], y[:3], frozen="accept", **ask)
    assert np.abs(held - found).max() > 1e-3 * np.abs(found).max()


@pytest.mark.parametrize(
    "question",
    [
        lambda inf, X, y, **o: inf.removal_effect(X, y, **o),
        lambda inf, X, y, **o: inf.removal_effect(
            X, y, groups=np.arange(len(inf.data.y)) // 3, **o
        ),
        lambda inf, X, y, **o: inf.top(X, y, **o),
        lambda inf, X, y, **o: inf.effect([edits.remove(i) for i in range(100)], X, y, **o),
        lambda inf, X, y, **o: inf.loo_predict(**o),
    ],
    ids=["rows", "groups", "top", "edits", "loo"],
)
def test_what_takes_too_long_says_how_long_and_what_to_do(cancer, question):
    X, y = cancer
    model = make_pipeline(StandardScaler(), PCA(4), logistic()).fit(X, y)
    words = r"times.*indices=.*budget=.*frozen='accept'"
    with pytest.raises(OverBudgetError, match=words):
        question(Influence(model, X, y, budget=1e-3), X[:2], y[:2])
    with pytest.raises(OverBudgetError, match=words):
        question(Influence(model, X, y), X[:2], y[:2], budget=1e-3)


def test_draws_are_held_and_said_in_every_finite_question(counts):
    X, y = counts
    y = (y > 1) * 1
    model = make_pipeline(Nystroem(n_components=5, random_state=0), logistic()).fit(X, y)
    inf, said = Influence(model, X, y), r"nystroem \(Nystroem\) draws"
    with pytest.warns(UserWarning, match=said):
        found = inf.removal_effect(X[:2], y[:2], indices=[3])
    np.testing.assert_array_equal(
        found, inf.removal_effect(X[:2], y[:2], indices=[3], frozen="accept")
    )
    with pytest.warns(UserWarning, match=said):
        inf.effect(edits.remove(3), X[:2], y[:2])
    with pytest.raises(ValueError, match="frozen='refuse'"):
        inf.top(X[:2], y[:2], frozen="refuse")


@pytest.mark.parametrize("method", ["one-step", "influence"])
def test_local_methods_of_kernel_machines_hold_and_say_so(counts, method):
    X, y = counts
    model = make_pipeline(StandardScaler(), SVC(tol=1e-8)).fit(X, (y > 1) * 1)
    with pytest.warns(UserWarning, match=f"method='{method}' moves only the model"):
        Influence(model, X, (y > 1) * 1).removal_effect(
            X[:2], (y > 1)[:2] * 1, indices=[3], method=method
        )


def test_edits_that_leave_nothing_are_refused_before_anything_is_fitted(counts):
    X, y = counts
    y = (y > 1) * 1
    inf = Influence(make_pipeline(StandardScaler(), logistic()).fit(X, y), X, y)
    with pytest.raises(ValueError, match="Every class must keep weight"):
        inf.effect(edits.remove(np.flatnonzero(y == 1)), X[:2], y[:2])
    with pytest.raises(ValueError, match="Row 4 is named twice"):
        inf.effect(edits.remove(4) + edits.relabel(4, 0), X[:2], y[:2])
    with pytest.raises(IndexError, match="below 110"):
        inf.effect(edits.remove(110), X[:2], y[:2])
    with pytest.raises(ValueError, match="must be None, 'accept' or 'refuse'"):
        Influence(inf.estimator, X, y, frozen="whole")


def test_a_new_category_is_seen_by_the_encoder(counts):
    """With the encoder as fitted it would be refused."""
    X, y = table()
    X = X[["colour"]]
    model = make_pipeline(OneHotEncoder(), logistic()).fit(X, y)
    found = Influence(model, X, y).effect(
        edits.add(["cyan"], 1), X[:5], of="decision_function", method="exact"
    )
    more = pd.concat([X, pd.DataFrame({"colour": ["cyan"]})], ignore_index=True)
    agree(found.values, changed(model, more, np.r_[y, 1], X[:5]))


def test_bounds_hold_and_are_small(case):
    model, X, y = case
    found = Influence(model, X, y).effect(
        [edits.remove([3, 9]), edits.remove(5)],
        X[:2] if not isinstance(X, list | pd.DataFrame) else _safe_indexing(X, [0, 1]),
        of="decision_function",
        method="exact",
    )
    assert (found.bound < 1e-7).all()


def test_what_a_question_costs_is_said_beforehand(cancer):
    X, y = cancer
    scaled = Influence(make_pipeline(StandardScaler(), logistic()).fit(X, y), X, y)
    fitted = Influence(make_pipeline(StandardScaler(), PCA(4), logistic()).fit(X, y), X, y)
    assert scaled.estimate("top", X[:3]).routes == {RESCALED: 569}
    assert scaled.estimate("relabel_effect", X[:3]).routes == {UNMOVED: 569}
    asked = [edits.remove(3), edits.remove([3, 4]), edits.reweight(3, 2.0)]
    found = scaled.estimate("effect", X[:3], edits=asked)
    assert found.routes == {RESCALED: 1, REFITTED: 1, UNMOVED: 1} and found.fits == 1
    every, few = fitted.estimate("loo"), fitted.estimate("loo", indices=[1, 2, 3])
    assert (every.fits, few.fits) == (569, 3)
    assert every.seconds > 20 * few.seconds > 0
    assert every.memory >= 8 * (569 + 568 * 4)
    groups = fitted.estimate("removal_effect", X[:3], groups=np.arange(569) % 5)
    assert groups.routes == {REFITTED: 5}
    held = fitted.estimate("removal_effect", X[:3], frozen="accept")
    assert (held.routes, held.fits, held.seconds) == ({HELD: 569}, 0, 0.0)
    with pytest.raises(ValueError, match="question must be one of"):
        fitted.estimate("everything")


def test_new_texts_before_a_kernel_that_asks_for_short_column_numbers():
    """Trials 500156 and 500768: rows of counts had numbers of eight bytes after an edit."""
    texts = ["a b", "b c c", "a c", "c d", "d d a", "b d", "a a b", "c b d"]
    y = np.arange(8.0) % 3
    words = CountVectorizer(token_pattern=r"\w", min_df=2)
    model = make_pipeline(words, KernelRidge(kernel="laplacian", gamma=0.3)).fit(texts, y)
    edit = edits.remove(2) + edits.add("a d d", 2.0)
    found = Influence(model, texts, y).effect(edit, texts[:3], of="decision_function").values
    after = clone(model).fit([*texts[:2], *texts[3:], "a d d"], np.append(np.delete(y, 2), 2.0))
    np.testing.assert_allclose(
        found, after.predict(texts[:3]) - model.predict(texts[:3]), rtol=1e-9
    )


def test_a_row_that_has_all_the_weight_of_a_class_is_named_and_no_transformer_blamed():
    """Trial 500824: balanced by weight, others of its class weigh nothing."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 3)), np.arange(40) % 3
    weight = np.where((y == 2) & (np.arange(40) != 11), 0.0, 1.0)
    last = LinearSVC(C=0.1, class_weight="balanced", tol=1e-10, max_iter=10**5)
    model = make_pipeline(PCA(2), last).fit(X, y, linearsvc__sample_weight=weight)
    inf = Influence(model, X, y, weight)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = inf.removal_effect(X[:2], of="decision_function", indices=[10, 11])
    assert np.isnan(found).any(axis=(0, 2)).tolist() == [False, True]
    texts = [str(one.message) for one in said if "Row 11" in str(one.message)]
    assert len(texts) == 1 and "no rows that weigh anything" in texts[0]
    assert not any(issubclass(one.category, RuntimeWarning) for one in said)
