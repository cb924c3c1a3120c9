"""Training data larger than memory: fitting on them, and effects written as they are computed.

:class:`skinfluence.Influence` takes memory-mapped, zarr, HDF5 and dask arrays as they are; what is
here comes before it and after it.
"""

import warnings

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    TweedieRegressor,
)
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skinfluence._utils.validation import refuse_masked
from skinfluence.adapters import linear as _linear  # noqa: F401  registers the objectives
from skinfluence.inputs import Inputs
from skinfluence.losses import SumToZero
from skinfluence.mixin import InfluenceMixin, remember
from skinfluence.objective import Objective, centred
from skinfluence.smooth.optimum.existence import refuse_separable
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers import resolve_solver

__all__ = ["fit", "write_removal_effect"]

FITTED_HERE = (
    LogisticRegression,
    LinearRegression,
    Ridge,
    RidgeClassifier,
    PoissonRegressor,
    GammaRegressor,
    TweedieRegressor,
)


def fit(estimator, X, y, sample_weight=None, *, solver="auto"):
    """Fit a linear model by Newton's method on rows that need not be in memory.

    Parameters
    ----------
    estimator : LogisticRegression, LinearRegression, Ridge, RidgeClassifier, PoissonRegressor, \
GammaRegressor or TweedieRegressor
        Of scikit-learn or of :mod:`skinfluence.linear_model`. Its ``solver``, ``tol`` and
        ``max_iter`` are not used: the fit goes on to round-off.
    X : array of shape (n_samples, n_features)
        Memory-mapped, zarr, HDF5, dask, or in memory. It is read a block at a time; a dask array
        is multiplied where its chunks are.
    y : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), default=None
    solver : {"auto", "exact", "cg"} or solver object, default="auto"
        How Newton's systems are solved; ``"cg"`` is Newton-CG.

    Returns
    -------
    estimator : the same object, fitted
        With ``coef_``, ``intercept_``, ``n_features_in_`` and, for classifiers, ``classes_``.

    Raises
    ------
    TypeError
        For other estimators.
    ValueError
        For an L1 penalty, fewer than two classes, and classes that an unpenalised model separates.
    SingularHessianError
        Where the data do not determine the parameters.

    Notes
    -----
    A Newton step takes three passes over the rows. What is kept has one entry per row and output.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.distributed import fit
    >>> X, y = load_iris(return_X_y=True)
    >>> fit(LogisticRegression(C=0.5), X, y).coef_.shape
    (3, 4)
    """
    if not _is_fitted_here(estimator):
        known = ", ".join(cls.__name__ for cls in FITTED_HERE)
        raise TypeError(
            f"fit is for {known}, and not for subclasses that fit in another way. Got "
            f"{type(estimator).__name__}."
        )
    refuse_masked(X=X, y=y, sample_weight=sample_weight)
    y = column_or_1d(np.asarray(y))
    sample_weight = None if sample_weight is None else np.asarray(sample_weight)
    _start(estimator, _width(X), y)
    # Of parameters that are still zero: no fit yet.
    objective = Inputs(estimator, X).problem(y, sample_weight, same_fit=False)
    if not isinstance(objective, Objective):
        raise ValueError(
            f"The penalty must be L2. Got {objective.model_name}; fit it on rows in memory."
        )
    objective = centred(objective)
    found = minimise(objective, resolve_solver(solver, objective)).objective
    refuse_separable(found)
    _finish(estimator, found)
    if isinstance(estimator, InfluenceMixin):
        remember(estimator, X, y, sample_weight)
    return estimator


def _is_fitted_here(estimator):
    """Whether it is one of the classes, or a subclass whose ``fit`` is theirs."""
    fits = [cls.fit for cls in FITTED_HERE] + [InfluenceMixin.fit]
    return isinstance(estimator, FITTED_HERE) and type(estimator).fit in fits


def _width(X):
    if len(np.shape(X)) != 2:
        raise ValueError(f"X must have rows and columns. Got an array of shape {np.shape(X)}.")
    return np.shape(X)[1]


def _start(estimator, n_features, y):
    """Make it a fitted model, in the shapes of scikit-learn, whose parameters are all zero."""
    targets = np.ones(2)
    if is_classifier(estimator):
        check_classification_targets(y)
        targets = np.unique(y)
        if len(targets) < 2:
            raise ValueError(f"A classifier needs at least two classes. Got {targets.tolist()}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blank = clone(estimator).fit(np.zeros((len(targets), n_features)), targets)
    for name in ("feature_names_in_", "n_iter_", "solver_"):
        vars(estimator).pop(name, None)
        vars(blank).pop(name, None)
    params = blank.get_params()
    vars(estimator).update((k, v) for k, v in vars(blank).items() if k not in params)
    estimator.coef_, estimator.intercept_ = 0.0 * blank.coef_, 0.0 * blank.intercept_


def _finish(estimator, objective):
    """Give it the parameters of an objective, in scikit-learn's shapes."""
    theta, constant = objective.theta, objective.design.intercept
    if isinstance(objective.loss, SumToZero):
        theta = objective.loss.expand(theta.T).T
    theta = objective.design.in_units(theta)
    coef = theta[:, : objective.design.n_features]
    estimator.coef_ = np.reshape(coef, np.shape(estimator.coef_))
    if constant:
        intercept = np.reshape(theta[:, -1], np.shape(estimator.intercept_))
        estimator.intercept_ = intercept if intercept.ndim else float(intercept)


def write_removal_effect(influence, out, X, y=None, *, of="loss", method="auto", tol=1e-3):
    """Write the removal effect of every training row, a block of rows at a time.

    Parameters
    ----------
    influence : Influence
    out : array of shape (n_test, n_train, ...)
        Anything that slices can be assigned to: memory-mapped, zarr, HDF5, or in memory.
    X : array-like of shape (n_test, n_features)
    y : array-like of shape (n_test,), default=None
        Needed for the loss.
    of, method, tol
        As in :meth:`skinfluence.Influence.removal_effect`.

    Returns
    -------
    out : the same array

    Raises
    ------
    ValueError
        For an array of another shape.
    TypeError
        For an array that does not hold floating-point numbers.

    Notes
    -----
    For the strongest rows only, :meth:`skinfluence.Influence.top` keeps ``n_test x k`` numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import Influence
    >>> from skinfluence.distributed import write_removal_effect
    >>> X, y = load_iris(return_X_y=True)
    >>> inf = Influence(LogisticRegression(max_iter=1000).fit(X, y), X, y)
    >>> out = write_removal_effect(inf, np.empty((2, 150)), X[:2], y[:2])
    >>> bool(np.allclose(out, inf.removal_effect(X[:2], y[:2])))
    True
    """
    answers = influence.answers
    quantity = answers.quantity(influence.data.tests(X, y), of, method)
    n = answers.problem.n_samples
    expected = (*quantity.shape[:1], n, *quantity.shape[1:])
    if tuple(out.shape) != expected:
        raise ValueError(f"out must have the shape of the answer, {expected}. Got {out.shape}.")
    if np.dtype(out.dtype).kind != "f":
        raise TypeError(
            f"out must hold floating-point numbers: effects are small. Got dtype {out.dtype}."
        )
    return answers.row_effects(quantity, np.arange(n), None, method, tol, out)
