"""Generalised linear models: Poisson, Gamma and Tweedie regression.

scikit-learn minimises the mean half deviance plus ``alpha / 2 |coef|^2``: in the sum form
``R = alpha * sum(w)``, so a row that goes takes its share of the penalty with it.
"""

from sklearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.adapters.linear import linear_objective
from skinfluence.losses import Gamma, Poisson, SquaredError, Tweedie
from skinfluence.objective import objective_of


def _glm(model, X, y, sample_weight, loss):
    y = loss.check_y(check_targets(X, y))
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    if loss.needs_positive and model.fit_intercept and not (y[sample_weight > 0] > 0).any():
        raise ValueError(
            "At least one row with weight must have a positive target. Got none: the optimum of "
            "the intercept is at minus infinity."
        )
    return linear_objective(
        model,
        X,
        y,
        loss=loss,
        penalty=float(model.alpha) * sample_weight.sum(),
        weights=sample_weight,
        sample_weight=sample_weight,
        natural_hold="lambda",
    )


@objective_of.register
def _(model: PoissonRegressor, X, y, sample_weight=None):
    return _glm(model, X, y, sample_weight, Poisson())


@objective_of.register
def _(model: GammaRegressor, X, y, sample_weight=None):
    return _glm(model, X, y, sample_weight, Gamma())


@objective_of.register
def _(model: TweedieRegressor, X, y, sample_weight=None):
    return _glm(model, X, y, sample_weight, _tweedie_loss(model.power, model.link))


def _tweedie_loss(power, link):
    """The half deviance of a power and a link; ``"auto"`` is the identity up to power 0."""
    if link == "log" or (link == "auto" and power > 0):
        return {1: Poisson(), 2: Gamma()}.get(power) or Tweedie(power)
    if power == 0:
        return SquaredError()
    # The mean is the decision value: an edit or a test row may take it out of the domain.
    raise ValueError(
        f"With the identity link the power must be 0. Got power={power:g}, whose deviance is "
        "defined for positive means only, which the decision values of edited models need not be. "
        "Fit with link='log'."
    )
