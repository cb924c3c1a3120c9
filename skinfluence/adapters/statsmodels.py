"""Fitted models of statsmodels as the estimators of scikit-learn that they are, on the rows of the fit."""

import numpy as np
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)

# Where a refit by scikit-learn ends.
NEWTON = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1000, "fit_intercept": False}
ROWS_OF_BOTH = (
    "Write every row as one of successes and one of failures, with their numbers as freq_weights."
)
OWN_LOSS = (
    "Write the loss of a row for skinfluence.m_estimation.MEstimator, an offset as a column of X."
)


def from_statsmodels(results):
    """What :class:`~skinfluence.Influence` asks for, from a fitted model of statsmodels.

    Linear models, generalised ones with the links below, logit, Poisson and multinomial logit
    models are unpenalised models of scikit-learn without an intercept, since the constant is a
    column of ``exog``. The rows, targets and weights are those of the fit.

    Parameters
    ----------
    results : statsmodels results
        Of ``OLS``, ``WLS``, ``Logit``, ``Poisson``, ``MNLogit``, and of ``GLM`` with the families
        Gaussian (identity), Binomial (logit; zeros and ones), Poisson, Gamma and Tweedie (log; a power from
        1 to 2). ``freq_weights`` and ``var_weights`` are weights of the rows; ``offset`` and ``exposure``
        of a log link become rates.

    Returns
    -------
    model : LinearRegression, LogisticRegression, PoissonRegressor, GammaRegressor or TweedieRegressor
        With the parameters of the fit.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        ``exog`` as it was given; rows that were dropped for missing values are not in it.
    y : ndarray of shape (n_samples,)
        With an offset o and the log link these are rates, ``endog / exp(o)``; with the identity
        ``endog - o``. So are the targets of edits and of test points.
    sample_weight : ndarray of shape (n_samples,) or None
        For a power p and the log link ``exp((2 - p) o)`` times the weights of the fit: the exposure
        itself for counts. None where all are 1.
    offset : ndarray of shape (n_samples,) or None
        Of a logit, which no targets and weights can say; None where there is none, or where rates do.

    Raises
    ------
    TypeError, ValueError
        For other models; for penalised and constrained fits.

    Notes
    -----
    With the log link an offset changes no more than targets and weights: the half deviance of y at
    ``eta + o`` is that of ``y exp(-o)`` at ``eta``, times ``exp((2 - p) o)``, and a number. Rates are
    answered in less time than counts with an offset.

    Examples
    --------
    >>> import numpy as np
    >>> import statsmodels.api as sm
    >>> from skinfluence import Influence
    >>> from skinfluence.adapters import from_statsmodels
    >>> from skinfluence.diagnostics import cooks_distance
    >>> rng = np.random.default_rng(0)
    >>> X, days = sm.add_constant(rng.standard_normal((50, 2))), rng.uniform(1.0, 9.0, 50)
    >>> y = rng.poisson(days * np.exp(X @ [0.1, 0.5, -0.3]))
    >>> fit = sm.GLM(y, X, family=sm.families.Poisson(), exposure=days).fit(tol=1e-12)
    >>> inf = Influence(*from_statsmodels(fit))
    >>> bool(np.allclose(cooks_distance(inf), fit.get_influence().cooks_distance[0]))
    True
    """
    model = getattr(results, "model", None)
    name = type(model).__name__
    if not type(model).__module__.startswith("statsmodels."):
        raise TypeError(
            "results must be what fit() of a model of statsmodels returns. Got "
            f"{type(results).__name__}."
        )
    _refuse_other_fits(results)
    X, params, beside = _rows(model), np.asarray(results.params, dtype=np.float64), None
    if name in ("OLS", "WLS"):
        found, y, w = LinearRegression(fit_intercept=False), model.endog, model.weights
    elif name == "GLM":
        found, y, w, beside = _generalised(model)
    elif name == "Logit":
        found, y, w = _logistic(), model.endog, 1.0
        beside = _of_logit(getattr(model, "offset", None))
    elif name == "Poisson":
        offset = sum(
            np.asarray(one, dtype=np.float64)
            for one in (getattr(model, "offset", None), getattr(model, "exposure", None))
            if one is not None
        )
        found, y, w = _with_log_link(1.0, model.endog, offset)
    elif name == "MNLogit":
        found, y, w = _logistic(), _labels(model), 1.0
        params = np.vstack([np.zeros(len(params)), params.T])
    else:
        raise TypeError(
            "Known are OLS, WLS, GLM, Logit, Poisson and MNLogit of statsmodels. Got "
            f"{type(model).__module__}.{name}. {OWN_LOSS}"
        )
    y = np.asarray(y)
    _fill(found, X, y, params)
    w = np.broadcast_to(np.asarray(w, dtype=np.float64), len(y))
    return found, X, y, None if (w == 1.0).all() else w.copy(), beside


def _refuse_other_fits(results):
    kind = type(getattr(results, "_results", results)).__name__
    if "Regularized" in kind or kind.startswith("L1"):
        raise ValueError(
            "The results must be those of fit(). Got those of fit_regularized, which do not keep their "
            "penalty alpha. Fit the same optimum with fit_intercept=False: Ridge(alpha * n) for OLS, "
            "LogisticRegression(C=1 / (alpha * n)), PoissonRegressor(alpha), and ask Influence with "
            "hold='lambda': a refit there takes alpha times the rows that it has."
        )
    if getattr(results, "k_constr", 0) or getattr(results, "constraints", None) is not None:
        raise ValueError(
            "The parameters must be free. Got a fit with constraints, which is not the optimum of its rows. "
            "Fit the same model on the columns that the constraints leave."
        )


def _rows(model):
    """The columns as they were given: a frame's names are those of the model."""
    given = getattr(model.data, "orig_exog", None)
    same = hasattr(given, "columns") and np.shape(given) == np.shape(model.exog)
    return given if same else np.asarray(model.exog, dtype=np.float64)


def _generalised(model):
    family, link = type(model.family).__name__, type(model.family.link).__name__
    offset = np.asarray(model._offset_exposure, dtype=np.float64)
    weights = model.freq_weights * model.var_weights
    y = model.endog
    if (family, link) == ("Gaussian", "Identity"):
        return LinearRegression(fit_intercept=False), y - offset, weights, None
    if (family, link) == ("Binomial", "Logit"):
        if not np.isin(y, (0.0, 1.0)).all() or (np.asarray(model.n_trials) != 1).any():
            raise ValueError(
                "The targets of a binomial model must be zeros and ones. Got shares or numbers of "
                f"successes. {ROWS_OF_BOTH}"
            )
        return _logistic(), y, weights, _of_logit(offset)
    powers = {"Poisson": 1.0, "Gamma": 2.0, "Tweedie": getattr(model.family, "var_power", None)}
    if link != "Log" or family not in powers:
        raise TypeError(
            "Known are Gaussian with identity link, Binomial with logit, and Poisson, Gamma and Tweedie with "
            f"log link. Got {family} with {link}. {OWN_LOSS}"
        )
    found, y, more = _with_log_link(float(powers[family]), y, offset)
    return found, y, weights * more, None


def _logistic():
    return LogisticRegression(C=np.inf, **NEWTON)


def _with_log_link(power, y, offset):
    """The estimator, the targets and the weights of a power and an offset."""
    kinds = {1.0: PoissonRegressor, 2.0: GammaRegressor}
    if power in kinds:
        found = kinds[power](alpha=0.0, **NEWTON)
    elif 1.0 < power < 2.0:
        found = TweedieRegressor(power=power, link="log", alpha=0.0, **NEWTON)
    else:
        raise ValueError(f"var_power must lie between 1 and 2. Got {power:g}. {OWN_LOSS}")
    return found, y / np.exp(offset), np.exp((2.0 - power) * offset)


def _of_logit(offset):
    """An offset of a logit; None for none, and for zeros."""
    return np.asarray(offset, dtype=np.float64) if offset is not None and np.any(offset) else None


def _labels(model):
    """The labels of a multinomial model as they were given, which it numbers in their order."""
    given = np.asarray(model.data.orig_endog)
    given = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    codes = np.asarray(model.endog, dtype=np.intp)
    if given.shape == codes.shape and (np.unique(given, return_inverse=True)[1] == codes).all():
        return given
    return codes


def _fill(found, X, y, params):
    """The fitted attributes."""
    found.n_features_in_ = X.shape[1]
    if hasattr(X, "columns") and all(isinstance(name, str) for name in X.columns):
        found.feature_names_in_ = np.asarray(X.columns, dtype=object)
    if isinstance(found, LogisticRegression):
        found.classes_ = np.unique(y)
        found.coef_ = np.atleast_2d(params)
        found.intercept_ = np.zeros(len(found.coef_))
    else:
        found.coef_, found.intercept_ = params.copy(), 0.0
