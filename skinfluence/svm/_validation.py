"""What both support vector machines ask of their training data."""

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from skinfluence._utils.validation import check_squares, refuse_masked


def check_classification(estimator, X, y, sample_weight=None):
    """Rows and labels of a classifier that needs two classes.

    Raises
    ------
    ValueError
        For targets that are no labels, or of fewer than two classes, and for features whose products
        overflow.
    """
    refuse_masked(X=X, y=y, sample_weight=sample_weight)
    X, y = validate_data(estimator, X, y, accept_sparse="csr", dtype=np.float64, order="C")
    check_squares(X)
    check_classification_targets(y)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs samples of at least 2 classes. Got one class: "
            f"{classes[0]!r}."
        )
    return X, y
