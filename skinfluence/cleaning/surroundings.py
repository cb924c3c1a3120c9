"""What the labels around a row say of its class beyond the model, where the model cannot follow the data."""

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import softmax

from skinfluence.cleaning.neighbours import nearest_rows
from skinfluence.cleaning.shapes import SMALLEST, TYPICAL_LOG_A, even_errors

# Rows around a row; of few rows in all a tenth, of fewer than the least none.
AROUND, SHARE_AROUND, LEAST_AROUND = 20, 0.1, 5
# Looked for among this many rows, a fixed sample of them, which also settle how much is heeded.
AMONG = 3000
# Spread of the prior of how much is heeded.
USUAL_HEED = 4.0


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
    return nearest_rows(X, np.arange(n), k, among=_sample(n))


def local_probabilities(proba, codes, around):
    """Leave-one-out probabilities, moved by what the labels around each row say beyond them.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Leave-one-out probabilities; NaN where there are none.
    codes : ndarray of int, shape (n_samples,)
        Positions of the given labels.
    around : ndarray of int, shape (n_samples, k) or None
        From :func:`surroundings`; None leaves the probabilities as they are.

    Returns
    -------
    moved : ndarray of shape (n_samples, n_classes)
        ``softmax(log p + c s)``, where ``s`` is the mean over the rows around of their labels minus
        their own leave-one-out probabilities.

    Notes
    -----
    A wrong label stands alone: the labels around it follow the model. Where the model cannot follow the
    data, the labels around a row leave it in the same direction, and what looks like an error is the
    model's. How much that is heeded, ``c`` from 0, is settled by the likelihood of the labels, beside
    sharpening, shifts and a share of errors of each class, with a normal prior of spread 4: about 0
    where the surroundings say nothing.
    """
    known = np.isfinite(proba).all(axis=1)
    if around is None or proba.shape[1] < 2 or known.sum() < 2:
        return proba
    logs = np.log(np.maximum(proba, SMALLEST))
    surplus = _surplus(proba, codes, known, around)
    rows = _sample(len(codes))
    rows = rows[known[rows]]
    c = _heed(logs[rows], codes[rows], surplus[rows])
    moved = proba.copy()
    moved[known] = softmax(logs[known] + c * surplus[known], axis=1)
    return moved


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


def _heed(logs, codes, surplus):
    """How much of what the surroundings say is heeded, per unit of the log probabilities."""
    n, k = logs.shape
    down = np.ascontiguousarray((logs - logs.max(axis=1, keepdims=True)).T)
    side = np.ascontiguousarray(surplus.T)

    def downhill(parameters):
        log_a, b, c, shares = np.split(parameters, [1, 1 + k, 2 + k])
        a = np.exp(log_a)
        q = softmax(a * down + b[:, None] + c * side, axis=0)
        value, moved, uphill = even_errors(q, codes, shares)
        value -= 0.5 * ((log_a[0] - TYPICAL_LOG_A) ** 2 + b @ b + (c[0] / USUAL_HEED) ** 2)
        slopes = [
            a * np.vdot(moved, down) - (log_a - TYPICAL_LOG_A),
            moved.sum(axis=1) - b,
            np.vdot(moved, side) - c / USUAL_HEED**2,
            uphill,
        ]
        return -value / n, -np.concatenate(slopes) / n

    start = np.concatenate([[TYPICAL_LOG_A], np.zeros(k + 1), np.full(k, 0.05)])
    bounds = [(-4.0, 4.0), *[(None, None)] * k, (0.0, None), *[(0.0, (k - 1) / k)] * k]
    options = {"maxiter": 300, "ftol": 1e-9, "gtol": 1e-6}
    found = minimize(downhill, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x[1 + k] / np.exp(found.x[0])
