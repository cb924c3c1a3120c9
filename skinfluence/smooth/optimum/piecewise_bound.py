"""How far the ends of squared hinges and tubes are from their optimum, by what is left of the gradient.

The objective is convex and, with the rows held that stay beyond their edge all the way, quadratic
or steeper: its gradient then says how far the optimum is (``doc/certificate.md``).
"""

from functools import cached_property

import numpy as np

from skinfluence.smooth.optimum.accuracy import inflation, shrink, solve_error
from skinfluence.smooth.optimum.half_squares import TIE, sides
from skinfluence.smooth.optimum.piecewise import curvatures
from skinfluence.solvers import SingularHessianError

# Rows, times outputs, that may leave the set of those beyond their edge, or come to it: a solve
# with the fit's factor for each.
MOST = 300
# Sets that are tried: each leaves out the rows that the one before could not hold.
MOST_SETS = 8


class PiecewiseBound:
    """Bounds on the distance of ends from their optima, in the norm of the fit's Hessian H or P.

    Parameters
    ----------
    factor : Factor
        Of the Hessian at an end of :func:`~skinfluence.smooth.optimum.piecewise.minimise`, without an edit.
    """

    def __init__(self, factor):
        self.factor, self.objective = factor, factor.objective
        self._curved = curvatures(self.objective)

    @cached_property
    def start(self):
        """Of the fit itself, in the norm of H; infinite by iterative solvers."""
        if self.factor.rtol:
            return np.inf
        return self._distance(self.objective, 1.0, self._curved)[0]

    @cached_property
    def _solve_error(self):
        return solve_error(self.factor, self._curved.max(axis=1))

    def edited(self, points, curved, found):
        """Of an edit's step, in the norm of the edited Hessian at the fit.

        Parameters
        ----------
        points : Points
        curved : ndarray of shape (n_samples, n_outputs)
            :func:`~skinfluence.smooth.optimum.piecewise.curvatures` of the edited problem at the fit.
        found : Objective
            Where the edited problem was found to end.

        Returns
        -------
        bound : float
            Infinite where nothing is known, as by iterative solvers.
        """
        if not np.isfinite(self.start):
            return np.inf
        shift = points.shift
        after, added = self._distance(found, float(shrink(shift, self.objective)), curved)
        if not np.isfinite(after):
            return np.inf
        return float(np.sqrt(inflation(added, shift, self.objective)) * (self.start + after))

    def _distance(self, found, kept, curved):
        """``|theta - theta*|_H`` of an end, where the penalty is ``kept`` times the fit's at least.

        And the largest eigenvalue, relative to H, of what ``curved`` has and the rows of H do not.

        Let K be the Hessian of rows that are beyond their edge at the end and at the fit, none of which
        comes to its edge within ``|G|`` in the norm of the inverse of K. On the surface of that ball the
        slope away from the end is not negative, so that the optimum lies inside.
        """
        slack, curvature, rounded = sides(found)
        short = (curvature > 0) & (slack > 0)
        before = np.zeros(short.shape)
        before[: len(self._curved)] = self._curved
        held = short & (before > 0)
        fresh, gained = short & ~held, np.maximum(curved - before, 0.0)
        lost = np.maximum(before - np.where(held, curvature, 0.0), 0.0)
        if max(np.count_nonzero(fresh), np.count_nonzero(lost)) > MOST:
            return np.inf, np.inf
        gradient = found.gradient()
        pairs, inner, left = self._solved(found, gradient, fresh | (lost > 0) | (gained > 0))
        # Of a row of H itself |x|^2 in its inverse is at most one over its curvature.
        size = np.divide(1.0, before, out=np.zeros(before.shape), where=before > 0)
        size[pairs] = np.where(fresh[pairs], np.diagonal(inner), size[pairs])
        left += self._rounding(found, np.where(short, curvature, 0.0), slack, rounded, size)
        added, missing = _largest(inner, gained[pairs]), _largest(inner, lost[pairs])
        for _ in range(MOST_SETS):
            if not kept > missing:
                break
            radius = left / (kept - missing)
            stays = slack > radius * np.sqrt(size) + TIE * rounded
            if stays[held].all():
                return radius, added
            held &= stays
            lost = np.maximum(before - np.where(held, curvature, 0.0), 0.0)
            if np.count_nonzero(lost) > MOST:
                break
            pairs, inner, _ = self._solved(found, gradient, lost > 0)
            missing = _largest(inner, lost[pairs])
        return np.inf, added

    def _solved(self, found, gradient, chosen):
        """Rows of outputs, their products in the inverse of H, and the length of G there.

        Returns
        -------
        pairs : tuple of two ndarray of shape (m,)
            Rows and outputs.
        inner : ndarray of shape (m, m)
        left : float
        """
        pairs = np.nonzero(chosen)
        m, (k, d) = len(pairs[0]), self.objective.theta.shape
        right = np.zeros((m + 1, k, d))
        right[np.arange(m), pairs[1]] = found.design.take(pairs[0]).dense_rows()
        right = right.reshape(m + 1, k * d)
        right[m] = gradient
        solved = self.factor.solve(np.ascontiguousarray(right.T)) * (1.0 + self._solve_error)
        left = np.sqrt(abs(right[m] @ solved[:, m]) * (1.0 + self._solve_error))
        return pairs, right[:m] @ solved[:, :m], float(left)

    def _rounding(self, found, curvature, slack, rounded, size):
        """What rounding makes of the terms of G, as a distance."""
        of_rows = curvature * (np.abs(slack) + rounded) * np.sqrt(size)
        # |R theta| is in the norm of the inverse of H at most what it is in that of R.
        before = self.objective.penalty
        share = np.divide(found.penalty, before, out=np.zeros(len(before)), where=before > 0)
        of_penalty = np.sqrt((found.penalty * share * found.theta**2).sum())
        return 4.0 * np.finfo(float).eps * float(of_rows.sum() + of_penalty)


def end_bound(found, solver):
    """How far an end of :func:`~skinfluence.smooth.optimum.piecewise.minimise` is from its optimum.

    Parameters
    ----------
    found : Objective
    solver : solver object
        Factors the Hessian there, once.

    Returns
    -------
    bound : float
        In the norm of that Hessian; infinite where nothing is known.
    """
    try:
        return float(PiecewiseBound(solver.factor(found)).start)
    except SingularHessianError:
        # The optimum is that of least squares by orthogonal factors, which have more digits.
        return np.inf


def _largest(inner, weights):
    """Largest eigenvalue of ``sum_i weights_i x_i x_i'``, by the products of the rows in a norm."""
    some = np.flatnonzero(weights)
    if len(some) < 2:
        return float(weights[some] @ inner[some, some])
    root = np.sqrt(weights[some])
    products = root[:, None] * inner[np.ix_(some, some)] * root
    return float(np.linalg.eigvalsh(0.5 * (products + products.T))[-1])
