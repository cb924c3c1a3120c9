"""True refits: the check that predicted leave-one-out answers are what retraining gives."""

import sys
from functools import cache

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.class_weight import compute_class_weight

from skinfluence import Influence
from skinfluence._utils._optional import require
from skinfluence._utils.progress import progress_bar
from skinfluence._utils.weights import fit_weights
from skinfluence.cleaning.effects import EFFECT, MeanOfOthers
from skinfluence.cleaning.left_out import loss_of_targets
from skinfluence.inputs import Inputs
from skinfluence.inputs.wrappers import behind_steps
from skinfluence.losses import Binomial, Multinomial, SumToZero
from skinfluence.statistics import in_old_units, moving_curve


def verify(audit, k, *, preprocessing=None, effects=False, progress=False):
    """Refit without each of the first `k` rows of an audit. See `Audit.verify`."""
    pd = require("pandas", extra="audit")
    if preprocessing not in (None, "frozen", "refit"):
        raise ValueError(f"preprocessing must be None, 'frozen' or 'refit'. Got {preprocessing!r}.")
    if k < 0:
        raise ValueError(f"k, the number of rows to refit without, must not be negative. Got {k}.")
    if effects and audit.trimmed.any():
        raise ValueError(
            "effects=True compares with a leave-one-out of the fit of all rows. Got an audit with rounds=; "
            "audit without it."
        )
    model, X = audit.estimator, audit.X
    if preprocessing is None:
        preprocessing = "frozen" if audit.options["frozen"] == "accept" else "refit"
    if preprocessing == "frozen":
        model, X = behind_steps(model, X)
    if audit.options["frozen"] == "accept" or preprocessing == "frozen":
        model = _with_held_class_weight(model, audit)

    by_chance = _by_chance(audit)
    # Of the fit on all rows, made once, where a refit asks for it.
    curve = cache(lambda: _curve(audit))
    table = audit.table.head(k)[["rank", "row", "id", "given", "loo_loss", "suggested"]]
    found, effect = [], []
    change = _effects(X, audit) if effects else None
    with progress_bar(len(table), "refits", progress and sys.stderr.isatty()) as advance:
        for row in table["row"]:
            refitted, others = _without(model, X, audit, row)
            found.append(_judged(refitted, X, audit, row, others, by_chance, curve))
            if effects:
                effect.append(change(refitted, others))
            advance(1)
    refit_loss = np.array([loss for loss, _ in found], dtype=float)
    checked = pd.DataFrame(
        {
            **table.drop(columns="suggested"),
            "refit_loss": refit_loss,
            "difference": refit_loss - table["loo_loss"].to_numpy(),
            "suggested": table["suggested"],
            "refit_suggested": [prediction for _, prediction in found],
        }
    )
    if effects:
        known = audit.table.get(EFFECT, pd.Series(np.nan, audit.table.index))
        checked[EFFECT], checked["refit_effect"] = known.head(k), np.array(effect, dtype=float)
    return checked


def _by_chance(audit):
    """Whether losses of the audit are minus the log of the chance of the label."""
    if audit.task == "regression" or not hasattr(audit.estimator, "predict_proba"):
        return False
    loss = Influence(audit.estimator, audit.X, audit.y, audit.sample_weight).objective.loss
    return isinstance(loss, (Binomial, Multinomial, SumToZero)) or bool(audit.trimmed.any())


def _curve(audit):
    """What the targets went through in the audited fit."""
    whole = Inputs(audit.estimator, audit.X, audit.y)
    return whole.problem(audit.y, audit.sample_weight, same_fit=False).curve


def _without(model, X, audit, row):
    """The model fitted on all the others, or None where that cannot be, and these others."""
    others = np.flatnonzero(~audit.trimmed)
    others = others[others != row]
    y = audit.y[others]
    weight = None if audit.sample_weight is None else audit.sample_weight[others]
    given = audit.y[row]
    if audit.task == "classification" and (given not in y or len(np.unique(y)) < 2):
        return None, others
    return clone(model).fit(_safe_indexing(X, others), y, **fit_weights(model, weight)), others


def _effects(X, audit):
    """A function of a refit and its rows: the change of the mean leave-one-out loss of these others."""

    def asked(fitted, rows):
        weight = None if audit.sample_weight is None else audit.sample_weight[rows]
        return Influence(fitted, _safe_indexing(X, rows), audit.y[rows], weight)

    every = np.arange(len(audit.y))
    fitted = audit.estimator if X is audit.X else behind_steps(audit.estimator, audit.X)[0]
    now = MeanOfOthers(asked(fitted, every), audit.y, audit.options["frozen"])

    def change(refitted, others):
        return np.nan if refitted is None else now.change(asked(refitted, others), others)

    return change


def _judged(refitted, X, audit, row, others, by_chance, curve):
    """Loss and prediction of one row under the model that was fitted without it."""
    if refitted is None:
        return np.nan, None
    given, y = audit.y[row], audit.y[others]
    weight = None if audit.sample_weight is None else audit.sample_weight[others]
    left_out = _safe_indexing(X, [row])
    prediction = refitted.predict(left_out)[0]
    if not by_chance:
        # The model's own loss.
        inside = Influence(refitted, _safe_indexing(X, others), y, weight)
        tests = inside.data.tests(left_out, np.array([given]))
        # As it was fitted, where there are derivatives to ask about a fit as it is.
        method = "influence" if inside.answers.knows("self_influence") else "auto"
        quantity = inside.answers.quantity(tests, "loss", method)
        loss = quantity.before
        if (after := moving_curve(inside.objective)) is not None:
            # Losses are in the units of the transformer that was fitted on all targets.
            loss = quantity.loss.value(
                in_old_units(curve(), after, quantity.eta), curve()(np.array([given]))
            )
        if audit.task == "regression":
            loss = loss_of_targets(
                np.array([given]), np.array([prediction]), loss, inside.objective
            )
        return float(loss[0]), prediction
    proba = refitted.predict_proba(left_out)[0]
    with np.errstate(divide="ignore"):
        return -np.log(proba[np.searchsorted(refitted.classes_, given)]), prediction


def _with_held_class_weight(model, audit):
    """A clone whose "balanced" weights are held at their values on all rows, as the audit does."""
    model = clone(model)
    last = model[-1] if isinstance(model, Pipeline) else model
    if last.get_params().get("class_weight") == "balanced":
        values = compute_class_weight("balanced", classes=audit.classes, y=audit.y)
        last.set_params(class_weight=dict(zip(audit.classes.tolist(), values)))
    return model
