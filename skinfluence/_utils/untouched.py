"""Transformers that may write into what they are given, and copies for them to write into."""

import copy

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.alone import is_own_function

# Of scikit-learn's estimators: with False they compute in place.
IN_PLACE = ("copy", "copy_X", "copy_x")
# Whose estimators write into their input only where a parameter says so.
KNOWN = ("sklearn", "skinfluence")


def may_write(estimator):
    """Whether an estimator, or one inside it, may change the X it is given.

    True for ``copy=False`` and for classes and functions that nothing is known of.
    """
    if not hasattr(estimator, "get_params"):
        return True
    params = estimator.get_params(deep=True)
    inside = [value for value in params.values() if hasattr(value, "transform")]
    return any(_writes(one) for one in [estimator, *inside])


def _writes(one):
    if isinstance(one, type):
        return False
    if type(one).__module__.partition(".")[0] not in KNOWN or not hasattr(one, "get_params"):
        return True
    params = one.get_params(deep=False)
    if is_own_function(one):
        return True
    return any(params.get(name) is False for name in IN_PLACE)


def untouched(X, *estimators):
    """X, or a copy of it if one of the estimators may write into it."""
    if not any(may_write(one) for one in estimators):
        return X
    if hasattr(X, "iloc") or sp.issparse(X):
        return X.copy()
    if isinstance(X, np.ndarray):
        return np.array(X)
    return X.clone() if hasattr(X, "clone") else copy.deepcopy(X)


def fitted_to(transformer, X, y):
    """What a step gives of the rows that it is fitted on; frozen ones have no ``fit_transform``."""
    if hasattr(transformer, "fit_transform"):
        return transformer.fit_transform(X, y)
    return transformer.fit(X, y).transform(X)


def transformed(transformers, X):
    """What a chain of fitted transformers makes of X, which stays as it is."""
    X = untouched(X, *transformers)
    for transformer in transformers:
        X = transformer.transform(X)
    return X
