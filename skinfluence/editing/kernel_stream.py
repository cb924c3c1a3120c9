"""Kernel ridge regression along a stream of edits: all edits since a solution, as one, in closed form."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skinfluence.editing.kernels import KernelReach, write_ridge
from skinfluence.editing.solving import Solved
from skinfluence.kernel.answers import KernelAnswers
from skinfluence.kernel.edits import Change, FreshRows, solve_edit

# Rows that differ, as a share of all, from which a new solution pays.
SHARE, FEW = 1 / 8, 16
# Of the terms of the system: more is left where the inverse has lost digits.
LOST = 1e-12


class FollowedKernelAnswers(KernelAnswers):
    """Answers at the solution that a stream came to; its system is made by the first question.

    Parameters
    ----------
    problem : KernelProblem
        At its solution.
    base : KernelAnswers
        The solution that the stream is measured from.
    """

    def __init__(self, problem, base):
        self.problem, self.base = problem, base

    @cached_property
    def _asked(self):
        return KernelAnswers(self.problem)

    @property
    def K(self):
        return self._asked.K

    @property
    def system(self):
        return self._asked.system

    @property
    def solved_y(self):
        return self._asked.solved_y

    @property
    def beta(self):
        return self._asked.beta

    @property
    def place(self):
        return self._asked.place


def follow(problem, answers):
    """The :class:`Solved` problem after one more edit; None where a new solution is due.

    Parameters
    ----------
    problem : KernelProblem
        After the edit, rows with their numbers.
    answers : KernelAnswers
        Before it.
    """
    base = getattr(answers, "base", answers)
    old, n = base.problem, base.problem.n_samples
    if not old.design.kernel.knows_new_rows or base.system.refines:
        return None
    X = problem.design.X
    if X is old.design.X:
        moved = np.zeros(n, dtype=bool)
    elif isinstance(X, np.ndarray):
        moved = (X[:n] != old.design.X).any(axis=1)
    else:
        return None
    weights, y = problem.weights, problem.y
    differs = moved | (weights[:n] != old.weights) | ((y[:n] != old.y) & (weights[:n] > 0))
    rows = np.flatnonzero(differs)
    fresh = np.append(rows[moved[rows] & (weights[rows] > 0)], np.arange(n, problem.n_samples))
    fresh = fresh[weights[fresh] > 0]
    if len(rows) + len(fresh) > max(FEW, SHARE * n) or (base.place[rows] < 0).any():
        return None
    after = np.where(moved[rows], 0.0, weights[rows])
    new = FreshRows(
        np.empty(0, dtype=np.intp),
        problem.design.take(fresh) if len(fresh) else None,
        y[fresh],
        weights[fresh],
    )
    found = solve_edit(base, Change(base.place[rows], after, y[rows], new), "exact")
    # Of a symmetric array rows lie together, columns do not.
    beta = base.beta + found.coef @ base.system.inverse[found.active]
    if len(new):
        beta -= found.known.solution @ found.new_coef
    dual = np.zeros(problem.n_samples)
    dual[base.system.rows] = beta
    dual[rows[after == 0.0]] = 0.0
    dual[fresh] = found.new_coef
    f, size = _function(base, new, dual[:n], found.new_coef, fresh, problem.n_samples)
    held = weights > 0
    held[:n] &= ~moved
    held[fresh] = True
    ridge = problem.alpha / weights[held]
    left = f[held] + ridge * dual[held] - y[held]
    scale = size[held] + ridge * np.abs(dual[held]) + np.abs(y[held])
    if np.linalg.norm(left) > LOST * np.linalg.norm(scale):
        return None
    rounded = np.abs(left) + 4.0 * np.finfo(float).eps * scale
    # The residual bounds the function: ``A >= alpha / w``.
    bound = float(np.linalg.norm(rounded) * np.sqrt(weights[held].max() / problem.alpha))
    at = replace(problem, dual_coef=dual)
    answers = FollowedKernelAnswers(at, base)
    reach = KernelReach(1.0)
    return Solved(at, bound, np.nan, "closed form", reach, write_ridge, 1, answers=answers)


def _function(base, new, old, new_coef, fresh, n_samples):
    """Values of the function at all rows, and the size of the terms that they are sums of."""
    n = len(old)
    f, size = np.zeros(n_samples), np.zeros(n_samples)
    # A row that was replaced has its old features in these: its value comes with the new rows.
    f[:n] = base.K @ old
    size[:n] = (base.K if base.is_positive else np.abs(base.K)) @ np.abs(old)
    if len(new):
        used = np.flatnonzero(old)
        cross, among = base.columns(new), base.among(new)
        f[:n] += cross @ new_coef
        size[:n] += np.abs(cross) @ np.abs(new_coef)
        f[fresh] = cross[used].T @ old[used] + among @ new_coef
        size[fresh] = np.abs(cross[used].T) @ np.abs(old[used]) + np.abs(among) @ np.abs(new_coef)
    return f, size
