"""What dropping a row does to the leave-one-out losses of the others: shown where its sign is known."""

import numpy as np

from skinfluence.leave_one_out import fitted_again, quick_method
from skinfluence.statistics import any_learns

EFFECT, ERROR = "effect_of_dropping", "effect_error"
# Up to so many rows what a refit learns anew is looked at; of more, one row decides too little of that to
# be worth twice the price of an audit.
FEW_ROWS = 300
# Of what is feared beside what was estimated.
SAFETY = 2.0
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
    moving = learned_anew(influence) if frozen != "accept" else []
    method = way_of_learning(influence, frozen) if moving else None
    if method is not None:
        moved, alone = effect_of_learning(influence, known, method, frozen)
        # Left out, the others move farther than in the fit, by as much as they do with the steps held.
        farther = np.sqrt(np.nansum(effect**2) / max(alone @ alone, np.finfo(float).tiny))
        error = error + SAFETY * max(1.0, farther) * np.abs(moved)
        effect = effect + moved
    typical = float(np.nanmean(loss)) if known.any() else np.nan
    columns = {EFFECT: trusted(effect, error, typical), ERROR: error}
    notes = _notes(columns, effect, typical, bool(effects))
    if moving and np.isfinite(columns[EFFECT]).any():
        notes += (_note_on(moving, method is not None),)
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


def learned_anew(influence):
    """What a refit learns anew beside the model, in words."""
    learned = ["the transformers"] if any_learns(influence.data.inputs.steps) else []
    return learned + (["balanced class weights"] if influence.objective.balanced else [])


def way_of_learning(influence, frozen):
    """The method that says of few rows what is learned anew without each, and fits no step again; or None."""
    if influence.objective.n_samples > FEW_ROWS:
        return None
    method = quick_method(influence, frozen)
    return None if fitted_again(influence, frozen) else method


def effect_of_learning(influence, known, method, frozen):
    """What transformers and class weights that see a row leave do to the others, as they are fitted.

    Parameters
    ----------
    influence : Influence
    known : ndarray of bool, shape (n_samples,)
        Which rows count.
    method : {"one-step", "auto"}
    frozen : {None, "refuse"}

    Returns
    -------
    moved : ndarray of shape (n_samples,)
        Change of the mean loss of the others by the whole pipeline, less that by the model alone.
    alone : ndarray of shape (n_samples,)
        That by the model alone.
    """
    objective, rows = influence.objective, np.flatnonzero(known)
    weights = getattr(objective, "weights", objective.sample_weight)[rows]
    X, y = influence.data.inputs.raw_rows(rows), influence.data.y[rows]
    found = []
    for way in (frozen, "accept"):
        change = influence.removal_effect(X, y, method=method, frozen=way)
        change[np.arange(len(rows)), rows] = 0.0
        found.append(weights @ change / weights.sum())
    return found[0] - found[1], found[1]


def _note_on(moving, heeded):
    """How effects heed what a refit learns anew."""
    moving = " and ".join(moving)
    if heeded:
        return (
            f"{EFFECT} heeds what {moving} learn without the row as far as the fit shows it: where few rows "
            f"decide what these are, refits may have another sign. {TELL}"
        )
    return (
        f"{EFFECT} and {ERROR} are of {moving} as fitted on all rows: where few rows decide what "
        f"these are, refits may have another sign. {TELL}"
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
