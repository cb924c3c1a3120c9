"""Locks of objects that pickle."""

import threading


class Locked:
    """Has a ``_lock``, which pickles leave out: a copy gets its own."""

    def __init__(self):
        self._lock = threading.Lock()

    def __getstate__(self):
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state, _lock=threading.Lock())
