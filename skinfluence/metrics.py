"""Quantities of a model to pass as ``of=``: what a metric would be without a row.

Each is a function of the decision values of all test points and of their classes (positions in
``classes_``) or targets, written in ``autograd.numpy`` so that it can be differentiated too. Some
are functions as they are (``of=margin``), the others are made for the question
(``of=auroc(temperature=0.1)``). One value per test point, or one for all.

Metrics that count (the AUROC, rates of decisions) move in steps. Their *temperature* T smooths
each step, ``[a > 0]``, into ``1 / (1 + exp(-a / T))``: the steps come back as T goes to 0, and
``temperature=0`` is the counting metric itself. Without temperature single rows mostly change
nothing; with one that is small beside the spread of the decision values they are ranked.

Effects are *after minus before*, so a positive effect on the AUROC or the margin means that the
row did harm, the other way round than for a loss.
"""

import numbers

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from scipy.stats import rankdata

from skinfluence._utils.memory import row_blocks

__all__ = [
    "auroc",
    "demographic_parity",
    "equal_opportunity",
    "log_loss",
    "log_odds",
    "margin",
    "mean_loss",
    "probability",
    "squared_error",
]

# One value per test point --------------------------------------------------------------------


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
    return lambda eta: _rate(eta, label, 1.0)


# One value for all of them ----------------------------------------------------------------------


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


def auroc(temperature):
    """Area under the ROC curve of a binary classifier, smoothed.

    The mean over all pairs of a test point of the second class and one of the first of
    ``1 / (1 + exp(-(eta_1 - eta_0) / T))``. It differs from the AUROC by at most the mean of
    ``1 / (1 + exp(|eta_1 - eta_0| / T))`` over the pairs that are not tied, and so tends to it,
    ties counted as one half, as T goes to 0.

    Parameters
    ----------
    temperature : float
        In units of the decision values; 0 for the AUROC itself.

    Returns
    -------
    function : callable
        ``function(eta, y)``, a scalar; y holds class positions.

    Notes
    -----
    O(n_0 n_1) for each edit, in blocks of pairs; O(n log n) with ``temperature=0``.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import auroc
    >>> eta, y = np.array([2.0, -1.0, 0.5, 1.0]), np.array([1, 0, 1, 0])
    >>> float(auroc(0)(eta, y)), round(float(auroc(0.5)(eta, y)), 3)
    (0.75, 0.775)
    """
    _check_temperature(temperature)

    def function(eta, y):
        if anp.ndim(eta) != 1 or not np.isin(y, (0, 1)).all():
            raise ValueError("auroc needs a binary classifier, with one decision value per row.")
        positive = np.asarray(y) == 1
        if positive.all() or not positive.any():
            raise ValueError("auroc needs test points of both classes. Got one class.")
        if temperature == 0:
            return _ranked_pairs(eta, positive)
        return _smooth_pairs(eta[positive], eta[~positive], temperature)

    def without_each(eta, y):
        function(eta, y)
        return _pairs_without_each(eta, np.asarray(y) == 1, temperature)

    function.without_each = without_each
    return function


def demographic_parity(groups, *, positive=1, temperature=1.0):
    """Largest minus smallest rate, over groups of test points, at which a class is predicted.

    The rate of a group is the mean over its rows of the probability of the class at a temperature
    T: ``sigmoid(eta / T)``, or the softmax of ``eta / T``. ``temperature=1``: of the predicted
    probability, for models whose probabilities are those of their decision values.
    ``temperature=0``: the share of rows given the class, the usual definition.

    Parameters
    ----------
    groups : array-like of shape (n_test,)
        A label for each test point.
    positive : int, default=1
        Position of the class in ``classes_``.
    temperature : float, default=1.0

    Returns
    -------
    function : callable
        ``function(eta)``, a scalar >= 0. A positive effect: the row kept the groups nearer.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import demographic_parity
    >>> eta, groups = np.array([2.0, -1.0, 0.5, 1.0]), ["a", "a", "b", "b"]
    >>> float(demographic_parity(groups, temperature=0)(eta))
    0.5
    """
    _check_temperature(temperature)
    names, group = _grouped(groups)
    options = {"positive": positive, "temperature": temperature}

    def function(eta):
        _check_groups(group, eta)
        rates = _rate(eta, positive, temperature)
        return _gap([anp.mean(rates[group == g]) for g in range(len(names))])

    return _taking(function, groups, lambda some: demographic_parity(some, **options))


def equal_opportunity(groups, *, positive=1, temperature=1.0):
    """Largest minus smallest true positive rate over groups of test points.

    As :func:`demographic_parity`, over the test points that are of the class.

    Parameters
    ----------
    groups : array-like of shape (n_test,)
    positive : int, default=1
    temperature : float, default=1.0

    Returns
    -------
    function : callable
        ``function(eta, y)``, a scalar >= 0; y holds class positions.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import equal_opportunity
    >>> eta, y, groups = np.array([2.0, -1.0, 0.5, 1.0]), np.array([1, 1, 1, 0]), ["a", "a", "b", "b"]
    >>> float(equal_opportunity(groups, temperature=0)(eta, y))
    0.5
    """
    _check_temperature(temperature)
    names, group = _grouped(groups)
    options = {"positive": positive, "temperature": temperature}

    def function(eta, y):
        _check_groups(group, eta)
        members = [(group == g) & (np.asarray(y) == positive) for g in range(len(names))]
        empty = [name for name, rows in zip(names, members, strict=True) if not rows.any()]
        if empty:
            raise ValueError(
                f"Each group must have test points of class {positive}. Group {empty[0]} has "
                "none; leave its rows out."
            )
        rates = _rate(eta, positive, temperature)
        return _gap([anp.mean(rates[rows]) for rows in members])

    return _taking(function, groups, lambda some: equal_opportunity(some, **options))


# Plumbing ---------------------------------------------------------------------------------------


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


def _rate(eta, label, temperature):
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


def _gap(rates):
    rates = anp.stack(rates)
    return anp.max(rates) - anp.min(rates)


def _ranked_pairs(eta, positive):
    if np.isnan(eta).any():
        return np.nan
    count = positive.sum()
    above = rankdata(eta)[positive].sum() - count * (count + 1) / 2
    return above / (count * (len(eta) - count))


def _pair_blocks(high, low):
    return row_blocks(len(high), 24 * len(low), budget=2**21)


@primitive
def _smooth_pairs(high, low, temperature):
    """Mean of ``sigmoid((high_i - low_j) / T)`` over all pairs."""
    blocks = _pair_blocks(high, low)
    total = sum(_won(high[block], low, temperature).sum() for block in blocks)
    return total / (len(high) * len(low))


def _won(high, low, temperature):
    """``sigmoid((high_i - low_j) / T)`` of all pairs."""
    if max(high.max(), low.max()) - min(high.min(), low.min()) > 600.0 * temperature:
        return 0.5 + 0.5 * np.tanh((high[:, None] - low) * (0.5 / temperature))
    # The exponential of a difference is a product, which cannot overflow over this range: one
    # exponential for each point in the place of one for each pair.
    centre = low.mean()
    losing = np.exp((centre - high) / temperature)[:, None] * np.exp((low - centre) / temperature)
    losing += 1.0
    return np.reciprocal(losing, out=losing)


def _pair_slopes(high, low, temperature):
    """Derivatives of :func:`_smooth_pairs` in both sides."""
    up, down = np.empty(len(high)), np.zeros(len(low))
    for block in _pair_blocks(high, low):
        won = _won(high[block], low, temperature)
        slopes = won * (1.0 - won)
        up[block] = slopes.sum(axis=1)
        down -= slopes.sum(axis=0)
    scale = temperature * len(high) * len(low)
    return up / scale, down / scale


defvjp(
    _smooth_pairs,
    lambda _, high, low, T: lambda g: g * _pair_slopes(high, low, T)[0],
    lambda _, high, low, T: lambda g: g * _pair_slopes(high, low, T)[1],
    argnums=(0, 1),
)


def _pairs_without_each(eta, positive, temperature):
    """The mean over pairs without each point, from what its own pairs add to the sum."""
    high, low = eta[positive], eta[~positive]
    if min(len(high), len(low)) < 2:
        raise ValueError(
            "Each class must have two test points, so that one is left without any of them. Got "
            f"{len(high)} of the second class and {len(low)} of the first."
        )
    if temperature == 0:
        # Below it, ties by half: ranks among all less those among its own.
        own = np.empty(len(eta))
        own[positive] = rankdata(eta)[positive] - rankdata(high)
        own[~positive] = len(high) - (rankdata(eta)[~positive] - rankdata(low))
    else:
        own = np.zeros(len(eta))
        up, down = np.empty(len(high)), np.zeros(len(low))
        for block in _pair_blocks(high, low):
            won = _won(high[block], low, temperature)
            up[block] = won.sum(axis=1)
            down += won.sum(axis=0)
        own[positive], own[~positive] = up, down
    pairs = np.where(positive, (len(high) - 1) * len(low), len(high) * (len(low) - 1))
    return (own[positive].sum() - own) / pairs


def _taking(function, groups, again):
    """A metric of groups that can be made for some of the test points."""

    def take(some, n):
        return again(np.asarray(groups)[some])

    function.take = take
    return function


def _grouped(groups):
    groups = np.asarray(groups)
    if groups.ndim != 1:
        raise ValueError(f"groups must hold one label per test point. Got shape {groups.shape}.")
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"groups must hold at least two groups. Got {names.tolist()}.")
    return names, group


def _check_groups(group, eta):
    if len(group) != len(eta):
        raise ValueError(
            f"groups must hold one label per test point, {len(eta)}. Got {len(group)}."
        )


def _check_temperature(temperature):
    if not (isinstance(temperature, numbers.Real) and 0 <= temperature < np.inf):
        raise ValueError(f"temperature must be a number >= 0. Got {temperature!r}.")
