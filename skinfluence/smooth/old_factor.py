"""A problem near another one, solved with the factor of that one."""

import numpy as np

MAX_STEPS, KEPT = 40, 4
# A step must leave at most this share of the decrement, and all of them this of the first one.
SLOW, SOLVED = 0.8, 1e-11
# Rounding of the gradient, as a share of the noise of the problem that the factor is of.
NOISE = 0.1


def by_chords(factor, problem, noise):
    """The optimum of a problem, by accelerated chords with the factor of another one.

    A solve and a gradient for each step and no factorisation. The steps are combined with the few before
    (Anderson's method), in the norm of the factor's Hessian: ``H f = -G``, so that takes no product
    with it.

    Parameters
    ----------
    factor : Factor
        Of a Hessian in the same parameters.
    problem : Objective
        With the parameters to start from.
    noise : float
        What rounding leaves of a decrement.

    Returns
    -------
    found : Objective or None
        None where the steps do not go down as they should: that factor is no help.
    """
    history, first, before, slow = [], None, np.inf, 0
    for _ in range(MAX_STEPS):
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = problem.gradient()
        if not np.isfinite(gradient).all():
            return None
        step = -factor.solve(gradient[:, None])[:, 0]
        decrement = np.sqrt(max(0.0, -float(gradient @ step)))
        first = decrement if first is None else first
        if decrement <= max(SOLVED * first, NOISE * noise):
            return problem
        slow = slow + 1 if decrement > SLOW * before else 0
        if slow > 1:
            # What does not go down any more is round-off, or the factor is of another problem.
            return problem if decrement <= max(100.0 * SOLVED * first, 10.0 * noise) else None
        before = min(before, decrement)
        history = [*history, (problem.theta.ravel(), gradient, step)][-KEPT:]
        problem = problem.at(_accelerated(history).reshape(problem.theta.shape))
    return None


def _accelerated(history):
    """The next iterate: the combination of the last ones that leaves the least."""
    theta, gradient, step = history[-1]
    if len(history) == 1:
        return theta + step
    moved = np.array([theta - one[0] for one in history[:-1]])
    turned = np.array([gradient - one[1] for one in history[:-1]])
    stepped = np.array([step - one[2] for one in history[:-1]])
    normal = -turned @ stepped.T
    normal = 0.5 * (normal + normal.T)
    normal += 1e-12 * np.trace(normal) * np.eye(len(normal))
    share = np.linalg.lstsq(normal, -turned @ step, rcond=None)[0]
    return theta + step - share @ (moved + stepped)
