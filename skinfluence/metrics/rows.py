"""Quantities with one value per test point, and their mean."""

import numbers

import autograd.numpy as anp
import numpy as np


def margin(eta, y):
    """How far each test point is on its own side of the decision.

    Parameters
    ----------
    eta : ndarray of shape (n_test,) or (n_test, n_classes)
        Decision values.
    y : ndarray of shape (n_test,)
        Class positions.

    Returns
    -------
    margin : ndarray of shape (n_test,)
        ``eta`` of the own class minus the largest other one; for two classes ``eta``, or minus it
        for the first. Negative where the prediction is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import margin
    >>> margin(np.array([2.0, -1.0, 0.5]), np.array([1, 1, 0]))
    array([ 2. , -1. , -0.5])
    >>> margin(np.array([[2.0, 1.0, 0.0]]), np.array([1]))
    array([-1.])
    """
    scores, own = _scores(eta, y, "margin")
    return anp.sum(scores * own, axis=1) - anp.max(anp.where(own, -np.inf, scores), axis=1)


def log_odds(eta, y):
    """Log odds of the own class of each test point, ``log p / (1 - p)``.

    For models whose probabilities are the softmax, or the sigmoid, of their decision values. The
    smooth form of :func:`margin`.

    Parameters
    ----------
    eta, y
        As in :func:`margin`.

    Returns
    -------
    values : array of shape (n_test,)

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import log_odds
    >>> log_odds(np.array([2.0, -1.0, 0.5]), np.array([1, 1, 0]))
    array([ 2. , -1. , -0.5])
    """
    scores, own = _scores(eta, y, "log_odds")
    return anp.sum(scores * own, axis=1) - _log_sum(anp.where(own, -np.inf, scores))


def log_loss(eta, y):
    """Minus the log probability of the own class of each test point.

    For models whose probabilities are the softmax, or the sigmoid, of their decision values.

    Parameters
    ----------
    eta, y
        As in :func:`margin`.

    Returns
    -------
    values : array of shape (n_test,)

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import log_loss
    >>> log_loss(np.array([2.0, -1.0, 0.5]), np.array([1, 1, 0])).round(3)
    array([0.127, 1.313, 0.974])
    """
    scores, own = _scores(eta, y, "log_loss")
    return _log_sum(scores) - anp.sum(scores * own, axis=1)


def squared_error(eta, y):
    """``(eta - y)^2`` of each test point of a regression whose prediction is ``eta``.

    Parameters
    ----------
    eta, y : array of shape (n_test,)

    Returns
    -------
    values : array of shape (n_test,)

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import squared_error
    >>> squared_error(np.array([1.0, 2.5]), np.array([1.5, 2.0]))
    array([0.25, 0.25])
    """
    if anp.ndim(eta) != 1:
        raise ValueError(f"squared_error needs one decision value per row. Got {anp.shape(eta)}.")
    return (eta - y) ** 2


def probability(label):
    """Probability of one class at each test point.

    For models whose probabilities are the softmax, or the sigmoid, of their decision values.

    Parameters
    ----------
    label : int
        Position of the class in ``classes_``.

    Returns
    -------
    function : callable
        ``function(eta)``: (n_test,) or (n_test, n_classes) to (n_test,).

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import probability
    >>> probability(1)(np.array([2.0, 0.0])).round(3)
    array([0.881, 0.5  ])
    """
    return lambda eta: rate_of(eta, label, 1.0)


def mean_loss(rows=None, loss=log_loss):
    """Mean of a loss, or of anything else per test point, over a slice of the test points.

    Parameters
    ----------
    rows : array-like of int or bool, or slice, default=None
        The slice; all test points when None.
    loss : callable, default=log_loss
        ``loss(eta, y)`` with one value per test point.

    Returns
    -------
    function : callable
        ``function(eta, y)``, a scalar.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import mean_loss
    >>> eta, y = np.array([2.0, -1.0, 0.5]), np.array([1, 1, 0])
    >>> round(float(mean_loss([0, 1])(eta, y)), 3)
    0.72
    """
    if not callable(loss):
        raise TypeError(f"loss must be a function of (eta, y). Got {loss!r}.")
    if hasattr(rows, "get_indexer"):
        raise TypeError(
            "rows must be positions of test points, a mask or a slice. Got a pandas Index, whose "
            "values may be labels; pass X_test.index.isin(labels), a mask."
        )
    chosen = slice(None) if rows is None else rows
    if not isinstance(chosen, slice):
        chosen = np.asarray(rows, dtype=None if len(rows) else np.intp)

    def function(eta, y):
        part, target = eta[chosen], np.asarray(y)[chosen]
        if not len(target):
            raise ValueError("rows must hold at least one test point. Got none.")
        return anp.mean(loss(part, target))

    def take(some, n):
        return mean_loss(np.bincount(np.arange(n)[chosen], minlength=n)[some] > 0, loss)

    function.take = take
    return function


def _scores(eta, y, name):
    """Decision values as (n_test, n_classes), (0, eta) for two classes, and a mask of the own."""
    if y is None or not np.issubdtype(np.asarray(y).dtype, np.integer):
        raise ValueError(f"{name} needs a classifier: y must hold class positions.")
    scores = _per_class(eta)
    return scores, np.asarray(y)[:, None] == np.arange(scores.shape[1])


def _per_class(eta):
    return anp.stack([0.0 * eta, eta], axis=1) if anp.ndim(eta) == 1 else eta


def _log_sum(scores):
    """``log sum exp`` of each row, without overflow."""
    largest = anp.max(scores, axis=1)
    return largest + anp.log(anp.sum(anp.exp(scores - largest[:, None]), axis=1))


def rate_of(eta, label, temperature):
    """Probability of a class at a temperature; whether it is decided for, at 0."""
    scores = _per_class(eta)
    if not (isinstance(label, numbers.Integral) and 0 <= label < scores.shape[1]):
        raise ValueError(
            f"A class is given by its position in classes_, below {scores.shape[1]}. Got {label!r}."
        )
    if temperature > 0:
        return anp.exp(scores[:, label] / temperature - _log_sum(scores / temperature))
    decided = (np.argmax(scores, axis=1) == label).astype(float)
    # An edit without an answer decides nothing.
    return np.where(np.isnan(scores).any(axis=1), np.nan, decided)


def check_temperature(temperature):
    if not (isinstance(temperature, numbers.Real) and 0 <= temperature < np.inf):
        got = f"{temperature!r}."
        if hasattr(temperature, "shape"):
            got = "an array: a metric is made with its temperature first, as auroc(0) is."
        raise ValueError(f"temperature must be a number >= 0. Got {got}")
