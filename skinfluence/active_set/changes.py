"""Edits as rows whose label and bound change, and rows that join."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.active_set.problem import HingeProblem, NewRows

# Decision values this close to an end of the interval of biases are at it.
AT_END = 1e-9


@dataclass(frozen=True)
class Changes:
    """Some edits of one problem.

    Attributes
    ----------
    problem : HingeProblem
    starts : ndarray of int, shape (n_edits + 1,)
        Edit ``e`` changes ``rows[starts[e] : starts[e + 1]]``.
    rows : ndarray of int, shape (n_entries,)
    y, C, target : ndarray of shape (n_entries,)
        New labels, bounds and targets.
    new : NewRows or None
        Rows that join; with one edit only.
    """

    problem: HingeProblem
    starts: np.ndarray
    rows: np.ndarray
    y: np.ndarray
    C: np.ndarray
    target: np.ndarray
    new: NewRows | None = None

    @classmethod
    def of_rows(cls, problem, starts, rows, y=None, C=None, new=None, target=None):
        """Edits from new labels, bounds and targets, None for those that stay.

        Where targets are the labels they move with them.
        """
        if target is None and (y is None or problem.own_targets is not None):
            target = problem.target[rows]
        y = problem.y[rows] if y is None else _labels(y, len(rows))
        C = problem.C[rows] if C is None else _bounds(C, len(rows))
        target = y if target is None else np.asarray(target, dtype=np.float64)
        new = _checked(new, problem)
        return cls(problem, np.asarray(starts, dtype=np.intp), rows, y, C, target, new)

    @property
    def n_edits(self):
        return len(self.starts) - 1

    @property
    def n_new(self):
        return 0 if self.new is None else len(self.new.y)

    @property
    def edit_of(self):
        """The edit of each entry."""
        return np.repeat(np.arange(self.n_edits), np.diff(self.starts))

    @property
    def box(self):
        """New lower limits, upper limits and targets, (3, n_entries)."""
        return box_of(self.y, self.C, self.target)

    def subset(self, edits):
        """Some of the edits."""
        if len(edits) == self.n_edits:
            return self
        counts = np.diff(self.starts)[edits]
        starts = np.concatenate([[0], np.cumsum(counts)])
        entries = np.repeat(self.starts[edits] - starts[:-1], counts) + np.arange(starts[-1])
        names = ("rows", "y", "C", "target")
        return replace(
            self, starts=starts, **{name: getattr(self, name)[entries] for name in names}
        )

    def is_idle(self, solution):
        """Edits that leave the solution where it is: boxes change only where they do not bind."""
        beta, C = solution.beta[self.rows], self.problem.C[self.rows]
        same = self.y == self.problem.y[self.rows]
        same &= self.target == self.problem.target[self.rows]
        idle = same & ((self.C == C) | ((beta == 0) & (C > 0)))
        idle |= same & (np.abs(beta) < np.minimum(C, self.C))
        idle |= (C == 0) & (self.C == 0)
        idle &= ~self._ends_interval(solution)
        return (np.bincount(self.edit_of[~idle], minlength=self.n_edits) == 0) & (self.n_new == 0)

    def _ends_interval(self, solution):
        """Entries at whose row the interval of optimal biases ends: without it the middle moves."""
        low, high = solution.bias_interval
        if not low < high:
            return np.zeros(len(self.rows), dtype=bool)
        needed = self.problem.target[self.rows] - (solution.f[self.rows] - solution.bias)
        reach = AT_END * (1.0 + np.abs(needed))
        return (np.abs(needed - low) <= reach) | (np.abs(needed - high) <= reach)

    def keeps_both_classes(self):
        """Whether each edit leaves rows of both labels."""
        edit_of, keeps = self.edit_of, np.ones(self.n_edits, dtype=bool)
        for label in (-1, 1):
            was = (self.problem.y == label) & (self.problem.C > 0)
            now = (self.y == label) & (self.C > 0)
            count = np.full(self.n_edits, np.count_nonzero(was))
            count -= np.bincount(edit_of[was[self.rows]], minlength=self.n_edits)
            count += np.bincount(edit_of[now], minlength=self.n_edits)
            if self.new is not None:
                count += np.count_nonzero((self.new.y == label) & (self.new.C > 0))
            keeps &= count > 0
        return keeps

    def as_problem(self):
        """The problem after the first edit, the rows that join at its end."""
        problem, new, n = self.problem, self.new, self.problem.n
        y, C, target = problem.y.copy(), problem.C.copy(), problem.target.copy()
        y[self.rows], C[self.rows], target[self.rows] = self.y, self.C, self.target
        kernel = problem.kernel
        if new is not None:
            y, C = np.append(y, new.y), np.append(C, new.C)
            target = np.append(target, new.target)

            def kernel(rows_a, rows_b):
                old_a, old_b = rows_a < n, rows_b < n
                out = np.empty((len(rows_a), len(rows_b)))
                out[np.ix_(old_a, old_b)] = problem.kernel(rows_a[old_a], rows_b[old_b])
                out[np.ix_(old_a, ~old_b)] = new.cross[np.ix_(rows_a[old_a], rows_b[~old_b] - n)]
                out[np.ix_(~old_a, old_b)] = new.cross[np.ix_(rows_b[old_b], rows_a[~old_a] - n)].T
                out[np.ix_(~old_a, ~old_b)] = new.among[
                    np.ix_(rows_a[~old_a] - n, rows_b[~old_b] - n)
                ]
                return out

        target = None if problem.own_targets is None else target
        return HingeProblem(kernel, y, C, free_bias=problem.free_bias, target=target)


def box_of(y, C, target):
    """Lower limits, upper limits and targets, (3, n)."""
    return np.array([np.minimum(y * C, 0.0), np.maximum(y * C, 0.0), target])


def rows_in(rows, n):
    """Rows of a problem as an array of int.

    Raises
    ------
    ValueError
        For other rows than 0 to ``n - 1``.
    """
    rows = np.atleast_1d(np.asarray(rows))
    if rows.size == 0:
        return np.zeros(0, dtype=np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"rows must be integers from 0 to {n - 1}. Got {rows.ravel()[:5]}.")
    return rows.astype(np.intp)


def _labels(y, n):
    y = np.asarray(y)
    if y.shape != (n,) or not np.isin(y, (-1, 1)).all():
        raise ValueError(f"New labels must be -1 or 1, one for each of {n} rows.")
    return y.astype(np.float64)


def _bounds(C, n):
    C = np.asarray(C, dtype=np.float64)
    if C.shape not in ((), (n,)) or not (np.isfinite(C).all() and (C >= 0).all()):
        raise ValueError(f"New bounds C must be finite and non-negative, one for each of {n} rows.")
    return np.array(np.broadcast_to(C, (n,)))


def _checked(new, problem):
    if new is None:
        return None
    cross = np.asarray(new.cross, dtype=np.float64)
    among = np.asarray(new.among, dtype=np.float64)
    n_new = len(np.atleast_1d(new.y))
    if cross.shape != (problem.n, n_new) or among.shape != (n_new, n_new):
        raise ValueError(
            f"New rows need kernel values of shapes {(problem.n, n_new)} and {(n_new, n_new)}. "
            f"Got {cross.shape} and {among.shape}."
        )
    if not (np.isfinite(cross).all() and np.isfinite(among).all()):
        raise ValueError("Kernel values must be finite. Got NaN or infinity.")
    y = _labels(new.y, n_new)
    target = y if new.target is None else np.asarray(new.target, dtype=np.float64)
    return NewRows(cross, among, y, _bounds(new.C, n_new), target)
