"""Leave-one-out outputs and losses as audits take them: a look at all rows, then the top ones certified."""

import warnings

import numpy as np
from scipy.special import xlogy

from skinfluence.leave_one_out import Outputs, outputs, quick_method
from skinfluence.losses import Tweedie
from skinfluence.statistics import in_old_units, moving_curve

# With method="auto": the rows of highest one-step loss that are solved with a certificate.
# Each costs the more the more outputs there are.
CERTIFIED_ROWS, MIN_CERTIFIED_ROWS, CERTIFIED_TOL = 300, 20, 1e-3


def left_out_outputs(influence, options):
    """Leave-one-out outputs; with "auto" a first look at all rows, then certified for the top ones."""
    first, certify = first_look(influence, options)
    return certified(influence, first, [first.loss()], options) if certify else first


def first_look(influence, options):
    """Outputs of all rows, with "auto" in the cheapest way, and whether some are to be certified."""
    method, frozen = options["method"], options["frozen"]
    if method == "auto" and influence.answers.certifies:
        method = quick_method(influence, frozen)
    first = outputs(influence, method, CERTIFIED_TOL, frozen)
    return first, options["method"] == "auto" and method == "one-step"


def certified(influence, first, scores, options):
    """One-step outputs with those of the rows of highest scores solved to a certified error."""
    n_certified = max(MIN_CERTIFIED_ROWS, CERTIFIED_ROWS // first.eta.shape[1])
    share = -(-n_certified // len(scores))
    rows = np.unique([np.argsort(-score, kind="stable")[:share] for score in scores])
    rows = rows[np.isfinite(first.loss()[rows])]
    eta = first.eta.copy()
    eta[rows] = outputs(influence, "auto", CERTIFIED_TOL, options["frozen"], rows).eta[rows]
    return Outputs(first.estimator, first.objective, eta)


def left_out_losses(influence, y, options, units=None):
    """The leave-one-out loss of each row, as in the table of an audit.

    Parameters
    ----------
    influence : Influence
    y : ndarray of shape (n_samples,)
        Targets of its rows.
    options : dict
        With ``method`` and ``frozen``.
    units : Problem, default=None
        In whose units losses of targets are, which a transformer may have brought to others on other
        rows; those of the influence by default.

    Returns
    -------
    losses : ndarray of shape (n_samples,)
        NaN of rows that have no model without them.
    """
    objective = influence.objective
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        left_out = left_out_outputs(influence, options)
        loss = left_out.loss()
    if objective.labels is not None:
        return loss
    units = objective if units is None else units
    if (after := moving_curve(objective)) is not None:
        eta = in_old_units(units.curve, after, left_out.eta)
        loss = objective.loss.value(eta, units.curve(y))
    return loss_of_targets(y, left_out.predict(), loss, units)


def loss_of_targets(y, prediction, loss, objective):
    """Losses that compare rows: half deviances of counts and amounts, which are 0 at the target.

    The loss of the model leaves out what depends on y only, and would rank large counts last.
    """
    if isinstance(getattr(objective, "loss", None), Tweedie):
        return 0.5 * residual_of(y, prediction, objective) ** 2
    return loss


def residual_of(y, prediction, objective):
    """How far each target is from what the others predict, in units that spread alike.

    The deviance residual of counts and amounts, whose variance follows their mean; and of targets that the
    model saw through a curve, such as their logarithm, in the units that it saw.
    """
    if objective.curve is not None:
        y, prediction = objective.curve(y), objective.curve(prediction)
    loss = getattr(objective, "loss", None)
    if not isinstance(loss, Tweedie):
        return y - prediction
    p, mu = loss.power, prediction
    if p == 1:
        deviance = xlogy(y, y / mu) - y + mu
    elif p == 2:
        deviance = np.log(mu / y) + y / mu - 1
    else:
        deviance = np.maximum(y, 0) ** (2 - p) / ((1 - p) * (2 - p))
        deviance += mu ** (2 - p) / (2 - p) - y * mu ** (1 - p) / (1 - p)
    return np.sign(y - mu) * np.sqrt(2.0 * np.maximum(deviance, 0.0))
