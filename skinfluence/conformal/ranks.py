"""Order statistics of finite-sample guarantees."""

import numpy as np


def check_coverage(coverage):
    """``coverage`` as a float between 0 and 1."""
    if not (np.ndim(coverage) == 0 and 0 < coverage < 1):
        raise ValueError(f"coverage must be a number between 0 and 1. Got {coverage!r} instead.")
    return float(coverage)


def upper_rank(coverage, n):
    """``ceil(coverage (n + 1))``, whatever rounding makes of a whole number."""
    return int(np.ceil(coverage * (n + 1) - 1e-9))


def smallest(values, rank):
    """The ``rank``-th smallest of each line, -inf below the first, inf beyond the last."""
    n = values.shape[-1]
    if rank < 1 or rank > n:
        return np.full(values.shape[:-1], -np.inf if rank < 1 else np.inf)
    return np.partition(values, rank - 1, axis=-1)[..., rank - 1]
