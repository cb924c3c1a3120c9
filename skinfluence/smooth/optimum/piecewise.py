"""Piecewise quadratic objectives, whose optimum a set of rows decides: squared hinges, squared tubes.

    Phi(u) = 1/2 sum_i c_i max(0, t_i - s_i a_i' u)^2 + 1/2 u' R u            for each output

With the set of rows beyond their edge held, the optimum is that of least squares. A finite
Newton method goes from set to set, along lines whose minimum is exact, and ends where the optimum
of a set has just that set beyond the edge: the Karush-Kuhn-Tucker conditions of every row.
"""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence._utils.threads import small_blas
from skinfluence.smooth.optimum.finite_newton import (
    MAX_STEPS,
    Output,
    Space,
    best_share,
    finite_newton,
)
from skinfluence.smooth.optimum.half_squares import TIE, HalfSquares, is_piecewise, near_edge, terms
from skinfluence.smooth.optimum.held_set import MOST_REFINEMENTS
from skinfluence.solvers.base import SingularHessianError

__all__ = ["curvatures", "is_piecewise", "minimise", "near_edge", "solve_rows", "space_of"]

# Largest sides of the least squares problems, and entries of the rows that are made dense for them.
LARGEST, MOST_ENTRIES = 1_000, 20_000_000
# Beyond this the sets do not repeat for round-off alone.
LOOSEST_TIE = 1e-10


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
    space : Space, default=None
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
    squares = HalfSquares.of(objective)
    theta, short, n_steps = _ended(objective, solver, squares, outputs, space)
    found = objective.at(theta)
    return (found if short is None else _on_sides(found, squares, short, outputs)), n_steps


def _ended(objective, solver, squares, outputs, space):
    """Parameters at the optimum, the sides beyond their edge there, and how many steps led to it.

    The sides are None where the steps were those of a solver, which has the digits of decision values only.
    """
    theta = objective.theta.copy()
    if not _is_small(objective.design):
        found, n_steps = _by_solver(objective, solver, squares)
        theta[outputs] = found.theta[outputs]
        return theta, None, n_steps
    n_steps, loosest = 0, 0.0
    short = np.zeros(squares.curvature.shape, dtype=bool)
    with small_blas(objective.design.n_columns):
        space = Space.of(objective.design, objective.penalty) if space is None else space
        penalty = space.penalty_of(objective.penalty)
        for j in outputs:
            problem = Output(space, squares, j, penalty)
            found = finite_newton(problem, space.coordinates(objective.theta[j]))
            if found.tie > LOOSEST_TIE:
                # Another way: at zero all rows curve.
                again = finite_newton(problem, np.zeros(len(found.u)))
                found = again if again.tie < found.tie else found
            theta[j], short[:, j] = space.parameters(found.u), found.short
            n_steps, loosest = max(n_steps, found.n_steps), max(loosest, found.tie)
    _warn_unsettled(loosest, n_steps)
    return theta, short, n_steps


def _on_sides(objective, squares, short, outputs):
    """The objective with decision values on those sides of their edges where the optimum has them.

    Heavy rows of separable classes end beyond their margin by less than an ulp of it. Whether they curve
    decides what the optimum is after an edit, and rounding decides whether their decision values say so.
    """
    slack = squares.slack(objective.eta)
    other = short != ((slack > 0) & (squares.curvature > 0))
    if not other[:, outputs].any():
        return objective
    rounded = np.abs(squares.targets) + squares.each(terms(objective.design, objective.theta))
    sides, k = np.nonzero(other & (np.abs(slack) <= TIE * rounded))
    minimised = np.isin(k, outputs)
    sides, k = sides[minimised], k[minimised]
    eta, n = objective.eta.copy(), objective.n_samples
    signs = squares.signs[sides, k]
    edge = signs * squares.targets[sides, k]
    eta[sides % n, k] = np.where(short[sides, k], np.nextafter(edge, -np.inf * signs), edge)
    placed = objective.at(objective.theta)
    placed.__dict__["eta"] = eta
    return placed


def solve_rows(objective, solver, edits, starts):
    """Steps of the parameters that solve edits at one row each, from the optimum.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    solver : solver object
    edits : RowEdits
    starts : ndarray of shape (m, n_outputs, n_columns)
        Steps whose rows beyond their edge are tried first.

    Returns
    -------
    steps : ndarray of shape (m, n_outputs, n_columns)
        Exactly 0 where the row is not beyond its edge before or after; NaN where the rest determines
        no optimum.
    """
    steps = np.zeros((len(edits.rows), *objective.theta.shape))
    near = near_edge(objective, edits.design, objective.y[edits.rows], edits.y)
    pushes = (edits.gradient != 0.0) | near
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
            squares, outputs = HalfSquares.of(problem), np.flatnonzero(moves)
            theta, _, _ = _ended(problem, solver, squares, outputs, space)
            steps[i] = theta - objective.theta
        except SingularHessianError:
            steps[i] = np.nan
    return steps


def space_of(objective):
    """What problems with the rows of an objective share, for :func:`minimise`; None of large ones."""
    if not _is_small(objective.design):
        return None
    with small_blas(objective.design.n_columns):
        return Space.of(objective.design, objective.penalty)


def _warn_unsettled(tie, n_steps):
    """Say where the rows beyond their edge did not settle, which is no matter of round-off."""
    if tie > LOOSEST_TIE:
        warnings.warn(
            "The optimum of squared hinges, or of a squared tube, was not found: after "
            f"{n_steps} steps rows within {min(tie, 1.0):.0e} of their edge still change sides. "
            "Scale the features or penalise more.",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )


def curvatures(objective):
    """``w_i l''_ij`` at the parameters of an objective, (n_samples, n_outputs)."""
    return objective.weights[:, None] * np.einsum("nkk->nk", objective.hessians)


def _is_small(design):
    n, d = design.n_samples, design.n_columns
    return design.in_memory and min(n, d) <= LARGEST and n * d <= MOST_ENTRIES


def _by_solver(objective, solver, squares):
    """The same with the factors of a solver, for problems too large for orthogonal ones."""
    design, penalty, c = objective.design, objective.penalty, squares.curvature
    there, tie, seen = c > 0, TIE, {}
    for n_steps in range(1, MAX_STEPS + 1):
        slack = squares.slack(objective.eta)
        short = there & (slack > 0)
        goal = _held_optimum(objective, solver.factor(objective), squares, short)
        rounding = np.abs(squares.targets) + squares.each(terms(design, goal.theta))
        goal_slack = squares.slack(goal.eta)
        near = np.abs(goal_slack) <= tie * rounding
        if np.array_equal(there & np.where(near, short, goal_slack > 0), short):
            _warn_unsettled(tie, n_steps)
            return goal, n_steps
        step = goal.theta - objective.theta
        moved = slack - goal_slack
        along, curved = (penalty * objective.theta * step).sum(1), (penalty * step**2).sum(1)
        share = [
            best_share(c[:, j], slack[:, j], moved[:, j], along[j], curved[j])
            for j in range(len(step))
        ]
        objective = objective.at(objective.theta + np.array(share)[:, None] * step)
        name = (squares.slack(objective.eta) > 0).tobytes()
        if not objective.value() < seen.get(name, np.inf):
            tie *= 4.0
        seen[name] = objective.value()
    _warn_unsettled(np.inf, MAX_STEPS)
    return goal, MAX_STEPS


def _held_optimum(objective, factor, squares, held):
    """Where the objective of a set has its minimum, refined while that gains digits."""
    last = np.inf
    for _ in range(MOST_REFINEMENTS):
        push = squares.push(held, objective.eta)
        gradient = objective.penalty * objective.theta - objective.design.adjoint(push).T
        step = -factor.solve(gradient.reshape(-1, 1))[:, 0]
        size = np.sqrt(np.maximum(0.0, -gradient.ravel() @ step))
        if not size < 0.5 * last:
            break
        objective, last = objective.at(objective.theta + step.reshape(objective.theta.shape)), size
    return objective
