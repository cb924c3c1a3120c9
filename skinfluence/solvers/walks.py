"""Repeated walks of LiSSA, each until its averages have settled to their noise."""

import numpy as np

# Two averages differ by more than their noise when the square of their distance is this many times
# the sum of their squared standard errors; 1 is expected of the same quantity.
DRIFT = 1.5
# Moves that do not shrink promise nothing: this many more are claimed to come, at most.
FARTHEST = 10.0


class Walks:
    """All repeats of some right-hand sides, from zero to where they end."""

    def __init__(self, factor, B):
        self.factor = factor
        m, count = B.shape[1], factor.solver.repeats
        self.B = np.ascontiguousarray(B.T).reshape(m, *factor.shape)
        self.V = np.zeros((m, count, *factor.shape))
        self.averages = np.zeros_like(self.V)
        self.drift = np.zeros_like(self.B)
        self.depth = np.zeros(m, dtype=int)
        self.error = np.zeros(m)
        self._draws = [np.random.default_rng(seed) for seed in factor._seeds]

    def to_the_end(self):
        factor, solver = self.factor, self.factor.solver
        # Zeros are solved already.
        active = np.flatnonzero(self.B.any(axis=(1, 2)))
        noise, last, start = np.zeros(len(self.B)), np.full(len(self.B), np.inf), 0
        for end in factor.edges():
            if not len(active):
                return
            before = self.averages[active].mean(axis=1)
            means = factor.walk(self.B, self.V, self._draws, active, end - start)
            self.averages[active] = means
            self._check_finite()
            mean, fresh = self._moments(active)
            moved, size = self._square(mean - before), self._square(mean)
            ahead = _remaining(np.sqrt(moved), np.sqrt(last[active]))
            ahead[moved <= DRIFT * (fresh + noise[active])] = 0.0
            self.drift[active] = ahead[:, None, None] * (mean - before)
            error = fresh + ahead**2 * moved
            self.error[active] = np.sqrt(error / np.maximum(size, np.finfo(float).tiny))
            self.depth[active], noise[active], last[active], start = end, fresh, moved, end
            if solver.depth == "auto":
                active = active[self.error[active] > solver.tol]

    def _moments(self, active):
        """Means of the repeats, and the squared sizes of their standard errors."""
        averages = self.averages[active]
        mean, count = averages.mean(axis=1), averages.shape[1]
        spread = self._square(averages - mean[:, None]).sum(axis=1)
        return mean, spread / (count * (count - 1))

    def _square(self, V):
        return np.einsum("...kd,...kd,d->...", V, V, self.factor._columns)

    def _check_finite(self):
        # Beyond this no average of them has digits left.
        if not (np.abs(self.V).max(initial=0.0) < 1e100):
            raise ValueError(
                f"LiSSA diverged: scale={self.factor.solver.scale!r} is too small for the rows. Use "
                "scale='auto', which cannot diverge."
            )


def _remaining(moved, last):
    """How far there is to go, in the last moves: a geometric series of moves that shrink."""
    ratio = np.divide(moved, last, out=np.ones_like(moved), where=last > 0)
    return np.clip(ratio / np.maximum(1.0 - ratio, 1e-300), 1.0, FARTHEST)
