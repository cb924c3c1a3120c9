"""What is looked at before a problem is asked, and said beside what it answers."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside


def check_chosen(problem, frozen):
    """Say what the estimator chose on all rows, and answers hold; refuse it with ``"refuse"``.

    Raises
    ------
    ValueError
    """
    if problem.chosen is None or frozen == "accept":
        return
    if frozen == "refuse":
        raise ValueError(
            "With frozen='refuse' nothing that was learned from the rows may stay as it is. Got "
            f"{problem.model_name}, whose fit chose {problem.chosen} on them. Ask about a model that is "
            "given those (best_estimator_ of a search), pass frozen='accept' to hold them, or refit."
        )
    warnings.warn(
        f"Held as chosen on all rows: {problem.chosen}. A refit would choose anew. Pass "
        "frozen='accept' if the answers for these are what you ask.",
        UserWarning,
        stacklevel=level_outside(),
    )


def check_solved_exactly(how, solver, precision, solvers=("auto", "exact")):
    """Refuse options of a solver for a kind of problem that is solved in one way only.

    Parameters
    ----------
    how : str
        That way, the beginning of the message.
    solver, precision
        As in :class:`~skinfluence.Influence`.
    solvers : tuple of str, default=("auto", "exact")
        Names of that way.

    Raises
    ------
    ValueError
    """
    if solver not in solvers or precision != "float64":
        raise ValueError(
            f"{how}: solver must be {' or '.join(map(repr, solvers))} and precision 'float64'. Got "
            f"solver={solver!r}, precision={precision!r}."
        )


def far_from_optimum(where):
    """Words for a fit beside its optimum, of a kind whose answers all start there.

    Parameters
    ----------
    where : str
        How far it is.
    """
    return (
        f"The fit is not at the optimum of its objective: {where}. All answers start from the optimum. Lower "
        "tol, raise max_iter or scale the features; and check that X, y and sample_weight are the data and "
        "the parameters the estimator was fitted with."
    )


def rows_alone(objective):
    """Rows without which nothing, a class, or no positive count, has weight: no optimum is left."""
    heaviest = np.argmax(objective.weights)
    if not objective.keeps_weight(-objective.weights[heaviest]):
        return np.array([heaviest], dtype=np.intp)
    if not objective.needs_all_classes:
        return np.empty(0, dtype=np.intp)
    alone = []
    for _, kinds, _ in objective.own_kinds:
        rows = np.flatnonzero((objective.weights > 0) & (kinds >= 0))
        count = np.bincount(kinds[rows])
        alone.append(rows[count[kinds[rows]] == 1])
    return np.unique(np.concatenate(alone))


def warn_alone(objective, rows):
    """Say which rows have no leave-one-out model."""
    if not objective.keeps_weight(-objective.weights[rows[0]]):
        warnings.warn(
            f"Row {rows[0]} has all the training weight: without it nothing is left to fit, so its "
            "answers are NaN. Add rows, or give others weight.",
            UserWarning,
            stacklevel=level_outside(),
        )
        return
    shown = ", ".join(str(row) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
    warnings.warn(
        f"Row {shown} is the only one of its class with weight (or the only positive count): "
        f"without it {objective.without_a_class}, so its answers are NaN. Add rows of that class or "
        "drop the class.",
        UserWarning,
        stacklevel=level_outside(),
    )


def warn_of(concern):
    """Warn of what :attr:`Answers.concern` says, if anything."""
    if concern is not None:
        warnings.warn(concern, ConvergenceWarning, stacklevel=level_outside())
