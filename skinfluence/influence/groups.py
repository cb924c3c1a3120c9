"""Groups of rows that leave together."""

import warnings

import numpy as np

from skinfluence import edits
from skinfluence._utils.calls import level_outside
from skinfluence._utils.rows import groups_of
from skinfluence.edits.points import removal
from skinfluence.influence.asking import check_effects_fit
from skinfluence.solvers import SingularHessianError


def group_effects(influence, quantity, X, groups, answers, whole, method, tol):
    """Effects of removing each group, (n_test, n_groups, ...), in the order of ``np.unique``.

    Of the model alone by ``answers``, of a whole pipeline by ``whole`` where that is not None. NaN, with
    a warning, where nothing is left to compare with.
    """
    names, position = groups_of(groups, influence.objective.n_samples, influence._inputs.labels)
    check_effects_fit(quantity, len(names))
    members = np.split(np.argsort(position, kind="stable"), np.cumsum(np.bincount(position))[:-1])
    if influence._gone:
        members = [rows[~np.isin(rows, list(influence._gone))] for rows in members]
    values = np.full((*quantity.shape[:1], len(names), *quantity.shape[1:]), np.nan)
    points, kept, unanswered = [], [], []
    for i, rows in enumerate(members):
        if not len(rows):
            values[(slice(None), i) if quantity.shape else i] = 0.0
            continue
        try:
            if whole is None:
                points.append(removal(influence.objective, rows))
            else:
                points.append(influence._rows_after(edits.remove(rows)))
            kept.append(i)
        except edits.NoOptimumError:
            unanswered.append(i)
    if whole is None:
        unanswered += fill_groups(values, kept, points, quantity, method, tol, answers)
    elif points:
        found = whole.effects(
            points,
            lambda i: influence._resolve(edits.remove(members[kept[i]])),
            quantity,
            X,
            method,
            tol,
            strict=False,
        )[0]
        values[(slice(None), kept) if quantity.shape else kept] = found
    if unanswered:
        shown = ", ".join(str(name) for name in names[sorted(unanswered)[:5]])
        warnings.warn(
            f"Group {shown} holds all the weight of a class, or of all, or decides a parameter "
            "alone, or has the only rows on the wrong side of an unpenalised model: without it there "
            "is no model to compare with, so its answers are NaN.",
            UserWarning,
            stacklevel=level_outside(),
        )
    return values


def fill_groups(values, groups, points, quantity, method, tol, answers):
    """Write the effects of edits at their ``groups`` of ``values``; say which have none."""
    if not points:
        return []
    try:
        found = answers.effects(points, quantity, method, tol)[0]
    except (SingularHessianError, edits.NoOptimumError):
        # One of them leaves no optimum: halve until it stands alone.
        if len(points) == 1:
            return groups
        half = len(points) // 2
        return [
            i
            for part in (slice(half), slice(half, None))
            for i in fill_groups(values, groups[part], points[part], quantity, method, tol, answers)
        ]
    values[(slice(None), groups) if quantity.shape else groups] = found
    return []
