"""Fixtures, the threads of BLAS, and whether optional packages must be there."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # One core for each worker, decided before numpy loads BLAS: threads that wait for each other
    # double the time of the suite.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from importlib import import_module

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

if os.environ.get("SKINFLUENCE_REQUIRE_ALL") == "1":
    # Where every optional package is promised, a missing one is an error and no skip.
    pytest.importorskip = lambda name, *_, **__: import_module(name)


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread():
    """The matrices here are small: threads that wait for each other cost more than they do."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)
