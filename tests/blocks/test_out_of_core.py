"""Rows on disk answer like rows in memory, and are never all in memory."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import Influence, edits
from skinfluence import linear_model as ours
from skinfluence.blocks import BlockedDesign, opening, rows
from skinfluence.design.dense import DenseDesign
from skinfluence.distributed import fit, write_removal_effect
from skinfluence.leave_one_out import loo_loss
from skinfluence.solvers import CG, Exact
from tests.registries import TIGHT, make_data
from tests.truth import relative_error, sklearn_parameters
from tests.versions import l1_logistic

N, D = 90, 4
MODELS = {
    "binary": ("binary", LogisticRegression(C=0.5)),
    "softmax": ("softmax", LogisticRegression(C=0.5)),
    "ridge": ("regression", Ridge()),
}


class Sliced:
    """The least an array on disk has: a shape, a dtype and slices of consecutive rows."""

    def __init__(self, X):
        self._X = X
        self.shape, self.dtype = X.shape, X.dtype
        self.rows_read, self.longest = 0, 0

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        found = self._X[rows]
        self.rows_read += len(found)
        self.longest = max(self.longest, len(found))
        return found


def memmap(X, folder, order="C", dtype=np.float64):
    array = np.memmap(folder / "X.dat", dtype, "w+", shape=X.shape, order=order)
    array[:] = X
    return array


def zarr_array(X, folder):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(folder / "X.zarr", shape=X.shape, chunks=(16, 3), dtype=X.dtype)
    array[:] = X
    return array


ARRAYS = {
    "memmap": memmap,
    "memmap-F": lambda X, folder: memmap(X, folder, order="F"),
    "memmap-float32": lambda X, folder: memmap(X, folder, dtype=np.float32),
    "slices": lambda X, folder: Sliced(X),
    "zarr": zarr_array,
}


def all_answers(inf, X, y):
    """One of every kind of answer."""
    more = edits.replace(3, x=2.0 * X[4]) + edits.remove([1, 2, 60])
    groups = np.arange(inf.objective.n_samples) // 30
    found = {
        "up_params": inf.influence_up_params(),
        "up_loss": inf.influence_up_loss(X, y),
        "pert": inf.influence_pert(X, y, indices=[4, 80, 5]),
        "self": inf.self_influence(),
        "groups": inf.removal_effect(X, y, groups=groups),
        "top": inf.top(X, y, k=3).helpful_effects,
        "lambda": inf.effect(more, X, y, hold="lambda").values,
    }
    for method in ("influence", "one-step", "auto", "exact"):
        found["removal", method] = inf.removal_effect(X, y, method=method)
        found["edit", method] = inf.effect(more, X, y, method=method).values
        found["loo", method] = inf.loo_decision_function(method=method)
    if inf.objective.labels is not None:
        found["relabel"] = inf.relabel_effect(X, y, indices=[0, 1, 2, 70])
    return found


# Certified to 1e-3, in memory by other routes.
CERTIFIED = {"groups", "top", "relabel", "lambda"} | {
    (question, "auto") for question in ("removal", "edit", "loo")
}


def bar_of(question, exact):
    """How near answers are to those of rows in memory: to ``exact`` where both are exact."""
    return 1e-3 if question in CERTIFIED else exact


@pytest.fixture
def blockwise(monkeypatch):
    """Every array comes in blocks of a few rows, however small."""
    monkeypatch.setattr(opening, "READ_AT_ONCE", 0)
    monkeypatch.setattr(rows, "HELD", 8 * D * 20)
    monkeypatch.setattr(rows, "BLOCK", 8 * D * 20)


@pytest.mark.parametrize("model", MODELS)
def test_every_answer_is_that_of_rows_in_memory(model, blockwise, tmp_path):
    task, estimator = MODELS[model]
    X, y = make_data(task, N, D, seed=0)
    on_disk = memmap(X, tmp_path)
    fitted = fit(clone(estimator), on_disk, y)
    inf = Influence(fitted, on_disk, y)
    assert isinstance(inf.objective.design, BlockedDesign)
    expected = all_answers(Influence(fitted, X, y), X[:5], y[:5])
    for question, found in all_answers(inf, X[:5], y[:5]).items():
        assert relative_error(found, expected[question]) < bar_of(question, 1e-10), question


@pytest.mark.parametrize("array", ARRAYS)
def test_every_kind_of_array_will_do(array, blockwise, tmp_path):
    X, y = make_data("binary", N, D, seed=0)
    X = X.astype(np.float32).astype(np.float64)
    on_disk = ARRAYS[array](X, tmp_path)
    fitted = fit(LogisticRegression(), on_disk, y)
    inf, expected = Influence(fitted, on_disk, y), Influence(fitted, X, y)
    assert isinstance(inf.objective.design, BlockedDesign)
    assert relative_error(fitted.coef_, fit(LogisticRegression(), X, y).coef_) < 1e-10
    test = on_disk[10:15], y[10:15]
    for options in ({"method": "one-step"}, {"indices": [80, 2, 3, 4, 2, 70], "method": "exact"}):
        found = inf.removal_effect(*test, **options)
        assert relative_error(found, expected.removal_effect(*test, **options)) < 1e-10
    found = loo_loss(inf, method="one-step")
    assert relative_error(found, loo_loss(expected, method="one-step")) < 1e-10


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("task", "estimator"),
    [
        *MODELS.values(),
        ("binary", linear_model.RidgeClassifier()),
        ("softmax", linear_model.RidgeClassifier(class_weight="balanced")),
        ("softmax", LogisticRegression(C=2.0, fit_intercept=False, class_weight="balanced")),
        ("regression", linear_model.LinearRegression()),
        ("counts", linear_model.PoissonRegressor(alpha=0.1)),
        ("amounts", linear_model.GammaRegressor(alpha=0.1)),
        ("amounts", linear_model.TweedieRegressor(power=1.5, alpha=0.1)),
    ],
)
def test_fit_is_that_of_scikit_learn(task, estimator, weighted, blockwise, tmp_path):
    X, y = make_data(task, N, D, seed=1)
    weight = np.random.default_rng(2).uniform(0.3, 2.0, N) if weighted else None
    found = fit(clone(estimator), memmap(X, tmp_path), y, weight)
    expected = clone(estimator).set_params(**TIGHT[type(estimator).__name__])
    expected.fit(X, y, sample_weight=weight)
    assert relative_error(sklearn_parameters(found), sklearn_parameters(expected)) < 1e-8
    assert found.coef_.shape == expected.coef_.shape
    assert np.shape(found.intercept_) == np.shape(expected.intercept_)
    assert np.array_equal(found.predict(X), expected.predict(X)) or task != "binary"


@pytest.mark.parametrize("model", MODELS)
def test_newton_cg_finds_the_same_fit(model, blockwise, tmp_path):
    task, estimator = MODELS[model]
    X, y = make_data(task, N, D, seed=0)
    on_disk = memmap(X, tmp_path)
    found = fit(clone(estimator), on_disk, y, solver=CG(rtol=1e-12))
    assert relative_error(found.coef_, fit(clone(estimator), X, y).coef_) < 1e-9
    effect = Influence(found, on_disk, y, solver="cg").removal_effect(X[:3], y[:3])
    assert relative_error(effect, Influence(found, X, y).removal_effect(X[:3], y[:3])) < 1e-3


def test_leave_one_out_losses_take_four_passes(blockwise):
    X, y = make_data("binary", N, D, seed=0)
    counted = Sliced(X)
    model = fit(LogisticRegression(), counted, y)
    counted.rows_read = counted.longest = 0
    loo_loss(Influence(model, counted, y), method="one-step")
    # Beside the passes, one row: the first one shows how wide rows are.
    assert counted.rows_read <= 4 * N + 1
    assert counted.longest <= 20


def test_memory_does_not_hold_the_rows(monkeypatch, tmp_path, rng):
    """What is kept has one entry per row and output."""
    monkeypatch.setattr(opening, "READ_AT_ONCE", 0)
    monkeypatch.setattr(rows, "HELD", 2**19)
    monkeypatch.setattr(rows, "BLOCK", 2**19)
    n, d = 20_000, 100
    X = memmap(rng.standard_normal((n, d)), tmp_path, dtype=np.float32)
    y = (X[:, 0] + rng.logistic(size=n) > 0).astype(int)
    tracemalloc.start()
    try:
        model = fit(LogisticRegression(), X, y)
        loo_loss(Influence(model, X, y), method="one-step")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * 8 * n * d


def test_small_arrays_are_read_at_once(tmp_path):
    X, y = make_data("regression", N, D, seed=0)
    inf = Influence(Ridge().fit(X, y), memmap(X, tmp_path), y)
    assert isinstance(inf.objective.design, DenseDesign)


@pytest.mark.parametrize("broken", ["NaN", "infinity", "width", "text", "rows"])
def test_errors_are_those_of_rows_in_memory(broken, blockwise, tmp_path):
    X, y = make_data("binary", N, D, seed=0)
    model = LogisticRegression().fit(X, y)
    if broken in ("NaN", "infinity"):
        X[-1, 2] = np.nan if broken == "NaN" else np.inf
    elif broken == "width":
        X = X[:, :3]
    elif broken == "text":
        X = X.astype("U8")
        X[0, 0] = "one"
    else:
        y = y[:-1]
    messages = []
    for array in (X, Sliced(X)):
        with pytest.raises(ValueError) as error:
            Influence(model, array, y)
        messages.append(str(error.value).splitlines()[0])
    assert messages[0] == messages[1]


def test_test_points_are_checked_too(blockwise):
    X, y = make_data("binary", N, D, seed=0)
    inf = Influence(LogisticRegression().fit(X, y), Sliced(X), y)
    broken = X.copy()
    broken[50] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        inf.removal_effect(Sliced(broken), y)
    with pytest.raises(ValueError, match="sample"):
        inf.removal_effect(Sliced(X[:0]), y[:0])


def test_transformers_are_applied_to_each_block(blockwise, tmp_path):
    X, y = make_data("binary", N, D, seed=0)
    pipe = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10)).fit(X, y)
    inf, expected = Influence(pipe, memmap(X, tmp_path), y), Influence(pipe, X, y)
    assert isinstance(inf.objective.design, BlockedDesign)
    for name, options in (("removal_effect", {"method": "exact"}), ("influence_pert", {})):
        found = getattr(inf, name)(X[:5], y[:5], frozen="accept", **options)
        wanted = getattr(expected, name)(X[:5], y[:5], frozen="accept", **options)
        assert relative_error(found, wanted) < 1e-10


def test_transformers_may_make_sparse_rows(blockwise, tmp_path, rng):
    X = rng.integers(0, 3, (N, D)).astype(float)
    y = (X[:, 0] + rng.logistic(size=N) > 1).astype(int)
    pipe = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, y)
    inf, expected = Influence(pipe, memmap(X, tmp_path), y), Influence(pipe, X, y)
    edit = edits.replace(2, x=X[5])
    for question in (
        lambda one: one.removal_effect(X[:5], y[:5], method="exact", frozen="accept"),
        lambda one: one.effect(edit, X[:5], y[:5], method="exact", frozen="accept").values,
        lambda one: one.loo_decision_function(method="one-step", frozen="accept"),
    ):
        assert relative_error(question(inf), question(expected)) < 1e-10


def test_mixed_precision_and_unequal_weights(blockwise, tmp_path):
    X, y = make_data("counts", N, D, seed=0)
    weight = np.random.default_rng(2).uniform(0.3, 2.0, N)
    model = fit(linear_model.PoissonRegressor(alpha=0.1), X, y, weight)
    on_disk = memmap(X, tmp_path)
    for options, tol in (({}, 1e-10), ({"precision": "mixed", "hold": "C"}, 1e-5)):
        inf = Influence(model, on_disk, y, weight, **options)
        expected = Influence(model, X, y, weight, **options)
        found = inf.removal_effect(X[:4], y[:4], method="one-step")
        assert relative_error(found, expected.removal_effect(X[:4], y[:4], method="one-step")) < tol


def test_effects_are_written_a_block_at_a_time(blockwise, tmp_path):
    X, y = make_data("softmax", N, D, seed=0)
    model = fit(LogisticRegression(), X, y)
    inf = Influence(model, Sliced(X), y)
    for of, shape in (("loss", (6, N)), ("predict_proba", (6, N, 3))):
        out = np.memmap(tmp_path / "out.dat", np.float64, "w+", shape=shape)
        assert write_removal_effect(inf, out, X[:6], y[:6], of=of) is out
        expected = Influence(model, X, y).removal_effect(X[:6], y[:6], of=of)
        assert relative_error(out, expected) < 1e-10
    with pytest.raises(ValueError, match=r"out must have the shape of the answer, \(6, 90\)"):
        write_removal_effect(inf, out, X[:6], y[:6])


def test_other_problems_say_that_they_need_rows_in_memory(blockwise):
    X, y = make_data("regression", N, D, seed=0)
    with pytest.raises(TypeError, match=r"needs all rows in memory"):
        Influence(KernelRidge().fit(X, y), Sliced(X), y)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Exact("dual"), "The dual form needs the rows in memory"),
        ("lissa", "LiSSA draws single rows"),
    ],
)
def test_solvers_that_need_rows_in_memory_say_so(solver, message, blockwise):
    X, y = make_data("regression", N, D, seed=0)
    with pytest.raises(ValueError, match=message):
        Influence(Ridge().fit(X, y), Sliced(X), y, solver=solver).self_influence()


def test_what_cannot_be_fitted_is_refused():
    X, y = make_data("binary", N, D, seed=0)
    with pytest.raises(TypeError, match=r"fit is for .* Got RandomForestClassifier"):
        fit(RandomForestClassifier(), X, y)
    with pytest.raises(ValueError, match="at least two classes"):
        fit(LogisticRegression(), X, np.zeros(N))
    with pytest.raises(ValueError, match="continuous"):
        fit(LogisticRegression(), X, X[:, 0])
    with pytest.raises(ValueError, match="C"):
        fit(LogisticRegression(C=-1.0), X, y)
    with pytest.raises(ValueError, match="L2"):
        fit(l1_logistic(solver="saga"), X, y)
    with pytest.raises(ValueError, match="rows and columns"):
        fit(LogisticRegression(), X[:, 0], y)
    with pytest.raises(ValueError, match="same number of rows"):
        fit(Ridge(), X, np.zeros(N - 1))


def test_estimators_with_influence_remember_their_rows(blockwise, tmp_path):
    X, y = make_data("regression", N, D, seed=0)
    model = fit(ours.Ridge(), memmap(X, tmp_path), y)
    expected = ours.Ridge().fit(X, y).loo_predict()
    assert relative_error(model.loo_predict(), expected) < 1e-10


def test_fit_says_nothing_where_nothing_is_wrong(blockwise):
    X, y = make_data("binary", N, D, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inf = Influence(fit(LogisticRegression(), Sliced(X), y), Sliced(X), y)
    assert inf.report().newton_decrement < 1e-10


def test_an_influence_about_rows_in_blocks_can_be_pickled(blockwise):
    X, y = make_data("regression", N, D, seed=0)
    inf = Influence(Ridge().fit(X, y), Sliced(X), y)
    again = pickle.loads(pickle.dumps(inf))
    assert np.array_equal(again.loo_predict(), inf.loo_predict())
