"""From leave-one-out answers to columns of evidence and a suggested action for every row.

The reasoning is in the notes of `skinfluence.cleaning.audit`.
"""

import warnings

import numpy as np
from sklearn.isotonic import IsotonicRegression

from skinfluence.cleaning.others import effect_on_others
from skinfluence.leave_one_out import loo_loss

# A target is called extreme when its leave-one-out residual is this many robust standard deviations
# away from the typical one: about 1 in 2,000 rows of a Gaussian sample.
EXTREME_RESIDUAL = 3.5

# Where the model is most confident, disagreement is taken for label noise: this share of the rows.
CONFIDENT_SHARE = 0.2
RELABEL_FROM, DROP_FROM = 1 / 2, 1 / 3


def judge_labels(estimator, influence, y, options):
    """Columns of the table, by training row, for a classifier."""
    classes = np.asarray(estimator.classes_)
    codes = np.searchsorted(classes, y)
    alone = np.bincount(codes, minlength=len(classes))[codes] == 1
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # The core warns of rows alone in their class at every question, and answers NaN for them;
        # `notes` says it once.
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        proba = influence.loo_predict_proba(**options)
        loss = loo_loss(influence, **options)
        effect = effect_on_others(influence, np.isfinite(loss))
    # Without such a row there is no class to be right about: nothing to suggest.
    best = np.where(alone, codes, np.nan_to_num(proba).argmax(axis=1))
    error_proba, noise_share = _error_proba(proba, best, codes, ~alone)
    relabel = error_proba >= RELABEL_FROM
    drop = ~relabel & (error_proba >= DROP_FROM) & (effect < 0)
    columns = {
        "given": y,
        "suggested": classes[best],
        "suggested_proba": proba[np.arange(len(y)), best],
        "loo_loss": loss,
        "error_proba": error_proba,
        "self_influence": influence.self_influence(),
        "effect_of_dropping": effect,
        "action": np.select([relabel, drop], ["relabel", "drop"], "keep"),
    }
    evidence = {
        "classes": classes,
        "loo_proba": proba,
        "loo_prediction": classes[best],
        "noise_share": noise_share,
        "notes": _note_on_lonely_rows(y[alone]),
    }
    return columns, evidence


def _error_proba(proba, best, codes, known):
    """Chance that each label is wrong, and the share of wrong labels; see the notes of `audit`."""
    error_proba = np.zeros(len(codes))
    if not known.any():
        return error_proba, 0.0
    disagrees = (best != codes)[known]
    confidence = proba[known].max(axis=1)
    surest = np.argsort(-confidence, kind="stable")[: max(1, round(CONFIDENT_SHARE * known.sum()))]
    noise_share = float(disagrees[surest].mean())
    local = IsotonicRegression(increasing=False).fit_transform(confidence, disagrees)
    error_proba[known] = disagrees * np.minimum(1.0, noise_share / np.where(disagrees, local, 1.0))
    return error_proba, noise_share


def judge_targets(estimator, influence, y, options):
    """Columns of the table, by training row, for a regressor."""
    prediction = np.asarray(influence.loo_predict(**options))
    residual = y - prediction
    spread = 1.4826 * np.nanmedian(np.abs(residual - np.nanmedian(residual)))
    z = (residual - np.nanmedian(residual)) / max(spread, np.finfo(float).tiny)
    loss = loo_loss(influence, **options)
    effect = effect_on_others(influence, np.isfinite(loss))
    columns = {
        "given": y,
        "suggested": prediction,
        "residual_z": z,
        "loo_loss": loss,
        "self_influence": influence.self_influence(),
        "effect_of_dropping": effect,
        "action": np.where((np.abs(z) > EXTREME_RESIDUAL) & (effect < 0), "drop", "keep"),
    }
    evidence = {
        "classes": None,
        "loo_proba": None,
        "loo_prediction": prediction,
        "noise_share": None,
        "notes": (),
    }
    return columns, evidence


def _note_on_lonely_rows(labels):
    if len(labels) == 0:
        return ()
    shown = ", ".join(repr(str(label)) for label in labels[:5]) + (" …" if len(labels) > 5 else "")
    return (
        f"{len(labels)} row{'s are' if len(labels) > 1 else ' is'} the only one of "
        f"{'their' if len(labels) > 1 else 'its'} class ({shown}): without it the model cannot know "
        "the class, so nothing can be said about such a row. Look for typing errors in the label.",
    )
