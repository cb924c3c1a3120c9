"""The state that paths start from: a tableau, roles, and where every row is."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.active_set.changes import box_of
from skinfluence.active_set.polish import nearest, polish
from skinfluence.active_set.problem import MARGIN
from skinfluence.active_set.tableau import Tableau, solve_margin

# Decision values this close to the target, off the margin, are ties.
_TIE = 1e-9
_CAP = 256


@dataclass(frozen=True)
class Found:
    """What paths found for some edits.

    Attributes
    ----------
    edits : ndarray of int, shape (k,)
    columns : ndarray of int, shape (n_columns,)
        Training rows.
    delta_beta, delta_bias, new_beta : ndarrays of shape (k, n_columns), (k,), (k, n_new)
    n_pivots, n_margin : ndarrays of int, shape (k,)
        Changes of role; rows on the margin in the end.
    ended : ndarray of bool, shape (k,)
        Whether the path came to its end.
    """

    edits: np.ndarray
    columns: np.ndarray
    delta_beta: np.ndarray
    delta_bias: np.ndarray
    new_beta: np.ndarray
    n_pivots: np.ndarray
    n_margin: np.ndarray
    ended: np.ndarray

    def take(self, chosen):
        """Some of the edits."""
        if chosen.all():
            return self
        names = ("edits", "delta_beta", "delta_bias", "new_beta", "n_pivots", "n_margin", "ended")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


@dataclass(frozen=True)
class Base:
    """A solved problem, ready for paths.

    Attributes
    ----------
    problem : HingeProblem
        Whose paths are followed: the true one, or one with ties broken.
    truth : HingeProblem
        Whose coefficients are wanted, for the same roles.
    tableau : Tableau
    beta, f : ndarrays of shape (n,)
        Coefficients and decision values of the followed problem.
    bias : float
    true_beta, true_f, true_bias
        The same of the true problem.
    jitter : float
    """

    problem: object
    truth: object
    tableau: Tableau
    beta: np.ndarray
    f: np.ndarray
    bias: float
    true_beta: np.ndarray
    true_f: np.ndarray
    true_bias: float
    jitter: float

    @classmethod
    def of(cls, solution, jitter=0.0, seed=0):
        """The base of a solution, of the true problem or of one moved by ``jitter``."""
        truth = problem = solution.problem
        if jitter:
            rng = np.random.default_rng(seed)
            problem = truth.jittered(rng, jitter)
            solution = polish(problem, np.clip(solution.beta, problem.lo, problem.hi))
        beta, f, bias = solution.beta, solution.f, solution.bias
        margin = np.flatnonzero(solution.role == MARGIN)
        if problem.free_bias and not len(margin):
            # The bias goes to the end of its interval, where a row is on the margin.
            bias = solution.bias_interval[1]
            f = f - solution.bias + bias
            needed = np.where(beta > problem.lo, np.abs(problem.target - f), np.inf)
            margin = np.argmin(needed)[None]
        true_beta, true_f, true_bias = beta, f, bias
        if jitter:
            at_hi = beta >= problem.hi
            true_beta = np.where(at_hi, truth.hi, truth.lo)
            true_beta, true_bias, true_f = solve_margin(truth, margin, true_beta)
        n_support = np.count_nonzero(beta)
        rows = nearest(problem, beta, f, max(n_support, 200))
        tableau = Tableau(problem, margin, np.setdiff1d(rows, margin))
        return cls(problem, truth, tableau, beta, f, bias, true_beta, true_f, true_bias, jitter)

    @property
    def has_ties(self):
        """Whether rows off the margin are at their target all the same."""
        near = (np.abs(self.f - self.problem.target) < _TIE) & (self.problem.C > 0)
        near[self.tableau.rows[: self.tableau.m]] = False
        return bool(near.any())

    def places(self, rows):
        """Positions of training rows in the tableau, -1 for others."""
        place = np.full(self.problem.n, -1)
        place[self.tableau.rows] = np.arange(len(self.tableau.rows))
        return place[rows]

    def with_rows(self, rows):
        """The base with more rows in its tableau."""
        missing = np.setdiff1d(rows, self.tableau.rows)
        return replace(self, tableau=self.tableau.extend(missing)) if len(missing) else self

    def follow(self, changes, edits):
        """The paths of some edits.

        Parameters
        ----------
        changes : Changes
            Of rows in the tableau only.
        edits : ndarray of int
            Their names, for the result.

        Returns
        -------
        found : Found
        """
        from skinfluence._compiled.gram import run_tasks
        from skinfluence._compiled.path import DONE
        from skinfluence._compiled.paths import follow_each

        size, n_new, n_edits = len(self.tableau.rows), changes.n_new, changes.n_edits
        state = self._state(changes)
        N = size + 1 + n_new
        starts, movers, moves, true_moves = self._moves(changes, state)
        delta = np.empty((n_edits, N))
        codes, n_pivots, n_margin = (np.empty(n_edits, dtype=np.int64) for _ in range(3))
        largest = int(np.diff(starts).max(initial=0))
        bounds = np.linspace(0, n_edits, min(n_edits, 16) + 1).astype(np.int64)

        def task(k):
            follow_each(
                *state, starts, movers, moves, true_moves, 200 + 20 * largest + size // 4,
                min(_CAP + 2 * largest, N + 2), bounds[k], bounds[k + 1],
                delta, codes, n_pivots, n_margin,
            )  # fmt: skip

        for _ in run_tasks(task, len(bounds) - 1):
            pass
        return Found(
            edits=edits,
            columns=self.tableau.rows,
            delta_beta=delta[:, :size],
            delta_bias=delta[:, size] + 0.0,
            new_beta=delta[:, size + 1 :],
            n_pivots=n_pivots,
            n_margin=n_margin,
            ended=codes == DONE,
        )

    def _state(self, changes):
        """Arguments of `follow_each` that describe where paths start."""
        from skinfluence._compiled.limits import ABSENT, AT_HI, AT_LO, FREE

        problem, truth, rows, m = self.problem, self.truth, self.tableau.rows, self.tableau.m
        size, n_new = len(rows), changes.n_new
        N = size + 1 + n_new
        if n_new:
            new = changes.new
            side, own = self.tableau.responses(new.cross[rows], new.among)
            f_new = [new.cross.T @ beta + bias for beta, bias in self._both()]
            new_scale = np.diag(new.among) + problem.free_bias * np.mean(problem.diagonal)
        else:
            side, own, f_new, new_scale = np.empty((size, 0)), np.empty((0, N)), ((), ()), ()
        scale = np.concatenate([problem.scale[rows], [1.0], new_scale])
        role = np.full(N, ABSENT)
        present = np.where(self.beta[rows] >= problem.hi[rows], AT_HI, AT_LO)
        role[:size] = np.where(problem.C[rows] > 0, present, ABSENT)
        role[:m] = FREE
        boxes, values = [], []
        for kind, f in zip((problem, truth), f_new, strict=True):
            box = np.zeros((3, N))
            box[:, :size] = kind.lo[rows], kind.hi[rows], kind.target[rows]
            if n_new:
                box[2, size + 1 :] = changes.new.target
            boxes.append(box)
            beta, values_f = (
                (self.beta, self.f) if kind is problem else (self.true_beta, self.true_f)
            )
            value = np.zeros((2, N))
            value[:, :size] = beta[rows], values_f[rows]
            value[1, :m] = kind.target[rows[:m]]
            value[1, size + 1 :] = f
            values.append(value)
        x = values[0][1].copy()
        x[:m] = values[0][0, :m]
        return (
            self.tableau.table, side, own, problem.free_bias, scale, role, x,
            boxes[0], boxes[1], values[1],
        )  # fmt: skip

    def _both(self):
        return (self.beta, self.bias), (self.true_beta, self.true_bias)

    def _moves(self, changes, state):
        """Rows that move in each edit, and by how much, in the followed and the true problem."""
        box, true_box = state[7], state[8]
        starts, movers = changes.starts, self.places(changes.rows)
        new_box = changes.box
        if changes.n_new:
            joined = len(self.tableau.rows) + 1 + np.arange(changes.n_new)
            movers = np.append(movers, joined)
            new = changes.new
            new_box = np.hstack([new_box, box_of(new.y, new.C, new.target)])
            starts = np.array([0, len(movers)])
        moved = new_box.copy()
        if self.jitter:
            rng = np.random.default_rng(len(movers))
            share = self.jitter * rng.uniform(0.1, 1.0, (2, len(movers)))
            labels = changes.y if not changes.n_new else np.append(changes.y, changes.new.y)
            moved[:2] *= 1.0 + share[0]
            moved[2] += labels * self.truth.spread * share[1]
        moves = np.ascontiguousarray((moved - box[:, movers]).T)
        true_moves = np.ascontiguousarray((new_box - true_box[:, movers]).T)
        return starts, movers, moves, true_moves
