"""A trial asked and judged: what came out, in one word and in numbers."""

import traceback
import warnings
from dataclasses import dataclass

import numpy as np

from skinfluence import Influence
from skinfluence.model_selection import leave_one_group_out
from tests.pipeline_trials.drawing import draw, fitted, groups_of, loose_steps, steps_after
from tests.pipeline_trials.messages import REFUSALS, WARNINGS, Facts, classify
from tests.pipeline_trials.truth import NoModelError, UnsureError, emptied, truth_of, unstable

FINE = ["right", "refused", "no model", "unsure", "local"]
FAILURES = [
    "certificate violated",
    "exact wrong",
    "auto beyond its tolerance",
    "answer without a model",
    "NaN without a warning",
    "NaN where there is an answer",
    "internal error",
    "false refusal",
    "refusal not in the table",
    "false warning",
    "warning not in the table",
    "bare warning",
]
LOCAL = ("one-step", "influence")
# What scikit-learn's steps raise on rows that they do not take; bins of one value an IndexError.
REFUSE = (ValueError, IndexError)
# Errors that no user should see.
INTERNAL = (
    "AssertionError",
    "AttributeError",
    "IndexError",
    "KeyError",
    "LinAlgError",
    "RecursionError",
    "UnboundLocalError",
    "ZeroDivisionError",
)


@dataclass(frozen=True)
class Outcome:
    """How an answer ended.

    Attributes
    ----------
    kind : str
        Of ``FINE`` or ``FAILURES``.
    detail : str
    route : str, how the answer came about
    error : float
        Of all that was asked, relative in L2 to the change; NaN where there is no number.
    """

    kind: str
    detail: str = ""
    route: str = ""
    error: float = np.nan

    @property
    def failed(self):
        return self.kind in FAILURES


def run(seed):
    """The outcomes of a seed, and its trial.

    Parameters
    ----------
    seed : int

    Returns
    -------
    outcomes : list of Outcome
    trial : Trial
    """
    trial = draw(seed)
    facts = Facts(emptied=emptied(trial))
    try:
        model, given = fitted(trial)
    except REFUSE as error:
        return [Outcome("no model", str(error)[:200])], trial
    facts.unstable = unstable(trial, model, given)
    facts.stopped = getattr(model[-1], "fit_status_", 0) != 0
    truth = _truth(trial, model, facts)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            answer = _ask(trial, model)
        except Exception as error:
            return [_refused(error, trial, facts), *_said(said, trial, facts)], trial
    found = _said(said, trial, facts)
    return [_compared(trial, truth, answer, facts, bool(said)), *found], trial


def _truth(trial, model, facts):
    """A Truth, or the error that says why there is none."""
    try:
        again, after = steps_after(trial)
    except REFUSE as error:
        facts.refused = str(error)
        return NoModelError(str(error))
    if facts.emptied:
        return NoModelError("a class, or all counts, without weight")
    if facts.unstable:
        return UnsureError("columns of round-off")
    try:
        truth = truth_of(trial, model, again, after)
    except ValueError as error:
        facts.refused = str(error)
        return NoModelError(str(error))
    except (NoModelError, UnsureError) as error:
        facts.pivot = 0.0 if isinstance(error, NoModelError) else facts.pivot
        facts.unsure = isinstance(error, UnsureError)
        return error
    facts.pivot, facts.far = truth.pivot, truth.far
    return truth


@dataclass
class _Answer:
    """Changes of decision values, or the values themselves, and the trust that came with them."""

    values: np.ndarray
    absolute: bool = False
    bound: float = np.inf
    route: str = ""


def _ask(trial, model):
    options = {"method": trial.method, "tol": trial.tol}
    # Stochastic gradients end near the optimum that the truth is about.
    options_of = {"hold": trial.hold, "polish": trial.family.startswith("SGD")}
    influence = Influence(model, trial.X, trial.y, trial.weight, **options_of)
    tests = [trial.X[i] for i in trial.tests] if isinstance(trial.X, list) else None
    if tests is None:
        array = isinstance(trial.X, np.ndarray)
        tests = trial.X[trial.tests] if array else trial.X.iloc[trial.tests]
    ask = {"of": "decision_function", **options}
    if trial.question == "effect":
        effect = influence.effect(trial.edit, tests, **ask)
        return _Answer(effect.values, False, float(effect.bound), str(effect.route))
    if trial.question == "loo":
        return _Answer(influence.loo_decision_function(indices=trial.gone, **options), True)
    if trial.question == "removal":
        # Beside others: the row in question is the first.
        others = [i for i in range(len(trial.y)) if i not in trial.gone][:3]
        found = influence.removal_effect(tests, indices=[*trial.gone, *others], **ask)
        return _Answer(found[:, 0])
    if trial.question == "relabel":
        row = int(np.flatnonzero(trial.y_after != trial.y)[0])
        found = influence.relabel_effect(tests, indices=[row], **ask)
        return _Answer(found[:, 0, trial.y_after[row]])
    groups = groups_of(trial)
    if trial.question == "sources":
        return _Answer(influence.removal_effect(tests, groups=groups, **ask)[:, 2])
    found = leave_one_group_out(
        model,
        trial.X,
        trial.y,
        groups,
        sample_weight=trial.weight,
        response_method="decision_function" if trial.y.dtype.kind == "i" else "predict",
        **options,
    )
    return _Answer(found[trial.tests], True)


def _compared(trial, truth, answer, facts, warned):
    values = np.asarray(answer.values, dtype=np.longdouble)
    nan = bool(np.isnan(values).any())
    if nan and not warned:
        return Outcome("NaN without a warning", str(truth)[:200], answer.route)
    if isinstance(truth, NoModelError):
        if nan:
            return Outcome("refused", str(truth)[:200], answer.route)
        return Outcome("answer without a model", str(truth)[:200], answer.route)
    if isinstance(truth, UnsureError):
        return Outcome("unsure", str(truth), answer.route)
    if nan:
        return Outcome("NaN where there is an answer", f"pivot {facts.pivot:.0e}", answer.route)
    values = values.reshape(truth.after.shape)
    end, change = truth.after, truth.after - truth.before
    if trial.question == "groups" and trial.family in ("PoissonRegressor", "GammaRegressor"):
        values = np.log(values)
    error = np.abs(values - (end if answer.absolute else change))
    size = np.linalg.norm(np.asarray(change, dtype=float))
    relative = float(np.linalg.norm(np.asarray(error, dtype=float)) / max(size, 1e-300))
    if size <= 1e-6 * np.linalg.norm(np.asarray(end, dtype=float)):
        # Of nothing there is no share.
        relative = np.nan
    # Steps that are a function of the rows to a tolerance of their own: no more is known of their truth.
    loose = loose_steps(trial) * np.abs(end).max()
    shown = f"{_list(values)} true {_list(end if answer.absolute else change)}"
    shown += f" bound {answer.bound:.1e}, off by {relative:.1e} of the change"
    if np.isfinite(answer.bound) and truth.norms:
        norms = truth.norms["solved" if answer.route == "fitted again" else "start"]
        if (error > answer.bound * norms * (1 + 1e-6) + truth.own + loose).any():
            return Outcome("certificate violated", shown, answer.route, relative)
    if trial.method in LOCAL:
        return Outcome("local", shown, answer.route, relative)
    allowed = truth.exact + loose
    if trial.method == "auto" and np.isfinite(truth.size) and answer.route != "fitted again":
        allowed = allowed + 1.01 * trial.tol * truth.size * truth.norms["start"]
    elif trial.method == "auto" and "Tfidf" in trial.about and answer.route != "fitted again":
        # Where all words weigh anew the certificate is of decision values, not of parameters.
        allowed = allowed + 1.01 * trial.tol * float(np.abs(change).max())
    if (error > allowed).any():
        kind = "exact wrong" if trial.method == "exact" else "auto beyond its tolerance"
        return Outcome(
            kind, f"{shown} ({float((error / allowed).max()):.2g} times)", answer.route, relative
        )
    return Outcome("right", shown, answer.route, relative)


def _refused(error, trial, facts):
    name, text = type(error).__name__, str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}"
    detail = f"{name}: {text[:400]} [{where}]"
    if name in INTERNAL or not any("skinfluence" in frame.filename for frame in frames):
        return Outcome("internal error", detail)
    known, true = classify(text, REFUSALS, trial, facts)
    if known is None:
        return Outcome("refusal not in the table", detail)
    if not true:
        return Outcome("unsure" if facts.unsure else "false refusal", detail)
    return Outcome("refused", known)


def _said(said, trial, facts):
    out = []
    for warning in said:
        text = str(warning.message)
        if issubclass(warning.category, FutureWarning | DeprecationWarning):
            continue
        if "sklearn" in warning.filename:
            # What scikit-learn says of the steps on these rows.
            continue
        if issubclass(warning.category, RuntimeWarning):
            place = f"{warning.filename.rpartition('/')[2]}:{warning.lineno}"
            out.append(Outcome("bare warning", f"{text} [{place}]"))
            continue
        known, true = classify(text, WARNINGS, trial, facts)
        if known is None:
            out.append(Outcome("warning not in the table", text[:300]))
        elif not true and not facts.unsure:
            out.append(Outcome("false warning", f"{text[:300]} pivot {facts.pivot:.0e}"))
    return out


def _list(values):
    return "[" + ", ".join(f"{float(v):.5g}" for v in np.ravel(values)[:6]) + "]"
