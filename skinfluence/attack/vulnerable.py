"""How far each training row could move each prediction within a box."""

from dataclasses import dataclass

import numpy as np

from skinfluence._utils.memory import check_fits, row_blocks
from skinfluence.attack.heads import checked_rows, head_of
from skinfluence.attack.targets import Box, Targets


@dataclass(frozen=True, eq=False)
class Vulnerability:
    """How far each training row can move the margin of each test point, staying in its box.

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        The training rows looked at.
    change : ndarray of shape (n_test, n_rows)
        Lowest change of the margin to first order; never positive.
    margin : ndarray of shape (n_test,)
        Decision value of the true class minus the largest other one. Where ``-change > margin`` a
        row is predicted to flip the test point alone.
    realised : ndarray of shape (n_test, n_rows)
        Change of the margin when the row is moved to that corner of its box and the model is fitted
        again; NaN where it was not tried.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.attack import vulnerability
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> X, model = X / 16, LogisticRegression(C=0.1).fit(X[:100] / 16, y[:100])
    >>> found = vulnerability(model, X[:100], y[:100], X[150:151], y[150:151], radius=0.1)
    >>> bool((-found.change < found.margin).all())  # no row turns it alone
    True
    """

    rows: np.ndarray
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
    rows=None,
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
    rows : array-like of int or of bool, default=None
        The training rows to look at; all when None.
    realise : int, default=0
        For each test point, move so many of its strongest rows and fit again.

    Returns
    -------
    vulnerability : Vulnerability

    Notes
    -----
    One gradient in the inputs for each pair, a block of rows at a time. The first order is a
    prediction, not a certificate: ``realise`` says how good it is.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.attack import vulnerability
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> X, model = X / 16, LogisticRegression(C=0.1).fit(X[:100] / 16, y[:100])
    >>> found = vulnerability(model, X[:100], y[:100], X[150:152], y[150:152], radius=0.1)
    >>> found.change.shape, bool((found.change <= 0).all())
    ((2, 100), True)
    """
    head = head_of(estimator, X, y, sample_weight)
    targets, box = Targets(head, X_test, y_test), Box(radius, low, high)
    rows = np.arange(len(head.X)) if rows is None else checked_rows(rows, head)
    n, m = len(rows), len(targets.y)
    check_fits((2, m, n), "Ask for fewer test points.")
    directions, margin = targets.margin_directions(head), targets.margins(head)
    change, realised = np.empty((m, n)), np.full((m, n), np.nan)
    for block in row_blocks(n, 32 * m * head.inputs.n_raw_features):
        slopes = head.input_gradients(rows[block], directions)
        down, up = box.reach(head.X[rows[block]])
        lowest = np.minimum(slopes * up, slopes * down)
        change[:, block] = lowest.reshape(m, len(up), -1).sum(2)
    for t in range(m):
        alone = targets.only(t).margin_directions(head)
        for i in np.argsort(change[t], kind="stable")[:realise]:
            row = rows[[i]]
            slope = head.input_gradients(row, alone)[0]
            corner = np.where(slope > 0, *box.of(head.X[row]))
            realised[t, i] = head.moved(row, corner, targets)[t] - margin[t]
    return Vulnerability(rows, change, margin, realised)
