"""Leave-one-out answers of a model that has not seen the most suspicious rows."""

import warnings

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence.cleaning.noise import estimate_noise
from skinfluence.cleaning.surroundings import local_probabilities
from skinfluence.leave_one_out import outputs

# What a class keeps of its rows in the fit, whatever they look like.
LEAST_KEPT = 0.5


def trimmed(influence, classes, codes, suspect, around, rounds, share, frozen):
    """Probabilities of all rows by a fit without the most suspicious ones, in rounds.

    In each round a growing share of the rows, those that look most wrong to the last one, is left out
    of the fit together. Rows that stay are judged by the fit without them and the trimmed ones, trimmed
    rows by the fit as it is.

    Parameters
    ----------
    influence : Influence
        Of a classifier with probabilities.
    classes : ndarray of shape (n_classes,)
    codes : ndarray of int, shape (n_samples,)
    suspect : tuple or None
    around : ndarray of int, shape (n_samples, k) or None
        The rows around each row.
    rounds : int
    share : float
        Of the rows, left out in the last round.
    frozen : {None, "accept"}

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
    out : ndarray of bool, shape (n_samples,)
        The rows that the last fit has not seen.
    """
    n = len(codes)
    raw, y = influence.data.inputs.raw, influence.data.y
    weight = influence.objective.sample_weight
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        proba = outputs(influence, method="one-step", frozen="accept").predict_proba()
    out = np.zeros(n, dtype=bool)
    for k in range(1, rounds + 1):
        local = local_probabilities(proba, codes, around)
        rows = _most_suspicious(local, codes, classes, suspect, round(n * share * k / rounds))
        out = np.zeros(n, dtype=bool)
        out[rows] = True
        if not len(rows):
            break
        estimator = influence.edited(edits.remove(rows), frozen=frozen).estimator
        kept = np.flatnonzero(~out)
        left = None if weight is None else weight[kept]
        inside = Influence(estimator, _safe_indexing(raw, kept), y[kept], left)
        proba = np.empty_like(proba)
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
            proba[kept] = outputs(inside, method="one-step", frozen="accept").predict_proba()
        proba[rows] = estimator.predict_proba(_safe_indexing(raw, rows))
    return proba, out


def _most_suspicious(proba, codes, classes, suspect, n_rows):
    """The rows that look most wrong, of each class at most half; rows without an answer stay."""
    known = np.isfinite(proba).all(axis=1)
    noise = estimate_noise(proba[known], codes[known], classes, suspect)
    odds = np.full(len(codes), -np.inf)
    odds[known] = noise.log_odds(proba[known], codes[known])
    order = np.argsort(-odds, kind="stable")
    order = order[known[order]]
    # How many of its own class come before each row.
    place = np.empty(len(order), dtype=np.intp)
    for code in range(len(classes)):
        mine = codes[order] == code
        place[mine] = np.arange(mine.sum())
    most = ((1 - LEAST_KEPT) * np.bincount(codes, minlength=len(classes))).astype(np.intp)
    return order[place < most[codes[order]]][:n_rows]
