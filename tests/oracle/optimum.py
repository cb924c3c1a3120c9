"""Damped Newton's method in long double, with a bound on the distance that is left."""

from dataclasses import dataclass

import numpy as np

from tests.oracle.algebra import EPS, Factor, NotPositiveDefiniteError
from tests.oracle.losses import OneVsRest, SmoothHinge

LD = np.longdouble


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the iteration ended.

    Attributes
    ----------
    theta : (k, c) long double
    factor : Factor of the Hessian there
    error : float, on the distance to the optimum in the norm of that Hessian
    converged : bool, whether the decrement stopped at round-off and the error is small beside 1
    n_iter : int
    """

    theta: np.ndarray
    factor: object
    error: float
    converged: bool
    n_iter: int


def minimise(problem, start=None, max_iter=400):
    """The optimum of a convex problem; raises NotPositiveDefiniteError where there is no unique one."""
    theta = np.zeros(problem.shape, dtype=LD) if start is None else np.array(start, dtype=LD)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        loss = problem.loss.loss if isinstance(problem.loss, OneVsRest) else problem.loss
        if isinstance(loss, SmoothHinge) and loss.t < 1:
            # The region in which Newton's steps are good shrinks with the temperature.
            own = loss.t
            try:
                t = LD(1)
                while t > own:
                    loss.t = t
                    theta = _newton(problem, theta, 30).theta
                    t /= 4
            finally:
                loss.t = own
        return _newton(problem, theta, max_iter)


def _newton(problem, theta, max_iter):
    last, stalled, factor = np.inf, 0, None
    for n_iter in range(max_iter):  # noqa: B007  how many it took is part of the answer
        gradient = problem.gradient(theta).ravel()
        factor = Factor(problem.hessian(theta))
        step = -factor.solve(gradient)
        decrement = float(np.sqrt(max(-gradient @ step, LD(0))))
        noise = _noise(problem, theta, factor)
        if decrement <= 4 * noise or (stalled >= 5 and decrement < 1e-6):
            break
        # Far out on a tail of the loss the decrement falls by a factor of 0.6 at each step.
        stalled = stalled + 1 if decrement > 0.9 * last else 0
        last = decrement
        # A line search on the directional derivative, which does not cancel as values do.
        theta = theta + _length(problem, theta, step.reshape(theta.shape)) * step.reshape(
            theta.shape
        )
    error = 4.0 * (decrement + noise)
    # Newton's decrement is a distance only where the Hessian hardly changes on the way.
    sizes = factor.inverse_norms(problem.directions(problem.X))
    reach = float(sizes.max(initial=0)) * getattr(problem.loss, "concordance", 1.0)
    inside = reach * error < 0.1
    converged = inside and decrement <= max(100 * noise, 1e-9)
    return Optimum(theta, factor, error, converged, n_iter)


def _length(problem, theta, step):
    eta, moved = problem.outputs(theta), problem.outputs(step)
    along = (problem.penalty * step * theta).sum(), (problem.penalty * step * step).sum()
    w = problem.weights

    def slope(t):
        g = problem.loss.gradient(eta + t * moved, problem.y)
        terms = np.where(w > 0, w * (g * moved).sum(axis=1), 0)
        return terms.sum() + along[0] + t * along[1]

    begin, end = slope(LD(0)), slope(LD(1))
    if problem.loss.exact_newton or abs(end) <= abs(begin) / 2:
        return LD(1)
    low, high = LD(0), LD(1)
    if end < 0:
        # Still falling steeply: go on, at most a few times as far.
        for _ in range(4):
            if not slope(2 * high) < 0:
                break
            high = 2 * high
        low, high = high, 2 * high
        if slope(high) < 0:
            return high
    for _ in range(60):
        middle = (low + high) / 2
        at = slope(middle)
        if abs(at) <= abs(begin) / 50:
            return middle
        if at < 0:
            low = middle
        else:
            high = middle
    return low if low > 0 else high


def _noise(problem, theta, factor):
    """What rounding leaves of the gradient, as a distance."""
    return float(EPS * rounding_size(problem, theta, factor))


def rounding_size(problem, theta, factor):
    """Distance that one unit of relative rounding of every term of the gradient makes."""
    eta = problem.outputs(theta)
    w = problem.weights
    used = w > 0
    g = np.abs(problem.loss.gradient(eta, problem.y)).max(axis=1)
    curvature = np.abs(problem.loss.hessian(eta, problem.y)).max(axis=(1, 2))
    reach = (np.abs(problem.X) @ np.abs(theta).T).max(axis=1)
    terms = np.where(used, w * (g + curvature * reach), 0)
    sizes = factor.inverse_norms(problem.directions(problem.X))
    sizes = sizes.reshape(len(w), -1).max(axis=1)
    own = np.sqrt((np.diagonal(factor.A) * theta.ravel() ** 2).sum())
    return (terms * sizes).sum() + own


__all__ = ["NotPositiveDefiniteError", "Optimum", "minimise", "rounding_size"]
