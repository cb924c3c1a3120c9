"""How labels conform to decision values."""

import numpy as np
from scipy.special import logsumexp

CONFORMITIES = ("log_odds", "margin")


def check_conformity(conformity):
    """Refuse ways that are not known."""
    if conformity not in CONFORMITIES:
        raise ValueError(f"conformity must be 'log_odds' or 'margin'. Got {conformity!r} instead.")


def scores_of(eta, conformity):
    """Scores of every label from decision values (..., K): (..., n_classes)."""
    if eta.shape[-1] == 1:
        return np.concatenate([-eta, eta], axis=-1)
    out = np.empty_like(eta)
    for k in range(eta.shape[-1]):
        others = np.delete(eta, k, axis=-1)
        # Not of probabilities: those round to 0 and 1, and tie.
        rest = others.max(axis=-1) if conformity == "margin" else logsumexp(others, axis=-1)
        out[..., k] = eta[..., k] - rest
    return out
