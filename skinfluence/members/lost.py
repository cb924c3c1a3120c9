"""Rows without an answer where several models are asked, each of rows of its own."""

import warnings
from contextlib import contextmanager

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence._utils.naming import rows_have


@contextmanager
def quietly():
    """Without what members say of rows: their numbers are not those of all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Rows? ")
        yield


def warn_lost(rows, why):
    """Say which rows have no answer, if any.

    Parameters
    ----------
    rows : array-like of int
    why : str
        Behind a colon.
    """
    if len(rows):
        warnings.warn(
            f"{rows_have(np.asarray(rows))} no answer (NaN): {why}",
            UserWarning,
            stacklevel=level_outside(),
        )
