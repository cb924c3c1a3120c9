"""Gaps between groups of test points."""

import autograd.numpy as anp
import numpy as np

from skinfluence.metrics.rows import check_temperature, rate_of


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
    check_temperature(temperature)
    names, group = _grouped(groups)
    options = {"positive": positive, "temperature": temperature}

    def function(eta):
        _check_groups(group, eta)
        rates = rate_of(eta, positive, temperature)
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
    check_temperature(temperature)
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
        rates = rate_of(eta, positive, temperature)
        return _gap([anp.mean(rates[rows]) for rows in members])

    return _taking(function, groups, lambda some: equal_opportunity(some, **options))


def _gap(rates):
    rates = anp.stack(rates)
    return anp.max(rates) - anp.min(rates)


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
