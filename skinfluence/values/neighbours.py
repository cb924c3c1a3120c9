"""Shapley values of the rows of a nearest neighbours classifier: exact, by one sort for each test point.

In a set of rows the k nearest to a point vote, each with 1/k, be they fewer than k. Between rows that are
neighbours in the order of their distances only sets differ in which at most k - 1 nearer rows are, so that
values follow from each other, from the farthest row on.
"""

import numpy as np

from skinfluence._utils.memory import row_blocks


def neighbour_shapley(influence, X, y):
    """Shapley values of training rows for the share of votes that test points' own labels get.

    Parameters
    ----------
    influence : Influence
        Of a KNeighborsClassifier with uniform votes.
    X : array-like of shape (n_test, n_features)
    y : array-like of shape (n_test,)

    Returns
    -------
    values : ndarray of shape (n_train,)
        Means over the test points.
    empty, full : float
        Utilities of no row and of all.

    Raises
    ------
    ValueError
        For votes that are weighed by distance.

    References
    ----------
    .. [1] R. Jia et al., "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms",
       PVLDB 12(11), 2019.
    """
    family = influence.answers.family
    if family.voting != "uniform":
        raise ValueError(
            f"Values of neighbours are known for uniform votes. Got weights={family.voting!r}; fit with "
            "weights='uniform'."
        )
    tests = influence.data.tests(X, y)
    n, m, k = len(family.codes), tests.design.n_samples, family.k
    place = np.arange(1, n)
    share = np.minimum(k, place) / place / k
    values, votes = np.zeros(n), 0.0
    for block in row_blocks(m, 40 * n):
        order = family.found.kneighbors(tests.design.X[block], n, return_distance=False)
        hits = (family.codes[order] == tests.y[block, None]).astype(float)
        votes += hits[:, :k].sum() / k
        steps = (hits[:, :-1] - hits[:, 1:]) * share
        last = hits[:, -1:] / n
        found = np.cumsum(np.concatenate([last, steps[:, ::-1]], axis=1), axis=1)[:, ::-1]
        np.add.at(values, order, found)
    held = influence.objective.held
    if held is not None:
        # Rows that earlier edits removed are worth nothing.
        found, values = values, np.zeros(influence.objective.n_samples)
        values[held] = found
    return values / m, -1.0, votes / m - 1.0
