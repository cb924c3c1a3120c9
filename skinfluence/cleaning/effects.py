"""What dropping a row does to the leave-one-out losses of the others: shown where its sign is known."""

import numpy as np

from skinfluence.statistics import any_learns

EFFECT, ERROR = "effect_of_dropping", "effect_error"
TELL = "In Python verify(k, effects=True) refits without single rows, and tells."


def effect_columns(influence, loss, effects, frozen):
    """The columns of effects on the others, and notes.

    Parameters
    ----------
    influence : Influence
    loss : ndarray of shape (n_samples,)
        Leave-one-out losses; NaN of rows that have none.
    effects : {None, True, False}
        None: errors are estimated where that is cheap. True: whatever it costs. False: no columns.
    frozen : {None, "accept", "refuse"}
        "accept": that what moves with the rows is held is what was asked, and not said.

    Returns
    -------
    columns : dict of str to ndarray
        ``effect_of_dropping``, NaN where it is no larger than its error or would take more than all of
        the loss away; and ``effect_error``, estimated.
    notes : tuple of str
    """
    if effects is False:
        return {}, ()
    known = np.isfinite(loss)
    effect, error = influence.answers.effect_on_others(known, thorough=bool(effects))
    typical = float(np.nanmean(loss)) if known.any() else np.nan
    columns = {EFFECT: trusted(effect, error, typical), ERROR: error}
    notes = _notes(columns, effect, typical, bool(effects))
    if frozen != "accept" and np.isfinite(columns[EFFECT]).any():
        notes += _note_on_held(influence)
    return columns, notes


def trusted(effect, error, mean_loss):
    """Effects whose sign is known, NaN for the others.

    Parameters
    ----------
    effect, error : ndarray of shape (n_samples,)
    mean_loss : float
        Of all rows: losses that are not negative cannot fall by more.
    """
    with np.errstate(invalid="ignore"):
        sure = (np.abs(effect) > error) | ((error == 0.0) & (effect == 0.0))
        return np.where(sure & (effect >= -mean_loss), effect, np.nan)


def _note_on_held(influence):
    """That effects hold what a refit learns anew, where there is any."""
    held = ["the transformers"] if any_learns(influence._inputs.steps) else []
    held += ["balanced class weights"] if influence.objective.balanced else []
    if not held:
        return ()
    return (
        f"{EFFECT} and {ERROR} are of {' and '.join(held)} as fitted on all rows: where few rows decide what "
        f"these are, refits may have another sign. {TELL}",
    )


def _notes(columns, effect, mean_loss, thorough):
    empty = np.isfinite(effect) & np.isnan(columns[EFFECT])
    n = int(empty.sum())
    if n == 0:
        return ()
    known = empty & np.isfinite(columns[ERROR])
    if not known.any():
        remedy = "effects=True estimates it, at the price of some factorisations."
        why = "how far it would be off is not known here, and it can have the wrong sign"
        return (f"{EFFECT} is empty: {why}. {TELL if thorough else remedy}",)
    most = f"{100 * columns[ERROR][known].max() / mean_loss:.2g} %"
    return (
        f"{EFFECT} is empty for {n:,} row{'s' if n > 1 else ''} whose sign is not known: it is an estimate, "
        f"there no larger than its error ({ERROR}, at most {most} of the mean loss). {TELL}",
    )
