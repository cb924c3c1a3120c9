"""Chances of the classes from decision values, for models that have no probabilities of their own."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from skinfluence.cleaning.likelihood import even_errors

# Of a class: with more it could swap its name with another.
MOST_ERRORS = 0.8


def chances(decisions, codes, n_classes):
    """Probabilities fitted to leave-one-out decision values (Platt 1999).

    Parameters
    ----------
    decisions : ndarray of shape (n_samples, 1) or (n_samples, n_classes)
        Of the second of two classes, or of each; NaN where there is none.
    codes : ndarray of int, shape (n_samples,)
        The given classes.
    n_classes : int

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        ``q = softmax(a f + b)``: one slope, not negative, and one shift for each class, by maximum
        likelihood with a prior of one row of each class at ``f = 0``.

    Notes
    -----
    The labels are explained as ``(1 - e) q + e / n_classes``, with a share ``e`` of errors for each
    true class where those earn their price in likelihood: without them a few wrong labels far from the
    border would flatten the slope for all rows, and no error could be told from overlap any more.
    """
    f = decisions
    if f.shape[1] == 1:
        # Half each way: the softmax of two is the logistic function of the difference.
        f = np.column_stack([-f[:, 0] / 2, f[:, 0] / 2])
    known = np.isfinite(f).all(axis=1)
    spread = np.sqrt(np.mean((f[known] - f[known].mean(axis=1, keepdims=True)) ** 2)) or 1.0
    # The prior: one row of each class at 0.
    rows = np.concatenate([f[known] / spread, np.zeros((n_classes, n_classes))]).T
    given = np.concatenate([codes[known], np.arange(n_classes)])
    # Of errors that go to all classes evenly, so many go to the others.
    others = (n_classes - 1) / n_classes

    def loss(theta):
        a, b, e = theta[0], theta[1 : 1 + n_classes], theta[1 + n_classes :]
        q = softmax(a * rows + b[:, None], axis=0)
        value, slopes, uphill = even_errors(q, given, others * e)
        # Of one row the slopes are 1 in the mean over its chances.
        moved = q * (slopes - 1.0)
        ascent = np.concatenate([[np.vdot(moved, rows)], moved.sum(axis=1), others * uphill])
        return 0.5e-6 * theta @ theta - value, 1e-6 * theta - ascent

    start = np.concatenate([[1.0], np.zeros(n_classes)])
    free, none = [(0.0, None), *[(None, None)] * n_classes], [(0.0, 0.0)] * n_classes
    some = [(0.0, MOST_ERRORS)] * n_classes
    plain, errors = (
        minimize(
            loss, np.append(start, [e] * n_classes), jac=True, method="L-BFGS-B", bounds=bounds
        )
        for e, bounds in ((0.0, free + none), (0.05, free + some))
    )
    # Errors earn their price, half the logarithm of the rows for each share, or there are none.
    gain = plain.fun - errors.fun - 0.5 * n_classes * np.log(max(known.sum(), 1))
    theta = errors.x if gain > 0 else plain.x
    return softmax(theta[0] * f / spread + theta[1 : 1 + n_classes], axis=1)
