"""How many labels are wrong, and which: disagreement beyond what overlapping classes explain."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

# Log likelihood by which a share of wrong labels must explain the labels better than none does:
# by chance alone about 1 clean set in 50 gains so much.
MIN_GAIN = 2.0
# Beyond this share the labels say nothing about what the errors are.
MAX_SHARE = 0.45
# A share of errors can be told from overlap only if some rows are clear-cut: so sure, for a fifth.
CLEAR, CLEAR_SHARE = 0.9, 0.2
# Probabilities below this differ by rounding only.
SMALLEST = 1e-30
SHARPNESS = np.log([0.1, 30.0])


@dataclass(frozen=True, eq=False)
class Noise:
    """An estimate of the errors in labels.

    Attributes
    ----------
    share : float
        Share of the labels that are wrong.
    posterior : ndarray of shape (n_samples, n_classes)
        Chance of each class to be the right one, given the label.
    notes : tuple of str
        Why no error is claimed, where none can be.
    """

    share: float
    posterior: np.ndarray
    notes: tuple = ()


def estimate_noise(proba, codes):
    """Split the disagreement of labels with leave-one-out probabilities into errors and overlap.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Leave-one-out probabilities.
    codes : ndarray of int, shape (n_samples,)
        Positions of the labels in the columns of `proba`.

    Returns
    -------
    noise : Noise
        The estimate.

    Notes
    -----
    Right labels follow ``q = softmax(log prior + s (log p - log prior))``, the probabilities ``p``
    sharpened, because errors in the training labels blunt them; a label is replaced by one of the
    other classes with chance ``share``. Both numbers maximise the likelihood of the labels. Where
    classes overlap, disagreement fades as the probabilities grow, and ``share = 0`` explains it;
    errors leave disagreement where the probabilities say there should be none. A share above 0 is
    claimed only if the model beats the prior, some rows are clear-cut and the likelihood gains.
    """
    n, k = proba.shape
    if n == 0 or k < 2:
        return Noise(0.0, proba)
    logs = np.log(np.maximum(proba, SMALLEST))
    prior = np.bincount(codes, minlength=k) / n
    log_prior = np.log(np.maximum(prior, 0.5 / n))
    evidence = logs - log_prior
    rows = np.arange(n)

    def certain():
        """Labels taken as they are."""
        posterior = np.zeros_like(proba)
        posterior[rows, codes] = 1.0
        return posterior

    def right(sharpness):
        return np.exp(log_softmax(log_prior + np.exp(sharpness) * evidence, axis=1))

    def fit(sharpness, share=None):
        given = right(sharpness)[rows, codes]
        share = _best_share(given, k) if share is None else share
        return _log_likelihood(given, share, k), share

    without = _maximum(lambda sharpness: fit(sharpness, 0.0)[0])
    tempered = np.log(np.maximum(right(without)[rows, codes], SMALLEST))
    gain = tempered - log_prior[codes]
    if not gain.mean() > 2.0 * gain.std() / np.sqrt(n) + 1e-9:
        note = (
            "The model predicts these labels no better than the class shares alone do "
            f"(leave-one-out log loss {-logs[rows, codes].mean():.3g}, of the shares "
            f"{-log_prior[codes].mean():.3g}), so nothing can be said about wrong labels and no change "
            "is suggested. Add columns that matter."
        )
        return Noise(0.0, certain(), (note,))
    best = _maximum(lambda sharpness: fit(sharpness)[0])
    likelihood, share = fit(best)
    q = right(best)
    surest = np.sort(q.max(axis=1))[-max(1, round(CLEAR_SHARE * n)) :]
    if likelihood - fit(without, 0.0)[0] < MIN_GAIN:
        return Noise(0.0, certain())
    if surest.mean() < CLEAR:
        note = (
            "No part of these rows is clear-cut for the model, so wrong labels cannot be told from "
            "overlapping classes and no change is suggested. The ranking still shows the most "
            "surprising rows."
        )
        return Noise(0.0, certain(), (note,))
    posterior = q * share / (k - 1)
    posterior[rows, codes] = q[rows, codes] * (1.0 - share)
    posterior /= np.maximum(posterior.sum(axis=1, keepdims=True), SMALLEST)
    return Noise(float(share), posterior)


def _maximum(function):
    """Maximiser on the range of sharpness; coarse grid first, as there may be two hills."""
    grid = np.linspace(*SHARPNESS, 15)
    at = int(np.argmax([function(point) for point in grid]))
    around = grid[max(0, at - 1)], grid[min(len(grid) - 1, at + 1)]
    found = minimize_scalar(
        lambda point: -function(point), bounds=around, method="bounded", options={"xatol": 1e-3}
    )
    return float(found.x) if -found.fun > function(grid[at]) else float(grid[at])


def _log_likelihood(given, share, k):
    labels = given * (1.0 - share) + (1.0 - given) * share / (k - 1)
    return float(np.log(np.maximum(labels, SMALLEST)).sum())


def _best_share(given, k):
    """The share of highest likelihood: concave, so bisection of its derivative."""
    slope = (1.0 - given) / (k - 1) - given
    low, high = 0.0, MAX_SHARE

    def rises(share):
        return (slope / np.maximum(given + share * slope, SMALLEST)).sum() > 0

    if not rises(0.0):
        return 0.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rises(middle) else (low, middle)
    return 0.5 * (low + high)
