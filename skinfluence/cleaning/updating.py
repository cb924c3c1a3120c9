"""An audit after some labels were checked by a person: fitted on from where the model was."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skinfluence._utils.weights import fit_weights
from skinfluence.cleaning.plans import check_rows, with_labels
from skinfluence.inputs.frozen import transformers_of, uses_y


def updated(audit, rows, labels, again):
    """The audit with rows that are known to be right now. See `Audit.update`."""
    rows = np.atleast_1d(np.asarray(rows))
    if rows.dtype == bool:
        raise ValueError("rows must be positions. Got a mask; pass np.flatnonzero(mask).")
    check_rows(rows.tolist(), len(audit.y))
    rows = rows.astype(np.intp)
    y = audit.y
    if labels is not None:
        labels = np.atleast_1d(np.asarray(labels))
        if labels.shape != rows.shape:
            raise ValueError(
                f"update needs one label for each row. Got {len(labels)} for {len(rows)} rows."
            )
        y = with_labels(y, rows, labels)
    checked = audit.checked.copy()
    checked[rows] = True
    if (y == audit.y).all():
        return _with_checked(audit, checked)
    estimator = _fitted_on(audit, y)
    return _with_checked(again(estimator, y), checked)


def _fitted_on(audit, y):
    """The estimator fitted to new targets, from where it was if it can start there."""
    old, weight = audit.estimator, audit.sample_weight
    last = old[-1] if isinstance(old, Pipeline) else old
    supervised = any(uses_y(one) for _, one in transformers_of(old))
    if supervised or not _can_go_on(last, y):
        return clone(old).fit(audit.X, y, **fit_weights(old, weight))
    started = clone(last).set_params(warm_start=True)
    started.coef_, started.intercept_ = last.coef_.copy(), np.array(last.intercept_)
    X = audit.X
    if isinstance(old, Pipeline):
        # Transformers that did not look at y are what they would be: the rows are the same.
        X = old[:-1].transform(X)
    started.fit(X, y, **fit_weights(started, weight))
    started.set_params(warm_start=last.get_params().get("warm_start", False))
    if isinstance(old, Pipeline):
        return Pipeline([*old.steps[:-1], (old.steps[-1][0], started)], memory=old.memory)
    return started


def _can_go_on(last, y):
    """Whether a fit can start from the parameters of the last one: same classes, iterations."""
    params = last.get_params()
    if "warm_start" not in params or not hasattr(last, "coef_"):
        return False
    if params.get("solver") == "liblinear" or np.ndim(getattr(last, "intercept_", 0)) > 1:
        return False
    return not hasattr(last, "classes_") or np.array_equal(np.unique(y), last.classes_)


def _with_checked(audit, checked):
    """Rows that were checked are kept, and come last."""
    table = audit.table.drop(columns="checked", errors="ignore")
    table.insert(len(table.columns) - 1, "checked", checked[table["row"]])
    table.loc[table["checked"], "action"] = "keep"
    table = table.sort_values("checked", kind="stable").reset_index(drop=True)
    table["rank"] = np.arange(1, len(table) + 1)
    return replace(audit, table=table, checked=checked)
