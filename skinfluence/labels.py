"""Class labels, as users have them and as losses want them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Labels:
    """How class labels become the loss's ``y``.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels, as in ``estimator.classes_``.
    targets : ndarray of shape (n_classes, ...)
        The loss's ``y`` of each class.
    class_weight : ndarray of shape (n_classes,)
        The factor on the sample weight of each class, at its fitted value.
    balanced : {"weights", "rows", "rows left"}, default=None
        What ``class_weight="balanced"`` counts: weights; rows, whatever they weigh; or those of them that
        have weight. None for factors that were given.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import objective_of
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array(["no", "yes", "yes"])
    >>> model = LogisticRegression(class_weight={"no": 2.0, "yes": 1.0}).fit(X, y)
    >>> labels = objective_of(model, X, y).labels
    >>> labels.classes, labels.targets, labels.class_weight
    (array(['no', 'yes'], dtype='<U3'), array([0, 1]), array([2., 1.]))
    """

    classes: np.ndarray
    targets: np.ndarray
    class_weight: np.ndarray
    balanced: str | None = None

    @classmethod
    def by_position(cls, classes):
        """Those of a loss whose y are positions of classes, none of which weighs more."""
        classes = np.asarray(classes)
        return cls(classes, np.arange(len(classes)), np.ones(len(classes)))

    def codes(self, y):
        """Positions of labels in ``classes``.

        Raises
        ------
        ValueError
            For a label the model was not fitted on.
        """
        y = np.asarray(y)
        if y.ndim != 1:
            raise ValueError(f"y must be one-dimensional. Got an array of shape {y.shape}.")
        found, known = self._positions(y)
        if not known.all():
            unseen = sorted({repr(label) for label in y[~known].tolist()})
            fitted = [repr(label) for label in self.classes.tolist()]
            raise ValueError(
                f"y must hold labels the model was fitted on, {_shown(fitted)}. Got "
                f"{_shown(unseen)} too. Drop those rows, or fit a model that knows the label."
            )
        return found

    def relabelled(self, label, y):
        """What rows with the loss's ``y`` would have with the class at position ``label``."""
        return np.broadcast_to(self.targets[label], (len(y), *self.targets.shape[1:]))

    def _positions(self, y):
        """Positions of labels, and which are known; integers of any type are compared exactly."""
        if y.dtype == self.classes.dtype and y.dtype != object:
            found = np.minimum(np.searchsorted(self.classes, y), len(self.classes) - 1)
            return found, self.classes[found] == y
        # numpy compares signed with unsigned integers, and integers with floats, as floats, where
        # labels above 2 ** 53 are the same.
        place = {label: k for k, label in enumerate(self.classes.tolist())}
        found = np.array([place.get(label, -1) for label in y.tolist()], dtype=np.intp)
        return np.maximum(found, 0), found >= 0

    def codes_of(self, y):
        """Positions of the classes from the loss's ``y``, the inverse of ``targets[codes]``."""
        if not len(y):
            return np.empty(0, dtype=np.intp)
        if self.targets.shape == (2,) and y.ndim == 1:
            return (y == self.targets[1]).astype(np.intp)
        equal = y.reshape(len(y), 1, -1) == self.targets.reshape(1, len(self.classes), -1)
        return equal.all(axis=2).argmax(axis=1)


def _shown(values, most=10):
    values = [str(value) for value in values]
    more = f", … ({len(values)} in all)" if len(values) > most else ""
    return "[" + ", ".join(values[:most]) + more + "]"
