"""What is checked of fits and edits of losses of rows, and said of them."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence.row_losses.newton import factored
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.reports import Moved


def how_far(before, after, decrement):
    """How far polishing took a problem."""
    size, farthest = float(np.linalg.norm(after.theta)), np.nan
    if before.has_decisions:
        X = before.design.X
        eta = after.outputs(after.theta, X, None) - before.outputs(before.theta, X, None)
        farthest = float(np.abs(before.loss.expand(eta)).max(initial=0.0))
    return Moved(
        newton_decrement=decrement,
        parameters=float(np.linalg.norm(after.theta - before.theta)) / size if size else 0.0,
        decision_values=farthest,
    )


def refuse_damped_refits(H):
    """Refits never damp; without damping there must be a minimum to start from."""
    try:
        factored(H)
    except SingularHessianError as error:
        raise SingularHessianError(
            "method='auto' and 'exact' compare minima, without damping. Got a fit whose undamped "
            f"Hessian has the smallest eigenvalue {np.linalg.eigvalsh(H)[0]:.1e}. Ask with "
            "method='one-step' or 'influence', which damp, or add l2."
        ) from error


def warn_unsolved(problem, unsolved, total, method):
    """Count the edits without an answer, and say what helps."""
    if unsolved:
        reason = (
            "their edited Hessian is not positive definite (ask with method='exact', or "
            f"{problem.remedy})"
            if method == "one-step"
            else f"Newton's method found no minimum of their edited objective ({problem.remedy})"
        )
        warnings.warn(
            f"{unsolved} of {total} edits have no answer, NaN: {reason}.",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )
