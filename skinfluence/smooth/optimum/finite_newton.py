"""Newton's method from set to set of sides that are beyond their edge, for one output, to its optimum.

With a set held, the optimum is that of least squares. Steps go along lines whose minimum is exact, and end
where the optimum of a set has just that set beyond its edges.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skinfluence.smooth.optimum.half_squares import TIE
from skinfluence.smooth.optimum.held_set import Normal, Orthogonal, power_of_two
from skinfluence.solvers.base import SingularHessianError

MAX_STEPS = 200
# Columns beyond which fewer rows are turned into a square.
WIDE = 200
# A step along a line that ends this near to the optimum of its set ends there.
WHOLE = 1e-6


@dataclass(frozen=True, eq=False)
class Space:
    """Coordinates ``u`` in which the columns are of one size, and no more of them than rows.

    ``theta = scale * u``, or ``scale * (basis u)``.
    """

    rows: np.ndarray
    absolute: np.ndarray
    scale: np.ndarray
    basis: np.ndarray | None

    @classmethod
    def of(cls, design, penalty):
        Z = design.dense_rows()
        n, d = Z.shape
        if n < d and d > WIDE and (penalty > 0).all():
            # A penalty that is the identity stays it, whichever way the coordinates are turned.
            scale = 1.0 / np.sqrt(penalty)
            basis, L = linalg.qr((Z * scale).T, mode="economic", check_finite=False)
            rows = np.ascontiguousarray(L.T)
        else:
            # Powers of two: nothing is rounded.
            size = np.abs(Z).max(axis=0, initial=0.0)
            scale = 1.0 / power_of_two(np.where(size > 0, size, 1.0))
            rows, basis = Z * scale, None
        return cls(rows, np.abs(rows), scale, basis)

    def extended(self, design):
        """With rows of a design behind them; None where coordinates are those of rows."""
        if self.basis is not None:
            return None
        rows = np.concatenate([self.rows, design.dense_rows() * self.scale])
        return Space(rows, np.abs(rows), self.scale, None)

    def penalty_of(self, penalty):
        """The penalty of the coordinates; where they are turned, it is a multiple of the one given."""
        scaled = penalty * self.scale**2
        return scaled if self.basis is None else np.full(self.basis.shape[1], scaled[0])

    def parameters(self, u):
        return self.scale * (u if self.basis is None else self.basis @ u)

    def coordinates(self, theta):
        u = theta / self.scale
        return u if self.basis is None else self.basis.T @ u


class Output:
    """One output: ``1/2 sum_k c_k max(0, t_k - s_k z_k' u)^2 + 1/2 u' R u`` over the sides k of rows.

    Parameters
    ----------
    space : Space
    squares : HalfSquares
    j : int
        Which of the outputs.
    penalty : ndarray of shape (d,)
    """

    def __init__(self, space, squares, j, penalty):
        self.rows, self.absolute = space.rows, space.absolute
        self.squares, self.penalty = squares, penalty
        self.signs, self.targets = squares.signs[:, j], squares.targets[:, j]
        self.c, self.sizes = squares.curvature[:, j], np.abs(self.targets)

    def slack(self, u):
        """``t_k - s_k z_k' u`` of every side."""
        return self.targets - self.signs * self.squares.each(self.rows @ u)

    def rounding(self, u):
        """Sizes of the terms of the slacks."""
        return self.sizes + self.squares.each(self.absolute @ np.abs(u))

    def _held(self, short):
        """Rows, curvatures and least squares targets of some sides."""
        one = self.squares.times == 1
        rows = self.rows[short if one else np.flatnonzero(short) % len(self.rows)]
        return rows, self.c[short], self.signs[short] * self.targets[short]

    def system(self, short):
        """The least squares problem of a set.

        Raises
        ------
        SingularHessianError
        """
        held = self._held(short)
        try:
            return Normal(*held, self.penalty)
        except SingularHessianError:
            return Orthogonal(*held, self.penalty)

    def quick(self, system):
        """The optimum of a set whose system has digits; as :meth:`refined`."""
        u = system.solution()
        return u, self.slack(u), self.rounding(u)

    def refined(self, system, short):
        """Where the objective of a set has its minimum, to round-off.

        Returns
        -------
        u : ndarray of shape (d,)
        slack : ndarray of shape (m,)
            Of sides of the set with digits of their own, however small it is.
        rounding : ndarray of shape (m,)
            Of the slacks, in units of the last place.
        """
        u, rest = system.refined()
        slack, rounding = self.slack(u), self.rounding(u)
        slack[short] = self.signs[short] * rest
        root = np.sqrt(self.c[short])
        rounding[short] = 4.0 * np.linalg.norm(root * rest) / root
        return u, slack, rounding

    def downhill(self, u, slack):
        """A step down from where the set does not determine an optimum: all sides curve."""
        there = self.c > 0
        held = self.penalty > 0
        system = Orthogonal(*self._held(there), self.penalty)
        left = self.signs[there] * np.maximum(slack[there], 0.0)
        return system.solution(np.append(left, -u[held]))

    def value(self, u, slack):
        """The objective itself."""
        return 0.5 * (self.c @ np.maximum(slack, 0.0) ** 2 + self.penalty @ u**2)


def best_share(c, slack, moved, along, curved):
    """The share of a step at which an objective is least along it: its slope is zero there.

    Parameters
    ----------
    c, slack, moved : ndarray of shape (n,)
        Curvatures, slacks, and what the whole step takes off the slacks.
    along, curved : float
        ``u' R d`` and ``d' R d`` of the step ``d``.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        kinks = slack / moved
    kinks = np.sort(kinks[np.isfinite(kinks) & (kinks > 0) & (c > 0)])

    def line(inside):
        """Slope at 0 and curvature of the piece that holds there."""
        push = c * moved * (slack > inside * moved)
        return along - push @ slack, curved + push @ moved

    def slope(t):
        start, curvature = line(t)
        return start + t * curvature

    below, above = 0, len(kinks)
    while below < above:
        middle = (below + above) // 2
        below, above = (middle + 1, above) if slope(kinks[middle]) < 0 else (below, middle)
    left = kinks[below - 1] if below else 0.0
    right = kinks[below] if below < len(kinks) else np.inf
    start, curvature = line(0.5 * (left + min(right, left + 1.0)))
    return float(np.clip(-start / curvature, left, right)) if curvature > 0 else left


@dataclass(frozen=True)
class FiniteMinimum:
    """Where it ended, the sides that are beyond their edge there, and how near to it they changed."""

    u: np.ndarray
    short: np.ndarray
    n_steps: int
    tie: float


def finite_newton(problem, u):
    """The optimum of one output, from any start."""
    there = problem.c > 0
    slack = problem.slack(u)
    if not np.isfinite(problem.value(u, slack)):
        # A start that overflows is no start.
        u, slack = np.zeros(len(u)), problem.targets.copy()
    short, tie, seen = there & (slack > 0), TIE, {}
    for n_steps in range(1, MAX_STEPS + 1):
        try:
            goal, goal_slack, after = _solution_with(problem, short, tie)
            if np.array_equal(after, short):
                return FiniteMinimum(goal, short, n_steps, tie)
        except SingularHessianError:
            goal = u + problem.downhill(u, slack)
            goal_slack = problem.slack(goal)
            after = there & (goal_slack > 0)
        step = goal - u
        held = problem.penalty * step
        share = best_share(problem.c, slack, slack - goal_slack, held @ u, held @ step)
        if share > 1.0:
            # Where the slope beyond the goal is round-off, the way on leads anywhere.
            beyond = u + share * step
            gained = problem.value(beyond, problem.slack(beyond))
            if not gained < problem.value(goal, goal_slack):
                share = 1.0
        if abs(share - 1.0) < WHOLE:
            u, slack, short = goal, goal_slack, after
        else:
            moved = goal_slack - slack
            u, slack = u + share * step, slack + share * moved
            # A side at its edge goes on to where it ends, by less than rounding shows: what moves one that
            # heavy rows hold there is rounding itself.
            near = np.abs(slack) <= TIE * problem.rounding(u)
            short = there & np.where(near, after, slack > 0)
            if not share > 0:
                # Round-off hides that the step goes down: the set of its end is tried.
                short = after
        # Sets that come back without any descent differ by rows on their edge.
        value, name = problem.value(u, slack), short.tobytes()
        if not value < seen.get(name, np.inf):
            tie *= 4.0
        seen[name] = value
    return FiniteMinimum(goal, there & (goal_slack > 0), MAX_STEPS, np.inf)


def _solution_with(problem, short, tie):
    """The solution where these sides are beyond their edge, its slacks, and the sides that are beyond there.

    Refined where the sides stay the same, and where the system has too few digits.
    """
    system = problem.system(short)
    if system.has_digits:
        u, slack, rounding = problem.quick(system)
        after = _sides(problem, short, slack, rounding, tie)
        if not np.array_equal(after, short):
            return u, slack, after
    u, slack, rounding = problem.refined(system, short)
    return u, slack, _sides(problem, short, slack, rounding, tie)


def _sides(problem, short, slack, rounding, tie):
    """Sides beyond their edge; those at it to round-off stay where they were."""
    return (problem.c > 0) & np.where(np.abs(slack) <= tie * rounding, short, slack > 0)
