"""From leave-one-out answers to columns of evidence and a suggested action for every row.

The reasoning is in the notes of `skinfluence.cleaning.audit`.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from skinfluence.cleaning.bridge import label_quality
from skinfluence.cleaning.calibration import chances
from skinfluence.cleaning.effects import effect_columns
from skinfluence.cleaning.left_out import certified, first_look
from skinfluence.cleaning.noise import Noise, estimate_noise
from skinfluence.cleaning.surroundings import heeded, local_probabilities, misfit, surroundings
from skinfluence.cleaning.trimming import trimmed
from skinfluence.cleaning.verdicts import suggested, verdict_on


def judge_labels(estimator, influence, y, options):
    """Columns of the table, by training row, for a classifier."""
    classes = np.asarray(estimator.classes_)
    codes = np.searchsorted(classes, y)
    labels = _as_given(classes, codes, y)
    alone = np.bincount(codes, minlength=len(classes))[codes] == 1
    suspect = suspected(options["suspect"], classes)
    around = surroundings(influence.data.inputs.training_X)
    about = codes, classes, suspect, around
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # The core warns of rows alone in their class at every question, and answers NaN for them;
        # `notes` says it once.
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        left_out, found = _left_out_and_noise(influence, *about, options)
    untrimmed, out, notes = found.loss, np.zeros(len(y), dtype=bool), ()
    if options["rounds"]:
        found, out = _after_trimming(influence, *about, found.noise, options)
        notes = _note_on_trimming(out, options["rounds"])
    proba, loss, noise = found.proba, found.loss, found.noise
    verdict = verdict_on(found.local, codes, found.known, noise)
    # Without a row that is alone there is no class to be right about: nothing to suggest.
    likely = np.where(alone, codes, _predicted(left_out, proba, classes, options))
    suggestion = suggested(verdict, codes, likely)
    best, changed = suggestion.classes, suggestion.changed
    pull = pull_column(influence)
    scores = {
        "error_proba": verdict.log_odds,
        "loo_loss": loss,
        "margin": _shortfall(proba, codes),
        "trimmed": verdict.log_odds,
        **pull,
    }
    if options.get("score") == "cleanlab":
        scores["cleanlab"] = -label_quality(proba, codes)
    first = by_suspicion(scores[options["score"]], loss)
    effect, notes_on_effects = effect_columns(influence, untrimmed, options, first, first[:0])
    columns = {
        "given": y,
        "suggested": labels[best],
        "suggested_proba": proba[np.arange(len(y)), best],
        "loo_loss": loss,
        "error_proba": verdict.error_proba,
        **pull,
        **effect,
        "action": suggestion.action,
    }
    evidence = {
        "classes": classes,
        "loo_proba": proba,
        "local_proba": found.local,
        "loo_prediction": labels[likely],
        "noise": noise,
        "trimmed": out,
        "notes": (
            *noise.notes,
            *_note_on_changes(verdict.error_proba[changed]),
            *_note_on_doubtful_rows(verdict.n_doubtful, int(changed.sum())),
            *notes,
            *notes_on_effects,
            *_note_on_chances(influence),
            *_note_on_lonely_rows(y[alone]),
            *_note_on_emptied_classes(classes[suggestion.emptied]),
        ),
    }
    return columns, scores, evidence


def _noise(proba, local, known, codes, around, classes, suspect):
    """The errors in the labels of the rows that have an answer."""
    return estimate_noise(
        local[known],
        codes[known],
        classes,
        suspect,
        misfit(proba[known], local[known], around),
    )


def _note_on_changes(error_proba):
    """How many of the suggested changes are right by the chances that the table shows."""
    n = len(error_proba)
    if n == 0:
        return ()
    return (
        f"By these chances about {error_proba.sum():.0f} of {n} suggested "
        f"change{'s are' if n > 1 else ' is'} right. Look at each before it is carried out.",
    )


def _note_on_doubtful_rows(n_rows, n_changed):
    if n_rows == 0:
        return ()
    are = "are" if n_rows > 1 else "is"
    return (
        f"{n_rows} {'more ' if n_changed else ''}row{'s' if n_rows > 1 else ''} {are} more likely wrong than "
        "right if the model is as good as it looks, but not surely enough to change "
        f"{'them' if n_rows > 1 else 'it'}. Look at the {'next' if n_changed else 'first'} rows of the "
        "ranking.",
    )


def _note_on_trimming(out, rounds):
    if not out.any():
        return ("Nothing was left out of the fit: no errors are claimed. Say how much with trim=.",)
    return (
        f"{out.sum()} of {len(out)} rows, the most suspicious ones, were left out of the fit in "
        f"{rounds} round{'s' if rounds > 1 else ''}; losses and probabilities are those of models that "
        "have not seen them either.",
    )


def _chances(left_out, codes, classes):
    """Leave-one-out probabilities: the model's, or those that its decision values amount to."""
    if hasattr(left_out.estimator, "predict_proba"):
        return left_out.predict_proba()
    return chances(left_out.by_class(), codes, len(classes))


def _predicted(left_out, proba, classes, options):
    """Positions of the classes that the models predict for the rows that they have not seen, (n_samples,)."""
    if options["rounds"] or hasattr(left_out.estimator, "predict_proba"):
        return np.nan_to_num(proba).argmax(axis=1)
    # Chances that are fitted to decision values have another border than the model has.
    return np.searchsorted(classes, left_out.predict())


def _note_on_chances(influence):
    if hasattr(influence.estimator, "predict_proba"):
        return ()
    return (
        "The model has no probabilities: those shown are fitted to its leave-one-out decision values, "
        "and loo_loss is its own loss.",
    )


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


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What models without each row say of its label."""

    # Probabilities of the classes, and those that heed the nearest rows.
    proba: np.ndarray
    local: np.ndarray
    # The loss of the given label, and whether there is one.
    loss: np.ndarray
    known: np.ndarray
    noise: Noise


def _left_out_and_noise(influence, codes, classes, suspect, around, options):
    """Leave-one-out outputs and what they are evidence of.

    With "auto" a first look at all rows, one step where that is cheap, by which the surroundings are
    heeded and the noise is estimated, and a certificate for those that look most wrong or surprising.
    """
    left_out, certify = first_look(influence, options)
    proba, known = _chances(left_out, codes, classes), np.isfinite(left_out.loss())
    heed = heeded(proba, codes, around)
    local = local_probabilities(proba, codes, around, heed)
    noise = _noise(proba, local, known, codes, around, classes, suspect)
    if certify:
        log_odds = np.full(len(codes), -np.inf)
        log_odds[known] = noise.log_odds(local[known], codes[known])
        left_out = certified(influence, left_out, [left_out.loss(), log_odds], options)
        proba = _chances(left_out, codes, classes)
        local = local_probabilities(proba, codes, around, heed)
    loss = left_out.loss()
    return left_out, _Evidence(proba, local, loss, np.isfinite(loss), noise)


def _after_trimming(influence, codes, classes, suspect, around, noise, options):
    """The evidence of models that have not seen the most suspicious rows either, and which those are."""
    # How sure the whole of the labels is, before any of them is left out of the fit.
    share = noise.share if options["trim"] is None else options["trim"]
    proba, out = trimmed(
        influence, classes, codes, suspect, around, options["rounds"], share, options["frozen"]
    )
    loss = -np.log(np.maximum(proba[np.arange(len(codes)), codes], np.finfo(float).tiny))
    known, local = np.isfinite(loss), local_probabilities(proba, codes, around)
    noise = _noise(proba, local, known, codes, around, classes, suspect)
    return _Evidence(proba, local, loss, known, noise), out


def pull_column(influence):
    """The column of how strongly rows pull the model; none where that is not known."""
    if not influence.answers.knows("self_influence"):
        return {}
    return {"self_influence": influence.self_influence()}


def by_suspicion(score, loss):
    """Rows, the most suspicious first: equal scores by loss, equal losses in order; one without is last."""
    return np.lexsort((-loss, -score))


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
