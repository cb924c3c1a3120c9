"""Targets that are amounts, whose errors are factors: when their logarithm is what to model."""

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from skinfluence import Influence
from skinfluence.cleaning.files import InputError
from skinfluence.leave_one_out import outputs

# The share of the rows with the largest residuals, errors among them, that does not decide.
SET_ASIDE = 0.05
# Nats a row that the logarithm must gain to be worth a note: residuals a tenth smaller.
GAINS = 0.1


def of_logarithm(model):
    """The model of the logarithm of a target, whose predictions come back in its units."""
    return TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp)


def scores_of_logarithm(estimator, y, prediction):
    """Leave-one-out scores in the unit of the logarithm, of a model of that; of others none.

    Parameters
    ----------
    estimator : estimator
        A regressor, or a Pipeline that ends in one.
    y, prediction : ndarray of shape (n_samples,)
        Targets, and predictions by the models without the row, in units of the target.

    Returns
    -------
    scores : dict of str to float
        ``loo_r2_log``, the R² of the logarithm, and ``loo_factor`` >= 1, by which a prediction is typically
        off: the exponential of the root mean squared residual of the logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.cleaning.amounts import of_logarithm, scores_of_logarithm
    >>> y = np.array([1.0, 10.0, 100.0])
    >>> scores = scores_of_logarithm(of_logarithm(Ridge()), y, y * [2, 0.5, 2])
    >>> round(scores["loo_factor"], 3), round(scores["loo_r2_log"], 3)
    (2.0, 0.864)
    """
    model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not (isinstance(model, TransformedTargetRegressor) and model.func is np.log):
        return {}
    logs = np.log(y)
    square = float(np.mean((logs - np.log(prediction)) ** 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = float(1 - square / np.var(logs))
    return {"loo_r2_log": r2, "loo_factor": float(np.exp(np.sqrt(square)))}


def check_positive(problem):
    """Refuse targets that have no logarithm."""
    y, name = problem.y, problem.target
    if problem.task != "regression":
        raise InputError(
            f"--log-target is for a quantity, and {name!r} was read as classes. Leave --log-target out, or "
            "pass --task regression."
        )
    bad = np.flatnonzero(~(y > 0))
    if len(bad):
        raise InputError(
            f"--log-target is for a target above 0. Got {y[bad[0]]:g} in row {problem.rows[bad[0]]} of "
            f"{name!r}, and {len(bad)} such row{'s' if len(bad) > 1 else ''} in all. Leave --log-target out."
        )


def gain_of_logarithm(influence, X, y):
    """By how much the logarithm of a target follows a regression better than the target does.

    Parameters
    ----------
    influence : Influence
        Of the regression of the target as it is.
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)

    Returns
    -------
    gain : float
        Log likelihood of the targets in nats a row, of normal errors on the logarithm less of normal
        errors on the target [1]_, by leave-one-out residuals of which the largest 5 % are set
        aside; 0 for targets that are not all positive.

    References
    ----------
    .. [1] Box & Cox (1964), An analysis of transformations, JRSS B 26: the likelihood of both in one unit.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.cleaning.amounts import gain_of_logarithm
    >>> rng = np.random.RandomState(0)
    >>> X = rng.normal(size=(200, 2))
    >>> y = X[:, 0] + rng.normal(size=200)
    >>> targets = [np.exp(y), y + 20]
    >>> gains = [gain_of_logarithm(Influence(Ridge().fit(X, t), X, t), X, t) for t in targets]
    >>> [bool(gain > 0.1) for gain in gains]
    [True, False]
    """
    if not (y > 0).all():
        return 0.0
    logs = np.log(y)
    of_logs = Influence(clone(influence.estimator).fit(X, logs), X, logs)
    # From the unit of the logarithm to that of the target, the density is divided by the target.
    return _log_spread(influence, y) - _log_spread(of_logs, logs) - float(logs.mean())


def note_on_amounts(problem, influence, X, log_target):
    """What the model is of, or that the logarithm of the target would follow it better."""
    name = repr(problem.target)
    if log_target:
        return (
            f"The model is of the logarithm of {name}: losses and residuals (z) are in its units, "
            "predictions in those of the target.",
        )
    gain = gain_of_logarithm(influence, X, problem.y)
    if gain < max(GAINS, np.log(len(problem.y)) / len(problem.y)):
        return ()
    return (
        f"The target {name} is always above 0 and spreads by factors: its logarithm follows the model better "
        f"(by {gain:.2g} nats a row). As it is, its largest values look most suspicious, and errors in small "
        "ones do not show; --log-target audits the logarithm.",
    )


def _log_spread(influence, y):
    left_out = outputs(influence, "one-step").predict()
    size = np.sort(np.abs(y - left_out))[: max(1, int((1.0 - SET_ASIDE) * len(y)))]
    return 0.5 * float(np.log(max(np.mean(size**2), np.finfo(float).tiny)))
