"""The optimum of a problem whose boxes and targets differ in few rows, from the optimum before."""

from dataclasses import dataclass

import numpy as np

from skinfluence.active_set.polish import LOOSE, TIGHT, HingeOptimum
from skinfluence.active_set.tableau import independent

# Rows that may come to the margin in one edit, and changes of role, before the path is left to others.
MOST_MORE, MOST_PIVOTS = 64, 500


@dataclass(frozen=True, eq=False)
class Margin:
    """The rows on the margin at an optimum, and the system among them.

    Attributes
    ----------
    members : ndarray of int, shape (p,)
        Rows; with a free bias ``n`` among them stands for it.
    matrix, inverse : ndarray of shape (p, p)
        Kernel values among them, bordered by ones for the bias.
    """

    members: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray


def margin_of(solution):
    """The :class:`Margin` at a solution; None where its rows span one another, or there are none."""
    problem = solution.problem
    rows = np.flatnonzero((solution.beta > problem.lo) & (solution.beta < problem.hi))
    spanned = len(independent(problem, np.arange(len(rows)), rows)) < len(rows)
    if spanned or (problem.free_bias and not len(rows)):
        return None
    first = int(problem.free_bias)
    matrix = np.ones((len(rows) + first,) * 2)
    matrix[:first, :first] = 0.0
    matrix[first:, first:] = problem.block(rows, rows)
    members = np.concatenate([np.full(first, problem.n), rows])
    return Margin(members, matrix, np.linalg.inv(matrix))


def solution_under(solution, margin, y, C, target=None):
    """The solution under labels, bounds and targets of which few are others.

    Parameters
    ----------
    solution : HingeOptimum
        Before, with its kernel matrix in memory.
    margin : Margin or None
        At that solution, where it is known.
    y, C, target
        As in :meth:`HingeProblem.with_bounds`.

    Returns
    -------
    solution : HingeOptimum or None
        As of :func:`move_rows`.
    margin : Margin or None
    """
    before, wanted = solution.problem, y if target is None else target
    changed = (y != before.y) | (C != before.C) | (wanted != before.target)
    if not changed.any():
        return solution, margin
    margin = margin_of(solution) if margin is None else margin
    if margin is None:
        return None, None
    return move_rows(solution, margin, before.with_bounds(y, C, target), np.flatnonzero(changed))


def move_rows(solution, margin, problem, rows):
    """The solution where few rows have another box or target.

    Parameters
    ----------
    solution : HingeOptimum
        Before, with its kernel matrix in memory.
    margin : Margin
        At that solution.
    problem : HingeProblem
        After, with the same kernel matrix and as many rows.
    rows : ndarray of int
        Which may differ.

    Returns
    -------
    solution : HingeOptimum or None
        None where the path ends at rows that span one another, on an empty margin, or beside the optimum.
    margin : Margin

    Notes
    -----
    One coefficient after the other is driven to where the problem wants it, a pivot for each change of
    role; a row that has no coefficient and loses its weight costs none. The last coefficients are refined
    with kernel values, and the optimality conditions of all rows looked at, so that nothing adds up.
    """
    from skinfluence._compiled import pivots

    n, p = problem.n, len(margin.members)
    cap = min(p + MOST_MORE, n + 1)
    G, inverse = np.empty((cap, cap)), np.empty((cap, cap))
    G[:p, :p], inverse[:p, :p] = margin.matrix, margin.inverse
    members, place = np.empty(cap, dtype=np.int64), np.full(n + 1, -1)
    members[:p], place[margin.members] = margin.members, np.arange(p)
    beta, f = solution.beta.copy(), solution.f.copy()
    code, p, n_pivots, bias = pivots.move_rows(
        problem.kernel.matrix, problem.free_bias, problem.lo, problem.hi, problem.target, beta, f,
        float(solution.bias), rows, MOST_PIVOTS, G, inverse, members, place, p,
    )  # fmt: skip
    if code != pivots.DONE or (problem.snapped(beta) != beta).any():
        return None, None
    if problem.free_bias and not ((beta > problem.lo) & (beta < problem.hi)).any():
        # A row on the margin whose coefficient ended at a limit: an interval of biases is optimal.
        return None, None
    left = float(max(problem.violation(beta, f).max(), problem.imbalance(beta)))
    if not (left <= TIGHT or left <= min(problem.rounding(beta), LOOSE)):
        return None, None
    # The solution begins where it is.
    found = HingeOptimum(
        problem, beta, bias, (bias, bias), f, problem.roles(beta), left, 0.0, n_pivots
    )
    return found, Margin(members[:p].copy(), G[:p, :p].copy(), inverse[:p, :p].copy())
