"""Compiled functions whose cache on disk may be missing, full or damaged: they are compiled anew."""

from functools import cache
from pathlib import Path

from numba import njit


def _arithmetic(fastmath):
    return {"fastmath": fastmath, "error_model": "numpy"}


# What a loop may do with its arithmetic, each more than the one before: round a product and a sum once,
# take no heed of the sign of zeros, sum in any order, take it that nothing is NaN, and that nothing is
# infinite.
FUSED = _arithmetic({"contract"})
SIGNLESS = _arithmetic({"contract", "nsz"})
REORDERED = _arithmetic({"contract", "nsz", "reassoc"})
WITHOUT_NAN = _arithmetic({"contract", "nsz", "reassoc", "nnan"})
FINITE = _arithmetic(True)


def compiled(**options):
    """``numba.njit(cache=True, **options)`` that no state of the disk can fail.

    numba raises where no folder can be written, where a disk is full once it has compiled, and where
    a file of its cache was cut short: each in the middle of somebody's question. And it knows a function
    that changed by its own file only: here one file that changes makes all be compiled anew, as they
    call each other.
    """

    def decorate(function):
        try:
            dispatcher = njit(cache=True, **options)(function)
        except RuntimeError:
            return njit(**options)(function)
        kept = dispatcher._cache
        kept._cache_file._source_stamp = (kept._cache_file._source_stamp, stamp())
        kept.load_overload = _or_none(kept.load_overload, kept.flush)
        kept.save_overload = _or_none(kept.save_overload, None)
        return dispatcher

    return decorate


@cache
def stamp():
    """When the files of compiled functions were last written, and their sizes."""
    files = [path.stat() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return tuple((file.st_mtime, file.st_size) for file in files)


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
