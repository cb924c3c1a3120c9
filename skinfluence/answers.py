"""Edits of one fitted objective, answered by the method that was asked for."""

import threading
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skinfluence import certificate, effects, steps
from skinfluence.exact import ROUND_OFF, EditSolver
from skinfluence.newton import polish
from skinfluence.utils.calls import level_outside
from skinfluence.utils.memory import row_blocks
from skinfluence.utils.progress import progress_bar

# The local methods answer around the parameters as fitted, the others from the optimum.
LOCAL = ("influence", "one-step")
METHODS = (*LOCAL, "auto", "exact")


@dataclass(frozen=True, eq=False)
class Top:
    """The training rows that matter most for each test point.

    Attributes
    ----------
    helpful, harmful : ndarray of int, shape (n_test, k)
        Training rows by falling / rising removal effect. Positive effects are helpful: removing
        the row raises the test loss.
    helpful_effects, harmful_effects : ndarray of shape (n_test, k)
        NaN, last, for rows without an answer (the only one of a class).
    """

    helpful: np.ndarray
    helpful_effects: np.ndarray
    harmful: np.ndarray
    harmful_effects: np.ndarray


class Answers:
    """Effects of edits by method; polishes to the optimum once, when a method needs it.

    Parameters
    ----------
    factor : Factor
        At the parameters as fitted.
    solver : solver object
    verbose : bool
        Show a progress bar on long work.
    """

    def __init__(self, factor, solver, verbose=False):
        self.factor = factor
        self.solver = solver
        self.verbose = verbose
        self._edit_solver, self._siblings = None, {}
        self._lock = threading.Lock()

    def __getstate__(self):
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state, _lock=threading.Lock())

    def holding(self, hold):
        """The answers under another meaning of edits; these ones for None."""
        if hold is None:
            return self
        factor = self.factor.holding(hold)
        if factor is self.factor:
            return self
        with self._lock:
            name = factor.objective.hold
            if name not in self._siblings:
                self._siblings[name] = Answers(factor, self.solver, self.verbose)
            return self._siblings[name]

    def edit_solver(self):
        """Solver of edits at the optimum, made on first use."""
        if self.factor.is_random:
            raise ValueError(
                "Certified and exact answers need exact leverages. Got estimates from random "
                "probes; ask with method='one-step'."
            )
        with self._lock:
            if self._edit_solver is None:
                self._edit_solver = EditSolver(polish(self.factor, self.solver), self.solver)
            return self._edit_solver

    def basis(self, method):
        """The objective that a method's effects start from."""
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}. Got {method!r} instead.")
        return self.factor.objective if method in LOCAL else self.edit_solver().objective

    def row_effects(self, edits, quantity, method, tol, out=None):
        """Change of a quantity under one-row edits: (n_test, m, ...), or (m,) for a scalar."""
        n, shape = len(edits.rows), quantity.shape
        if out is None:
            out = np.empty((*shape[:1], n, *shape[1:]))
        for block, values in self.stream(edits, quantity, method, tol):
            if shape:
                out[:, block] = np.swapaxes(values, 0, 1)
            else:
                out[block] = values
        return out

    def stream(self, edits, quantity, method, tol):
        """Change of a quantity as ``(block, values of shape (b, n_test, ...))``.

        NaN, with a warning, where an edit takes the only row of a class away from it.
        """
        objective = self.factor.objective
        lonely = empties_a_class(edits, objective)
        if lonely.any():
            warn_alone(edits.rows[lonely])
        for block, values in self._by_method(edits, quantity, method, tol):
            values[lonely[block]] = np.nan
            yield block, values

    def _by_method(self, edits, quantity, method, tol):
        if method in LOCAL:
            yield from effects.streamed_row_effects(self.factor, edits, quantity, method)
            return
        for block, solved in self._solved(edits, method, tol):
            for part, moved in effects.decision_steps(quantity.design, solved.steps):
                inside = slice(block.start + part.start, block.start + part.stop)
                yield inside, quantity.change(moved)

    def top(self, quantity, k, method, tol):
        """The k largest and smallest removal effects of each test point, streamed: a Top."""
        n = self.factor.objective.n_samples
        edits = steps.removals(self.basis(method), np.arange(n))
        kept = {sign: (None, None) for sign in (1, -1)}
        for block, values in self.stream(edits, quantity, method, tol):
            rows = np.broadcast_to(np.arange(n)[block], values.T.shape)
            for sign in kept:
                ranked = np.where(np.isnan(values.T), -np.inf, sign * values.T)
                kept[sign] = _merge(kept[sign], ranked, rows, k)
        for _, values in kept.values():
            values[np.isinf(values)] = np.nan
        (helpful, up), (harmful, down) = kept[1], kept[-1]
        return Top(helpful, up, harmful, -down)

    def own_removals(self, method, tol):
        """Decision values of each training row without it, (n_train, n_outputs)."""
        basis = self.basis(method)
        edits = steps.removals(basis, np.arange(basis.n_samples))
        if method in LOCAL:
            return basis.eta + steps.own_eta_steps(self.factor, edits, method)
        eta = basis.eta.copy()
        for block, solved in self._solved(edits, method, tol):
            eta[block] += steps.at_rows(edits.design.take(block), solved.steps)
        return eta

    def own_group_removals(self, removals, method, tol):
        """Decision values of each training row without its group, from one Points per group."""
        basis = self.basis(method)
        eta = basis.eta.copy()
        for block in row_blocks(len(removals), 8 * basis.n_parameters):
            found, _, _ = self.solve_points(removals[block], method, tol)
            for one, step in zip(removals[block], found, strict=True):
                eta[one.rows] += basis.design.take(one.rows).multiply(step.T)
        return eta

    def solve_points(self, points, method, tol):
        """Parameter steps, bounds and methods used of edits of any points."""
        found = np.empty((len(points), *self.factor.objective.theta.shape))
        bound = np.full(len(points), np.inf)
        used = np.full(len(points), method, dtype="<U9")
        with progress_bar(len(points), "edits", self.verbose) as advance:
            if method in LOCAL:
                for i, one in enumerate(points):
                    found[i] = steps.points_step(self.factor, self.solver, one, method)
                    advance(1)
                return found, bound, used
            solver, tol, size = self.edit_solver(), _relative(method, tol), np.zeros(len(points))
            for i, one in enumerate(points):
                found[i], bound[i], size[i], used[i] = solver.solve_points(one, tol)
                advance(1)
        failed = ~certificate.within(bound, size, tol, solver.floor)
        _warn_uncertified(np.count_nonzero(failed), len(points), tol, solver)
        return found, bound, used

    def _solved(self, edits, method, tol):
        """Certified steps of one-row edits, in blocks; says how many were not certified."""
        solver, tol = self.edit_solver(), _relative(method, tol)
        # Edits without an optimum get NaN from the caller: no work on them.
        edits = edits.undone(empties_a_class(edits, solver.objective), solver.objective)
        failed = 0
        with progress_bar(len(edits.rows), "edits", self.verbose) as advance:
            for block, solved in solver.solve_rows(edits, tol):
                failed += np.count_nonzero(~solved.within(tol, solver.floor))
                advance(block.stop - block.start)
                yield block, solved
        _warn_uncertified(failed, len(edits.rows), tol, solver)


def _relative(method, tol):
    if method == "exact":
        return ROUND_OFF
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1. Got {tol!r} instead.")
    return tol


def rows_alone_in_their_class(objective):
    """Rows without which a class has no weight left and the optimum is at infinity."""
    if not objective.needs_all_classes:
        return np.empty(0, dtype=np.intp)
    weighted = objective.weights > 0
    alone = [np.flatnonzero(weighted & (objective.y == y)) for y in objective.labels.targets]
    return np.concatenate([rows for rows in alone if len(rows) == 1] or [np.empty(0, np.intp)])


def empties_a_class(edits, objective):
    """Which one-row edits leave a class without weight, a mask of shape (m,)."""
    lonely = np.isin(edits.rows, rows_alone_in_their_class(objective))
    if not lonely.any():
        return lonely
    moved = (edits.y != objective.y[edits.rows]).reshape(len(lonely), -1).any(axis=1)
    return lonely & ((edits.weight <= 0) | moved)


def warn_alone(rows):
    """Say which rows have no leave-one-out model."""
    shown = ", ".join(str(row) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
    warnings.warn(
        f"Row {shown} is the only one of its class with weight: without it the class cannot be "
        "fitted, so its answers are NaN. Add rows of that class or drop the class.",
        UserWarning,
        stacklevel=level_outside(),
    )


def _warn_uncertified(failed, total, tol, solver):
    if not failed or solver.M is None:
        return
    warnings.warn(
        f"{failed} of {total} edits could not be certified to a relative error of {tol:.0e}: they "
        "were solved by Newton's method as far as it goes (NaN where a parameter is not determined "
        "any more), and effect(...) has the bound of each. Scale the features, penalise more, or "
        "accept a larger tol.",
        ConvergenceWarning,
        stacklevel=level_outside(),
    )


def _merge(kept, values, rows, k):
    """The k largest values of each line of two candidate sets, sorted."""
    if kept[0] is not None:
        values = np.concatenate([kept[1], values], axis=1)
        rows = np.concatenate([kept[0], rows], axis=1)
    if values.shape[1] > k:
        best = np.argpartition(-values, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(values, best, axis=1)
        rows = np.take_along_axis(rows, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
