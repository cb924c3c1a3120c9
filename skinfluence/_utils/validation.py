"""Checks of what users pass, whichever room it is passed to."""

import copy

import numpy as np
import scipy.sparse as sp
from sklearn.utils import column_or_1d

# Sums of products of features up to here leave room for products with weights.
LARGEST_PRODUCT = 1e300


def check_sample_weight(sample_weight, n_samples):
    """Sample weights as float64, ones when None.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,), float or None
    n_samples : int

    Returns
    -------
    sample_weight : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If they are not one finite non-negative number per row, or all zero.

    Examples
    --------
    >>> from skinfluence.utils.validation import check_sample_weight
    >>> check_sample_weight(None, 3)
    array([1., 1., 1.])
    >>> check_sample_weight([1, 2, 0], 3)
    array([1., 2., 0.])
    """
    if sample_weight is None:
        return np.ones(n_samples)
    refuse_masked(sample_weight=sample_weight)
    if np.ndim(sample_weight) == 0:
        weights = np.full(n_samples, float(sample_weight))
    else:
        weights = np.array(sample_weight, dtype=np.float64)
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have one entry per row, ({n_samples},). Got {weights.shape}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
        raise ValueError(
            f"sample_weight must be finite and non-negative. Got {wrong[0]:g} in {len(wrong)} of "
            f"{n_samples} rows; drop them, or give them weight 0."
        )
    if not weights.any():
        raise ValueError("sample_weight must have at least one non-zero entry.")
    return weights


def refuse_masked(**arrays):
    """Refuse masked numpy and dask arrays by name: what is under a mask would count as a number.

    Raises
    ------
    ValueError
        Where something is masked; a numpy mask without a masked entry is none.
    """
    for name, array in arrays.items():
        lazy = isinstance(getattr(array, "_meta", None), np.ma.MaskedArray)
        if lazy or (isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array)):
            remedy = "dask.array.ma.filled(...)" if lazy else f"{name}.filled(...)"
            raise ValueError(
                f"{name} must hold a number everywhere. Got a masked array, whose masked entries are "
                f"none: drop the rows, or fill them with {remedy} and impute."
            )


def check_tol(tol):
    """Refuse a relative error that is no share."""
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1. Got {tol!r} instead.")


def check_frozen_choice(frozen):
    """Refuse what says nothing about the transformers of a pipeline.

    Raises
    ------
    ValueError
    """
    if frozen not in (None, "accept", "refuse"):
        raise ValueError(f"frozen must be None, 'accept' or 'refuse'. Got {frozen!r} instead.")


def check_squares(X):
    """Refuse features whose products overflow.

    Raises
    ------
    ValueError
    """
    values = X.data if sp.issparse(X) else X
    largest = float(np.abs(values).max(initial=0.0))
    if not X.shape[1] * largest < LARGEST_PRODUCT / max(largest, 1.0):
        raise ValueError(
            f"Products of features must be finite. Got an entry of size {largest:.1e}; rescale the "
            "features, for instance with StandardScaler."
        )


def in_numpy(values):
    """A tensor as an array in memory; anything else as it is."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def column(y):
    """Targets in one dimension, as ``column_or_1d`` has them.

    Of a list or an array in one dimension, such as the one label of an edit, itself: what kind of container
    it is costs as much to find out as what an edit of few columns needs.
    """
    if isinstance(y, list | np.ndarray):
        y = np.asarray(y)
        if y.ndim == 1:
            return y
    return column_or_1d(y)


def model_in_numpy(model):
    """A model fitted on tensors as one whose attributes are arrays; another as it is."""
    tensors = [name for name, value in vars(model).items() if hasattr(value, "detach")]
    if not tensors:
        return model
    model = copy.copy(model)
    for name in tensors:
        setattr(model, name, in_numpy(getattr(model, name)))
    return model


def check_rows(X, y):
    """One target per row, or say what came."""
    if len(y) != X.shape[0]:
        raise ValueError(
            f"X and y must have the same number of rows. Got {X.shape[0]} and {len(y)}."
        )


def check_targets(X, y, n_targets=None):
    """The targets of a regression as float64.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    y : array-like of shape (n_samples,), or (n_samples, n_targets)
    n_targets : int, default=None
        Of a regression of several.

    Returns
    -------
    y : ndarray of shape (n_samples,), or (n_samples, n_targets)

    Raises
    ------
    ValueError
        If they are not one finite number per row.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.utils.validation import check_targets
    >>> check_targets(np.ones((3, 2)), [1, 2, 3])
    array([1., 2., 3.])
    """
    y = np.asarray(y, dtype=np.float64)
    if n_targets is not None and y.shape[1:] != (n_targets,):
        raise ValueError(
            f"y must have {n_targets} columns, as many as the fit had. Got an array of shape {y.shape}."
        )
    if n_targets is None and y.ndim != 1:
        raise ValueError(
            f"y must be one-dimensional. Got an array of shape {y.shape}. Fit on y.ravel() if it is "
            "one target, or one model per target."
        )
    check_finite_targets(y)
    check_rows(X, y)
    return y


def check_finite_targets(y):
    """Refuse targets that are not finite.

    Raises
    ------
    ValueError
    """
    if not np.isfinite(y).all():
        raise ValueError("y must be finite. It holds NaN or infinity.")
