"""Fits that ended where none of their rows curves, of problems that have an optimum."""

import numpy as np

from skinfluence.smooth.optimum.piecewise import is_piecewise
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.base import DistantFitError


def refuse_saturated(objective, solver, error, at_optimum):
    """Where a fit is so far off that no row curves any longer, say so: its problem is determined.

    Parameters
    ----------
    objective : Objective
    solver : solver object
    error : SingularHessianError
        What came of the Hessian where the fit is.
    at_optimum : callable
        From a factor of the problem where its rows curve to its answers at the optimum.
    """
    nothing = objective.at(np.zeros_like(objective.theta))
    curves = objective.loss.self_concordance or is_piecewise(objective.loss)
    if not curves or not objective.theta.any():
        return
    try:
        factor = solver.factor(nothing)
        # A factor by iteration is known by its solves only.
        factor.solve(nothing.gradient()[:, None])
    except SingularHessianError:
        return

    raise DistantFitError(
        "The Hessian must be positive definite where the fit is. Got a fit that ended far from its "
        f"optimum, at decision values up to {np.abs(objective.eta).max():.1e}, where rows no longer curve. "
        "Scale the features or raise max_iter and fit again, or pass polish=True to Influence to ask "
        "about the optimum.",
        lambda: at_optimum(factor),
    ) from error
