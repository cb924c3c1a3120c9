"""What dropping a row does to the leave-one-out losses of the others: shown where its sign is known."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence._utils.weights import fit_weights, unless_ones
from skinfluence.cleaning.left_out import left_out_losses
from skinfluence.edits import NoOptimumError
from skinfluence.leave_one_out import fitted_again
from skinfluence.objective import resolve_hold
from skinfluence.solvers import SingularHessianError
from skinfluence.statistics import OverBudgetError, any_learns, moving_curve

EFFECT, ERROR = "effect_of_dropping", "effect_error"
# Where more than the model learns from the rows: of how many of the first rows effects are worked out, and
# what that may cost, in rows times squared parameters times outputs, of which a second is some 1e7; what is
# taken for a row besides, and for a fit of the steps.
SHOWN, MOST_WORK, WORK_OF_ROW, WORK_OF_FIT = 20, 4e7, 1e6, 1e5
# Of the optimum and of answers that are solved to round-off: shares of the effect and of the mean loss.
OF_ITSELF, OF_ALL = 1e-4, 1e-8
TARGETS = "the transformer of the targets"
TELL = "In Python verify(k, effects=True) refits without single rows, and tells."


def has_effects(table):
    """Whether the table of an audit knows an effect of a row on the others."""
    return EFFECT in table and bool(table[EFFECT].notna().any())


class MeanOfOthers:
    """The mean leave-one-out loss of all rows, and how it changes for the others without one of them.

    Parameters
    ----------
    influence : Influence
        Of the fit on all rows.
    y : ndarray of shape (n_samples,)
    frozen : {None, "accept", "refuse"}
    """

    def __init__(self, influence, y, frozen):
        self.y, self.objective = y, influence.objective
        self._options = {"method": "exact", "frozen": frozen}
        self._before = left_out_losses(influence, y, self._options)
        self._weights = getattr(self.objective, "weights", self.objective.sample_weight)

    @property
    def mean(self):
        """Of the rows that have a loss, weighted as the fit is."""
        known = np.isfinite(self._before)
        return float(self._weights[known] @ self._before[known] / self._weights[known].sum())

    def change(self, without, others):
        """Change of the mean, in which the rows that are gone do not count.

        Parameters
        ----------
        without : Influence
            Of the fit on the others.
        others : ndarray of int

        Returns
        -------
        change : float
            NaN where one of the others has no loss any more, alone in its class.
        """
        after = left_out_losses(without, self.y[others], self._options, self.objective)
        known = np.isfinite(self._before)
        counted = known[others]
        changes = (after - self._before[others])[counted]
        return float(self._weights[others][counted] @ changes / self._weights[known].sum())


def effect_columns(influence, loss, options, first, needed):
    """The columns of effects on the others, and notes.

    Parameters
    ----------
    influence : Influence
    loss : ndarray of shape (n_samples,)
        Leave-one-out losses; NaN of rows that have none.
    options : dict
        Of the audit. ``effects``: None, errors are estimated where that is cheap; True, whatever it
        costs; False, no columns. ``frozen``: "accept", that what moves with the rows is held is what was
        asked.
    first : ndarray of int
        Rows in the order in which they are shown.
    needed : ndarray of int
        Rows whose action rests on their effect, in the same order.

    Returns
    -------
    columns : dict of str to ndarray
        ``effect_of_dropping``, NaN where it is no larger than its error or would take more than all of
        the loss away, and where it is not worked out; and ``effect_error``.
    notes : tuple of str

    Notes
    -----
    Where nothing but the model learns from the rows, all effects are estimated together. Else effects of
    the estimate have the wrong sign now and then, whatever is made of what moves; so that of each row that
    is needed, or with ``effects=True`` shown, the whole is edited, or fitted again where `is_refitted`, and
    all the others left out of that.
    """
    effects = options["effects"]
    if effects is False:
        return {}, ()
    known = np.isfinite(loss)
    moving = learned_anew(influence) if options["frozen"] != "accept" else []
    if moving and not is_natural(influence.objective):
        columns = {name: np.full(len(loss), np.nan) for name in (EFFECT, ERROR)}
        return columns, (
            f"{EFFECT} is empty: {_anew(moving)} without each row, by fits, which hold "
            f"{influence.objective.natural_hold!r}. Got Influence(..., hold={influence.objective.hold!r}); "
            "leave hold out.",
        )
    if moving:
        rows = np.array(
            list(dict.fromkeys([*needed[:SHOWN], *(first[:SHOWN] if effects else ())])), int
        )
        rows = rows[known[rows]]
        some = rows[: affordable(influence, options["frozen"])] if len(rows) else rows
        try:
            effect, error, typical = edited_effects(influence, some, options["frozen"])
        except OverBudgetError:
            some = rows[:0]
            effect, error, typical = edited_effects(influence, some, options["frozen"])
        columns = {EFFECT: trusted(effect, error, typical), ERROR: error}
        shown = columns[EFFECT]
        return columns, _notes_on_edits(
            rows, some, first[known[first]], shown, moving, bool(effects)
        )
    effect, error = influence.answers.effect_on_others(known, thorough=bool(effects))
    typical = float(np.nanmean(loss)) if known.any() else np.nan
    columns = {EFFECT: trusted(effect, error, typical), ERROR: error}
    return columns, _notes(columns, effect, typical, bool(effects))


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
    if moving_curve(influence.objective) is not None:
        learned.append(TARGETS)
    return learned + (["balanced class weights"] if influence.objective.balanced else [])


def affordable(influence, frozen):
    """Of how many rows effects may be worked out by edits."""
    problem = influence.objective
    n, outputs = problem.n_samples, problem.loss.n_outputs
    work = n * getattr(problem, "n_parameters", n) ** 2 * outputs
    return int(MOST_WORK / (work + WORK_OF_ROW + WORK_OF_FIT * fitted_again(influence, frozen)))


def is_natural(problem):
    """Whether edits mean what a refit gives, and hold no other constant."""
    natural = getattr(problem, "natural_hold", "C")
    return resolve_hold(getattr(problem, "hold", natural), natural) == natural


def is_refitted(influence):
    """Whether the model without a row is a fit of a clone: what learned from the rows has no edits."""
    problem = influence.objective
    chosen = problem.chosen is not None and not problem.chosen.among_candidates
    return chosen or moving_curve(problem) is not None


def edited_effects(influence, rows, frozen):
    """Effects of some rows by edits of the whole, and leave-one-out losses solved to round-off.

    Parameters
    ----------
    influence : Influence
    rows : ndarray of int, shape (m,)
    frozen : {None, "refuse"}

    Returns
    -------
    effect, error : ndarray of shape (n_samples,)
        NaN of all other rows, and of rows without which there is no model, for themselves or for others.
    mean_loss : float
    """
    n, y = influence.objective.n_samples, influence.data.y
    effect, error, every = np.full(n, np.nan), np.full(n, np.nan), np.arange(n)
    if not len(rows):
        return effect, error, np.nan
    raw, weight = influence.data.inputs.raw, unless_ones(influence.objective.sample_weight)
    now = MeanOfOthers(influence, y, frozen)
    for row in rows:
        others = every[every != row]
        some = None if weight is None else weight[others]
        fitted_on = _safe_indexing(raw, others), y[others]
        try:
            if is_refitted(influence):
                # What a search chose is held.
                model = getattr(influence.estimator, "best_estimator_", influence.estimator)
                edited = clone(model).fit(*fitted_on, **fit_weights(model, some))
            else:
                edited = influence.edited(edits.remove([row]), frozen=frozen).estimator
        except (NoOptimumError, SingularHessianError):
            continue
        without = Influence(edited, *fitted_on, some, frozen=frozen)
        with warnings.catch_warnings():
            # Said of the fit on all rows.
            warnings.filterwarnings("ignore", "Held as chosen on all rows", UserWarning)
            effect[row] = now.change(without, others)
    error[rows] = OF_ITSELF * np.abs(effect[rows]) + OF_ALL * abs(now.mean)
    return effect, error, now.mean


def _notes_on_edits(wanted, known, first, effect, moving, asked):
    """What effects are of, and of which rows, where more than the model moves.

    Parameters
    ----------
    wanted, known : ndarray of int
        Rows that are to have an effect, and those of them whose effect was worked out.
    first : ndarray of int
        Rows in the order in which they are shown, those that have a loss.
    effect : ndarray of shape (n_samples,)
        What is shown.
    moving : list of str
    asked : bool
    """
    anew = _anew(moving)
    if not asked and not len(wanted):
        return (
            f"{EFFECT} is empty: {anew} without each row, and only fits tell what that does. effects=True "
            f"makes them for the first {SHOWN} rows.",
        )
    if not len(known):
        return (
            f"{EFFECT} is empty: {anew} without each row, and leaving all the others out of each such fit "
            f"would take too long for a table like this. {TELL}",
        )
    long = "; more would take too long" if len(known) < len(wanted) else ""
    empty = int(np.isnan(effect[known]).sum())
    signs = (
        f" It is empty for {empty} of these, too, where it is no larger than its error or another row is "
        "alone in its class without the row."
        if empty
        else ""
    )
    return (
        f"{EFFECT} is worked out for {_named(known, first, asked)}, by fits in which {anew}, and empty for "
        f"the others{long}.{signs} {TELL}",
    )


def _anew(moving):
    """That something is learned anew, in words."""
    return f"{' and '.join(moving)} {'is' if moving == [TARGETS] else 'are'} learned anew"


def _named(known, first, asked):
    """Rows whose effect was worked out, in words."""
    there = np.isin(first, known)
    n_first = len(first) if there.all() else int(np.argmin(there))
    n_more = len(known) - n_first if asked else len(known)
    names = []
    if asked and n_first:
        names.append(f"the first {n_first} rows" if n_first > 1 else "the first row")
    if n_more:
        more = f"{n_more} {'more ' if names else ''}row{'s' if n_more > 1 else ''}"
        names.append(f"{'' if names else 'the '}{more} whose action rests on it")
    return " and ".join(names)


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
