"""Clusters of training rows."""

import numpy as np

from skinfluence._utils.influences import influence_of
from skinfluence._utils.rows import check_aligned


def grouped(influence, groups):
    """Names of the groups and the position of each training row's, checked.

    Parameters
    ----------
    influence : Influence
    groups : array-like of shape (n_train,)

    Raises
    ------
    ValueError
        For another length, labels that cannot be sorted, or less than two groups.
    """
    check_aligned(groups, influence._inputs.labels, "groups")
    groups, n = np.asarray(groups), influence.objective.n_samples
    if groups.shape != (n,):
        raise ValueError(
            f"groups must hold one label per training row, {n}. Got an array of shape {groups.shape}."
        )
    try:
        names, position = np.unique(groups, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            "groups must hold labels that can be sorted, all of one type. Got a mixture; fill missing "
            "labels and convert with astype(str)."
        ) from error
    used = np.unique(position[influence.objective.weights > 0])
    if len(used) < 2:
        raise ValueError(
            "groups must name at least two groups with rows of positive weight. Got "
            f"{names[used].tolist()}."
        )
    # Groups whose rows all weigh nothing are no clusters of the sample.
    place = np.full(len(names), -1)
    place[used] = np.arange(len(used))
    return names[used], place[position]


def held(influence):
    """The Influence itself, or that of an estimator which holds its training data.

    Raises
    ------
    TypeError
        For anything else.
    """
    return influence_of(influence, "Inference is about")
