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
    n = len(y)
    labels = _as_given(classes, codes, y)
    alone = np.bincount(codes, minlength=len(classes))[codes] == 1
    suspect = suspected(options["suspect"], classes)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # The core warns of rows alone in their class at every question, and answers NaN for them;
        # `notes` says it once.
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        left_out, noise = _left_out_and_noise(influence, codes, classes, suspect, options)
        proba, loss = left_out.predict_proba(), left_out.loss()
        effect = _effect(influence, loss, options)
    known = np.isfinite(loss)
    posterior, log_odds = np.zeros_like(proba), np.full(n, np.nan)
    posterior[np.arange(n), codes] = 1.0
    posterior[known] = noise.posterior(proba[known], codes[known])
    log_odds[known] = noise.log_odds(proba[known], codes[known])
    error_proba = np.maximum(1.0 - posterior[np.arange(n), codes], 0.0)
    wrong = noise.claimed & (error_proba >= DROP_FROM)
    another = np.where(np.arange(len(classes)) == codes[:, None], -1.0, posterior)
    # Without a row that is alone there is no class to be right about: nothing to suggest.
    likely = np.where(alone, codes, np.nan_to_num(proba).argmax(axis=1))
    best = np.where(wrong, another.argmax(axis=1), likely)
    relabel = wrong & (another.max(axis=1) >= RELABEL_FROM)
    drop = wrong & ~relabel
    emptied = ~np.isin(codes, codes[~(relabel | drop)])
    columns = {
        "given": y,
        "suggested": labels[best],
        "suggested_proba": proba[np.arange(n), best],
        "loo_loss": loss,
        "error_proba": error_proba,
        "self_influence": influence.self_influence(),
        **effect,
        "action": np.select([emptied, relabel, drop], ["keep", "relabel", "drop"], "keep"),
    }
    scores = {
        "error_proba": log_odds,
        "loo_loss": loss,
        "margin": _shortfall(proba, codes),
        "self_influence": columns["self_influence"],
    }
    evidence = {
        "classes": classes,
        "loo_proba": proba,
        "loo_prediction": labels[likely],
        "noise": noise,
        "notes": (
            *_note_on_lonely_rows(y[alone]),
            *noise.notes,
            *_note_on_emptied_classes(classes[np.unique(codes[emptied])]),
        ),
    }
    return columns, scores, evidence


def _as_given(classes, codes, y):
    """The classes as values of `y`, whose type an estimator does not always keep."""
    present, first = np.unique(codes, return_index=True)
    if y.dtype != object and len(present) == len(classes):
        return y[first]
    labels = classes.astype(object)
    for code, row in zip(present, first, strict=True):
        labels[code] = y[row]
    return labels


def suspected(suspect, classes):
    """``{"true": c}`` or ``{"given": c}`` as the kind and the position of the class; None for None."""
    if suspect is None:
        return None
    rule = (
        "suspect must be {'true': c}, for members of class c that were mislabelled, or {'given': c}, "
        "for labels c that cannot be trusted. Got "
    )
    if not isinstance(suspect, dict) or len(suspect) != 1 or not {"true", "given"} & set(suspect):
        raise ValueError(f"{rule}{suspect!r}.")
    ((kind, label),) = suspect.items()
    at = [i for i, name in enumerate(classes.tolist()) if name == label]
    if not at:
        raise ValueError(f"{rule}{suspect!r}; the classes are {_listed(classes)}.")
    return kind, at[0]


def _shortfall(proba, codes):
    """By how much the most likely other class is ahead of the given one."""
    others = np.where(np.arange(proba.shape[1]) == codes[:, None], -np.inf, proba)
    return others.max(axis=1) - proba[np.arange(len(codes)), codes]


def _left_out_and_noise(influence, codes, classes, suspect, options):
    """Leave-one-out outputs and the noise in the labels.

    With "auto" one step for all rows, by which the noise is estimated, and a certificate for those
    that look most wrong or surprising.
    """

    def noise_in(left_out):
        known = np.isfinite(left_out.loss())
        proba = left_out.predict_proba()[known]
        return known, proba, estimate_noise(proba, codes[known], classes, suspect)

    asked = {"method": options["method"], "frozen": options["frozen"]}
    if options["method"] != "auto" or not influence.answers.certifies:
        left_out = outputs(influence, **asked)
        return left_out, noise_in(left_out)[2]
    first = outputs(influence, **{**asked, "method": "one-step"})
    known, proba, noise = noise_in(first)
    log_odds = np.full(len(codes), -np.inf)
    log_odds[known] = noise.log_odds(proba, codes[known])
    return _certified(influence, first, [first.loss(), log_odds], options), noise


def judge_targets(estimator, influence, y, options):
    """Columns of the table, by training row, for a regressor."""
    if options["suspect"] is not None:
        raise ValueError(
            f"suspect= names a class, and a regressor has none. Got {options['suspect']!r}; leave it out."
        )
    left_out = _left_out(influence, options)
    prediction, loss = left_out.predict(), left_out.loss()
    residual = y - prediction
    spread = 1.4826 * np.nanmedian(np.abs(residual - np.nanmedian(residual)))
    z = (residual - np.nanmedian(residual)) / max(spread, np.finfo(float).tiny)
    effect = _effect(influence, loss, options)
    drop = np.abs(z) > EXTREME_RESIDUAL
    if effect:
        drop &= effect["effect_of_dropping"] < 0
    columns = {
        "given": y,
        "suggested": prediction,
        "residual_z": z,
        "loo_loss": loss,
        "self_influence": influence.self_influence(),
        **effect,
        "action": np.where(drop, "drop", "keep"),
    }
    scores = {"loo_loss": loss, "self_influence": columns["self_influence"]}
    evidence = {
        "classes": None,
        "loo_proba": None,
        "loo_prediction": prediction,
        "noise": None,
        "notes": (),
    }
    return columns, scores, evidence


def _effect(influence, loss, options):
    """The column of effects on the others; none where they were not asked for."""
    if not options["effects"]:
        return {}
    return {"effect_of_dropping": influence.answers.effect_on_others(np.isfinite(loss))}


def _left_out(influence, options):
    """Leave-one-out outputs; with "auto" one step for all rows, then certified for the top ones."""
    asked = {"method": options["method"], "frozen": options["frozen"]}
    if options["method"] != "auto" or not influence.answers.certifies:
        return outputs(influence, **asked)
    first = outputs(influence, **{**asked, "method": "one-step"})
    return _certified(influence, first, [first.loss()], options)


def _certified(influence, first, scores, options):
    """One-step outputs with those of the rows of highest scores solved to a certified error."""
    n_certified = max(MIN_CERTIFIED_ROWS, CERTIFIED_ROWS // first.eta.shape[1])
    share = -(-n_certified // len(scores))
    rows = np.unique([np.argsort(-score, kind="stable")[:share] for score in scores])
    rows = rows[np.isfinite(first.loss()[rows])]
    eta = first.eta.copy()
    answers = influence.answers.held if options["frozen"] == "accept" else influence.answers
    eta[rows] = answers.own_removals("auto", CERTIFIED_TOL, rows)
    return Outputs(first.estimator, first.objective, eta)


def _note_on_lonely_rows(labels):
    if len(labels) == 0:
        return ()
    shown = _listed(labels)
    return (
        f"{len(labels)} row{'s are' if len(labels) > 1 else ' is'} the only one of "
        f"{'their' if len(labels) > 1 else 'its'} class ({shown}): without it the model cannot know "
        "the class, so nothing can be said about such a row. Look for typing errors in the label.",
    )


def _note_on_emptied_classes(emptied):
    if len(emptied) == 0:
        return ()
    shown = _listed(emptied)
    return (
        f"Every row of {'these classes' if len(emptied) > 1 else 'one class'} looks wrong ({shown}). "
        "No suggestion is made that leaves a class without rows: is it a misspelt or superfluous "
        "label?",
    )


def _listed(labels):
    return ", ".join(repr(str(label)) for label in labels[:5]) + (" …" if len(labels) > 5 else "")
