"""Fixtures, and the threads of BLAS."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # One core for each worker, decided before numpy loads BLAS: threads that wait for each other
    # double the time of the suite.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def one_blas_thread():
    """The matrices here are small: threads that wait for each other cost more than they do."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)
