"""Squared hinges: piecewise quadratic objectives, whose optimum a set of rows decides.

    Phi(u) = 1/2 sum_i c_i max(0, 1 - a_i' u)^2 + 1/2 u' R u            for each output

With the set of rows short of their margin held, the optimum is that of least squares. A finite
Newton method goes from set to set, along lines whose minimum is exact, and ends where the optimum
of a set has just that set short of the margin: the Karush-Kuhn-Tucker conditions of every row.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence._utils.threads import small_blas
from skinfluence.losses import OneVsRest, SquaredHinge
from skinfluence.smooth.held_set import EPS, MOST_REFINEMENTS, Normal, Orthogonal, power_of_two
from skinfluence.solvers.base import SingularHessianError

MAX_STEPS = 200
# Largest sides of the least squares problems, and entries of the rows that are made dense for them.
LARGEST, MOST_ENTRIES = 1_000, 20_000_000
# Columns beyond which fewer rows are turned into a square.
WIDE = 200
# A row this near to its margin, relative to its own terms, may be on either side of it.
TIE = 4.0 * EPS
# Beyond this the sets do not repeat for round-off alone.
LOOSEST_TIE = 1e-10
# A step along a line that ends this near to the optimum of its set ends there.
WHOLE = 1e-6


def is_piecewise(loss):
    """Whether a loss is made of squared hinges, one output each."""
    return isinstance(loss, SquaredHinge) or (
        isinstance(loss, OneVsRest) and isinstance(loss.loss, SquaredHinge)
    )


def minimise(objective, solver, outputs=None, space=None):
    """The objective of a piecewise quadratic loss at its optimum.

    Parameters
    ----------
    objective : Objective
        At the parameters to start from.
    solver : solver object
        For problems too large for least squares of their own.
    outputs : ndarray of int, default=None
        Those to minimise; the others stay exactly where they are. All when None.
    space : _Space, default=None
        Of the objective's design and penalty, if it is at hand.

    Returns
    -------
    objective : Objective
    n_steps : int
        Least squares problems solved, or Hessians factored.

    Raises
    ------
    SingularHessianError
        If the optimum is not determined.

    Warns
    -----
    ConvergenceWarning
        If the sets of rows go on changing by more than round-off.
    """
    outputs = np.arange(objective.loss.n_outputs) if outputs is None else outputs
    signs, curvature = _binary_problems(objective)
    if not _is_small(objective.design):
        found, n_steps = _by_solver(objective, solver, signs, curvature)
        theta = objective.theta.copy()
        theta[outputs] = found.theta[outputs]
        return objective.at(theta), n_steps
    theta, n_steps, loosest = objective.theta.copy(), 0, 0.0
    with small_blas(objective.design.n_columns):
        space = _Space.of(objective.design, objective.penalty) if space is None else space
        penalty = space.penalty_of(objective.penalty)
        for j in outputs:
            problem = _Output(space, signs[:, j], curvature[:, j], penalty)
            found = _finite_newton(problem, space.coordinates(objective.theta[j]))
            theta[j] = space.parameters(found.u)
            n_steps, loosest = max(n_steps, found.n_steps), max(loosest, found.tie)
    _warn_unsettled(loosest, n_steps)
    return objective.at(theta), n_steps


def solve_rows(objective, solver, edits, starts):
    """Steps of the parameters that solve edits at one row each, from the optimum.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    solver : solver object
    edits : RowEdits
    starts : ndarray of shape (m, n_outputs, n_columns)
        Steps whose rows short of their margin are tried first.

    Returns
    -------
    steps : ndarray of shape (m, n_outputs, n_columns)
        Exactly 0 where the row is beyond its margin before and after; NaN where the rest determines
        no optimum.
    """
    steps = np.zeros((len(edits.rows), *objective.theta.shape))
    pushes = (edits.gradient != 0.0) | near_margin(objective, edits.design)
    space = space_of(objective)
    for i, row in enumerate(edits.rows):
        shift = edits.shift[i] * objective.unit_penalty
        moves = pushes[i] | (shift * objective.theta).any(axis=1)
        if not moves.any():
            continue
        weights, y = objective.weights.copy(), objective.y.copy()
        weights[row], y[row] = edits.weight[i], edits.y[i]
        problem = replace(
            objective,
            weights=weights,
            y=y,
            penalty=objective.penalty + shift,
            theta=objective.theta + np.where(moves[:, None], starts[i], 0.0),
            sample_weight=None,
        )
        try:
            found, _ = minimise(problem, solver, np.flatnonzero(moves), space)
            steps[i] = found.theta - objective.theta
        except SingularHessianError:
            steps[i] = np.nan
    return steps


def space_of(objective):
    """What problems with the rows of an objective share, for :func:`minimise`; None of large ones."""
    if not _is_small(objective.design):
        return None
    with small_blas(objective.design.n_columns):
        return _Space.of(objective.design, objective.penalty)


def near_margin(objective, design):
    """Rows whose decision value is at a margin to round-off: whether they push is not known from it.

    Returns
    -------
    near : ndarray of bool, shape (design.n_samples, n_outputs)
    """
    eta = design.multiply(objective.theta.T)
    return np.abs(np.abs(eta) - 1.0) <= 2.0 * TIE * (1.0 + terms(design, objective.theta))


def terms(design, theta):
    """Sizes of what decision values are sums of, or of these themselves for rows out of memory."""
    if not design.in_memory:
        return np.abs(design.multiply(theta.T))
    return type(design)(abs(design.X), abs(design.intercept)).multiply(np.abs(theta.T))


def _warn_unsettled(tie, n_steps):
    """Say where the rows short of their margin did not settle, which is no matter of round-off."""
    if tie > LOOSEST_TIE:
        warnings.warn(
            "The optimum of the squared hinge was not found: after "
            f"{n_steps} steps rows within {min(tie, 1.0):.0e} of their margin still change sides. "
            "Scale the features or penalise more.",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )


def _binary_problems(objective):
    """The target -1 or 1 of every row in every output, and its curvature short of the margin."""
    nothing = np.zeros((objective.n_samples, objective.loss.n_outputs))
    # At zero every row is short of its margin by one.
    slope = -objective.loss.gradient(nothing, objective.y)
    return np.sign(slope), objective.weights[:, None] * np.abs(slope)


def sides(objective):
    """How far each row is short of its margin in each output, ``1 - s eta``, and its curvature there."""
    signs, curvature = _binary_problems(objective)
    return 1.0 - signs * objective.eta, curvature


def curvatures(objective):
    """``w_i l''_ij`` at the parameters of an objective, (n_samples, n_outputs)."""
    return objective.weights[:, None] * np.einsum("nkk->nk", objective.hessians)


def _is_small(design):
    n, d = design.n_samples, design.n_columns
    return design.in_memory and min(n, d) <= LARGEST and n * d <= MOST_ENTRIES


@dataclass(frozen=True, eq=False)
class _Space:
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
        return _Space(rows, np.abs(rows), self.scale, None)

    def penalty_of(self, penalty):
        """The penalty of the coordinates; where they are turned, it is a multiple of the one given."""
        scaled = penalty * self.scale**2
        return scaled if self.basis is None else np.full(self.basis.shape[1], scaled[0])

    def parameters(self, u):
        return self.scale * (u if self.basis is None else self.basis @ u)

    def coordinates(self, theta):
        u = theta / self.scale
        return u if self.basis is None else self.basis.T @ u


class _Output:
    """One output: ``1/2 sum_i c_i max(0, 1 - s_i z_i' u)^2 + 1/2 u' R u``.

    Parameters
    ----------
    space : _Space
    signs, c : ndarray of shape (n,)
        Targets -1 and 1, and curvatures short of the margin.
    penalty : ndarray of shape (d,)
    """

    def __init__(self, space, signs, c, penalty):
        self.rows, self.absolute = space.rows, space.absolute
        self.signs, self.c, self.penalty = signs, c, penalty

    def slack(self, u):
        """``1 - s_i z_i' u`` of every row."""
        return 1.0 - self.signs * (self.rows @ u)

    def system(self, short):
        """The least squares problem of a set.

        Raises
        ------
        SingularHessianError
        """
        rows, c, targets = self.rows[short], self.c[short], self.signs[short]
        try:
            return Normal(rows, c, targets, self.penalty)
        except SingularHessianError:
            return Orthogonal(rows, c, targets, self.penalty)

    def quick(self, system):
        """The optimum of a set whose system has digits; as :meth:`refined`."""
        u = system.solution()
        return u, self.slack(u), 1.0 + self.absolute @ np.abs(u)

    def refined(self, system, short):
        """Where the objective of a set has its minimum, to round-off.

        Returns
        -------
        u : ndarray of shape (d,)
        slack : ndarray of shape (n,)
            Of rows of the set with digits of their own, however small it is.
        rounding : ndarray of shape (n,)
            Of the slacks, in units of the last place.
        """
        u, rest = system.refined()
        slack, rounding = self.slack(u), 1.0 + self.absolute @ np.abs(u)
        slack[short] = self.signs[short] * rest
        root = np.sqrt(self.c[short])
        rounding[short] = 4.0 * np.linalg.norm(root * rest) / root
        return u, slack, rounding

    def downhill(self, u, slack):
        """A step down from where the set does not determine an optimum: all rows curve."""
        there = self.c > 0
        held = self.penalty > 0
        system = Orthogonal(self.rows[there], self.c[there], self.signs[there], self.penalty)
        left = self.signs[there] * np.maximum(slack[there], 0.0)
        return system.solution(np.append(left, -u[held]))

    def value(self, u, slack):
        """The objective itself."""
        return 0.5 * (self.c @ np.maximum(slack, 0.0) ** 2 + self.penalty @ u**2)


def _best_share(c, slack, moved, along, curved):
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
class _Found:
    u: np.ndarray
    n_steps: int
    tie: float


def _finite_newton(problem, u):
    """The optimum of one output, from any start."""
    there = problem.c > 0
    slack = problem.slack(u)
    if not np.isfinite(problem.value(u, slack)):
        # A start that overflows is no start.
        u, slack = np.zeros(len(u)), np.ones(len(there))
    short, tie, seen = there & (slack > 0), TIE, {}
    for n_steps in range(1, MAX_STEPS + 1):
        try:
            system = problem.system(short)
            known = problem.quick(system) if system.has_digits else None
            after = None if known is None else _sides(problem, short, *known[1:], tie)
            if known is None or np.array_equal(after, short):
                known = problem.refined(system, short)
                after = _sides(problem, short, *known[1:], tie)
                if np.array_equal(after, short):
                    return _Found(known[0], n_steps, tie)
            goal, goal_slack, _ = known
        except SingularHessianError:
            goal = u + problem.downhill(u, slack)
            goal_slack = problem.slack(goal)
            after = there & (goal_slack > 0)
        step = goal - u
        held = problem.penalty * step
        share = _best_share(problem.c, slack, slack - goal_slack, held @ u, held @ step)
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
            # A row that came to its margin and goes on is short of it, by less than rounding shows.
            near = np.abs(slack) <= TIE * (1.0 + problem.absolute @ np.abs(u))
            short = there & np.where(near, moved > 0, slack > 0)
            if not share > 0:
                # Round-off hides that the step goes down: the set of its end is tried.
                short = after
        # Sets that come back without any descent differ by rows on their margin.
        value, name = problem.value(u, slack), short.tobytes()
        if not value < seen.get(name, np.inf):
            tie *= 4.0
        seen[name] = value
    return _Found(goal, MAX_STEPS, np.inf)


def _sides(problem, short, slack, rounding, tie):
    """Rows short of their margin; those at it to round-off stay where they were."""
    return (problem.c > 0) & np.where(np.abs(slack) <= tie * rounding, short, slack > 0)


def _by_solver(objective, solver, signs, c):
    """The same with the factors of a solver, for problems too large for orthogonal ones."""
    design, penalty = objective.design, objective.penalty
    there, tie = c > 0, TIE
    seen = {}
    for n_steps in range(1, MAX_STEPS + 1):
        slack = 1.0 - signs * objective.eta
        short = there & (slack > 0)
        goal = _held_optimum(objective, solver.factor(objective), signs, c * short)
        rounding = 1.0 + terms(design, goal.theta)
        goal_slack = 1.0 - signs * goal.eta
        near = np.abs(goal_slack) <= tie * rounding
        if np.array_equal(there & np.where(near, short, goal_slack > 0), short):
            _warn_unsettled(tie, n_steps)
            return goal, n_steps
        step = goal.theta - objective.theta
        moved = signs * (goal.eta - objective.eta)
        along, curved = (penalty * objective.theta * step).sum(1), (penalty * step**2).sum(1)
        share = [
            _best_share(c[:, j], slack[:, j], moved[:, j], along[j], curved[j])
            for j in range(len(step))
        ]
        objective = objective.at(objective.theta + np.array(share)[:, None] * step)
        name = (1.0 - signs * objective.eta > 0).tobytes()
        if not objective.value() < seen.get(name, np.inf):
            tie *= 4.0
        seen[name] = objective.value()
    _warn_unsettled(np.inf, MAX_STEPS)
    return goal, MAX_STEPS


def _held_optimum(objective, factor, signs, c):
    """Where the objective of a set has its minimum, refined while that gains digits."""
    last = np.inf
    for _ in range(MOST_REFINEMENTS):
        push = c * signs * (1.0 - signs * objective.eta)
        gradient = objective.penalty * objective.theta - objective.design.adjoint(push).T
        step = -factor.solve(gradient.reshape(-1, 1))[:, 0]
        size = np.sqrt(np.maximum(0.0, -gradient.ravel() @ step))
        if not size < 0.5 * last:
            break
        objective, last = objective.at(objective.theta + step.reshape(objective.theta.shape)), size
    return objective
