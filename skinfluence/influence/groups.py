"""Groups of rows that leave together."""

import warnings

import numpy as np

from skinfluence import edits
from skinfluence._utils.calls import level_outside
from skinfluence._utils.rows import groups_of, rows_of_groups
from skinfluence.influence.data import check_effects_fit
from skinfluence.solvers import SingularHessianError


def members_of(influence, groups):
    """Names of groups in the order of ``np.unique``, and the rows of each that are still there."""
    names, position = groups_of(groups, influence.objective.n_samples, influence.data.inputs.labels)
    members = rows_of_groups(position)
    if influence.data.gone:
        members = [rows[~np.isin(rows, list(influence.data.gone))] for rows in members]
    return names, members


def group_effects(asked, quantity, X, groups, method, tol):
    """Effects of removing each group, (n_test, n_groups, ...).

    NaN, with a warning, where nothing is left to compare with.

    Parameters
    ----------
    asked : OfModel or OfPipeline
    quantity : Quantity
    X : array-like
        Raw test points.
    groups : tuple of names and rows
        Of :func:`members_of`.
    method, tol
        As of the question.
    """
    names, members = groups
    check_effects_fit(quantity, len(names))
    values = np.full((*quantity.shape[:1], len(names), *quantity.shape[1:]), np.nan)
    points, kept, unanswered = [], [], []
    for i, rows in enumerate(members):
        if not len(rows):
            values[(slice(None), i) if quantity.shape else i] = 0.0
            continue
        try:
            points.append(asked.without(rows))
            kept.append(i)
        except edits.NoOptimumError:
            unanswered.append(i)
    left = [members[i] for i in kept]
    unanswered += asked.fill(values, kept, points, left, quantity, X, method, tol)
    warn_without_model(names[sorted(unanswered)], asked.influence.objective)
    return values


def fill_groups(values, groups, points, quantity, method, tol, answers):
    """Write the effects of edits at their ``groups`` of ``values``; say which have none."""

    def ask(some):
        return answers.effects(some, quantity, method, tol)[0]

    left = np.asarray(groups, dtype=np.intp)
    unanswered = np.ones(len(left), dtype=bool)
    for some, found in answered(ask, points):
        values[(slice(None), left[some]) if quantity.shape else left[some]] = found
        unanswered[some] = False
    return left[unanswered].tolist()


def answered(ask, points, refused=None):
    """What is said of edits asked about together; those that leave no optimum are passed over.

    Parameters
    ----------
    ask : callable
        Of a list of edits; raises where one of them leaves no optimum.
    points : list
    refused : dict, default=None
        Where what was raised is written, by the position of the edit.

    Yields
    ------
    some : slice
        Which of ``points`` were asked about together: all at once, or by halves until those without an
        answer stand alone.
    found : object
        What ``ask`` returned.
    """
    waiting = [slice(0, len(points))] if len(points) else []
    while waiting:
        some = waiting.pop()
        try:
            found = ask(points[some])
        except (SingularHessianError, edits.NoOptimumError) as error:
            half = (some.start + some.stop) // 2
            if half > some.start:
                waiting += [slice(half, some.stop), slice(some.start, half)]
            elif refused is not None:
                refused[some.start] = error
            continue
        yield some, found


def warn_without_model(names, problem):
    """Say which groups leave no model behind, and that their answers are NaN; nothing of none."""
    if not len(names):
        return
    why, remedy = problem.without_rows
    shown = ", ".join(str(name) for name in names[:5]) + (", …" if len(names) > 5 else "")
    warnings.warn(
        f"Without group {shown} there is no model: {why}. Its answers are NaN. {remedy}",
        UserWarning,
        stacklevel=level_outside(),
    )
