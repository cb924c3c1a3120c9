"""LiSSA: the inverse of a Hessian from one row at a time, with the noise that this has."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.typing import Seed
from skinfluence._utils.validation import check_tol
from skinfluence._utils.weights import weigh
from skinfluence.solvers.base import (
    Factor,
    check_damping,
    check_determined,
    column_sizes,
    relative_residuals,
)
from skinfluence.solvers.bounds import batch_scale, check_convex
from skinfluence.solvers.reports import Solution
from skinfluence.solvers.walks import Walks

# Steps of the first average.
FIRST = 1_000
# Rows drawn at a time.
DRAWN = 2**16


class LiSSA:
    """Stochastic solver: steps along single rows, averaged over the later half and over repeats.

    Parameters
    ----------
    scale : "auto" or float, default="auto"
        What the Hessian is divided by. ``"auto"``: the spectral bound below, with rows drawn in
        proportion to what they add to it and a step per column. A number is Koh and Liang's: it
        divides the mean Hessian, rows are drawn evenly, and it has to be large enough.
    depth : "auto" or int, default="auto"
        Steps of each repeat. ``"auto"``: doubled until the error is below ``tol``.
    repeats : int, default=8
        Independent repeats, at least 2: their spread is the standard error.
    batch_size : int, default=1
        Rows of each step.
    damping : float, default=0.0
        Solve with ``H + damping I``; see :class:`~skinfluence.solvers.CG`.
    tol : float, default=0.03
        Relative error to stop at, in the norm of the Hessian's diagonal: the standard error and,
        where averages still move by more than their noise, how far they may have to go.
    max_depth : int, default=1_000_000
        Where ``depth="auto"`` stops all the same, with a warning.
    random_state : int, RandomState instance or None, default=None

    Notes
    -----
    A step is ``v <- v + D^-1 (b - A v) / scale`` with ``A`` the mean of ``m`` draws of
    ``w_i J_i' Lambda_i J_i / p_i + R``, whose mean is H, and D the mean diagonal of H over the
    outputs. In the norm of D::

        |A_i| <= sigma_1 = max_i w_i |Lambda_i| |x_i|^2 / p_i + max R
        E (I - A / scale)^2 <= I - H / scale   for   scale >= (1 - 1/m) |H| + sigma_1 / m

    because ``A_i^2 <= sigma_1 A_i``: with that scale no repeat diverges, whatever the units of the
    columns, and with ``p_i`` in proportion to ``w_i |Lambda_i| |x_i|^2`` the maximum is the mean.
    ``|Lambda_i|`` is bounded by its Frobenius norm, and ``|H|`` by products of absolute values
    (Collatz and Wielandt). Averaging the later half takes out most of the noise of the last
    iterate, which is the paper's answer.

    Conjugate gradients are the better buy wherever the rows fit in memory: see the user guide.

    References
    ----------
    .. [1] N. Agarwal, B. Bullins and E. Hazan, "Second-Order Stochastic Optimization for Machine
       Learning in Linear Time", JMLR 18, 2017.
    .. [2] P. W. Koh and P. Liang, "Understanding Black-box Predictions via Influence Functions",
       ICML 2017, section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.solvers import LiSSA
    >>> X, y = load_diabetes(return_X_y=True)
    >>> inf = Influence(Ridge().fit(X, y), X, y, solver=LiSSA(random_state=0))
    >>> inf.influence_up_loss(X[:1], y[:1]).shape
    (1, 442)
    """

    def __init__(
        self,
        scale: Literal["auto"] | float = "auto",
        depth: Literal["auto"] | int = "auto",
        repeats: int = 8,
        *,
        batch_size: int = 1,
        damping: float = 0.0,
        tol: float = 0.03,
        max_depth: int = 1_000_000,
        random_state: Seed = None,
    ) -> None:
        self.scale = scale
        self.depth = depth
        self.repeats = repeats
        self.batch_size = batch_size
        self.damping = damping
        self.tol = tol
        self.max_depth = max_depth
        self.random_state = random_state

    def factor(self, objective):
        """A :class:`~skinfluence.solvers.Factor`: bounds, probabilities and seeds.

        Parameters
        ----------
        objective : Objective

        Raises
        ------
        ValueError
            For parameters out of range, for losses that are not convex, and for rows in blocks.
        SingularHessianError
            Where the diagonal shows that the Hessian is not positive definite.
        """
        self.check()
        if not objective.design.in_memory:
            raise ValueError(
                "LiSSA draws single rows, which must be in memory. Got "
                f"{objective.n_samples} rows in blocks. Use solver='auto' or 'cg'."
            )
        return LiSSAFactor(objective, self)

    def check(self):
        """Refuse options out of range, with a ValueError."""
        _check_at_least("repeats", self.repeats, 2)
        _check_at_least("batch_size", self.batch_size, 1)
        _check_at_least("max_depth", self.max_depth, 4 * FIRST)
        if self.depth != "auto":
            _check_at_least("depth", self.depth, 4)
        if self.scale != "auto" and not (np.isreal(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be 'auto' or positive. Got {self.scale!r} instead.")
        check_tol(self.tol)


def _check_at_least(name, value, least):
    if isinstance(value, str) or value != int(value) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}. Got {value!r} instead.")


@dataclass(frozen=True, eq=False)
class Repeats:
    """Where the repeats of one or more right-hand sides ended.

    Attributes
    ----------
    X : ndarray of shape (repeats, n_parameters, m)
        Each repeat's average, whose mean is the solution: the standard error of anything linear
        in it is the spread of that over the repeats, over the root of their number.
    drift : ndarray of shape (n_parameters, m)
        What the mean may still move by, from how it moved since the averages before; zero where that
        was no more than noise.
    depth : ndarray of int of shape (m,)
    relative_error : ndarray of shape (m,)
        Of the mean, in the norm of the Hessian's diagonal: standard error and drift.
    """

    X: np.ndarray
    drift: np.ndarray
    depth: np.ndarray
    relative_error: np.ndarray


class LiSSAFactor(Factor):
    """Solves by stochastic steps; every solution has a standard error."""

    name = "LiSSA"
    is_random = True

    def __init__(self, objective, solver, shift=0.0):
        super().__init__(objective, shift, check_damping(solver.damping))
        self.solver, self.rtol = solver, solver.tol
        check_convex(objective)
        diagonal = self.curvature.diagonal()
        check_determined(self.curvature, diagonal)
        penalty, weights = self.curvature.penalty, objective.weights
        if (penalty < 0).any():
            raise ValueError("LiSSA needs a penalty that is not negative. Use solver='exact'.")
        self._columns = diagonal.reshape(objective.loss.n_outputs, -1).mean(axis=0)
        n = objective.n_samples
        sizes = weigh(weights, np.linalg.norm(objective.hessians, axis=(1, 2)))
        if solver.scale == "auto":
            metric = self._columns
            shares = sizes * objective.design.squared_norms(1.0 / metric)
            total = shares.sum()
            # A penalty alone (all rows flat) is solved in one step whatever is drawn.
            drawing = shares / total if total > 0 else np.full(n, 1.0 / n)
            bound = total + (penalty / metric).max()
            scale = batch_scale(self.curvature, sizes, metric, bound, solver.batch_size)
        else:
            metric, drawing = np.ones(len(penalty)), np.full(n, 1.0 / n)
            scale = n * float(solver.scale)
        self._walk_by(scale, metric, drawing)

    def _walk_by(self, scale, metric, drawing):
        """What the steps need: their lengths, the chances of the rows, and seeds."""
        objective, solver = self.objective, self.solver
        self.scale = scale
        self._step = 1.0 / (scale * metric)
        self._chances = np.cumsum(drawing)
        shares = np.divide(
            objective.weights, drawing, out=np.zeros(len(drawing)), where=drawing > 0
        )
        self._curved = weigh((shares / solver.batch_size)[:, None, None], objective.hessians)
        rng = check_random_state(solver.random_state)
        self._seeds = rng.randint(np.iinfo(np.int32).max, size=solver.repeats)

    def largest_decrement(self, gradient):
        return self.curvature.largest_decrement(gradient)

    def _sibling(self, shift):
        return LiSSAFactor(self.objective, self.solver, shift)

    def _leverages(self, design):
        return self.leverages_by_solves(self.objective.design if design is None else design)

    def solution(self, B):
        """Solve, with a standard error of each entry; see :meth:`Factor.solution`."""
        return self._summary(B, self.repeated(B))

    def _summary(self, B, found):
        X = found.X.mean(axis=0)
        error = np.hypot(found.X.std(axis=0, ddof=1) / np.sqrt(len(found.X)), found.drift)
        residual = relative_residuals(B, B - self.curvature.matmat(X))
        return Solution(X, found.depth, residual, found.relative_error <= self.solver.tol, error)

    def _solve(self, B):
        found = self.repeated(B)
        solution = self._summary(B, found)
        error = np.max(found.relative_error, initial=0.0)
        depth = int(np.max(solution.iterations, initial=0))
        numbers = f"a relative standard error of {error:.1g} from {self.solver.repeats} repeats of"
        numbers += f" up to {depth} steps"
        failed = np.count_nonzero(~solution.converged)
        if failed:
            warnings.warn(
                f"LiSSA stopped before it converged for {failed} of {B.shape[1]} right-hand sides, "
                f"with {numbers} (tol={self.solver.tol:g}). Raise depth or max_depth, scale the "
                "features, or use solver='cg'.",
                ConvergenceWarning,
                stacklevel=level_outside(),
            )
        elif B.shape[1]:
            warnings.warn(
                f"Solutions are estimated by LiSSA, with {numbers}. Use solver='cg' for exact ones.",
                UserWarning,
                stacklevel=level_outside(),
            )
        return solution.X, depth

    def repeated(self, B):
        """The repeats behind a solution.

        Parameters
        ----------
        B : ndarray of shape (n_parameters, m)

        Returns
        -------
        repeats : Repeats

        Raises
        ------
        ValueError
            If a scale of the user's own lets the steps diverge.
        """
        p, m, count = len(B), B.shape[1], self.solver.repeats
        X, drift = np.empty((count, p, m)), np.empty((p, m))
        depth, error = np.zeros(m, dtype=int), np.zeros(m)
        for block in row_blocks(m, 40 * count * p):
            size = column_sizes(B[:, block])
            run = Walks(self, B[:, block] / size)
            run.to_the_end()
            X[:, :, block] = size * run.averages.reshape(-1, count, p).transpose(1, 2, 0)
            drift[:, block] = size * run.drift.reshape(-1, p).T
            depth[block], error[block] = run.depth, run.error
        return Repeats(X, drift, depth, error)

    @property
    def shape(self):
        """Of the parameters: outputs and columns."""
        return self.objective.theta.shape

    def draw(self, rng, length):
        """Rows of some steps, (length, batch_size)."""
        chances = self._chances
        drawn = chances[-1] * rng.random((length, self.solver.batch_size))
        return np.minimum(np.searchsorted(chances, drawn, side="right"), len(chances) - 1)

    def walk(self, B, V, rngs, active, n_steps):
        """Take steps from ``V``, in place, and return the means of the iterates.

        Parameters
        ----------
        B : ndarray of shape (m, *shape)
        V : ndarray of shape (m, repeats, *shape)
        rngs : list of numpy.random.Generator
            One for each repeat.
        active : ndarray of int
            The right-hand sides that walk on.
        n_steps : int

        Returns
        -------
        means : ndarray of shape (n_active, repeats, *shape)
        """
        from skinfluence._compiled.gram import run_tasks
        from skinfluence._compiled.lissa import walk

        design, batch = self.objective.design, self.solver.batch_size
        every = min(_thinning(design, batch), n_steps)
        totals, counts = np.zeros_like(V[active]), 0
        # Blocks end where an iterate is added up.
        for block in row_blocks(n_steps, batch, max(every, DRAWN // every * every) * batch):
            length = block.stop - block.start
            drawn = [self.draw(rng, length) for rng in rngs]

            def task(number, drawn=drawn):
                place, repeat = divmod(number, len(drawn))
                column = active[place]
                total, count = walk(
                    design.X,
                    design.intercept,
                    self._curved,
                    drawn[repeat],
                    self._step,
                    self.curvature.penalty,
                    B[column],
                    V[column, repeat],
                    every,
                )
                totals[place, repeat] += total
                return count

            counts += max(run_tasks(task, len(active) * len(drawn)))
        return totals / counts

    def edges(self):
        """Where averages end: each starts where the last ended."""
        if self.solver.depth != "auto":
            depth = int(self.solver.depth)
            return [depth // 4, depth // 2, depth]
        edges = [FIRST]
        while 2 * edges[-1] <= self.solver.max_depth:
            edges.append(2 * edges[-1])
        return edges


def _thinning(design, batch):
    """Steps between iterates that are averaged: adding all columns should not be the main cost."""
    if not design.is_sparse:
        return 4
    return max(4, design.n_columns * design.n_samples // max(1, batch * design.X.nnz))
