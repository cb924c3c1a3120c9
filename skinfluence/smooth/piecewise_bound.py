"""How far the ends of squared hinges are from their optimum, by what is left of the gradient.

The objective is convex and, with the rows held that stay short of their margin all the way, quadratic
or steeper: its gradient then says how far the optimum is (``doc/certificate.md``).
"""

from functools import cached_property

import numpy as np

from skinfluence.smooth import steps
from skinfluence.smooth.accuracy import inflation, shrink, solve_error
from skinfluence.smooth.piecewise import TIE, sides, terms

# Rows, times outputs, that may leave the set of those short of their margin, or come to it: a solve
# with the fit's factor for each.
MOST = 300
# Sets that are tried: each leaves out the rows that the one before could not hold.
MOST_SETS = 8


class PiecewiseBound:
    """Bounds on the distance of ends from their optima, in the norm of the fit's Hessian H or P.

    Parameters
    ----------
    factor : Factor
        Of the Hessian at an end of :func:`~skinfluence.smooth.piecewise.minimise`, without an edit.
    """

    def __init__(self, factor):
        self.factor, self.objective = factor, factor.objective
        objective = self.objective
        self._curved = objective.weights[:, None] * np.einsum("nkk->nk", objective.hessians)

    @cached_property
    def start(self):
        """Of the fit itself, in the norm of H."""
        return self._distance(self.objective, 1.0)

    @cached_property
    def _solve_error(self):
        return solve_error(self.factor, self._curved.max(axis=1))

    def edited(self, points, found):
        """Of an edit's step, in the norm of the edited Hessian at the fit.

        Parameters
        ----------
        points : Points
        found : Objective
            Where the edited problem was found to end.

        Returns
        -------
        bound : float
            Infinite where nothing is known, as by iterative solvers.
        """
        if self.factor.rtol or not np.isfinite(self.start):
            return np.inf
        kept = float(shrink(np.array([points.shift]), self.objective)[0])
        after = self._distance(found, kept)
        if not np.isfinite(after):
            return np.inf
        grows = points.new is not None or (points.row_changes > 0).any()
        added = steps.points_leverage(self.factor, points, gained=True) if grows else 0.0
        larger = float(inflation(added, points.shift, self.objective))
        return float(np.sqrt(larger) * (self.start + after))

    def _distance(self, found, kept):
        """``|theta - theta*|_H`` of an end, where the penalty is ``kept`` times the fit's at least.

        Let K be the Hessian of rows that are short of their margin at the end and at the fit, none of which
        comes to its margin within ``|G|`` in the norm of the inverse of K. On the surface of that ball the
        slope away from the end is not negative, so that the optimum lies inside.
        """
        n = self.objective.n_samples
        slack, curvature = sides(found)
        rounded = terms(found.design, found.theta)
        short = (curvature > 0) & (slack > 0)
        before = np.zeros(short.shape)
        before[:n] = self._curved
        fresh = np.argwhere(short & (before == 0))
        if len(fresh) > MOST:
            return np.inf
        # Of a row of H itself |x|^2 in its inverse is at most one over its curvature.
        with np.errstate(divide="ignore"):
            size = np.where(before > 0, 1.0 / before, 0.0)
        if len(fresh):
            own, solved = self._solved(found.design, fresh)
            size[tuple(fresh.T)] = np.einsum("ij,ji->i", own, solved)
        left = self._decrement(found, np.where(short, curvature, 0.0), slack, rounded, size)
        held = short & (before > 0)
        for _ in range(MOST_SETS):
            lost = np.maximum(before - np.where(held, curvature, 0.0), 0.0)
            rest = kept - self._largest(found.design, lost)
            if not rest > 0:
                return np.inf
            radius = left / rest
            stays = slack > radius * np.sqrt(size) + TIE * (1.0 + rounded)
            if not (held & ~stays).any():
                return radius
            held &= stays
        return np.inf

    def _solved(self, design, pairs):
        """Rows of outputs as parameters, (m, p), and ``H^-1`` times them."""
        k, d = self.objective.theta.shape
        own = np.zeros((len(pairs), k, d))
        own[np.arange(len(pairs)), pairs[:, 1]] = design.take(pairs[:, 0]).dense_rows()
        own = own.reshape(len(pairs), k * d)
        return own, self.factor.solve(np.ascontiguousarray(own.T)) * (1.0 + self._solve_error)

    def _largest(self, design, lost):
        """Largest eigenvalue of curvature that is lost, relative to H; infinite for too much of it."""
        pairs = np.argwhere(lost > 0)
        if not len(pairs):
            return 0.0
        if len(pairs) > MOST:
            return np.inf
        own, solved = self._solved(design, pairs)
        root = np.sqrt(lost[tuple(pairs.T)])
        inner = root[:, None] * (own @ solved) * root
        return float(np.linalg.eigvalsh(0.5 * (inner + inner.T))[-1])

    def _decrement(self, found, curvature, slack, rounded, size):
        """``|G|`` in the norm of the inverse of H, and what rounding makes of the rows' terms of G."""
        gradient = found.gradient()[:, None]
        left = np.sqrt(abs(float((gradient.T @ self.factor.solve(gradient))[0, 0])))
        of_rows = curvature * (np.abs(slack) + rounded + 1.0) * np.sqrt(size)
        # |R theta| is in the norm of the inverse of H at most what it is in that of R.
        before = self.objective.penalty
        share = np.divide(found.penalty, before, out=np.zeros(len(before)), where=before > 0)
        of_penalty = np.sqrt((found.penalty * share * found.theta**2).sum())
        noise = 4.0 * np.finfo(float).eps * (of_rows.sum() + of_penalty)
        return left * (1.0 + self._solve_error) + float(noise)
