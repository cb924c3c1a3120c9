"""What to change in a training set: plans, and carrying them out on rows in memory."""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length

from skinfluence._utils._optional import require
from skinfluence.cleaning.decisions import fingerprint_of_targets, read_decisions

WAYS = ("relabel", "drop")


@dataclass(frozen=True, eq=False)
class Plan:
    """What to change in a training set.

    Attributes
    ----------
    drop : ndarray of int
        Rows to remove, ascending.
    relabel : ndarray of int
        Rows to give another label, ascending.
    labels : ndarray
        The labels for the rows of ``relabel``.

    Examples
    --------
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.cleaning import audit
    >>> from skinfluence.datasets import load_demo
    >>> from skinfluence.linear_model import LogisticRegression
    >>> demo = load_demo("wine", flip_share=0.1)
    >>> X = scale(demo.X)
    >>> plan = audit(LogisticRegression(C=0.1).fit(X, demo.y), X, demo.y).plan()
    >>> plan.relabel[:3], plan.labels[:3].tolist()
    (array([ 5,  7, 18]), ['class_0', 'class_0', 'class_0'])
    """

    drop: np.ndarray
    relabel: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.drop) + len(self.relabel)

    def __repr__(self) -> str:
        return f"Plan(relabel={len(self.relabel)}, drop={len(self.drop)})"


def suggested_plan(audit, top, actions, budget):
    """The suggestions of an audit: of the first rows of its table, of some kinds, the first ones."""
    unknown = set(actions) - set(WAYS)
    if unknown:
        raise ValueError(f"actions may hold 'drop' and 'relabel'. Got {sorted(unknown)!r}.")
    for name, value in (("top", top), ("budget", budget)):
        if value is not None and (not isinstance(value, numbers.Integral) or value < 0):
            raise ValueError(f"{name} must be a number of rows from 0, or None. Got {value!r}.")
    table = audit.table.head(len(audit.table) if top is None else top)
    table = table[table["action"].isin(list(actions))]
    table = table.head(len(table) if budget is None else budget).sort_values("row")
    relabel = table[table["action"] == "relabel"]
    return Plan(
        drop=table.loc[table["action"] == "drop", "row"].to_numpy(),
        relabel=relabel["row"].to_numpy(),
        labels=np.asarray(relabel["suggested"], dtype=audit.y.dtype),
    )


def decided_plan(audit, path):
    """The decisions that the review sheet of an audit saved."""
    ids = audit.table.sort_values("row")["id"].tolist()
    decisions = read_decisions(path, fingerprint_of_targets(audit.y, ids))
    changed = {row: text for row, text in decisions.relabel.items()}
    for row, given in decisions.given.items():
        if row >= len(audit.y) or str(audit.y[row]) != given:
            raise ValueError(
                f"{path} says that row {row} carries {given!r}, which it does not. Was it edited?"
            )
    return Plan(
        drop=np.array(decisions.drop, dtype=np.intp),
        relabel=np.array(sorted(changed), dtype=np.intp),
        labels=_values([changed[row] for row in sorted(changed)], audit),
    )


def _values(texts, audit):
    """Labels or targets from how a person writes them."""
    y = audit.y
    if audit.task == "regression":
        return np.array([float(text) for text in texts], dtype=float)
    known = {str(label): label for label in y.tolist()}
    if y.dtype.kind in "iuf":
        known = {
            **{text: type(y.tolist()[0])(text) for text in texts if text not in known},
            **known,
        }
    values = [known.get(text, text) for text in texts]
    if y.dtype.kind not in "OUS":
        return np.array(values, dtype=y.dtype)
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out if y.dtype == object else out.astype(str)


def as_plan(audit, plan):
    """A plan from what users pass: a Plan, "relabel", "drop", or what each row becomes."""
    if plan is None:
        return audit.plan()
    if isinstance(plan, Plan):
        check_rows(np.concatenate([plan.drop, plan.relabel]), len(audit.y))
        if len(plan.relabel) != len(plan.labels):
            raise ValueError(
                "A plan needs one label for each row to relabel. Got "
                f"{len(plan.labels)} for {len(plan.relabel)}."
            )
        return plan
    if isinstance(plan, str) and plan in WAYS:
        return _one_way(audit, plan)
    if isinstance(plan, Mapping):
        rows = list(plan)
        check_rows(rows, len(audit.y))
        drop = sorted(row for row in rows if plan[row] is None)
        relabel = sorted(row for row in rows if plan[row] is not None)
        return Plan(
            drop=np.array(drop, dtype=np.intp),
            relabel=np.array(relabel, dtype=np.intp),
            labels=np.asarray([plan[row] for row in relabel]),
        )
    raise ValueError(
        "plan must be a Plan, 'relabel', 'drop', or a mapping from rows to their labels, None for "
        f"rows to drop. Got {plan!r}."
    )


def _one_way(audit, way):
    if way == "relabel" and audit.task == "regression":
        raise ValueError(
            "plan='relabel' needs classes. A numeric target is not replaced: a prediction is no "
            "measurement. Use plan='drop'."
        )
    table = audit.table[audit.table["action"] != "keep"].sort_values("row")
    rows, none = table["row"].to_numpy(), np.array([], dtype=np.intp)
    if way == "drop":
        return Plan(drop=rows, relabel=none, labels=audit.y[:0])
    labels = np.asarray(table["suggested"], dtype=audit.y.dtype)
    return Plan(drop=none, relabel=rows, labels=labels)


def check_rows(rows, n):
    for row in rows:
        if isinstance(row, (bool, np.bool_)) or not isinstance(row, numbers.Integral):
            raise ValueError(f"Rows are named by position, 0 to {n - 1}. Got {row!r}.")
        if not 0 <= row < n:
            raise ValueError(f"Rows are named by position, 0 to {n - 1}. Got {row}.")
    if len(set(rows)) < len(rows):
        twice = next(row for row in rows if list(rows).count(row) > 1)
        raise ValueError(f"Each row is named once. Got row {twice} twice.")


def carry_out(audit, X, y, plan):
    """Rows and targets with a plan carried out, and the rows that stay."""
    plan = as_plan(audit, plan)
    y = np.array(audit.y if y is None else y)
    check_consistent_length(X, audit.y, y)
    y = with_labels(y, plan.relabel, plan.labels)
    kept = np.setdiff1d(np.arange(len(y)), plan.drop)
    return _safe_indexing(X, kept), y[kept], kept


def with_labels(y, rows, labels):
    """A copy of targets with some replaced."""
    y = np.array(y)
    if len(rows):
        # Wide enough for the new labels: in an array of "<U1" "long" would become "l".
        y = y.astype(_common_dtype(y.dtype, np.asarray(labels).dtype))
        y[rows] = labels
    return y


def _common_dtype(first, second):
    """A type that holds the values of both; numbers next to text stay what they are."""
    text = "US"
    if (first.kind in text) != (second.kind in text):
        return np.dtype(object)
    return np.promote_types(first, second)


def log_of(audit, plan):
    """What a plan changes, a line for each row, most suspicious first."""
    pd = require("pandas", extra="audit")
    plan = as_plan(audit, plan)
    after = dict(zip(plan.relabel.tolist(), plan.labels.tolist(), strict=True))
    table = audit.table[audit.table["row"].isin([*after, *plan.drop.tolist()])]
    why = ["error_proba"] if audit.task == "classification" else ["residual_z"]
    return pd.DataFrame(
        {
            "row": table["row"],
            "id": table["id"],
            "action": ["relabel" if row in after else "drop" for row in table["row"]],
            "before": table["given"],
            "after": pd.Series([after.get(row) for row in table["row"]], table.index, dtype=object),
            **{name: table[name] for name in why if name in table},
            "loo_loss": table["loo_loss"],
        }
    ).reset_index(drop=True)
