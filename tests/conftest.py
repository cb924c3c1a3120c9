"""Fixtures, the threads of BLAS, and whether optional packages must be there."""

import gc
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # One core for each worker, decided before numpy loads BLAS and torch OpenMP: threads that wait
    # for each other double the time of the suite.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

from importlib import import_module

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tests.fewer import LONG, left_out

if os.environ.get("SKINFLUENCE_REQUIRE_ALL") == "1":
    # Where every optional package is promised, a missing one is an error and no skip.
    pytest.importorskip = lambda name, *_, **__: import_module(name)


def pytest_collection_modifyitems(config, items):
    """All pairs of values in place of all combinations (tests/fewer.py), unless one was asked for."""
    if LONG or any("[" in asked for asked in config.args):
        return
    out = left_out(items)
    if out:
        config.hook.pytest_deselected(items=out)
        gone = set(out)
        items[:] = [item for item in items if item not in gone]


def pytest_collection_finish(session):
    """Ten thousand tests stay to the end: who looks for garbage need not walk over them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread():
    """The matrices here are small: threads that wait for each other cost more than they do."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)
