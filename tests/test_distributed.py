"""Rows of dask arrays answer like rows in memory, whoever computes and whoever fails."""

import os
import signal
import threading
import time
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence, edits
from skinfluence.blocks import BlockedDesign, opening, remote
from skinfluence.distributed import fit, write_removal_effect
from skinfluence.leave_one_out import loo_loss
from skinfluence.solvers import CG
from tests.registries import make_data
from tests.truth import relative_error

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

N, D = 120, 4
MODELS = {
    "binary": ("binary", LogisticRegression(C=0.5)),
    "softmax": ("softmax", LogisticRegression(C=0.5)),
    "ridge": ("regression", Ridge()),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Every dask array is worked on by chunks, however small."""
    monkeypatch.setattr(opening, "READ_AT_ONCE", 0)


@pytest.fixture
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def answers(X, y, estimator, X_test, y_test):
    """A fit, leave-one-out losses, effects and the strongest rows."""
    model = fit(clone(estimator), X, y)
    inf = Influence(model, X, y)
    assert isinstance(inf.objective.design, BlockedDesign) or isinstance(X, np.ndarray)
    return {
        "coef": model.coef_,
        "loo": loo_loss(inf, method="one-step"),
        "effect": inf.removal_effect(X_test, y_test, method="one-step"),
        "top": inf.top(X_test, y_test, k=4, method="one-step").harmful_effects,
        "self": inf.self_influence(),
        "up_loss": inf.influence_up_loss(X_test, y_test),
    }


@pytest.mark.parametrize("model", MODELS)
def test_answers_are_those_of_rows_in_memory(model, synchronous):
    task, estimator = MODELS[model]
    X, y = make_data(task, N, D, seed=0)
    chunked = da.from_array(X, chunks=(35, 3))
    found = answers(chunked, da.from_array(y, chunks=50), estimator, chunked[:5], y[:5])
    for name, expected in answers(X, y, estimator, X[:5], y[:5]).items():
        assert relative_error(found[name], expected) < 1e-10, name


@pytest.mark.parametrize("model", MODELS)
def test_certified_effects_and_edits_too(model, synchronous):
    task, estimator = MODELS[model]
    n = 60
    X, y = make_data(task, n, D, seed=0)
    fitted = fit(clone(estimator), X, y)
    chunked = da.from_array(X, chunks=(25, D))
    inf, expected = Influence(fitted, chunked, y), Influence(fitted, X, y)
    edit = edits.replace(3, x=2.0 * X[7]) + edits.remove([1, 2, 59])
    for question in (
        lambda one: one.removal_effect(X[:4], y[:4], indices=[40, 3, 4, 7], method="exact"),
        lambda one: one.removal_effect(X[:4], y[:4], groups=np.arange(n) // 20, method="exact"),
        lambda one: one.effect(edit, X[:4], y[:4], method="exact").values,
        lambda one: one.influence_pert(X[:4], y[:4], indices=[50, 3]),
        lambda one: one.loo_predict(),
    ):
        ours, theirs = question(inf), question(expected)
        assert np.array_equal(ours, theirs) or relative_error(ours, theirs) < 1e-10


def test_newton_cg_on_chunks(synchronous):
    X, y = make_data("binary", 60, D, seed=0)
    found = fit(LogisticRegression(), da.from_array(X, chunks=(30, D)), y, solver=CG(rtol=1e-12))
    assert relative_error(found.coef_, fit(LogisticRegression(), X, y).coef_) < 1e-9


def test_arrays_of_zarr_and_parquet(synchronous, tmp_path):
    X, y = make_data("binary", N, D, seed=0)
    expected = answers(X, y, LogisticRegression(), X[:5], y[:5])
    sources = {}
    if os.environ.get("SKINFLUENCE_REQUIRE_ALL") == "1" or _installed("zarr"):
        da.from_array(X, chunks=(35, D)).to_zarr(str(tmp_path / "X.zarr"))
        sources["zarr"] = da.from_zarr(str(tmp_path / "X.zarr"))
    if os.environ.get("SKINFLUENCE_REQUIRE_ALL") == "1" or _installed("pyarrow", "pandas"):
        import dask.dataframe as dd
        import pandas as pd

        frame = pd.DataFrame(X, columns=list("abcd"))
        dd.from_pandas(frame, npartitions=3).to_parquet(str(tmp_path / "X"))
        table = dd.read_parquet(str(tmp_path / "X"))
        sources["parquet"] = table.to_dask_array(lengths=True)
        with pytest.raises(TypeError, match=r"Pass X.to_dask_array\(lengths=True\)"):
            Influence(LogisticRegression().fit(X, y), table, y)
        with pytest.raises(ValueError, match=r"compute_chunk_sizes"):
            Influence(LogisticRegression().fit(X, y), table.to_dask_array(), y)
    for source in sources.values():
        found = answers(source, y, LogisticRegression(), X[:5], y[:5])
        for name, values in expected.items():
            assert relative_error(found[name], values) < 1e-10, name


def _installed(*packages):
    return all(find_spec(one) for one in packages)


def test_transformers_go_with_the_chunks(synchronous):
    X, y = make_data("binary", N, D, seed=0)
    pipe = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10)).fit(X, y)
    inf = Influence(pipe, da.from_array(X, chunks=(35, D)), y)
    held = Influence(pipe, X, y, frozen="accept")
    expected = held.removal_effect(X[:5], y[:5], method="exact")
    found = inf.removal_effect(X[:5], y[:5], method="exact", frozen="accept")
    assert relative_error(found, expected) < 1e-10
    # The chunks are not put together to fit the scaler again.
    with pytest.warns(UserWarning, match="not in memory"):
        found = inf.removal_effect(X[:5], y[:5], method="exact")
    assert relative_error(found, expected) < 1e-10


def test_effects_are_written_a_block_at_a_time(synchronous, tmp_path):
    X, y = make_data("binary", N, D, seed=0)
    model = fit(LogisticRegression(), X, y)
    inf = Influence(model, da.from_array(X, chunks=(35, D)), y)
    out = np.memmap(tmp_path / "out.dat", np.float64, "w+", shape=(6, N))
    write_removal_effect(inf, out, X[:6], y[:6], method="exact")
    expected = Influence(model, X, y).removal_effect(X[:6], y[:6], method="exact")
    assert relative_error(out, expected) < 1e-10


@pytest.mark.parametrize("broken", ["NaN", "width", "rows"])
def test_errors_are_those_of_rows_in_memory(broken, synchronous):
    X, y = make_data("binary", N, D, seed=0)
    model = LogisticRegression().fit(X, y)
    if broken == "NaN":
        X[-1, 2] = np.nan
    elif broken == "width":
        X = X[:, :3]
    else:
        y = y[:-1]
    messages = []
    for array in (X, da.from_array(X, chunks=(35, D))):
        with pytest.raises(ValueError) as error:
            Influence(model, array, y)
        messages.append(str(error.value).splitlines()[0])
    assert messages[0] == messages[1]


def test_slices_cover_the_rows_and_stay_small(synchronous):
    X = da.zeros((100, D), chunks=((10, 10, 50, 5, 25), D))
    design = opening.rows_of(X, (), None, D).as_design(1.0)
    for step in (1, 7, 12, 30, 200):
        cut = list(design.X.slices(1, step))
        assert np.array_equal(np.concatenate([np.arange(100)[s] for s in cut]), np.arange(100))
        assert max(s.stop - s.start for s in cut) <= step


# Clusters --------------------------------------------------------------------------------------


@contextmanager
def cluster_of(n_workers, processes):
    """A local cluster and its client, without its page and its log."""
    with (
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=None,
            silence_logs=True,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_the_number_of_workers_changes_nothing(monkeypatch):
    monkeypatch.setattr(remote, "FAN_IN", 3)
    X, y = make_data("softmax", N, D, seed=0)
    model = fit(LogisticRegression(), X, y)

    def found(X):
        inf = Influence(model, X, y)
        effects = inf.removal_effect(X_test, y[:5], method="one-step")
        return fit(Ridge(), X, y).coef_, loo_loss(inf, method="one-step"), effects

    X_test, chunked, runs = X[:5].copy(), da.from_array(X, chunks=(25, D)), []
    for n in (1, 2, 4):
        with cluster_of(n, processes=False) as client:
            assert len(client.scheduler_info()["workers"]) == n
            runs.append(found(chunked))
    for *each, expected in zip(*runs, found(X), strict=True):
        # The last bits depend on where in memory a worker puts its chunks.
        assert all(relative_error(one, each[0]) < 1e-12 for one in each)
        assert relative_error(each[0], expected) < 1e-10


def test_killing_a_worker_changes_nothing(tmp_path):
    X, y = make_data("binary", N, D, seed=0)
    log = tmp_path / "loads"
    log.touch()

    # A function in a function travels by value: workers do not import the tests.
    def load(block, log=str(log)):
        import os
        import time

        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.01)
        return block

    chunked = da.from_array(X, chunks=(10, D)).map_blocks(load, dtype=X.dtype)
    model = fit(LogisticRegression(), X, y)
    expected = Influence(model, X, y)
    killed = []

    def kill():
        """The first worker that has loaded a few chunks, in the middle of what it does."""
        while True:
            loaded = log.read_text().split()
            for pid in set(loaded):
                if loaded.count(pid) >= 4:
                    killed.append((int(pid), len(loaded)))
                    os.kill(int(pid), signal.SIGKILL)
                    return
            time.sleep(0.005)

    killer = threading.Thread(target=kill, daemon=True)
    with cluster_of(2, processes=True):
        killer.start()
        inf = Influence(model, chunked, y)
        losses = loo_loss(inf, method="one-step")
        top = inf.top(X[:5], y[:5], k=4, method="one-step")
        killer.join(timeout=30)
    (pid, before), pids = killed[0], log.read_text().split()
    assert before < 12, "the worker must die within the first pass over 12 chunks"
    assert str(pid) not in pids[before + 2 :]
    assert relative_error(losses, loo_loss(expected, method="one-step")) < 1e-10
    effects = expected.top(X[:5], y[:5], k=4, method="one-step")
    assert relative_error(top.helpful_effects, effects.helpful_effects) < 1e-10


class Halved(Ridge):
    """Another estimator: its fit is not the one of its base class."""

    def fit(self, X, y, sample_weight=None):
        super().fit(0.5 * X, y, sample_weight)
        return self


@pytest.mark.parametrize("estimator", [LogisticRegressionCV(), Halved()], ids=["cv", "subclass"])
def test_a_subclass_that_fits_in_another_way_is_refused(estimator):
    X, y = make_data("binary", 30, D, seed=0)
    with pytest.raises(TypeError, match=f"Got {type(estimator).__name__}"):
        fit(estimator, X, np.unique(y, return_inverse=True)[1])
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("dtype", [int, bool, object, complex])
def test_effects_are_written_into_floating_point_numbers_only(dtype):
    X, y = make_data("regression", 30, D, seed=0)
    influence = Influence(Ridge().fit(X, y), X, y)
    out = np.empty((3, 30), dtype=dtype)
    before = out.copy()
    with pytest.raises(TypeError, match="floating-point"):
        write_removal_effect(influence, out, X[:3], y[:3])
    np.testing.assert_array_equal(out, before)
    single = write_removal_effect(influence, np.empty((3, 30), np.float32), X[:3], y[:3])
    np.testing.assert_allclose(single, influence.removal_effect(X[:3], y[:3]), rtol=1e-5)
