"""Regression diagnostics of fitted models: leverage, Cook's distance, DFBETAS, DFFITS, residuals.

Names, signs and scales are those of statsmodels where it has the quantity: differences are *fit
with all rows minus fit without the row*, the opposite of :meth:`~skinfluence.Influence.removal_effect`.

For penalised and multinomial models every definition keeps its form, with

- ``H``, the Hessian of the whole objective, penalty included, at the fit, and
  ``h_i = J_i H^-1 J_i'`` (K x K for K outputs);
- the leverage ``tr(w_i Lambda_i h_i)`` and, in the place of the number of parameters, the sum of
  the leverages: the effective degrees of freedom, ``edf``;
- the dispersion ``phi``: 1 for classifiers with probabilities and for Poisson, else
  ``sum_i w_i e_i^2 / (n K - edf)`` with Pearson residuals ``e`` and n rows of positive weight;
- the deletion of a row: one Newton step on the problem without it, exact for squared error, or
  the refit itself with ``method="exact"``.

They come from one factorisation of ``H`` and its leverages.

An :class:`~skinfluence.m_estimation.MEstimator` has the same Cook's distance and DFBETAS, and
leverages ``w_i tr(H^-1 H_i)`` with the whole Hessian ``H_i`` of each row. Its loss is taken as a
negative log-likelihood, scale included, so ``phi`` is 1; it has no residuals or DFFITS.

References
----------
.. [1] D. A. Belsley, E. Kuh and R. E. Welsch, "Regression Diagnostics", Wiley, 1980.
.. [2] D. Pregibon, "Logistic Regression Diagnostics", Annals of Statistics 9(4), 1981.
.. [3] E. Lesaffre and A. Albert, "Multiple-group Logistic Regression Diagnostics", Applied
   Statistics 38(3), 1989.
.. [4] S. N. Wood, "Generalized Additive Models", 2nd ed., CRC Press, 2017: the same norm and
   effective degrees of freedom for penalised likelihoods.
"""

import numpy as np

from skinfluence._utils.influences import influence_of
from skinfluence._utils.memory import check_fits

__all__ = [
    "cooks_distance",
    "dfbetas",
    "dffits",
    "dispersion",
    "leverage",
    "resid_studentized_external",
    "resid_studentized_internal",
]


def leverage(influence):
    """Leverage of each training row, ``tr(w_i Lambda_i h_i)``.

    How much a row decides its own fitted value: the diagonal of the hat matrix in a linear model
    (statsmodels' ``hat_matrix_diag``), of the generalised one in others (Pregibon, 1981),
    and the trace of a row's K x K block for K outputs (Lesaffre and Albert, 1989).

    Parameters
    ----------
    influence : Influence or estimator
        An :class:`~skinfluence.Influence`, or a fitted estimator of this package that holds its
        training data.

    Returns
    -------
    leverage : ndarray of shape (n_train,)
        In ``[0, K]`` for convex losses. The sum is the effective degrees of freedom: the number of
        parameters where nothing is penalised, fewer with a penalty.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.diagnostics import leverage
    >>> from skinfluence.linear_model import LinearRegression, Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(float(leverage(LinearRegression().fit(X, y)).sum()), 6)
    11.0
    >>> round(float(leverage(Ridge(alpha=1.0).fit(X, y)).sum()), 2)
    4.94
    """
    return _deletions(influence).leverage


def dispersion(influence):
    """The dispersion ``phi`` by which the other diagnostics are scaled.

    Parameters
    ----------
    influence : Influence or estimator

    Returns
    -------
    phi : float
        ``sum_i w_i e_i^2 / (n K - edf)`` with Pearson residuals for squared errors (statsmodels'
        ``mse_resid``) and Tweedie losses but Poisson (its ``scale``); 1 for all others.

    Raises
    ------
    ValueError
        If no degrees of freedom are left for the residuals.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.diagnostics import dispersion
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LinearRegression().fit(X, y)
    >>> round(float(dispersion(model)), 1)
    2932.7
    >>> round(float(((y - model.predict(X)) ** 2).sum() / (442 - 11)), 1)
    2932.7
    """
    return _deletions(influence).dispersion


def cooks_distance(influence, *, method="one-step", tol=1e-3):
    """Cook's distance of each training row, ``d_i' H d_i / (edf phi)``.

    ``d_i`` is the change of the parameters without the row: how far the fit moves, in the norm of
    its own Hessian. Half of ``d_i' H d_i`` is, to second order, what the penalised objective of
    all rows loses.

    Parameters
    ----------
    influence : Influence or estimator
    method : {"one-step", "auto", "exact", "influence"}, default="one-step"
        How ``d_i`` is found, as in :meth:`~skinfluence.Influence.removal_effect`. ``"one-step"`` is
        statsmodels'; it is exact for squared error.
    tol : float, default=1e-3
        For ``"auto"``.

    Returns
    -------
    distance : ndarray of shape (n_train,)
        statsmodels' ``cooks_distance[0]`` for unpenalised linear models and GLMs with their
        canonical link. For other links statsmodels scales the Pearson residual by the observed
        information where the Newton step has the gradient; this is the Newton step.

    Examples
    --------
    >>> from skinfluence.diagnostics import cooks_distance
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [9.0]], [0.0, 1.1, 1.9, 3.0, 4.0]
    >>> cooks_distance(LinearRegression().fit(X, y)).round(2)
    array([ 0.51,  0.  ,  0.03,  0.25, 17.09])
    """
    parts = _deletions(influence)
    scale = parts.edf * parts.dispersion
    return parts.sizes(method, tol) / scale


def dfbetas(influence, *, method="one-step", tol=1e-3):
    """Change of each parameter per training row, in units of its standard error.

    ``(theta - theta_(i)) / sqrt(phi diag(H^-1))``: with all rows minus without row i. For squared
    error ``phi`` is that of the fit without the row, as in statsmodels' ``OLSInfluence``, else that
    of the fit, as in its ``GLMInfluence`` (for canonical links, see :func:`cooks_distance`). With a
    penalty ``phi H^-1`` is the Bayesian covariance of the parameters (Wood, 2017).

    Parameters
    ----------
    influence : Influence or estimator
    method, tol
        As in :func:`cooks_distance`.

    Returns
    -------
    dfbetas : ndarray of shape (n_train, n_outputs, n_features + fit_intercept)
        The intercept last.

    Examples
    --------
    >>> from skinfluence.diagnostics import dfbetas
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [9.0]], [0.0, 1.1, 1.9, 3.0, 4.0]
    >>> dfbetas(LinearRegression().fit(X, y))[4].round(1)  # the slope, the intercept
    array([[-43.4,  13.3]])
    """
    parts = _deletions(influence)
    check_fits((parts.n_samples, *parts.standard_errors.shape), "Use cooks_distance instead.")
    phi = parts.deleted_dispersion
    out = np.empty((parts.n_samples, *parts.standard_errors.shape))
    for block, moved in parts.steps(method, tol):
        out[block] = -moved / parts.standard_errors
    return out / np.sqrt(phi)[:, None, None]


def dffits(influence, *, method="one-step", tol=1e-3):
    """Change of each row's own decision value without it, in units of its standard error.

    ``(eta_i - eta_i(i)) / sqrt(phi h_i)``, with ``phi`` as in :func:`dfbetas`.

    Parameters
    ----------
    influence : Influence or estimator
    method, tol
        As in :func:`cooks_distance`.

    Returns
    -------
    dffits : ndarray of shape (n_train,), or (n_train, n_outputs) for several outputs
        statsmodels' ``OLSInfluence.dffits[0]`` and, for canonical links,
        ``GLMInfluence.d_linpred_scaled``.

    Examples
    --------
    >>> from skinfluence.diagnostics import dffits
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [9.0]], [0.0, 1.1, 1.9, 3.0, 4.0]
    >>> dffits(LinearRegression().fit(X, y)).round(2)
    array([ -1.23,  -0.08,   0.19,   0.98, -49.04])
    """
    parts = _deletions(influence)
    scale = np.sqrt(parts.deleted_dispersion)[:, None] * parts.fit_errors
    return _narrow(-parts.own_steps(method, tol) / scale)


def resid_studentized_internal(influence):
    """Pearson residuals over their standard deviation.

    ``sqrt(w) e / sqrt(phi (1 - l))``. With K classes there is one per class, ``sqrt(w) (1[y = k] -
    p_k)`` over the root of ``phi (Lambda - w Lambda h Lambda)_kk``, which for two classes is the
    formula above.

    Parameters
    ----------
    influence : Influence or estimator

    Returns
    -------
    residuals : ndarray of shape (n_train,), or (n_train, n_outputs) for several outputs
        NaN, with a warning, for rows of leverage 1. Positive where the target is above the fit.
        statsmodels' ``resid_studentized_internal`` (OLS) and ``resid_studentized`` (GLM).

    Examples
    --------
    >>> from skinfluence.diagnostics import resid_studentized_internal
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [9.0]], [0.0, 1.1, 1.9, 3.0, 4.0]
    >>> resid_studentized_internal(LinearRegression().fit(X, y)).round(2)
    array([-1.29, -0.15,  0.42,  1.4 , -1.72])
    """
    parts = _deletions(influence)
    phi = parts.dispersion
    return _narrow(parts.scaled_residuals / np.sqrt(phi))


def resid_studentized_external(influence):
    """Residuals over their standard deviation from the fit without the row; for squared error.

    ``sqrt(w) (y - eta) / sqrt(phi_(i) (1 - l))``, where ``phi_(i)`` is the dispersion of the fit
    without row i, in closed form and exact with a penalty too: both the residuals and the degrees
    of freedom are those of the refit.

    Parameters
    ----------
    influence : Influence or estimator

    Returns
    -------
    residuals : ndarray of shape (n_train,), or (n_train, n_outputs) for several outputs
        statsmodels' ``OLSInfluence.resid_studentized_external``.

    Raises
    ------
    ValueError
        For other losses, whose dispersion without a row has no closed form; for penalties that
        change with the total weight.

    Examples
    --------
    >>> from skinfluence.diagnostics import resid_studentized_external
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [9.0]], [0.0, 1.1, 1.9, 3.0, 4.0]
    >>> resid_studentized_external(LinearRegression().fit(X, y)).round(2)
    array([ -1.57,  -0.13,   0.36,   1.96, -14.46])
    """
    parts = _deletions(influence)
    if not parts.is_squared:
        raise ValueError(
            "Externally studentised residuals need a model of squared error. Got "
            f"{type(parts.loss).__name__}; use resid_studentized_internal, or loo_* for the "
            "residuals of refits."
        )
    phi = parts.deleted_dispersion
    return _narrow(parts.scaled_residuals / np.sqrt(phi)[:, None])


def _narrow(values):
    return values[:, 0] if values.shape[1] == 1 else values


def _deletions(influence):
    return influence_of(influence, "Diagnostics are of", with_offset=True).answers.deletions()
