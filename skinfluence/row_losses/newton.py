"""Newton's method for problems that need not be convex."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from skinfluence._utils.threads import small_blas
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.cholesky import cholesky

MAX_STEPS = 200
# A decrement that is this share of the step solves an edit.
ENOUGH = 1e-10
# Shares of a step that are tried, at the least.
SHORTEST = 1e-60
# Decrements up to this many times the rounding of the gradient are round-off.
ROUNDED = 10.0
# Steps may leave where a loss is defined; what is not finite there is no improvement.
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


def factored(H, damping=0.0):
    """A function that solves with ``H + damping I``, and the reciprocal condition number.

    Raises
    ------
    SingularHessianError
        If that is not positive definite, with its smallest eigenvalue.
    """
    A = H + damping * np.eye(len(H))
    try:
        L, scale, rcond = cholesky(A.copy(), "The Hessian")
    except SingularHessianError as error:
        if not np.isfinite(A).all():
            raise
        values = np.linalg.eigvalsh(A)
        raise SingularHessianError(
            f"The Hessian at the fit must be positive definite. Its eigenvalues go from "
            f"{values[0]:.2e} to {values[-1]:.2e} with damping={damping:g}: a saddle, or parameters "
            "that the data do not determine. Fit from another init, add l2, fix parameters that "
            "can be exchanged, or pass damping above "
            f"{damping + max(-values[0], 0.0) + 1e-8 * abs(values[-1]):.1e} and say so."
        ) from error
    return (
        lambda B: (
            scale[:, None]
            * linalg.cho_solve(
                (L, True), scale[:, None] * B.reshape(len(B), -1), check_finite=False
            )
        ).reshape(B.shape)
    ), rcond


def _descent(H):
    """A solve with ``H``, or with the absolute values of its eigenvalues if it is indefinite."""
    try:
        return factored(H)[0]
    except SingularHessianError:
        # Parameters of one size first: eigenvalues of small ones would be round-off of large ones'.
        curved = np.abs(np.diagonal(H))
        scale = 1.0 / np.sqrt(np.maximum(curved, 1e-16 * curved.max(initial=1e-300)))
        values, vectors = np.linalg.eigh(scale[:, None] * H * scale)
        size = np.abs(values)
        size = np.maximum(size, 1e-8 * size.max() + 1e-300)
        return lambda g: scale * (vectors @ ((vectors.T @ (scale * g)) / size))


@dataclass(frozen=True, eq=False)
class RowLossMinimum:
    """Where Newton's method ended.

    Attributes
    ----------
    problem : Problem
        At the last parameters.
    decrement : float
        ``sqrt(G' H^-1 G)`` there.
    n_iter : int
    converged : bool
        Whether only round-off was left to gain.
    """

    problem: object
    decrement: float
    n_iter: int
    converged: bool


def minimise(problem, H=None, origin=None):
    """Minimise a problem from its parameters; steps fall in value, also where H is indefinite.

    Parameters
    ----------
    problem : Problem
    H : ndarray of shape (n_params, n_params), default=None
        A Hessian to begin with, if one near is known.
    origin : ndarray of shape (n_params,), default=None
        Parameters to measure from: a decrement that is nothing beside the distance from there, in
        the norm of the Hessian, ends the iteration before round-off does.

    Notes
    -----
    A Hessian is kept while it shrinks the gradient faster than a new one would pay. Steps are
    halved until the value falls enough (Armijo). The iteration ends where the decrement falls no
    longer: beyond that there is only round-off, which is that of the rows' own gradients. The size of
    the objective says nothing of it: what one row changes can be far smaller. Where that is at no optimum,
    a problem that knows another way takes it.
    """
    with small_blas(problem.n_parameters), np.errstate(**QUIET):
        found = descend(problem, H, origin)
        if found.converged and found.problem.is_determined:
            return found
        other = problem.by_another_way()
        return replace(found, converged=False) if other is None else other


def descend(problem, H=None, origin=None):
    """Where Newton's method ends from a problem's parameters, which :func:`minimise` says more of."""
    # Whether the Hessian is that of the last parameters, and whether it has been as good as that.
    fresh = trusted = H is None
    H = problem.hessian() if H is None else H
    if not np.isfinite(H).all():
        return RowLossMinimum(problem, np.inf, 0, False)
    solve = _descent(H)
    step, decrement = _step(problem, solve)
    # A Hessian costs about 2 p gradients, ten digits at contraction r cost 23 / log(1 / r).
    keep = np.clip(np.exp(-11.5 / problem.n_parameters), 0.1, 0.7)
    for n_iter in range(1, MAX_STEPS + 1):
        trial = None
        if decrement > 0:
            trial = _shortened(problem, step, decrement)
            trial = trial or _flatter(problem, step, decrement, keep, solve)
        after_step, after = (None, np.inf) if trial is None else _step(trial, solve)
        if after < keep * decrement:
            problem, step, decrement = trial, after_step, after
            fresh, trusted = False, True
            if origin is not None and decrement <= ENOUGH * _norm(H, problem.theta - origin):
                return RowLossMinimum(problem, decrement, n_iter, True)
            continue
        if fresh or trusted:
            rounded = decrement <= ROUNDED * problem.rounding(solve)
            if rounded or (fresh and _is_flat(problem, H, decrement)):
                best = trial if after < decrement else problem
                return RowLossMinimum(best, min(after, decrement), n_iter, True)
        if trial is None and fresh:
            return RowLossMinimum(problem, decrement, n_iter, False)
        problem = problem if trial is None else trial
        H = problem.hessian()
        if not np.isfinite(H).all():
            # The edge of where the loss is defined.
            return RowLossMinimum(problem, decrement, n_iter, False)
        solve, fresh, trusted = _descent(H), True, True
        step, decrement = _step(problem, solve)
    return RowLossMinimum(problem, decrement, MAX_STEPS, False)


def _flatter(problem, step, decrement, keep, solve):
    """The full step if it shrinks the gradient, where no step is seen to lower the value.

    A loss may cancel inside, as ``sqrt(1 + r^2) - 1`` does: its value is coarser than its terms say.
    """
    trial = problem.at(problem.theta + step)
    return trial if _step(trial, solve)[1] < keep * decrement else None


def _is_flat(problem, H, decrement):
    """Whether a decrement that falls no longer is round-off of a loss that cancels inside.

    Nothing beside the objective, and beside the parameters: a valley without end gets flat too, but
    its steps stay long.
    """
    if 0.5 * decrement**2 >= 1e3 * _rounding(problem):
        return False
    return decrement <= 1e-6 * _norm(H, problem.theta)


def _norm(H, step):
    return float(np.sqrt(np.maximum(0.0, step @ H @ step)))


def _rounding(problem):
    """What rounding may do to the value."""
    return 1e-13 * problem.size


def _step(problem, solve):
    gradient = problem.gradient()
    step = -solve(gradient)
    return step, float(np.sqrt(np.maximum(0.0, -gradient @ step)))


def _shortened(problem, step, decrement):
    scale, value, rounding = problem.longest(step), problem.value(), _rounding(problem)
    # Overflow on the way gives an infinite value or NaN, and a shorter step.
    with np.errstate(**QUIET):
        # Where rows hardly curve a step may be too long by far more, and what it promises says so.
        while scale > 1e-12 or (scale > SHORTEST and scale * decrement**2 > rounding):
            trial = problem.at(problem.theta + scale * step)
            if trial.value() <= value - 0.25 * scale * decrement**2 + rounding:
                return trial
            scale *= 0.5
    return None
