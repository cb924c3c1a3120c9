"""Gaussian processes without each row: how sure they would have been of it."""

import numpy as np

from skinfluence.inputs.routes import whole_pipeline
from skinfluence.kernel.gaussian_process import GaussianProcessAnswers
from skinfluence.problem import refuse_curve

__all__ = ["loo_log_density", "loo_std"]


def loo_std(influence, *, frozen=None):
    """Standard deviation at each training row of the Gaussian process without it.

    Parameters
    ----------
    influence : Influence
        Of a fitted ``GaussianProcessRegressor``; its ``loo_predict`` is
        the mean.
    frozen : {None, "accept", "refuse"}, default=None
        As in :meth:`~skinfluence.Influence.loo_predict`: the kernel stays as it was optimised on all rows,
        which a warning says, nothing, or an error.

    Returns
    -------
    std : ndarray of shape (n_train,)
        In the units of the targets: ``predict(X, return_std=True)[1]`` of the refit without the row, which
        counts the noise of the kernel and not ``alpha``.

    Raises
    ------
    TypeError
        For other models.
    ValueError
        Behind transformers that would be fitted again, whose features the variance depends on.

    Notes
    -----
    ``1 / (K^-1)_ii``, K the covariance of all targets: one inverse for all rows.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT Press, 2006,
       section 5.4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    >>> from skinfluence import Influence
    >>> from skinfluence.gaussian_process import loo_log_density, loo_std
    >>> X = np.linspace(0, 6, 25)[:, None]
    >>> y = np.sin(X[:, 0])
    >>> model = GaussianProcessRegressor(RBF() + WhiteKernel(0.01), optimizer=None).fit(X, y)
    >>> inf = Influence(model, X, y)
    >>> refit = GaussianProcessRegressor(RBF() + WhiteKernel(0.01), optimizer=None).fit(X[1:], y[1:])
    >>> bool(np.isclose(loo_std(inf)[0], refit.predict(X[:1], return_std=True)[1][0]))
    True
    >>> loo_log_density(inf).shape
    (25,)
    """
    answers = _answers_of(influence, frozen)
    variances = answers.own_variances() - answers.problem.jitter
    return np.sqrt(np.maximum(variances, 0.0) * answers.units())


def loo_log_density(influence, *, frozen=None):
    """Logarithm of the predictive density of each target under the Gaussian process without its row.

    Parameters
    ----------
    influence, frozen
        As in :func:`loo_std`.

    Returns
    -------
    log_density : ndarray of shape (n_train,)
        Of a normal distribution about the leave-one-out mean, all noise included, ``alpha`` too. The sum is
        the log pseudo-likelihood by which kernels are compared.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    >>> from skinfluence import Influence
    >>> from skinfluence.gaussian_process import loo_log_density
    >>> X = np.linspace(0, 6, 25)[:, None]
    >>> y = np.sin(X[:, 0])
    >>> y[12] += 1.0
    >>> model = GaussianProcessRegressor(RBF() + WhiteKernel(0.01), optimizer=None).fit(X, y)
    >>> int(loo_log_density(Influence(model, X, y)).argmin())
    12
    """
    answers = _answers_of(influence, frozen)
    off = answers.problem.y - answers.own_removals("exact", 0.0)[:, 0]
    variances = answers.own_variances() * answers.units()
    return -0.5 * (off**2 / variances + np.log(2.0 * np.pi * variances))


def _answers_of(influence, frozen):
    answers = getattr(influence, "answers", None)
    if not isinstance(answers, GaussianProcessAnswers):
        got = (
            type(influence).__name__ if answers is None else f"one of {answers.problem.model_name}"
        )
        raise TypeError(
            f"Predictive variances are of an Influence of a GaussianProcessRegressor. Got {got}."
        )
    refuse_curve(influence.objective, "Predictive variances")
    if whole_pipeline(influence, "auto", frozen) is not None:
        raise ValueError(
            "Variances are known of a Gaussian process on the rows as they are, and transformers that learn "
            "from the rows would move them. Got a pipeline; pass frozen='accept' to hold its steps, or ask "
            "about the model on transformed rows."
        )
    return answers
