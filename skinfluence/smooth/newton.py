"""Damped Newton's method on an objective: polishing a fit, solving an edited problem exactly."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence.losses import OneVsRest

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
        best = minimise(best, solver).objective
    return factor if start <= 1e-12 * size else solver.factor(best)


def _step(factor, objective):
    gradient = objective.gradient()
    step = -factor.solve(gradient[:, None])[:, 0]
    decrement = float(np.sqrt(max(0.0, -gradient @ step)))
    return step.reshape(objective.theta.shape), decrement


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where Newton's method ended.

    Attributes
    ----------
    objective : Objective
        At the optimum, to round-off.
    factor : Factor
        Of the Hessian at the optimum or a point of the iteration close to it.
    decrement : float
        ``sqrt(G' H^-1 G)`` with the gradient at the optimum and that factor.
    """

    objective: object
    factor: object
    decrement: float

    @property
    def moved(self):
        """Largest change of any row's decision values since the factor was made."""
        step = self.objective.theta - self.factor.objective.theta
        if not step.any():
            return 0.0
        moved = self.objective.design.multiply(step.T)[self.objective.weights > 0]
        return float(self.objective.loss.spread(moved).max(initial=0.0))


def minimise(objective, solver):
    """Minimise an objective from its current parameters.

    Parameters
    ----------
    objective : Objective
    solver : solver object

    Returns
    -------
    minimum : Minimum

    Raises
    ------
    SingularHessianError
        If the Hessian is not positive definite on the way.

    Notes
    -----
    Steps are halved until the objective falls enough (Armijo). A factor is kept while it shrinks
    the gradient a hundredfold per step, so the last digits cost gradients only. The iteration ends
    when the decrement no longer falls: beyond that there is only round-off.
    """
    factor = solver.factor(objective)
    step, decrement = _step(factor, objective)
    for _ in range(MAX_STEPS):
        # Of here: at the start both may be far larger.
        value, rounding = objective.value(), _rounding(objective)
        in_round_off = 0.5 * decrement**2 < 1e3 * rounding
        trial, scale = objective.at(objective.theta + step), 1.0
        # Overflow on the way gives an infinite value or NaN, and a shorter step.
        with np.errstate(over="ignore", invalid="ignore"):
            while not trial.value() <= value - 0.25 * scale * decrement**2 + rounding:
                scale *= 0.5
                if scale < 1e-30:
                    # The solves are no better than this: let the certificate judge.
                    return Minimum(objective, factor, decrement)
                trial = objective.at(objective.theta + scale * step)
        after_step, after = _step(factor, trial)
        if not (after < 0.01 * decrement):
            if in_round_off and after >= 0.5 * decrement:
                return Minimum(objective, factor, decrement)
            factor = solver.factor(trial)
            after_step, after = _step(factor, trial)
            if in_round_off and after >= 0.5 * decrement:
                best = trial if after < decrement else objective
                return Minimum(best, factor, min(after, decrement))
        objective, step, decrement = trial, after_step, after
    warnings.warn(
        f"Newton's method stopped after {MAX_STEPS} steps at decrement {decrement:.1e}. Scale the "
        "features or penalise more.",
        ConvergenceWarning,
        stacklevel=level_outside(),
    )
    return Minimum(objective, factor, decrement)


def _rounding(objective):
    """What rounding may do to the value: its terms can be large and cancel."""
    terms = objective.weights * objective.loss.value(objective.eta, objective.y)
    penalty = 0.5 * (objective.penalty * objective.theta**2).sum()
    return 1e-13 * float(np.abs(terms).sum() + penalty)


def _separates(eta, codes, one_vs_rest):
    """Whether every row is on its side: of a plane, of one of several planes, or of all others."""
    if eta.shape[1] == 1 or one_vs_rest:
        own = codes[:, None] == (np.arange(eta.shape[1]) if one_vs_rest else 1)
        return bool((np.where(own, eta, -eta) > 0).all(axis=0).any())
    own = np.take_along_axis(eta, codes[:, None], axis=1)
    others = eta.copy()
    np.put_along_axis(others, codes[:, None], -np.inf, axis=1)
    return bool((own[:, 0] > others.max(axis=1)).all())


class SeparableError(ValueError):
    """Without a penalty, separable classes have no optimum."""


def refuse_separable(objective):
    """Without a penalty, classes that a plane separates have their optimum at infinity."""
    if objective.labels is None or (objective.penalty > 0).any():
        return
    if objective.loss.self_concordance == 0.0:
        return
    weighted = objective.weights > 0
    codes = objective.labels.codes_of(objective.y)[weighted]
    eta = objective.loss.expand(objective.eta[weighted])
    if _separates(eta, codes, isinstance(objective.loss, OneVsRest)):
        raise SeparableError(
            "An unpenalised classifier must not separate its training classes. Every training row "
            "is on the right side of this one (C=inf), so its optimum is at infinity and influence "
            "is not defined. Fit with a finite C."
        )
