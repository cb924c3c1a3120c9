"""Stacks of models that are held: what these say is a step, and the last model one of that."""

import numpy as np
from sklearn.frozen import FrozenEstimator

from skinfluence.inputs.held import Held


class Stacked(Held):
    """What the models of a fitted stack say of rows, as features; they are held, and it learns nothing.

    Parameters
    ----------
    estimator : StackingClassifier or StackingRegressor
        Fitted.
    """

    def transform(self, X):
        """The features of the last model, (n_rows, n_features)."""
        return self.estimator.transform(X)


def stacks_held(stack):
    """Whether nothing but the last model of a fitted stack learned from its rows.

    Parameters
    ----------
    stack : StackingClassifier or StackingRegressor
        Fitted or not. The last model of a classifier has positions of classes for labels: they must be the
        labels.
    """
    if not hasattr(stack, "final_estimator_"):
        return False
    if not all(isinstance(one, FrozenEstimator) for one in stack.estimators_):
        return False
    classes = getattr(stack, "classes_", None)
    return classes is None or np.array_equal(classes, np.arange(len(classes)))
