"""What a command says while it works, and what it says in JSON."""

import contextlib
import math
import sys
import warnings
from pathlib import Path


@contextlib.contextmanager
def collected_warnings():
    """A list that receives what was warned of, each text once; nothing is printed."""
    texts = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        # Overflow in a line search that then steps back, and the like: harmless.
        warnings.simplefilter("ignore", RuntimeWarning)
        yield texts
    for warning in caught:
        text = " ".join(str(warning.message).split())
        ours = (
            issubclass(warning.category, UserWarning)
            and "skrub" not in Path(warning.filename).parts
        )
        if ours and text not in texts:
            texts.append(text)


@contextlib.contextmanager
def status(message, show):
    """A spinner on stderr while something long runs, on a terminal only."""
    if not (show and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message + " …"):
        yield


def finite(value, where="", missing=None):
    """The same with null for numbers that are not finite, which JSON has no word for, and a note."""
    if missing is None:
        names = []
        value = finite(value, where, names)
        if names:
            value["notes"].append(
                f"null stands for numbers that are not finite: {', '.join(dict.fromkeys(names))}."
            )
        return value
    if isinstance(value, dict):
        return {key: finite(inner, key, missing) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner, where, missing) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        missing.append(where)
        return None
    return value


def plain(value):
    """A number or a text of Python's own."""
    return value.item() if hasattr(value, "item") else value
