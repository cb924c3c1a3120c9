"""Threads that do not wait for each other: products by ranges of rows, BLAS on one thread in each.

The threads of BLAS meet at every product. Where another process has one of the cores, small
products were seen to take twenty times as long with two of them; ranges of rows meet once.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from itertools import pairwise

import numpy as np
from joblib import cpu_count

# Below this many rows and columns a factorisation does not pay for a second thread.
SMALL = 1000
# Multiplications below which BLAS does not use a second thread, and those worth one of ours.
TINY, WORTH_A_THREAD = 1e5, 1e7


@cache
def _controller():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _of_blas(default):
    """The number of threads of BLAS, or the default where it does not say."""
    return max((lib.num_threads for lib in _controller().lib_controllers), default=default)


class _OneThread:
    """BLAS on one thread; counted, as questions asked at once would restore each other's setting."""

    def __init__(self):
        self._lock, self._depth, self._limit = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._depth:
                # To limit what runs on one thread anyway costs as much as a small solve.
                one = all(lib.num_threads == 1 for lib in _controller().lib_controllers)
                self._limit = None if one else _controller().limit(limits=1)
            self._depth += 1

    def __exit__(self, *_):
        with self._lock:
            self._depth -= 1
            if not self._depth and self._limit is not None:
                self._limit.restore_original_limits()

    def allowed(self):
        with self._lock:
            if not self._depth:
                return _of_blas(default=cpu_count())
            if self._limit is None:
                return _of_blas(default=1)
            # What the limit took note of: asking BLAS at every entry costs as much as a small solve.
            return self._limit.get_original_num_threads()["blas"] or cpu_count()


_ONE_THREAD = _OneThread()


def one_blas_thread():
    """Context in which BLAS runs on one thread."""
    return _ONE_THREAD


def allowed():
    """How many threads of our own may run: as many as the caller lets BLAS use.

    Within :func:`one_blas_thread` it is what BLAS could use outside. numba's own number is not asked
    for: that starts numba's pool and sets the number of threads of OpenMP, which is torch's too.
    """
    return _ONE_THREAD.allowed()


def small_blas(size):
    """Context in which BLAS runs on one thread if ``size`` is small."""
    return nullcontext() if size > SMALL else one_blas_thread()


def in_parts(task, n_rows, work):
    """``task`` of a slice of rows for each thread that BLAS may use, as a list in their order.

    Parameters
    ----------
    task : callable
        Of a slice; it runs with BLAS on one thread.
    n_rows : int
    work : float
        Multiplications per row.
    """
    everything = slice(0, n_rows)
    if n_rows * work < TINY:
        return [task(everything)]
    n_threads = _of_blas(default=1)
    if n_threads == 1:
        return [task(everything)]
    n_parts = int(max(1, min(n_threads, n_rows, n_rows * work // WORTH_A_THREAD)))
    edges = np.linspace(0, n_rows, n_parts + 1).astype(int).tolist()
    with one_blas_thread():
        if n_parts == 1:
            return [task(everything)]
        with ThreadPoolExecutor(n_parts) as pool:
            return list(pool.map(task, [slice(low, high) for low, high in pairwise(edges)]))
