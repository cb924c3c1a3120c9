"""Evidence about numeric targets: leave-one-out residuals, and which of them no spread explains."""

import numpy as np
from scipy.stats import t as student

from skinfluence.cleaning.effects import EFFECT, effect_columns
from skinfluence.cleaning.judging import by_suspicion, pull_column
from skinfluence.cleaning.left_out import left_out_outputs, loss_of_targets, residual_of

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
    residual = residual_of(y, prediction, influence.objective)
    centre = np.nanmedian(residual)
    spread = 1.4826 * np.nanmedian(np.abs(residual - centre))
    z = (residual - centre) / max(spread, np.finfo(float).tiny)
    pull = pull_column(influence)
    scores = {"loo_loss": loss, **pull}
    drop, alone = np.abs(z) > EXTREME_RESIDUAL, beyond_doubt(z)
    first = by_suspicion(scores[options["score"]], loss)
    needed = first[(drop & ~alone)[first]]
    effect, notes = effect_columns(influence, loss, options, first, needed)
    if effect:
        drop &= (effect[EFFECT] < 0) | alone
    columns = {
        "given": y,
        "suggested": prediction,
        "residual_z": z,
        "loo_loss": loss,
        **pull,
        **effect,
        "action": np.where(drop, "drop", "keep"),
    }
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
