"""Locks of objects that pickle, and of what a library shares among threads."""

import threading
from functools import wraps

_autograd = threading.RLock()


def one_trace_at_a_time(method):
    """For what traces with autograd, which counts the traces of all threads in one variable.

    Two at once take each other's boxes for constants: derivatives are wrong, or zero, in silence.
    """

    @wraps(method)
    def locked(*args, **options):
        with _autograd:
            return method(*args, **options)

    return locked


class Locked:
    """Has a ``_lock``, which pickles leave out: a copy gets its own."""

    def __init__(self):
        self._lock = threading.Lock()

    def __getstate__(self):
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state, _lock=threading.Lock())
