"""Who called: where a warning should point."""

import sys


def level_outside():
    """The ``stacklevel`` with which a warning points at the first caller outside the package."""
    frame, level = sys._getframe(1), 1
    package = __name__.partition(".")[0]
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level
