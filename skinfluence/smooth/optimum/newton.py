"""Damped Newton's method on an objective: polishing a fit, solving an edited problem exactly."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence._utils.weights import weigh
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.existence import refuse_unbounded
from skinfluence.solvers.base import SingularHessianError

MAX_STEPS = 200
# Steps after which it is looked at whether there is an optimum.
LOOKS = 20
# Up to this change of the log-curvature a step with the Hessian at hand halves the decrement at
# least, in exact arithmetic: where it does not, only round-off is left.
NEAR = 0.3
# A fit whose squared decrement is this share of the objective has its terms elsewhere.
FAR = 1e-2
# Steps shorter than this gain nothing that float64 could show.
SHORTEST = 1e-30
# How much lighter each penalty on the way down is than the one before, and where it begins at most.
LIGHTER, HEAVIEST = 1e2, 1e30


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
        The same one if the fit is optimal to round-off: the rounding of the gradient itself, as a
        distance. The size of the objective says nothing of it: what leaving a row out changes can
        be smaller than what float64 resolves of the whole.
    """
    if piecewise.is_piecewise(factor.objective.loss):
        best, _ = piecewise.minimise(factor.objective, solver)
        same = (best.hessians == factor.objective.hessians)[best.weights > 0].all()
        return factor.moved_to(best) if same else solver.factor(best)
    best = factor.objective
    if best.loss.self_concordance == 0.0:
        return _polished_quadratic(factor)
    step, start, rounding = _rounded_step(factor, best)
    if start <= rounding:
        return factor
    decrement = start
    while decrement > rounding:
        trial = best.at(best.theta + step)
        after_step, after = _step(factor, trial)
        if not after < 0.3 * decrement:
            if not _is_near(factor, trial):
                best = minimise(best, solver).objective
            break
        best, step, decrement = trial, after_step, after
        if decrement <= rounding and start**2 > FAR * abs(best.value()):
            # Rounding was that of a place far away, unless it is no smaller here.
            step, decrement, here = _rounded_step(factor, best)
            if not here < 0.5 * rounding:
                break
            rounding = here
    if start <= 10.0 * rounding:
        return factor
    return solver.factor(best)


def _polished_quadratic(factor):
    """The factor at the optimum of a quadratic, whose Hessian is the same everywhere.

    Each step is exact but for rounding: one that does not shrink the gradient has only that before it.
    To know rounding beforehand would cost more.
    """
    best = factor.objective
    step, decrement = _step(factor, best)
    while decrement > 0.0:
        trial = best.at(best.theta + step)
        step, after = _step(factor, trial)
        if not after < 0.3 * decrement:
            break
        best, decrement = trial, after
    return factor if best is factor.objective else factor.moved_to(best)


def rounding_left(factor):
    """A decrement that rounding can leave of a fit, with its targets and means: ten times what it does.

    All rows may be rounded the same way, as by the mean of their targets.
    """
    objective, eps = factor.objective, np.finfo(float).eps
    terms = _rounded_terms(objective)
    aligned = (eps * objective.design.adjoint(terms)).T.ravel()
    left = np.sqrt(np.maximum(0.0, aligned @ factor.solve(aligned[:, None])[:, 0]))
    return 10.0 * max(float(left), _rounded_step(factor, objective)[2])


def _rounded_terms(objective):
    """Sizes that the rows' terms of the gradient are rounded relative to, (n_samples, n_outputs)."""
    weights = objective.weights[:, None]
    terms = weigh(weights, np.abs(objective.gradients))
    for block in objective.blocks():
        curved = np.abs(objective.hessians_at(block))
        curved = np.einsum("nkl,nl->nk", curved, np.abs(objective.eta[block]))
        terms[block] += weigh(weights[block], curved)
    return terms


def _rounded_step(factor, objective):
    """A Newton step, its decrement, and the rounding of the gradient as such a distance.

    Each row's term of the gradient is rounded relative to itself and, through its decision value,
    to that; signs at random add these up as rounding does. One pass over the rows for both.
    """
    eps = np.finfo(float).eps
    k = objective.loss.n_outputs
    terms = _rounded_terms(objective)
    rng = np.random.default_rng(0)
    signs = rng.choice((-eps, eps), size=terms.shape)
    both = objective.design.adjoint(np.hstack([objective.weighted_gradients, signs * terms])).T
    pull = objective.penalty * objective.theta
    gradient = (both[:k] + pull).ravel()
    rounded = (both[k:] + rng.choice((-eps, eps), size=pull.shape) * np.abs(pull)).ravel()
    solved = factor.solve(np.column_stack([gradient, rounded]))
    decrement, rounding = np.sqrt(
        np.maximum(0.0, [gradient @ solved[:, 0], rounded @ solved[:, 1]])
    )
    return -solved[:, 0].reshape(objective.theta.shape), float(decrement), float(rounding)


def _step(factor, objective):
    """A Newton step and its decrement, infinite where the losses overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(objective.gradients[objective.weights > 0]).all()
    if not finite:
        return np.zeros_like(objective.theta), np.inf
    gradient = objective.gradient()
    step = -factor.solve(gradient[:, None])[:, 0]
    decrement = float(np.sqrt(np.maximum(0.0, -gradient @ step)))
    return step.reshape(objective.theta.shape), decrement


def _is_near(factor, objective):
    """Whether steps with a factor contract at some parameters, by the loss's self-concordance."""
    M = objective.loss.self_concordance
    if not M:
        return M == 0
    return M * Minimum(objective, factor, 0.0).moved <= NEAR


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


def minimise(objective, solver, enough=0.0):
    """Minimise an objective from its current parameters.

    Parameters
    ----------
    objective : Objective
    solver : solver object
    enough : float, default=0.0
        End where the decrement, squared and halved, is no more than this.

    Returns
    -------
    minimum : Minimum

    Raises
    ------
    SingularHessianError
        If the Hessian is not positive definite on the way from the parameters, nor on that from zero,
        nor by heavier penalties.
    SeparableError
        If there is no optimum, as :func:`~skinfluence.smooth.optimum.existence.refuse_unbounded` decides.

    Notes
    -----
    Steps are halved until the objective falls enough (Armijo) or, where rounding hides by how much
    it falls, until its slope along the step does: a sum over the rows that the step moves, however
    large the objective is. A factor is kept while it shrinks the gradient a hundredfold per step,
    so the last digits cost gradients only. The iteration ends when the decrement no longer falls
    where exact arithmetic says that it must: beyond that there is only round-off. It begins at zero
    where that is better than the parameters at hand, as where a fit diverged, and goes by heavier
    penalties where the way from neither has a factor.
    """
    nothing = objective.at(np.zeros_like(objective.theta))
    # Of a convex loss all places lead to the optimum; far out rows are saturated and hardly curve.
    convex, begins = objective.loss.self_concordance, [objective]
    if convex and objective.theta.any():
        with np.errstate(over="ignore", invalid="ignore"):
            lower = nothing.value() < objective.value()
        begins = [nothing, objective] if lower else [objective, nothing]
    for begin in begins:
        try:
            return _descend(begin, solver, enough)
        except SingularHessianError:
            # At zero all rows curve, and a weak penalty beside them can be lost.
            if begin is begins[-1] and not (convex and objective.penalty.any()):
                raise
    return _down_the_penalties(nothing, solver)


def _down_the_penalties(objective, solver):
    """From the optimum of a heavier penalty to those of ever lighter ones.

    Where rows go from one side to the other they curve on the way, a weak penalty is nothing beside
    that, and the Hessian is singular to round-off. At an optimum the penalty pulls as much as the
    rows do, and theirs is the curvature of rows that are saturated: both are of one size.
    """
    lightest, heavier, begin = objective.penalty, LIGHTER, None
    while begin is None:
        begin = replace(objective, penalty=heavier * lightest)
        try:
            solver.factor(begin)
        except SingularHessianError:
            if heavier > HEAVIEST:
                raise
            heavier, begin = heavier * LIGHTER, None
    while heavier > 1.0:
        found = _descend(begin, solver).objective
        heavier = heavier / LIGHTER
        begin = replace(found, penalty=heavier * lightest)
    return _descend(replace(found, penalty=lightest), solver)


def _descend(objective, solver, enough=0.0):
    """Newton's method from the parameters of an objective."""
    factor = solver.factor(objective)
    step, decrement = _step(factor, objective)
    for step_number in range(MAX_STEPS):
        if 0.5 * decrement**2 <= enough:
            return Minimum(objective, factor, decrement)
        if step_number % LOOKS == LOOKS - 1:
            # Towards infinity it would go on for ever.
            refuse_unbounded(objective)
        trial = _shortened(factor, objective, step, decrement)
        if trial is None:
            # The solves are no better than this: let the certificate judge.
            return Minimum(objective, factor, decrement)
        after_step, after = _step(factor, trial)
        if not (after < 0.01 * decrement):
            if after >= 0.5 * decrement and _is_done(factor, objective, trial, decrement):
                best = trial if after < decrement else objective
                return Minimum(best, factor, min(after, decrement))
            factor = solver.factor(trial)
            after_step, after = _step(factor, trial)
        objective, step, decrement = trial, after_step, after
    warnings.warn(
        f"Newton's method stopped after {MAX_STEPS} steps at decrement {decrement:.1e}. Scale the "
        "features or penalise more.",
        ConvergenceWarning,
        stacklevel=level_outside(),
    )
    return Minimum(objective, factor, decrement)


def _shortened(factor, objective, step, decrement):
    """The objective at the end of a step, or of the longest part of it that gains; None for none."""
    value, rounding, scale = objective.value(), _rounding(objective), 1.0
    convex = objective.loss.self_concordance is not None
    # Overflow on the way gives an infinite value or NaN, and a shorter step.
    with np.errstate(over="ignore", invalid="ignore"):
        while scale >= SHORTEST:
            trial = objective.at(objective.theta + scale * step)
            expected = 0.25 * scale * decrement**2
            if trial.value() <= value - expected + rounding and (
                expected > rounding or not convex or _levels(factor, trial, step, decrement)
            ):
                return trial
            scale *= 0.5
    return None


def _levels(factor, trial, step, decrement):
    """Whether the slope along a step is small at its end, or as small as round-off lets it be."""
    slope = float(trial.gradient() @ step.ravel())
    return slope <= 0.5 * decrement**2 or _is_near(factor, trial)


def _is_done(factor, objective, trial, decrement):
    """Whether a decrement that a step did not halve is round-off."""
    if objective.loss.self_concordance is None:
        return 0.5 * decrement**2 < 1e3 * _rounding(objective)
    return _is_near(factor, objective) and _is_near(factor, trial)


def _rounding(objective):
    """What rounding may do to the value: its terms can be large and cancel."""
    terms = weigh(objective.weights, objective.loss.value(objective.eta, objective.y))
    penalty = 0.5 * (objective.penalty * objective.theta**2).sum()
    return 1e-13 * float(np.abs(terms).sum() + penalty)
