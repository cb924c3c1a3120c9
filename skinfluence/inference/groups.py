"""Clusters of training rows."""

import numpy as np

from skinfluence._utils.influences import influence_of
from skinfluence._utils.rows import groups_of


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
    names, position = groups_of(groups, influence.objective.n_samples, influence.data.inputs.labels)
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
    return influence_of(influence, "Inference is about", with_offset=True)


def refuse_without_a_model(changes):
    """Refuse changes without a row, or group, that are not known.

    Raises
    ------
    ValueError
    """
    if np.isnan(changes).any():
        raise ValueError(
            "Deletions need a model without each row, or group. Got one that leaves none: it holds a "
            "class. Add rows of that class, or drop it."
        )
