"""Evidence about numeric targets: leave-one-out residuals, and which of them no spread explains."""

import warnings

import numpy as np
from scipy.special import xlogy
from scipy.stats import t as student

from skinfluence.cleaning.effects import EFFECT, effect_columns
from skinfluence.cleaning.judging import left_out_outputs, pull_column, pull_score
from skinfluence.losses import Tweedie

# A target is called extreme when its leave-one-out residual is this many robust standard deviations
# away from the typical one: about 1 in 2,000 rows of a Gaussian sample.
EXTREME_RESIDUAL = 3.5

# Degrees of freedom of the tails of residuals; of fewer rows tails are not known.
DEGREES = np.array([0.8, 1.0, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 30, 100])
MIN_ROWS_FOR_TAILS = 30


def judge_targets(estimator, influence, y, options):
    """Columns of the table, by training row, for a regressor."""
    if options["suspect"] is not None:
        raise ValueError(
            f"suspect= names a class, and a regressor has none. Got {options['suspect']!r}; leave it out."
        )
    left_out = left_out_outputs(influence, options)
    prediction, loss = left_out.predict(), left_out.loss()
    loss = loss_of_targets(y, prediction, loss, influence.objective)
    residual = _residual(y, prediction, influence.objective)
    centre = np.nanmedian(residual)
    spread = 1.4826 * np.nanmedian(np.abs(residual - centre))
    z = (residual - centre) / max(spread, np.finfo(float).tiny)
    effect, notes = effect_columns(influence, loss, options["effects"], options["frozen"])
    drop = np.abs(z) > EXTREME_RESIDUAL
    alone = beyond_doubt(z)
    if effect:
        drop &= (effect[EFFECT] < 0) | alone
    columns = {
        "given": y,
        "suggested": prediction,
        "residual_z": z,
        "loo_loss": loss,
        **pull_column(influence),
        **effect,
        "action": np.where(drop, "drop", "keep"),
    }
    scores = {"loo_loss": loss, **pull_score(columns)}
    evidence = {
        "classes": None,
        "loo_proba": None,
        "local_proba": None,
        "loo_prediction": prediction,
        "noise": None,
        "trimmed": np.zeros(len(y), dtype=bool),
        "notes": (*_note_on_masks(alone, effect), *_note_on_kept(z, drop, effect), *notes),
    }
    return columns, scores, evidence


def left_out_losses(influence, y, options):
    """The leave-one-out loss of each row, as in the table of an audit."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        left_out = left_out_outputs(influence, options)
        loss = left_out.loss()
    if influence.objective.labels is not None:
        return loss
    return loss_of_targets(y, left_out.predict(), loss, influence.objective)


def loss_of_targets(y, prediction, loss, objective):
    """Losses that compare rows: half deviances of counts and amounts, which are 0 at the target.

    The loss of the model leaves out what depends on y only, and would rank large counts last.
    """
    if isinstance(getattr(objective, "loss", None), Tweedie):
        return 0.5 * _residual(y, prediction, objective) ** 2
    return loss


def _residual(y, prediction, objective):
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


def beyond_doubt(z):
    """Rows that no residual of this spread and these tails explains: a Bonferroni test of outliers.

    Tails are those of Student's t whose middle and whose 97.5 % are those of the residuals, so that
    data with heavy tails are not all outliers; the test is at 5 % for all rows together.
    """
    size = np.abs(z[np.isfinite(z)])
    if len(size) < MIN_ROWS_FOR_TAILS:
        return np.zeros(len(z), dtype=bool)
    middle, far = np.quantile(size, [0.5, 0.95])
    if middle <= 0:
        return np.zeros(len(z), dtype=bool)
    ratio = student.ppf(0.975, DEGREES) / student.ppf(0.75, DEGREES)
    # The lightest tails that are not lighter than the data's; ratios fall with the degrees.
    nu = DEGREES[max(int(np.searchsorted(-ratio, -far / middle)) - 1, 0)]
    scale = middle / student.ppf(0.75, nu)
    with np.errstate(invalid="ignore"):
        return 2.0 * student.sf(np.abs(z) / scale, nu) * len(size) < 0.05


def _note_on_masks(alone, effect):
    """Rows that are dropped though the others would lose by it."""
    if not effect:
        return ()
    n = int((alone & (effect[EFFECT] >= 0)).sum())
    if n == 0:
        return ()
    return (
        f"{n} row{'s are' if n > 1 else ' is'} so far off that no residual of this spread explains "
        f"{'them' if n > 1 else 'it'}, though dropping {'one' if n > 1 else 'it'} alone raises the loss of "
        "the others: they lean on it, or several rows are off together. Look at them first.",
    )


def _note_on_kept(z, drop, effect):
    """Rows that are far off and are kept, because dropping them is not known to help the others."""
    n = int((~drop & (np.abs(z) > EXTREME_RESIDUAL)).sum()) if effect else 0
    if n == 0:
        return ()
    return (
        f"{n} row{'s' if n > 1 else ''} more than {EXTREME_RESIDUAL} robust standard deviations off "
        f"stay{'' if n > 1 else 's'}: dropping {'one' if n > 1 else 'it'} raises the loss of the others, "
        "or is not known to lower it. Look at the target all the same.",
    )
