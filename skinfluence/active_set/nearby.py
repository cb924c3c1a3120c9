"""Optima of many problems near one that is solved, each with kernel values of its own."""

from dataclasses import dataclass

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.active_set.problem import AT_LIMIT

# Rounds until a problem is given up, and after how many of them one row enters at a time.
ROUNDS, CAREFUL = 30, 6
# Singular values below this share of the largest are none.
SINGULAR = 1e-12


@dataclass(frozen=True, eq=False)
class NearOptima:
    """What was found.

    Attributes
    ----------
    beta : ndarray of shape (m, n)
    bias : ndarray of shape (m,)
    decision : ndarray of shape (m, n)
        Decision values of all rows, those that are absent too.
    violation : ndarray of shape (m,)
        Largest violation of the optimality conditions over all rows, from the coefficients alone;
        ``inf`` where a problem was given up.
    """

    beta: np.ndarray
    bias: np.ndarray
    decision: np.ndarray
    violation: np.ndarray


def near_optima(problem, values, among, beta, absent, accepted, rounds=ROUNDS, careful=CAREFUL):
    """The optimum of each of some problems, from coefficients that are near it.

    Parameters
    ----------
    problem : HingeProblem
        With the boxes, the targets and the intercept of all of them; its kernel is not asked.
    values : callable
        ``values(edits, beta)``, from coefficients (k, n) of some of the problems to what the kernel
        of each makes of them, (k, n).
    among : callable
        ``among(edits, rows)``, the kernel of each among rows (k, r) of its own, (k, r, r).
    beta : ndarray of shape (m, n)
        Starts.
    absent : ndarray of bool, shape (m, n)
        Rows that are not there.
    accepted : float
        Violation of the optimality conditions that ends the search.
    rounds, careful : int
        Until a problem is given up, and until one row enters at a time.

    Returns
    -------
    found : NearOptima

    Notes
    -----
    The rows inside their box are solved for, all others held: rows that leave their box go to its
    end, those that then violate their condition join, until none does. Where that never ends, which
    ties may bring about, a problem is given up. One product of all coefficients with the kernel a
    round, and a factorisation among the rows on the margin.
    """
    lo, hi = np.where(absent, 0.0, problem.lo), np.where(absent, 0.0, problem.hi)
    near = AT_LIMIT * np.minimum(hi - lo, np.abs(beta).max(axis=1, keepdims=True))
    beta, inside = _snapped(beta, lo, hi, near)
    m = len(beta)
    bias, violation = np.zeros(m), np.full(m, np.inf)
    left = np.arange(m)
    g = values(left, beta)
    for turn in range(rounds):
        solved = _solved(problem, among, left, beta, bias, g, inside, lo, hi)
        left = left[solved]
        if not len(left):
            break
        low, high = lo[left], hi[left]
        beta[left], still = _snapped(beta[left], low, high, near[left])
        # Who is at an end of its box does not say where the bias is.
        clipped = (inside[left] & ~still).any(axis=1)
        inside[left] &= still
        g[left] = values(left, beta[left])
        slack = g[left] + bias[left, None] - problem.target
        wrong = _violation(slack, beta[left], low, high, inside[left])
        worst = np.maximum(wrong.max(axis=1), _imbalance(problem, beta[left]))
        done = (worst <= accepted) & ~clipped
        violation[left[done]] = worst[done]
        # Who joins is seen at a solution, not where a row was put back into its box.
        enters = (wrong > accepted) & ~inside[left] & ~clipped[:, None] & (low < high)
        if turn >= careful:
            enters &= wrong >= np.where(enters, wrong, 0.0).max(axis=1, keepdims=True)
        inside[left] |= enters
        left = left[~done]
        if not len(left):
            break
    return NearOptima(beta, bias, g + bias[:, None], violation)


def _snapped(beta, lo, hi, near):
    """Coefficients in their box, at an end of it where they are to round-off, and which are inside."""
    at_lo, at_hi = beta <= lo + near, beta >= hi - near
    beta = np.where(at_lo, lo, np.where(at_hi, hi, beta))
    return beta, ~(at_lo | at_hi)


def _solved(problem, among, left, beta, bias, g, inside, lo, hi):
    """Solve for the rows inside their box, in place; which of the problems could be."""
    solved = np.ones(len(left), dtype=bool)
    counts = inside[left].sum(axis=1)
    for k in np.unique(counts):
        group = np.flatnonzero(counts == k)
        if k == 0:
            if problem.free_bias:
                some = left[group]
                bias[some] = _middle(problem, beta[some], g[some], lo[some], hi[some])
                solved[group] = np.isfinite(bias[some])
            continue
        for block in row_blocks(len(group), 24 * (k + 1) ** 2):
            some = left[group[block]]
            rows = np.nonzero(inside[some])[1].reshape(len(some), k)
            at = some[:, None], rows
            # What is missing on the margin, and of the sum.
            right = problem.target[rows] - g[at]
            A = among(some, rows)
            if problem.free_bias:
                bordered = np.ones((len(some), k + 1, k + 1))
                bordered[:, 0, 0] = 0.0
                bordered[:, 1:, 1:] = A
                A = bordered
                right = np.concatenate([-beta[some].sum(axis=1)[:, None], right], axis=1)
            found = _solve_each(A, right)
            if problem.free_bias:
                bias[some] = found[:, 0]
                found = found[:, 1:]
            beta[at] += found
            solved[group[block]] = np.isfinite(found).all(axis=1)
    return solved


def _solve_each(A, right):
    """Solutions of small systems; of singular ones, as rows that are there twice make them, the smallest."""
    try:
        return np.linalg.solve(A, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        pass
    out = np.full(right.shape, np.nan)
    for i, (one, b) in enumerate(zip(A, right, strict=True)):
        try:
            out[i] = np.linalg.solve(one, b)
        except np.linalg.LinAlgError:
            if np.isfinite(one).all():
                out[i] = np.linalg.lstsq(one, b, rcond=SINGULAR)[0]
    return out


def _middle(problem, beta, g, lo, hi):
    """The middle of the interval of biases that all rows at an end of their box allow, (m,)."""
    needed = problem.target - g
    low = np.where(beta < hi, needed, -np.inf).max(axis=1)
    high = np.where(beta > lo, needed, np.inf).min(axis=1)
    return 0.5 * (low + high)


def _violation(slack, beta, lo, hi, inside):
    """How far each row is from its condition, in units of the decision value, (m, n)."""
    at_hi = beta >= hi
    out = np.where(at_hi, np.maximum(slack, 0.0), np.maximum(-slack, 0.0))
    out = np.where(inside, np.abs(slack), out)
    return np.where(lo < hi, out, 0.0)


def _imbalance(problem, beta):
    """What sums of coefficients other than zero are worth in decision values, round-off apart, (m,)."""
    if not problem.free_bias:
        return np.zeros(len(beta))
    off = np.abs(beta.sum(axis=1)) - 16 * np.finfo(float).eps * np.abs(beta).sum(axis=1)
    return np.mean(problem.diagonal) * np.maximum(off, 0.0)
