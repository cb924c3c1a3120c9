"""Estimators keep one Influence, and notice whatever it no longer holds for."""

import copy
import pickle
import threading
import warnings
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression as TheirLinearRegression
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.distributed import fit as fit_by_blocks
from skinfluence.kernel_ridge import KernelRidge
from skinfluence.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from skinfluence.mixin import InfluenceMixin
from skinfluence.pipeline import make_pipeline
from skinfluence.solvers import Exact
from skinfluence.svm import SVC, LinearSVC
from tests.registries import make_data

N, D = 60, 4
CELLS = pytest.mark.parametrize("cell", [0, N * D // 2, N * D - 1], ids=["first", "middle", "last"])


def data(kind="dense", seed=0):
    X, y = make_data("regression", N, D, seed)
    y = (y > np.median(y)).astype(int)
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, N)
    if kind == "csr":
        X = sp.csr_array(X)
    elif kind != "dense":
        names = [f"x{j}" for j in range(D)]
        X = pytest.importorskip(kind).DataFrame(dict(zip(names, X.T.copy(), strict=True)))
    return X, y, weight


def change(X, cell):
    """One cell of the rows, where they lie."""
    i, j = divmod(cell, D)
    if sp.issparse(X):
        X.data[cell * (X.nnz - 1) // (N * D - 1)] += 1e-12
    elif isinstance(X, np.ndarray):
        X[i, j] += 1e-12
    elif hasattr(X, "iloc"):
        X.iloc[i, j] += 1e-12
    else:
        X[i, f"x{j}"] += 1e-12


def refused(model, name):
    with pytest.raises(ValueError, match=rf"those of the fit. Got another .*{name}"):
        model.self_influence()


class Count:
    factors = 0


@pytest.fixture
def counted(monkeypatch):
    """How many times an objective is factored."""
    count, factor = Count(), Exact.factor

    def counting(self, objective):
        count.factors += 1
        return factor(self, objective)

    monkeypatch.setattr(Exact, "factor", counting)
    return count


def questions(model, X, y):
    one = {"method": "one-step"}
    return [
        model.self_influence(),
        model.removal_effect(X[:3], y[:3], **one),
        model.influence_up_loss(X[:3], y[:3]),
        model.loo_decision_function(**one),
    ]


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        RidgeClassifier(),
        LinearSVC(),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_four_questions_in_a_row_factor_once(model, counted):
    X, y, _ = data()
    model = clone(model).fit(X, y)
    expected = questions(Influence(model, X, y), X, y)
    counted.factors = 0
    for found, right in zip(questions(model, X, y), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    assert counted.factors == 1
    kept = model.__influence__()
    assert model.fit(X, y).__influence__() is not kept


@pytest.mark.parametrize("model", [SVC(kernel="rbf"), KernelRidge(kernel="rbf")])
def test_kernel_models_keep_theirs(model):
    X, y, _ = data()
    model = clone(model).fit(X, y)
    kept = model.__influence__()
    model.loo_decision_function() if isinstance(model, SVC) else model.loo_predict()
    assert model.__influence__() is kept
    X[3, 1] += 1e-12
    refused(model, "X")


@CELLS
@pytest.mark.parametrize("kind", ["dense", "csr", "pandas", "polars"])
@pytest.mark.parametrize("asked", [False, True], ids=["before the first question", "after it"])
def test_one_changed_cell_of_X_is_refused(kind, cell, asked):
    X, y, weight = data(kind)
    model = LogisticRegression().fit(X, y, sample_weight=weight)
    if asked:
        model.self_influence()
    change(X, cell)
    refused(model, "X")
    model.fit(X, y, sample_weight=weight).self_influence()


@pytest.mark.parametrize("order", ["C", "F", "strided", "float32"])
@pytest.mark.parametrize("shape", [(30_000, 3), (70, 900), (5_001, 13)], ids=str)
def test_one_changed_cell_of_many_is_refused(order, shape):
    """Beyond what is hashed at once: any chunk, and what is left of the last."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    X = {
        "C": X,
        "F": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "float32": X.astype(np.float32),
    }[order]
    y = rng.standard_normal(shape[0])
    model = Ridge().fit(X, y)
    for cell in [0, X.size - 1, *rng.integers(0, X.size, 3)]:
        where = np.unravel_index(cell, X.shape)
        was = X[where]
        X[where] = np.nextafter(was, np.inf, dtype=X.dtype)
        assert model._training_data.changed() == ["X"]
        X[where] = was
        assert model._training_data.changed() == []


@pytest.mark.parametrize("row", [0, N // 2, N - 1])
def test_one_changed_target_or_weight_is_refused(row):
    X, y, weight = data()
    y = y.astype(float)
    model = LogisticRegression().fit(X, y, sample_weight=weight)
    model.self_influence()
    y[row] = 1 - y[row]
    refused(model, "y")
    y[row] = 1 - y[row]
    model.self_influence()
    weight[row] *= 1 + 1e-15
    refused(model, "sample_weight")


def test_changed_lists_and_texts_are_refused():
    rows, y, _ = data()
    X, y = rows.tolist(), y.tolist()
    model = LogisticRegression().fit(X, y)
    X[7][1] += 1e-12
    refused(model, "X")
    X[7][1] = float(rows[7, 1])
    model.self_influence()
    y[3] = 1 - y[3]
    refused(model, "y")


def test_an_equal_table_is_the_same_table():
    """A column replaced by an equal one, merged blocks and sorted indices change no cell."""
    pd = pytest.importorskip("pandas")
    X, y, _ = data()
    table = pd.DataFrame(X, columns=list("abcd"))
    table["e"] = np.arange(N) % 3
    table["f"] = 0.5
    model = LogisticRegression().fit(table, y)
    table["a"] = table["a"].copy()
    table._consolidate_inplace() if hasattr(table, "_consolidate_inplace") else table.copy()
    model.self_influence()
    unsorted = sp.csr_array(X)
    unsorted.indices[:2], unsorted.data[:2] = unsorted.indices[1::-1], unsorted.data[1::-1]
    unsorted.has_sorted_indices = False
    model = LogisticRegression().fit(unsorted, y)
    unsorted.sort_indices()
    model.self_influence()


@pytest.mark.parametrize("attribute", ["coef_", "intercept_", "classes_"])
def test_changed_parameters_are_asked_about_anew(attribute):
    """The model that answers is the one that predicts."""
    X, y, _ = data()
    model = LogisticRegression().fit(X, y)
    before = model.influence_up_params()
    values = getattr(model, attribute)
    values.flat[-1] += 2
    if attribute == "classes_":
        with pytest.raises(ValueError, match="labels"):
            model.influence_up_params()
        return
    with pytest.warns(ConvergenceWarning):
        found = model.influence_up_params()
    assert not np.allclose(found, before)
    # That these are the data of the fit only the estimator itself knows.
    with pytest.raises(ValueError, match="the model as it was fitted"):
        Influence(model, X, y)
    values.flat[-1] -= 2
    np.testing.assert_allclose(model.influence_up_params(), before, rtol=1e-12)


@pytest.mark.parametrize("model", [SVC(), KernelRidge()])
def test_changed_dual_coefficients_are_asked_about_anew(model):
    X, y, _ = data()
    model = clone(model).fit(X, y)
    kept = model.__influence__()
    model.dual_coef_.flat[0] *= 1 + 1e-9
    assert model.__influence__() is not kept


def test_a_changed_step_of_a_pipeline_is_asked_about_anew():
    X, y, _ = data()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    kept = model.__influence__()
    assert model.__influence__() is kept
    model[0].mean_[1] += 1e-12
    again = model.__influence__()
    assert again is not kept
    model[-1].fit(model[0].transform(X), 1 - y)
    with pytest.warns(ConvergenceWarning):
        assert model.__influence__() is not again


def test_parameters_changed_in_place_are_refused():
    X, y, _ = data()
    model = LogisticRegression(class_weight={0: 1.0, 1: 2.0}).fit(X, y)
    model.self_influence()
    model.class_weight[1] = 3.0
    with pytest.raises(ValueError, match="class_weight"):
        model.self_influence()
    alpha = np.array([1.0])
    model = Ridge(alpha=alpha).fit(X, y[:, None].ravel())
    alpha[0] = 2.0
    with pytest.raises(ValueError, match="alpha"):
        model.self_influence()


def test_set_params_is_refused_until_the_next_fit():
    X, y, _ = data()
    model = LogisticRegression().fit(X, y)
    before = model.self_influence()
    model.set_params(C=3.0)
    with pytest.raises(ValueError, match=r"C=3\.0"):
        model.self_influence()
    found = model.fit(X, y).self_influence()
    np.testing.assert_array_equal(found, Influence(model, X, y).self_influence())
    assert not np.allclose(found, before)


@pytest.mark.parametrize("method", [pickle, copy], ids=["pickle", "deepcopy"])
def test_copies_hold_the_data_and_not_what_was_kept(method):
    X, y, _ = data()
    model = LogisticRegression().fit(X, y)

    def again():
        return pickle.loads(pickle.dumps(model)) if method is pickle else copy.deepcopy(model)

    size = len(pickle.dumps(model))
    expected = model.self_influence()
    assert len(pickle.dumps(model)) == size
    assert again()._training_data._influence is None
    np.testing.assert_array_equal(again().self_influence(), expected)
    assert "_training_data" not in vars(clone(model))
    X[0, 0] += 1
    # What had changed before stays refused after.
    refused(again(), "X")


def test_a_refit_copy_leaves_the_first_as_it_is():
    X, y, _ = data()
    model = LogisticRegression().fit(X, y)
    expected = model.self_influence()
    other = copy.copy(model).set_params(C=0.1).fit(X[:30], y[:30])
    assert len(other.self_influence()) == 30
    np.testing.assert_array_equal(model.self_influence(), expected)


def test_nothing_kept_outlives_its_estimator():
    X, y, _ = data()
    model = LogisticRegression().fit(X, y)
    gone = weakref.ref(model.__influence__())
    assert gone() is not None
    model.forget_training_data()
    assert gone() is None
    gone = weakref.ref(model.fit(X, y).__influence__())
    model.fit(X, y)
    assert gone() is None
    gone = weakref.ref(model.__influence__())
    del model
    assert gone() is None


def test_asking_changes_nothing_of_the_estimator():
    X, y, _ = data()
    model = LogisticRegression().fit(X, y)
    before = dict(vars(model))
    questions(model, X, y)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def test_threads_that_ask_at_once_factor_once(counted):
    X, y, _ = data()
    model = LogisticRegression().fit(X, y)
    found = [None] * 8
    start = threading.Barrier(8)

    def ask(i):
        start.wait()
        found[i] = model.removal_effect(X[:2], y[:2], method="one-step")

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.factors == 1
    assert all(np.array_equal(one, found[0]) for one in found)


def test_every_question_warns_of_a_fit_that_stopped_early():
    X, y, _ = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(max_iter=1, C=1e3).fit(X, y)
    for _ in range(2):
        with pytest.warns(ConvergenceWarning, match="not at the optimum"):
            model.self_influence()


@pytest.mark.parametrize("kind", ["dense", "F", "csr", "pandas"])
@pytest.mark.parametrize("cls", [LinearRegression, Ridge, RidgeClassifier])
def test_a_fit_that_may_overwrite_its_rows_answers_about_them(cls, kind):
    """copy_X=False: scikit-learn centres the rows where they lie."""
    X, y, weight = data("dense" if kind == "F" else kind)
    if kind == "F":
        X = np.asfortranarray(X)
    before = X.copy()
    mine = cls(copy_X=False).fit(X, y, sample_weight=weight)
    expected = cls(copy_X=True).fit(before, y, sample_weight=weight)
    np.testing.assert_allclose(mine.coef_, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(mine.loo_predict(), expected.loo_predict(), rtol=1e-9)
    # scikit-learn's own overwrites the dense ones, or the test says nothing.
    if cls is LinearRegression and kind in ("dense", "F"):
        theirs = X.copy(order="K")
        TheirLinearRegression(copy_X=False).fit(theirs, y)
        assert not np.array_equal(theirs, before)


def test_a_pipeline_whose_steps_may_overwrite_their_rows_answers_about_them():
    X, y, _ = data()
    before = X.copy()
    mine = make_pipeline(StandardScaler(copy=False), Ridge(copy_X=False)).fit(X, y)
    expected = Influence(make_pipeline(StandardScaler(), Ridge()).fit(before, y), before, y)
    for _ in range(2):
        found = mine.removal_effect(before[:3], y[:3])
        np.testing.assert_allclose(found, expected.removal_effect(before[:3], y[:3]), rtol=1e-9)
    np.testing.assert_array_equal(X, before)


def test_a_fit_that_overwrites_its_rows_unasked_is_refused():
    class Base(TheirLinearRegression):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y, sample_weight)
            X *= 2
            return self

    class Model(InfluenceMixin, Base):
        pass

    X, y, _ = data()
    refused(Model().fit(X, y), "X")


def test_rows_that_are_read_when_asked_for_are_never_kept(tmp_path, monkeypatch):
    """Their changes go unnoticed, as the documentation says; no stale answer is given."""
    monkeypatch.setattr("skinfluence.blocks.opening.READ_AT_ONCE", 100)
    X, y, _ = data()
    rows = np.lib.format.open_memmap(tmp_path / "X.npy", mode="w+", dtype=float, shape=X.shape)
    rows[:] = X
    model = fit_by_blocks(Ridge(), rows, y.astype(float))
    first = model.__influence__()
    assert model.__influence__() is not first
    monkeypatch.undo()
    model = Ridge().fit(rows, y.astype(float))
    assert model.__influence__() is model.__influence__()
    rows[5, 1] += 1e-12
    refused(model, "X")


@pytest.mark.parametrize("rows", ["dask", "zarr"])
def test_lazy_rows_are_not_taken_for_data_in_memory(rows, tmp_path):
    X, y, _ = data()
    if rows == "dask":
        lazy = pytest.importorskip("dask.array").from_array(X)
    else:
        zarr = pytest.importorskip("zarr")
        lazy = zarr.open(str(tmp_path / "X.zarr"), mode="w", shape=X.shape, dtype=float)
        lazy[:] = X
    model = fit_by_blocks(Ridge(), lazy, y.astype(float))
    assert model.__influence__() is not model.__influence__()
