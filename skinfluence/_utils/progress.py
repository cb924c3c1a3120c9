"""A progress bar, where it was asked for."""

from contextlib import contextmanager

from skinfluence._utils._optional import require


@contextmanager
def progress_bar(total, unit, verbose):
    """Yield a function that advances a tqdm bar, or does nothing.

    Parameters
    ----------
    total : int
    unit : str
    verbose : bool
    """
    if not verbose:
        yield lambda done: None
        return
    tqdm = require("tqdm", extra="audit")
    with tqdm.tqdm(total=total, unit=f" {unit}") as bar:
        yield bar.update
