"""Optima of half squares beyond edges in long double, from set to set of the sides that are beyond theirs."""

import numpy as np

from tests.oracle.algebra import LD, Factor


def hinge_sides(Z, signs, w):
    """Sides of ``sum_i w_i max(0, 1 - s_i eta_i)^2``: rows, signs, targets, curvatures."""
    return Z, signs, np.ones(len(Z)), 2 * w


def tube_sides(Z, y, w, epsilon):
    """Those of ``sum_i w_i max(0, |y_i - eta_i| - epsilon)^2``, first above the tube, then below it."""
    ones, y = np.ones(len(y)), np.asarray(y, dtype=LD)
    targets = np.concatenate([y - LD(epsilon), -(y + LD(epsilon))])
    return np.vstack([Z, Z]), np.concatenate([ones, -ones]), targets, 2 * np.concatenate([w, w])


class Sides:
    """``1/2 sum_k c_k max(0, t_k - s_k z_k' u)^2 + 1/2 u' R u``.

    Parameters
    ----------
    Z, signs, targets, c : arrays, of :func:`hinge_sides` or :func:`tube_sides`
    penalty : (d,)
    """

    def __init__(self, Z, signs, targets, c, penalty):
        self.Z, self.signs, self.targets, self.c, self.penalty = (
            np.asarray(one, dtype=LD) for one in (Z, signs, targets, c, penalty)
        )

    def slack(self, u):
        return self.targets - self.signs * (self.Z @ u)

    def gradient(self, u):
        push = self.c * self.signs * np.maximum(0, self.slack(u))
        return self.penalty * u - self.Z.T @ push

    def hessian(self, u):
        """Of the sides that are beyond their edge."""
        return self._held((self.slack(u) > 0) & (self.c > 0))

    def _held(self, beyond):
        Z = self.Z[beyond]
        return (Z.T * self.c[beyond]) @ Z + np.diag(self.penalty)

    def optimum(self, u):
        """From a start; verified: the set of its sides is that whose least squares it is."""
        u, seen = np.asarray(u, dtype=LD), None
        for _ in range(200):
            beyond = (self.slack(u) > 0) & (self.c > 0)
            if seen is not None and (beyond == seen).all():
                return u
            seen = beyond
            right = self.Z[beyond].T @ (self.c * self.signs * self.targets)[beyond]
            goal = Factor(self._held(beyond)).solve(right)
            if (((self.slack(goal) > 0) & (self.c > 0)) == beyond).all():
                return goal
            u = self._least(u, goal)
        raise AssertionError("no optimum")

    def _least(self, u, goal):
        """The least of the objective on the line through two places: the slope there is zero."""
        start, way = self.slack(u), self.slack(goal) - self.slack(u)
        along, curved = self.penalty * u @ (goal - u), self.penalty * (goal - u) @ (goal - u)

        def slope(t):
            return along + t * curved + self.c * way @ np.maximum(0, start + t * way)

        low, high = LD(0), LD(1)
        for _ in range(70):
            middle = (low + high) / 2
            low, high = (middle, high) if slope(middle) < 0 else (low, middle)
        return u + high * (goal - u)
