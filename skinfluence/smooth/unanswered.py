"""Which edits have no answer, or no certified one, and what is said of them."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence._utils.naming import rows_have
from skinfluence.answers.checks import rows_alone
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.existence import why_no_optimum
from skinfluence.smooth.optimum.piecewise import is_piecewise


def leaves_no_model(edits, objective):
    """Which one-row edits leave nothing, or a class, without weight, a mask of shape (m,)."""
    lonely = np.isin(edits.rows, rows_alone(objective))
    if not lonely.any():
        return lonely
    gone = edits.weight <= 0
    if objective.needs_all_classes:
        gone |= (edits.y != objective.y[edits.rows]).reshape(len(lonely), -1).any(axis=1)
    return lonely & gone


def failed_of(solved, tol, solver):
    """Which edits were not certified or, without certificates, have no answer: NaN from here on."""
    if not solver.objective.penalty.any():
        # The row decides a direction alone, up to rounding: what is left of it is noise.
        solved.steps[~(solved.leverage < 1.0 - steps.ALONE)] = np.nan
    if solver.M is not None:
        return ~solved.within(tol)
    if is_piecewise(solver.objective.loss):
        return np.isnan(solved.steps).any(axis=(1, 2))
    # A loss that is not convex: where its Hessian at the fit is not positive definite after the
    # edit, Newton's method ends at another optimum, if at any.
    solved.steps[~(solved.leverage < 1.0)] = np.nan
    return np.isnan(solved.steps).any(axis=(1, 2))


def warn_unanswered(rows, solver):
    """Say which rows have no answer, and why."""
    if not rows:
        return
    if solver.M is None and not is_piecewise(solver.objective.loss):
        reason = (
            "no answer (NaN): after the edit the Hessian is not positive definite, so there is no "
            "optimum that continues this one. Penalise more, or choose a convex loss."
        )
    elif solver.objective.penalty.any():
        reason = (
            "no answer (NaN): after the edit the penalty is too small beside the features for "
            "float64 to see what determines a parameter. Penalise more, rescale the features, or "
            "drop the columns that one row decides."
        )
    else:
        reason = f"no answer (NaN): after the edit {why_no_optimum(solver.objective)}"
    warnings.warn(f"{rows_have(rows)} {reason}", ConvergenceWarning, stacklevel=level_outside())


def warn_overflowing(rows, eta, name):
    """Say which rows have no derivative, as their loss is beyond float64.

    Parameters
    ----------
    rows : ndarray of int
    eta : ndarray of shape (n_rows, n_outputs)
        Their decision values.
    name : {"row", "test row"}
        What they are.
    """
    warnings.warn(
        f"{rows_have(rows, name=name)} no derivative (NaN): the loss overflows at a decision value of "
        f"{np.abs(eta[0]).max():.3g}. Leave it out; is it in the units of the other rows?",
        UserWarning,
        stacklevel=level_outside(),
    )


def warn_uncertified(failed, total, tol):
    if not failed:
        return
    warnings.warn(
        f"{failed} of {total} edits could not be certified to a relative error of {tol:.0e}: they "
        "were solved by Newton's method as far as it goes, and effect(...) has the bound of each. "
        "Scale the features, penalise more, or accept a larger tol.",
        ConvergenceWarning,
        stacklevel=level_outside(),
    )
