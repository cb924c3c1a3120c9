"""A problem near another one, solved with the factor of that one."""

import numpy as np

MAX_STEPS, KEPT = 40, 4
# A step must leave at most this share of the decrement, and all of them this of the first one.
SLOW, SOLVED = 0.8, 1e-11
# Rounding of the gradient, as a share of the noise of the problem that the factor is of.
NOISE = 0.1


def by_chords(factor, problems, noise):
    """The optima of some problems, by accelerated chords with the factor of another one.

    A solve and a gradient for each step and no factorisation. The steps are combined with the few before
    (Anderson's method), in the norm of the factor's Hessian: ``H f = -G``, so that takes no product
    with it. The problems go side by side, so that a solve is one of as many columns: a factor that is
    larger than the caches is read once for all of them.

    Parameters
    ----------
    factor : Factor
        Of a Hessian in the same parameters.
    problems : list of Objective
        With the parameters to start from.
    noise : float
        What rounding leaves of a decrement.

    Returns
    -------
    found : list of Objective or None
        None where the steps do not go down as they should: that factor is no help.
    """
    chords = [_Chord(one) for one in problems]
    left = chords
    for _ in range(MAX_STEPS):
        left = [one for one in left if one.turned()]
        if not left:
            break
        steps = -factor.solve(np.column_stack([one.gradient for one in left]))
        for one, step in zip(left, steps.T, strict=True):
            one.go(step, noise)
        left = [one for one in left if not one.done]
    return [one.found for one in chords]


class _Chord:
    """One problem on its way: where it is, and whether it has arrived."""

    def __init__(self, problem):
        self.problem, self.found, self.done = problem, None, False
        self.gradient, self._history = None, []
        self._first, self._before, self._slow = None, np.inf, 0

    def turned(self):
        """Take the gradient; whether it is one."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.gradient = self.problem.gradient()
        return bool(np.isfinite(self.gradient).all())

    def go(self, step, noise):
        """Go on by a step, or stay: at the optimum, or for good."""
        decrement = np.sqrt(max(0.0, -float(self.gradient @ step)))
        first = self._first = decrement if self._first is None else self._first
        if decrement <= max(SOLVED * first, NOISE * noise):
            self.found, self.done = self.problem, True
            return
        self._slow = self._slow + 1 if decrement > SLOW * self._before else 0
        if self._slow > 1:
            # What does not go down any more is round-off, or the factor is of another problem.
            self.done = True
            if decrement <= max(100.0 * SOLVED * first, 10.0 * noise):
                self.found = self.problem
            return
        self._before = min(self._before, decrement)
        there = self.problem.theta
        self._history = [*self._history, (there.ravel(), self.gradient, step)][-KEPT:]
        self.problem = self.problem.at(_accelerated(self._history).reshape(there.shape))


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
