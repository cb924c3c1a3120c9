"""Chances of the classes from decision values, for models that have no probabilities of their own."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax


def chances(decisions, codes, n_classes):
    """Probabilities fitted to leave-one-out decision values (Platt 1999).

    Parameters
    ----------
    decisions : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Of the second of two classes, or of each; NaN where there is none.
    codes : ndarray of int, shape (n_samples,)
        The given classes.
    n_classes : int

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        ``softmax(a f + b)``: one slope, not negative, and one shift for each class, by maximum
        likelihood with a prior of one row of each class at ``f = 0``.
    """
    f = decisions
    if f.ndim == 1:
        # Half each way: the softmax of two is the logistic function of the difference.
        f = np.column_stack([-f / 2, f / 2])
    known = np.isfinite(f).all(axis=1)
    spread = np.sqrt(np.mean((f[known] - f[known].mean(axis=1, keepdims=True)) ** 2)) or 1.0
    rows = np.concatenate([f[known] / spread, np.zeros((n_classes, n_classes))])
    targets = np.concatenate([np.eye(n_classes)[codes[known]], np.eye(n_classes)])

    def loss(theta):
        z = theta[0] * rows + theta[1:]
        step = softmax(z, axis=1) - targets
        value = -np.sum(targets * log_softmax(z, axis=1)) + 0.5e-6 * theta @ theta
        slopes = np.concatenate([[np.sum(step * rows)], step.sum(axis=0)])
        return value, slopes + 1e-6 * theta

    start = np.concatenate([[1.0], np.zeros(n_classes)])
    bounds = [(0.0, None), *[(None, None)] * n_classes]
    theta = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return softmax(theta[0] * f / spread + theta[1:], axis=1)
