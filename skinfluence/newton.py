"""Damped Newton's method on an objective: polishing a fit, solving an edited problem exactly."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

MAX_STEPS = 100


def polish(factor, solver):
    """The factor at the optimum of a nearly optimal fit, for the price of one factorisation.

    Chord steps with the factor at hand while they contract, then the Hessian where they end;
    Newton's method where they do not.

    Parameters
    ----------
    factor : Factor
    solver : solver object

    Returns
    -------
    factor : Factor
        The same one if the fit is optimal to round-off.
    """
    objective = factor.objective
    size = float(
        np.sqrt(max(np.sum(objective.penalty * objective.theta**2), abs(objective.value())))
    )
    best, decrement = objective, _step(factor, objective)[1]
    if decrement <= 1e-13 * size:
        return factor
    start = decrement
    while True:
        step, decrement = _step(factor, best)
        trial = best.at(best.theta + step)
        after = _step(factor, trial)[1]
        if not after < 0.3 * decrement:
            break
        best = trial
        if after <= 1e-13 * size:
            break
    if _step(factor, best)[1] > 1e-9 * size:
        return minimise(best, solver)[1]
    return factor if start <= 1e-12 * size else solver.factor(best)


def _step(factor, objective):
    gradient = objective.gradient()
    step = -factor.solve(gradient[:, None])[:, 0]
    decrement = float(np.sqrt(max(0.0, -gradient @ step)))
    return step.reshape(objective.theta.shape), decrement


def minimise(objective, solver):
    """The objective at its optimum, from its current parameters.

    Parameters
    ----------
    objective : Objective
    solver : solver object

    Returns
    -------
    objective : Objective
        At the optimum, to round-off.
    factor : Factor
        Of the Hessian there.
    decrement : float
        ``sqrt(G' H^-1 G)`` at the optimum.

    Raises
    ------
    SingularHessianError
        If the Hessian is not positive definite on the way.

    Notes
    -----
    Steps are halved until the objective falls enough (Armijo). The iteration ends when the Newton
    decrement no longer falls: beyond that there is only round-off.
    """
    factor, step, decrement = _newton_step(objective, solver)
    value = objective.value()
    for _ in range(MAX_STEPS):
        # Below this, the predicted decrease is lost in the rounding of the value: plain Newton.
        exact_region = 0.5 * decrement**2 < 1e-9 * max(abs(value), 1e-300)
        trial = objective.at(objective.theta + step)
        trial_value = trial.value()
        scale = 1.0
        while not exact_region and not trial_value <= value - 0.25 * scale * decrement**2:
            scale *= 0.5
            if scale < 1e-12:
                break
            trial = objective.at(objective.theta + scale * step)
            trial_value = trial.value()
        trial_factor, trial_step, trial_decrement = _newton_step(trial, solver)
        if exact_region and not trial_decrement < 0.5 * decrement:
            if trial_decrement < decrement:
                return trial, trial_factor, trial_decrement
            return objective, factor, decrement
        objective, value = trial, trial_value
        factor, step, decrement = trial_factor, trial_step, trial_decrement
    warnings.warn(
        f"Newton's method stopped after {MAX_STEPS} steps at decrement {decrement:.1e}. Scale the "
        "features or penalise more.",
        ConvergenceWarning,
        stacklevel=2,
    )
    return objective, factor, decrement


def _newton_step(objective, solver):
    factor = solver.factor(objective)
    return factor, *_step(factor, objective)
