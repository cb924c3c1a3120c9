"""The AUROC: a mean over pairs of test points of both classes."""

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from scipy.stats import rankdata

from skinfluence._utils.memory import row_blocks
from skinfluence.metrics.rows import check_temperature


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
    check_temperature(temperature)

    def function(eta, y):
        positive = np.asarray(y) == 1
        if anp.ndim(eta) != 1 or not (positive | (np.asarray(y) == 0)).all():
            raise ValueError("auroc needs a binary classifier, with one decision value per row.")
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


def _ranked_pairs(eta, positive):
    if np.isnan(eta).any():
        return np.nan
    low = np.sort(eta[~positive])
    high = eta[positive]
    # Of each one of the second class, those below it and half of those that are tied with it.
    above = low.searchsorted(high, "left").sum() + low.searchsorted(high, "right").sum()
    return above / (2 * len(high) * len(low))


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
