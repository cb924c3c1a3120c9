"""One BLAS thread where the matrices are small: more only wait for each other."""

from contextlib import nullcontext
from functools import cache

# Below this many rows and columns a factorisation does not pay for a second thread, and beside
# other work it waits for it: seen to be ten times slower.
SMALL = 1000


@cache
def _controller():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def small_blas(size):
    """Context in which BLAS runs on one thread if ``size`` is small."""
    if size > SMALL:
        return nullcontext()
    return _controller().limit(limits=1, user_api="blas")
