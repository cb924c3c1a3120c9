"""The transformer of the targets, fitted again on those that an edit leaves."""

from dataclasses import replace

import numpy as np

from skinfluence.statistics.refits import RefusedRowError
from skinfluence.statistics.removals import any_learns


def moving_curve(problem):
    """What the targets of a problem go through, if its fit looks at them; else None."""
    curve = problem.curve
    return curve if curve is not None and curve.learns else None


def learns_from_rows(influence):
    """Whether a step before the model, or the transformer of the targets, looks at the rows."""
    moves = moving_curve(influence.objective) is not None
    return moves or any_learns(influence.data.inputs.steps)


def names_of_parts(influence):
    """Names of the steps before the model, and of the transformer of the targets if its fit looks at them."""
    names = [name for name, _ in influence.data.inputs.steps]
    moves = moving_curve(influence.objective) is not None
    return [*names, "the transformer of the targets"] if moves else names


def retargeted(curve, rows):
    """Rows after an edit with targets that went through a transformer fitted on them.

    Parameters
    ----------
    curve : Curve
        As fitted before.
    rows : EditedRows

    Returns
    -------
    rows : EditedRows
    after : Curve
        As a refit has it: rows that are there count, whatever their weights.

    Raises
    ------
    RefusedRowError
        Where the transformer cannot be fitted on them.
    """
    raw = np.asarray(rows.raw_y, dtype=np.float64)
    try:
        after = curve.again(raw)
    except ValueError as error:
        raise RefusedRowError(str(error)) from error
    z = after(raw)
    if not np.isfinite(z).all():
        raise RefusedRowError(f"{curve.transformer!r}, fitted on them, does not take all targets.")
    return replace(rows, y=z), after


def in_old_units(curve, after, eta):
    """Decision values of a model behind another curve, as the ones behind this one with its predictions.

    Parameters
    ----------
    curve, after : Curve
        As fitted before the edit, and after it.
    eta : ndarray of shape (n_out, n_outputs)
        The first output is the decision value.
    """
    eta = np.array(eta)
    eta[:, 0] = curve(after.back(eta[:, 0]))
    return eta
