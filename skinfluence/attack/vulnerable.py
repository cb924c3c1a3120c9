"""How far each training row could move each prediction within a box."""

from dataclasses import dataclass

import numpy as np

from skinfluence.attack.head import Box, Head, Targets
from skinfluence.utils.memory import check_fits, row_blocks


@dataclass(frozen=True, eq=False)
class Vulnerability:
    """How far each training row can move the margin of each test point, staying in its box.

    Attributes
    ----------
    change : ndarray of shape (n_test, n_train)
        Lowest change of the margin to first order; never positive.
    margin : ndarray of shape (n_test,)
        Decision value of the true class minus the largest other one. Where ``-change > margin`` a
        row is predicted to flip the test point alone.
    realised : ndarray of shape (n_test, n_train)
        Change of the margin when the row is moved to that corner of its box and the model is fitted
        again; NaN where it was not tried.
    """

    change: np.ndarray
    margin: np.ndarray
    realised: np.ndarray


def vulnerability(
    estimator,
    X,
    y,
    X_test,
    y_test,
    *,
    radius,
    low=None,
    high=None,
    sample_weight=None,
    realise=0,
):
    """How much each training row could move each prediction within a box.

    Parameters
    ----------
    estimator : classifier or Pipeline
        Fitted on X and y; it is not changed.
    X : ndarray of shape (n_train, ...)
    y : array-like of shape (n_train,)
    X_test : ndarray of shape (n_test, ...)
    y_test : array-like of shape (n_test,)
        True labels.
    radius, low, high
        The box, as in :class:`TrainingSetAttack`.
    sample_weight : array-like of shape (n_train,), default=None
    realise : int, default=0
        For each test point, move so many of its strongest rows and fit again.

    Returns
    -------
    vulnerability : Vulnerability

    Notes
    -----
    One gradient in the inputs for each pair, a block of rows at a time. The first order is a
    prediction, not a certificate: ``realise`` says how good it is.
    """
    head = Head(estimator, X, y, sample_weight)
    targets, box = Targets(head, X_test, y_test), Box(radius, low, high)
    n, m = len(head.X), len(targets.y)
    check_fits((2, m, n), "Ask for fewer test points.")
    gradients, margin = targets.margin_gradients(head), targets.margins(head)
    change, realised = np.empty((m, n)), np.full((m, n), np.nan)
    for block in row_blocks(n, 32 * m * head.inputs.n_raw_features):
        rows = np.arange(n)[block]
        slopes = head.input_gradients(rows, gradients)
        down, up = box.reach(head.X[rows])
        change[:, block] = np.minimum(slopes * up, slopes * down).reshape(m, len(rows), -1).sum(2)
    for t in range(m):
        for row in np.argsort(change[t], kind="stable")[:realise]:
            rows, was = np.array([row]), head.X[[row]]
            slope = head.input_gradients(rows, gradients[:, :, [t]])[0]
            corner = np.where(slope > 0, *box.of(was))
            realised[t, row] = head.moved(rows, corner, targets)[t] - margin[t]
    return Vulnerability(change, margin, realised)
