"""A problem near another one, solved with the factor of that one."""

import numpy as np

from skinfluence.smooth.optimum.half_squares import is_piecewise

MAX_STEPS, KEPT = 40, 4
# A step must leave at most this share of the decrement, and all of them this of the first one.
SLOW, SOLVED = 0.8, 1e-11
# Rounding of the gradient, as a share of the noise of the problem that the factor is of.
NOISE = 0.1


def serves(factor):
    """Whether optima near that of a factor are found by chords with it, and known to be."""
    objective = factor.objective
    loss, features = objective.loss, objective.penalty[: objective.design.n_features]
    certified = loss.self_concordance is not None and not is_piecewise(loss)
    exact = not (factor.is_random or factor.curvature.damping)
    return certified and exact and bool((features > 0).all())


def by_chords(factor, starts, gradients, noise, enough=None):
    """The optima of some problems, by accelerated chords with the factor of another one.

    A solve and a gradient for each step and no factorisation. The steps are combined with the few before
    (Anderson's method), in the norm of the factor's Hessian: ``H f = -G``, so that takes no product
    with it. The problems go side by side, so that a solve is one of as many columns: a factor that is
    larger than the caches is read once for all of them.

    Parameters
    ----------
    factor : Factor
        Of a Hessian in the same parameters.
    starts : ndarray of shape (m, n_outputs, n_columns)
        The parameters to start from.
    gradients : callable
        From numbers of b problems and parameters, (b, n_outputs, n_columns), to the gradients there, (b,
        n_parameters).
    noise : float
        What rounding leaves of a decrement.
    enough : callable, default=None
        From the same, and those gradients, to a mask of problems that are near enough to their optima.
        None goes on to round-off.

    Returns
    -------
    found : list of ndarray of shape (n_outputs, n_columns), or None
        None where the steps do not go down as they should: that factor is no help.
    """
    chords, factor = [_Chord(one) for one in starts], factor.for_steps()
    left = np.arange(len(chords))
    for _ in range(MAX_STEPS):
        if not len(left):
            break
        with np.errstate(over="ignore", invalid="ignore"):
            found = gradients(left, np.stack([chords[k].theta for k in left]))
        fine = np.isfinite(found).all(axis=1)
        left, found = left[fine], found[fine]
        if not len(left):
            break
        if enough is not None:
            near = enough(left, np.stack([chords[k].theta for k in left]), found)
            for k in left[near]:
                chords[k].found = chords[k].theta
            left, found = left[~near], found[~near]
            if not len(left):
                break
        steps = -factor.solve(np.ascontiguousarray(found.T))
        for k, gradient, step in zip(left, found, steps.T, strict=True):
            chords[k].go(gradient, step, noise)
        left = left[[not chords[k].done for k in left]]
    return [one.found for one in chords]


class WithColumns:
    """The Hessian of a factor with columns that its problem had not, for :func:`by_chords`.

    Of those it has the penalty alone, on which the curvature of few rows is a small change.

    Parameters
    ----------
    factor : Factor
    n : int
        More columns, which stand behind the features.
    penalty : float
        Of each.
    """

    def __init__(self, factor, n, penalty):
        self.factor, self.n, self.penalty = factor, n, penalty

    def for_steps(self):
        """The same by a factor whose solves are for steps that are looked at again."""
        return WithColumns(self.factor.for_steps(), self.n, self.penalty)

    def solve(self, B):
        """``H^-1 B`` of ``B`` of shape (n_parameters, m)."""
        objective = self.factor.objective
        (k, d), end = objective.theta.shape, objective.design.n_features
        B = B.reshape(k, d + self.n, -1)
        new = B[:, end : end + self.n] / self.penalty
        old = np.concatenate([B[:, :end], B[:, end + self.n :]], axis=1).reshape(k * d, -1)
        old = self.factor.solve(np.ascontiguousarray(old)).reshape(k, d, -1)
        return np.concatenate([old[:, :end], new, old[:, end:]], axis=1).reshape(
            k * (d + self.n), -1
        )


class _Chord:
    """One problem on its way: where it is, and whether it has arrived."""

    def __init__(self, theta):
        self.theta, self.found, self.done = theta, None, False
        self._history = []
        self._first, self._before, self._slow = None, np.inf, 0

    def go(self, gradient, step, noise):
        """Go on by a step, or stay: at the optimum, or for good."""
        decrement = np.sqrt(max(0.0, -float(gradient @ step)))
        first = self._first = decrement if self._first is None else self._first
        if decrement <= max(SOLVED * first, NOISE * noise):
            self.found, self.done = self.theta, True
            return
        self._slow = self._slow + 1 if decrement > SLOW * self._before else 0
        if self._slow > 1:
            # What does not go down any more is round-off, or the factor is of another problem.
            self.done = True
            if decrement <= max(100.0 * SOLVED * first, 10.0 * noise):
                self.found = self.theta
            return
        self._before = min(self._before, decrement)
        self._history = [*self._history, (self.theta.ravel(), gradient, step)][-KEPT:]
        self.theta = _accelerated(self._history).reshape(self.theta.shape)


def _accelerated(history):
    """The next iterate: the combination of the last ones that leaves the least."""
    theta, gradient, step = history[-1]
    if len(history) == 1:
        return theta + step
    turned = gradient - np.array([one[1] for one in history[:-1]])
    after = np.array([one[0] + one[2] for one in history[:-1]])
    normal = -turned @ (step - np.array([one[2] for one in history[:-1]])).T
    normal = 0.5 * (normal + normal.T)
    normal += 1e-12 * np.trace(normal) * np.eye(len(normal))
    share = np.linalg.lstsq(normal, -turned @ step, rcond=None)[0]
    return (1.0 - share.sum()) * (theta + step) + share @ after
