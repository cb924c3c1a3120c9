"""Compiled functions whose cache on disk may be missing, full or damaged: they are compiled anew."""

from numba import njit


def compiled(**options):
    """``numba.njit(cache=True, **options)`` that no state of the disk can fail.

    numba raises where no folder can be written, where a disk is full once it has compiled, and where
    a file of its cache was cut short: each in the middle of somebody's question.
    """

    def decorate(function):
        try:
            dispatcher = njit(cache=True, **options)(function)
        except RuntimeError:
            return njit(**options)(function)
        cache = dispatcher._cache
        cache.load_overload = _or_none(cache.load_overload, cache.flush)
        cache.save_overload = _or_none(cache.save_overload, None)
        return dispatcher

    return decorate


def _or_none(act, repair):
    def attempt(*args):
        try:
            return act(*args)
        except Exception:
            if repair is not None:
                # What cannot be read would keep the next from being saved.
                _or_none(repair, None)()
            return None

    return attempt
