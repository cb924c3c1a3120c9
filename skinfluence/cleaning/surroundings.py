"""What the labels around a row say of its class beyond the model, where the model cannot follow the data."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import softmax

from skinfluence.cleaning.likelihood import SMALLEST, TYPICAL_LOG_A, LabelLikelihood
from skinfluence.cleaning.neighbours import nearest_rows
from skinfluence.cleaning.shapes import Kinds
from skinfluence.cleaning.uphill import highest

# Rows around a row; of few rows in all a tenth, of fewer than the least none.
AROUND, SHARE_AROUND, LEAST_AROUND = 20, 0.1, 5
# Looked for among this many rows, a fixed sample of them, which also settle how much is heeded.
AMONG = 3000
# The labels around a row, as chances of its class: sharpened, because there are errors among them too,
# beside one row more that knows only how large the classes are.
SHARPENED, ONE_MORE = 1.5, 1.0
# Of these chances in the mixture, at most.
MOST_OF_VOTES = 0.95
# Of what the labels around move, as much is wrong after it; and so much where there are none around.
MOVED, UNSEEN = 0.5, 0.15


@dataclass(frozen=True)
class Heed:
    """How much is made of the labels around the rows.

    Attributes
    ----------
    moved : float
        By how much a log probability is moved for a row more than expected of each one around.
    votes : float
        The share in the mixture of what the labels around say by themselves.
    sharpness : float
        The power of the probabilities at which they are mixed.
    """

    moved: float
    votes: float
    sharpness: float


def surroundings(X):
    """The rows around each row, as the model sees them.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        What the last step of the pipeline is given.

    Returns
    -------
    around : ndarray of int, shape (n_samples, k) or None
        The 20 nearest rows of up to 3,000; a tenth of the rows where that is less. None where rows are
        fewer than fifty, not in memory, or no more than their columns: a linear model of so many
        columns can follow any data.
    """
    if not (isinstance(X, np.ndarray) or sparse.issparse(X)) or X.ndim != 2:
        return None
    n, width = X.shape
    k = min(AROUND, int(SHARE_AROUND * n))
    if k < LEAST_AROUND or width >= n:
        return None
    return nearest_rows(X, np.arange(n), k, among=_sample(n), dtype=np.float32)


def local_probabilities(proba, codes, around, heed=None):
    """Leave-one-out probabilities, with what the labels around each row say beyond them.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Leave-one-out probabilities; NaN where there are none.
    codes : ndarray of int, shape (n_samples,)
        Positions of the given labels.
    around : ndarray of int, shape (n_samples, k) or None
        From :func:`surroundings`; None leaves the probabilities as they are.
    heed : Heed, default=None
        Settled before, on much the same probabilities. Settled here by default.

    Returns
    -------
    local : ndarray of shape (n_samples, n_classes)
        ``(1 - v) softmax(log p + c s) + v f``, where ``s`` is the mean over the rows around of their
        labels minus their own leave-one-out probabilities, and ``f`` the shares of the labels around,
        the nearest counted most; mixed at the sharpness of the likelihood.

    Notes
    -----
    A wrong label stands alone: the labels around it follow the model. Where the model cannot follow the
    data, the labels around a row leave it in the same direction, and what looks like an error is the
    model's. How far the model is moved, ``c`` from 0, is settled by the likelihood of the labels, beside
    sharpening, shifts and a share of errors of each class, with a normal prior of spread 4: about 0
    where the surroundings say nothing. Where the model is sure and wrong nothing moves it far enough: the
    votes of the rows around are mixed in where that adds more than the logarithm of the rows to the log
    likelihood.
    """
    known = _told(proba, around)
    if known is None:
        return proba
    heed = heeded(proba, codes, around) if heed is None else heed
    logs = np.log(np.maximum(proba[known], SMALLEST))
    local = proba.copy()
    moved = softmax(logs + heed.moved * _surplus(proba, codes, known, around)[known], axis=1)
    if heed.votes:
        sharp = softmax(heed.sharpness * np.log(np.maximum(moved, SMALLEST)), axis=1)
        votes = _votes(codes, known, around, proba.shape[1])[known]
        mixed = (1.0 - heed.votes) * sharp + heed.votes * votes
        moved = softmax(np.log(np.maximum(mixed, SMALLEST)) / heed.sharpness, axis=1)
    local[known] = moved
    return local


def misfit(proba, local, around):
    """How far the model is wrong about rows, by what the labels around say beyond it.

    Parameters
    ----------
    proba, local : ndarray of shape (n_samples, n_classes)
        Leave-one-out probabilities, without and with the labels around each row.
    around : ndarray or None
        From :func:`surroundings`.

    Returns
    -------
    misfit : float
        Half the mean total variation between the two; 0.15 where there are no rows around to tell.
    """
    if around is None:
        return UNSEEN
    return MOVED * float(0.5 * np.abs(local - proba).sum(axis=1).mean()) if len(proba) else 0.0


def heeded(proba, codes, around):
    """How much is made of the labels around rows; parameters as in :func:`local_probabilities`."""
    known = _told(proba, around)
    if known is None:
        return Heed(0.0, 0.0, 1.0)
    rows = _sample(len(codes))
    rows = rows[known[rows]]
    likelihood = LabelLikelihood(
        np.log(np.maximum(proba[rows], SMALLEST)),
        codes[rows],
        _surplus(proba, codes, known, around)[rows],
        _votes(codes, known, around, proba.shape[1])[rows],
    )
    without, value = _most_likely(likelihood, 0.0)
    mixed, more = _most_likely(likelihood, MOST_OF_VOTES)
    return mixed if more - value > np.log(len(rows)) else without


def _told(proba, around):
    """Rows that have probabilities, a mask; None where the labels around can say nothing of them."""
    known = np.isfinite(proba).all(axis=1)
    return None if around is None or proba.shape[1] < 2 or known.sum() < 2 else known


def _sample(n):
    return np.sort(np.random.RandomState(0).permutation(n)[:AMONG])


def _surplus(proba, codes, known, around):
    """By how much the labels around a row outnumber what the model expects there."""
    beyond = np.where(known[:, None], -proba, 0.0)
    beyond[known, codes[known]] += 1.0
    total = np.zeros_like(beyond)
    for j in range(around.shape[1]):
        total += beyond[around[:, j]]
    return total / np.maximum(known[around].sum(axis=1), 1)[:, None]


def _votes(codes, known, around, n_classes):
    """Chances of the classes by the labels around each row alone, the nearest counted most."""
    labels = np.zeros((len(codes), n_classes))
    labels[known, codes[known]] = 1.0
    k = around.shape[1]
    shares = np.tile(
        ONE_MORE * np.bincount(codes, minlength=n_classes) / len(codes), (len(codes), 1)
    )
    for j in range(k):
        shares += (2.0 - (2 * j + 1) / k) * labels[around[:, j]]
    shares **= SHARPENED
    return shares / shares.sum(axis=1, keepdims=True)


def _most_likely(likelihood, most):
    """The heed of highest likelihood with at most so large a share of votes, and its log likelihood.

    Errors of each class go evenly to the others, in a share of its own.
    """
    k = likelihood.k
    kinds, free = Kinds.of([("true", i) for i in range(k)], k), np.full(k, np.inf)
    start = np.concatenate([[TYPICAL_LOG_A], np.zeros(k + 1), [min(0.1, most)], np.full(k, 0.05)])
    low = np.concatenate([[-4.0], -free, [0.0, 0.0], np.zeros(k)])
    high = np.concatenate([[4.0], free, [np.inf, most], np.full(k, (k - 1) / k)])
    found, value = highest(lambda at: likelihood.parts(at, kinds), start, low, high)
    a, c, v = np.exp(found[0]), found[1 + k], found[2 + k]
    return Heed(float(c / a), float(v), float(a)), value * likelihood.n
