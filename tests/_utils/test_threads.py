"""Threads: parts in order, settings restored whoever asks at once, answers that do not depend on them."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController, threadpool_limits

from skinfluence import Influence
from skinfluence._utils import threads
from skinfluence.solvers import CG
from tests.truth import relative_error


def blas_threads():
    return [
        lib.num_threads for lib in ThreadpoolController().select(user_api="blas").lib_controllers
    ]


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("work", [1.0, 1e9])
def test_parts_cover_the_rows_in_order(limit, work):
    with threadpool_limits(limit, user_api="blas"):
        found = threads.in_parts(lambda rows: np.arange(1000)[rows], 1000, work)
    assert len(found) == (limit if work > 1 else 1)
    np.testing.assert_array_equal(np.concatenate(found), np.arange(1000))


def test_settings_are_restored_whoever_leaves_last():
    with threadpool_limits(2, user_api="blas"):
        first, second = threads.one_blas_thread(), threads.one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert set(blas_threads()) == {2}


def test_a_part_that_fails_restores_them_too():
    def fails(rows):
        raise RuntimeError("no")

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(RuntimeError, match="no"):
            threads.in_parts(fails, 10, 1e9)
        assert set(blas_threads()) == {2}


def test_our_own_threads_are_as_many_as_blas_may_use():
    """Also where BLAS itself is held to one meanwhile, and whoever holds it."""
    for n in (1, 3):
        with threadpool_limits(n, user_api="blas"):
            assert threads.allowed() == n
            with threads.one_blas_thread(), threads.one_blas_thread():
                assert threads.allowed() == n and set(blas_threads()) == {1}
            assert threads.allowed() == n


def test_compiled_products_change_no_number_of_threads_of_torch():
    """They did by asking numba for its own: that starts its pool, which sets those of OpenMP."""
    pytest.importorskip("torch")
    code = """
        import numpy, scipy.sparse, torch
        from threadpoolctl import threadpool_limits
        from skinfluence._compiled.gram import sandwich

        with threadpool_limits(1):
            before = torch.get_num_threads()
            sandwich(scipy.sparse.eye(60, format="csr"), numpy.ones(60))
            print(before, torch.get_num_threads())
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1", "1"]


@pytest.mark.parametrize("solver", ["exact", CG(preconditioner="diagonal", rtol=1e-13)])
def test_answers_do_not_depend_on_threads_or_on_who_else_asks(solver):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1000, 80)), rng.integers(0, 3, 1000)
    model = LogisticRegression(C=0.01, tol=1e-8, solver="newton-cholesky").fit(X, y)

    def answers(_=None):
        inf = Influence(model, X, y, solver=solver)
        return inf.influence_up_loss(X[:20], y[:20])

    with threadpool_limits(1):
        expected = answers()
    with threadpool_limits(2), ThreadPoolExecutor(4) as pool:
        for found in pool.map(answers, range(4)):
            assert relative_error(found, expected) < 1e-11
        assert set(blas_threads()) == {2}
