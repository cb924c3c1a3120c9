"""From leave-one-out answers to columns of evidence and a suggested action for every row.

The reasoning is in the notes of `skinfluence.cleaning.audit`.
"""

import warnings

import numpy as np

from skinfluence.cleaning.noise import estimate_noise
from skinfluence.leave_one_out import Outputs, outputs

# A target is called extreme when its leave-one-out residual is this many robust standard deviations
# away from the typical one: about 1 in 2,000 rows of a Gaussian sample.
EXTREME_RESIDUAL = 3.5

RELABEL_FROM, DROP_FROM = 1 / 2, 1 / 3

# With method="auto": the rows of highest one-step loss that are solved with a certificate.
# Each costs the more the more outputs there are.
CERTIFIED_ROWS, MIN_CERTIFIED_ROWS, CERTIFIED_TOL = 300, 20, 1e-3


def judge_labels(estimator, influence, y, options):
    """Columns of the table, by training row, for a classifier."""
    classes = np.asarray(estimator.classes_)
    codes = np.searchsorted(classes, y)
    alone = np.bincount(codes, minlength=len(classes))[codes] == 1
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # The core warns of rows alone in their class at every question, and answers NaN for them;
        # `notes` says it once.
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        left_out = _left_out(influence, options)
        proba, loss = left_out.predict_proba(), left_out.loss()
        effect = influence.answers.effect_on_others(np.isfinite(loss))
    # Without such a row there is no class to be right about: nothing to suggest.
    best = np.where(alone, codes, np.nan_to_num(proba).argmax(axis=1))
    known = np.isfinite(loss)
    noise = estimate_noise(proba[known], codes[known])
    error_proba, best_proba = np.zeros(len(y)), np.zeros(len(y))
    error_proba[known] = 1.0 - noise.posterior[np.arange(known.sum()), codes[known]]
    best_proba[known] = noise.posterior[np.arange(known.sum()), best[known]]
    disagrees = best != codes
    relabel = disagrees & (best_proba >= RELABEL_FROM)
    drop = disagrees & ~relabel & (error_proba >= DROP_FROM) & (effect < 0)
    emptied = ~np.isin(codes, codes[~(relabel | drop)])
    columns = {
        "given": y,
        "suggested": classes[best],
        "suggested_proba": proba[np.arange(len(y)), best],
        "loo_loss": loss,
        "error_proba": error_proba,
        "self_influence": influence.self_influence(),
        "effect_of_dropping": effect,
        "action": np.select([emptied, relabel, drop], ["keep", "relabel", "drop"], "keep"),
    }
    evidence = {
        "classes": classes,
        "loo_proba": proba,
        "loo_prediction": classes[best],
        "noise_share": noise.share,
        "notes": (
            *_note_on_lonely_rows(y[alone]),
            *noise.notes,
            *_note_on_emptied_classes(classes[np.unique(codes[emptied])]),
        ),
    }
    return columns, evidence


def _left_out(influence, options):
    """Leave-one-out outputs; with "auto" one step for all rows, then certified for the top ones."""
    if options["method"] != "auto" or not influence.answers.certifies:
        return outputs(influence, **options)
    first = outputs(influence, **{**options, "method": "one-step"})
    loss = first.loss()
    n_certified = max(MIN_CERTIFIED_ROWS, CERTIFIED_ROWS // first.eta.shape[1])
    rows = np.sort(np.argsort(-loss, kind="stable")[:n_certified])
    rows = rows[np.isfinite(loss[rows])]
    eta = first.eta.copy()
    eta[rows] = influence.answers.own_removals("auto", CERTIFIED_TOL, rows)
    return Outputs(first.estimator, first.objective, eta)


def judge_targets(estimator, influence, y, options):
    """Columns of the table, by training row, for a regressor."""
    left_out = _left_out(influence, options)
    prediction, loss = left_out.predict(), left_out.loss()
    residual = y - prediction
    spread = 1.4826 * np.nanmedian(np.abs(residual - np.nanmedian(residual)))
    z = (residual - np.nanmedian(residual)) / max(spread, np.finfo(float).tiny)
    effect = influence.answers.effect_on_others(np.isfinite(loss))
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


def _note_on_emptied_classes(emptied):
    if len(emptied) == 0:
        return ()
    shown = ", ".join(repr(str(label)) for label in emptied[:5]) + (
        " …" if len(emptied) > 5 else ""
    )
    return (
        f"Every row of {'these classes' if len(emptied) > 1 else 'one class'} looks wrong ({shown}). "
        "No suggestion is made that leaves a class without rows: is it a misspelt or superfluous "
        "label?",
    )
