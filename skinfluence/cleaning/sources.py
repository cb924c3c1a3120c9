"""Where rows come from: annotators, hospitals, files; each judged by the model without all of its rows."""

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence import Influence, edits
from skinfluence._utils._optional import require
from skinfluence.edits import NoOptimumError
from skinfluence.solvers import SingularHessianError

# Of a normal distribution: 95 % in the middle.
TWO_SIDED = 1.96


def table_of_sources(influence, groups, columns, losses, frozen):
    """One line for each source, the one that helps the others least first, and notes.

    Parameters
    ----------
    influence : Influence
    groups : ndarray of shape (n_samples,)
    columns : dict of str to ndarray
        What is known of each row.
    losses : callable
        ``losses(influence, y)``: the leave-one-out loss of each row.
    frozen : {None, "accept"}

    Returns
    -------
    sources : DataFrame
    notes : tuple of str
    """
    pd = require("pandas", extra="audit")
    raw, y = influence.data.inputs.raw, influence.data.y
    weight = influence.objective.sample_weight
    now = columns["loo_loss"]
    names, position = np.unique(groups, return_inverse=True)
    lines, unanswered = [], []
    for g, name in enumerate(names):
        rows, others = np.flatnonzero(position == g), np.flatnonzero(position != g)
        line = {
            "source": name,
            "n_rows": len(rows),
            "mean_loo_loss": _mean(now[rows]),
            "drop": int((columns["action"][rows] == "drop").sum()),
            "relabel": int((columns["action"][rows] == "relabel").sum()),
        }
        if "error_proba" in columns:
            wrong = columns["error_proba"][rows]
            line["error_share"] = _mean(wrong)
        without = None
        if len(others):
            try:
                without = influence.edited(edits.remove(rows), frozen=frozen).estimator
            except (NoOptimumError, SingularHessianError):
                unanswered.append(str(name))
        lines.append({**line, **_judged(without, raw, y, weight, rows, others, now, losses)})
    table = pd.DataFrame(lines)
    order = np.argsort(table["effect_of_dropping"].fillna(np.inf), kind="stable")
    notes = ()
    if unanswered:
        notes = (
            f"Without source {', '.join(unanswered[:5])} there is no model to compare with: it holds "
            "all rows of a class, decides a parameter alone, or has the only rows on the wrong side of "
            "an unpenalised model.",
        )
    return table.iloc[order].reset_index(drop=True), notes


def _judged(without, raw, y, weight, rows, others, now, losses):
    """What the model without a source says of its rows, and how it does on the others."""
    unknown = dict.fromkeys(
        ["left_out_score", "effect_of_dropping", "effect_low", "effect_high"], np.nan
    )
    if without is None:
        return unknown
    some, targets = _safe_indexing(raw, others), y[others]
    left = None if weight is None else weight[others]
    change = losses(Influence(without, some, targets, left), targets) - now[others]
    change = change[np.isfinite(change)]
    mean = _mean(change)
    half = TWO_SIDED * change.std(ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.nan
    score = np.nan
    if not hasattr(without, "classes_") or np.isin(y[rows], without.classes_).all():
        score = _score(without, _safe_indexing(raw, rows), y[rows])
    return {
        "left_out_score": score,
        "effect_of_dropping": mean,
        "effect_low": mean - half,
        "effect_high": mean + half,
    }


def _score(estimator, X, y):
    """Accuracy, or one minus the squared error in units of the variance of the targets there."""
    prediction = estimator.predict(X)
    if hasattr(estimator, "classes_"):
        return float(np.mean(prediction == y))
    spread = np.var(y)
    return float(1 - np.mean((y - prediction) ** 2) / spread) if spread > 0 else np.nan


def _mean(values):
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan
