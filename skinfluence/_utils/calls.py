"""Who called: where a warning should point."""

import sys


def level_outside():
    """The ``stacklevel`` with which a warning points at the first caller outside the package."""
    frame, level = sys._getframe(1), 1
    # Cached properties of Python 3.11 have a frame of their own.
    inside = (__name__.partition(".")[0], "functools")
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in inside:
        frame, level = frame.f_back, level + 1
    return level
