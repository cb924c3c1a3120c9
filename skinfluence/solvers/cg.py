"""Conjugate gradients on the curvature operator: no matrix, many right-hand sides at once."""

import copy
import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.typing import Precision, Seed
from skinfluence.solvers.base import (
    Factor,
    SingularHessianError,
    Solver,
    check_damping,
    check_determined,
    column_sizes,
    relative_residuals,
)
from skinfluence.solvers.block_cg import block_cg
from skinfluence.solvers.preconditioners import preconditioner_of
from skinfluence.solvers.reports import Solution

# How many right-hand sides share their directions.
TOGETHER = 32
# Largest over smallest entry of the diagonal from which on parameters are brought to one size: what
# the small ones still need is nothing beside a residual of the large ones.
WILD = 1e6
# What single precision can take off a residual before it is computed again in double, in how many
# iterations at most (beyond, its directions are no longer conjugate), and what is too little.
ROUGH, ROUGH_ITERATIONS, STALLED = 1e-4, 40, 0.1
# The share of a residual computed again by which the recurrence's may differ for its last directions
# to go on from, and how far above what rounding moves a residual there is something left to solve.
DRIFT, ROUND_OFF = 0.1, 2.0


class CG:
    """Iterative solver that only multiplies by the Hessian.

    Parameters
    ----------
    rtol : float, default=1e-10
        Stop when the residual is below ``rtol`` times the right-hand side, in the Euclidean norm;
        where the diagonal of the Hessian spans six orders or more, of parameters in units of it.
    max_iter : int, default=None
        Default: ten times the number of parameters, at least 1,000.
    preconditioner : {"auto", "diagonal", "means", "blocks", "kronecker"}, default="auto"
        ``"blocks"``: the Hessian of each class on a sample of the rows, ``"kronecker"``: one Gram
        matrix of the sample for all classes, ``"diagonal"``: the diagonal of the Hessian,
        ``"means"``: the diagonal and the Hessian along the means of the classes (of all rows if
        there are many). ``"auto"``: blocks where they take at most 64 MB or a tenth of the memory
        of the rows, means elsewhere.
    damping : float, default=0.0
        Solve with ``H + damping I``. Answers then describe another problem than the fitted one,
        and certificates are refused. Koh and Liang's damping of the mean Hessian is this one over
        the number of rows.
    precision : {"float64", "mixed"}, default="float64"
        ``"mixed"``: products in float32, residuals in float64, and as many refinements as ``rtol``
        needs. Rows are kept in float32 too where they take at most 64 MB so.
    start : solver object, default=None
        Its solutions are where the iteration starts, such as those of
        :class:`~skinfluence.solvers.LiSSA`.
    probes : int, default=None
        Estimate leverages from that many random probes instead of one solve per row (models of
        one output). The standard error is reported and warned about; certificates are refused.
    random_state : int, RandomState instance or None, default=None
        Of the probes.

    Notes
    -----
    One iteration costs one Hessian product, O(n d K), for each right-hand side that has not
    converged; they are multiplied together. What stops is the residual of the solution itself, not
    that of the recurrence, which drifts from it: it is computed again, and the iteration goes on.
    ``"auto"`` and ``"exact"`` factor Hessians of up to 200 parameters of very different sizes directly.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.solvers import CG
    >>> X, y = load_diabetes(return_X_y=True)
    >>> report = Influence(Ridge().fit(X, y), X, y, solver=CG(rtol=1e-8)).report()
    >>> report.converged, bool(report.residual < 1e-8)
    (True, True)
    """

    def __init__(
        self,
        rtol: float = 1e-10,
        max_iter: int | None = None,
        *,
        preconditioner: Literal["auto", "diagonal", "means", "blocks", "kronecker"] = "auto",
        damping: float = 0.0,
        precision: Precision = "float64",
        start: Solver | None = None,
        probes: int | None = None,
        random_state: Seed = None,
    ) -> None:
        self.rtol = rtol
        self.max_iter = max_iter
        self.preconditioner = preconditioner
        self.damping = damping
        self.precision = precision
        self.start = start
        self.probes = probes
        self.random_state = random_state

    def factor(self, objective):
        """A :class:`~skinfluence.solvers.Factor`; computes the preconditioner.

        Parameters
        ----------
        objective : Objective

        Raises
        ------
        SingularHessianError
            Where the diagonal or a block shows that the Hessian is not positive definite.
        """
        check_precision(self.precision)
        if self.start is not None and not hasattr(self.start, "factor"):
            raise ValueError(
                f"start must be a solver object such as LiSSA(). Got {self.start!r} instead."
            )
        if self.probes is None:
            return CGFactor(objective, self)
        if objective.loss.n_outputs > 1:
            raise ValueError(
                "Random probes estimate leverages of models with one output. Got "
                f"{objective.loss.n_outputs} (softmax); use CG() or precision='mixed'."
            )
        return ProbedFactor(objective, self)


def check_precision(precision, known=("float64", "mixed")):
    """Refuse a precision that a problem has no products in."""
    if precision not in known:
        listed = " or ".join(repr(one) for one in known)
        raise ValueError(f"precision must be {listed}. Got {precision!r} instead.")


class CGFactor(Factor):
    """Solves by iterating; leverages need one solve per row and output."""

    name = "CG"
    # Of problems that bring their own curvature.
    _precisions = ("float64",)
    _preconditioner = None
    _start = None
    # What brings parameters of wild scales to one size, where they have such.
    _wild = None

    def __init__(self, objective, solver, shift=0.0):
        super().__init__(objective, shift, check_damping(solver.damping))
        self.solver, self.rtol = solver, solver.rtol
        self._diagonal = self.curvature.diagonal()
        check_determined(self.curvature, self._diagonal)
        if self._diagonal.max() > WILD * self._diagonal.min():
            # Powers of two: nothing is rounded.
            self._wild = np.exp2(-np.round(0.5 * np.log2(self._diagonal)))
        self._preconditioner = preconditioner_of(
            solver.preconditioner, self.curvature, self._diagonal
        )
        if solver.start is not None:
            self._start = solver.start.factor(objective).shifted(shift)

    @property
    def is_wild(self):
        """Whether the diagonal of the Hessian spans six orders of magnitude or more."""
        return self._wild is not None

    def _sibling(self, shift):
        return CGFactor(self.objective, self.solver, shift)

    def _leverages(self, design):
        return self.leverages_by_solves(self.objective.design if design is None else design)

    def largest_decrement(self, gradient):
        return self.curvature.largest_decrement(gradient)

    def _precondition(self, R):
        if self._preconditioner is None:
            return R / self._diagonal[:, None]
        return self._preconditioner.apply(R)

    def _rough_product(self, V):
        return self.curvature.product(V, np.float32)

    def solution(self, B):
        """Solve, and say how well each column is solved; see :meth:`Factor.solution`."""
        return self._iterate(B, self.solver.rtol)

    def _iterate(self, B, rtol):
        if self._wild is not None:
            return self._iterate_scaled(B, rtol)
        # Columns of size 1: no square underflows.
        size = column_sizes(B)
        B = B / size
        X = np.zeros_like(B) if self._start is None else self._start.solution(B).X
        R, iterations = np.empty_like(B), np.zeros(B.shape[1], dtype=int)
        for group in row_blocks(B.shape[1], 1, TOGETHER):
            R[:, group], iterations[group] = self._descend(B[:, group], X[:, group], rtol)
        residual = relative_residuals(B, R)
        return Solution(X * size, iterations, residual, residual <= max(100 * rtol, 1e-12))

    def _iterate_scaled(self, B, rtol):
        """The same for ``S H S``, whose diagonal is about one, with solutions ``S x``."""
        inside = copy.copy(self)
        inside._wild, inside.curvature = None, _Scaled(self.curvature, self._wild)
        inside._preconditioner = _ScaledPreconditioner(self._precondition, 1.0 / self._wild)
        if self._start is not None:
            inside._start = _ScaledStart(self._start, self._wild)
        found = inside._iterate(self._wild[:, None] * B, rtol)
        X = self._wild[:, None] * found.X
        residual = relative_residuals(B, B - self.curvature.matmat(X))
        return replace(found, X=X, residual=residual)

    def _descend(self, B, X, rtol):
        """Improve ``X`` in place; its residuals, in double, and the iterations of each column."""
        max_iter = self.solver.max_iter or max(1000, 10 * len(B))
        iterations = np.zeros(B.shape[1], dtype=int)
        target, before = rtol * np.linalg.norm(B, axis=0), np.full(B.shape[1], np.inf)
        rough, last, recurred = self.solver.precision == "mixed", None, np.zeros_like(B)
        while True:
            R = B - self.curvature.matmat(X) if X.any() else B.copy()
            left = np.linalg.norm(R, axis=0)
            active = left > 2.0 * target
            if rough and (active & (left >= STALLED * before)).any():
                # Single precision has nothing more to give.
                rough, last, before = False, None, np.full(len(left), np.inf)
            elif last is not None:
                drift = np.linalg.norm(R - recurred, axis=0)
                if (drift > DRIFT * left)[active].any():
                    # Not the residuals of the last directions: what is conjugate to those alone
                    # would not be conjugate to itself.
                    last = None
            # Where the residual no longer falls there is only round-off.
            active = np.flatnonzero(active & (left < 0.5 * before))
            if not rough and np.isfinite(before[active]).any():
                active = active[left[active] > ROUND_OFF * self._rounding(X[:, active])]
            limit = max_iter - np.max(iterations[active], initial=0)
            if not len(active) or limit <= 0:
                return R, iterations
            before = np.where(np.isin(np.arange(len(left)), active), left, 0.0)
            goal = np.maximum(target, ROUGH * left if rough else 0.0)[active]
            product = self._rough_product if rough else self.curvature.matmat
            limit = min(limit, ROUGH_ITERATIONS) if rough else limit
            step, used, last, recurred[:, active] = block_cg(
                product, R[:, active], self._precondition, goal, limit, last
            )
            iterations[active] += used
            if not rough or np.isfinite(step).all():
                X[:, active] += step

    def _rounding(self, X):
        """How far a residual in double moves where ``X`` is rounded once more, of each column."""
        moved = self.curvature.matmat(X) - 3.0 * self.curvature.matmat(X / 3.0)
        return np.linalg.norm(moved, axis=0)

    def _solve(self, B):
        if self._preconditioner is None:
            self._refuse_options()
        known = np.isfinite(B).all(axis=0)
        if not known.all():
            # Of a row whose leverage is not known: it has no solution, the others have theirs.
            X, iterations = np.full(B.shape, np.nan), 0
            if known.any():
                X[:, known], iterations = self._solve(B[:, known])
            return X, iterations
        solution = self.solution(B)
        relative, iterations = solution.residual, int(np.max(solution.iterations, initial=0))
        if not (relative < 1e3).all():
            raise SingularHessianError(
                f"CG broke down at relative residual {np.nanmax(relative):.1e}: the Hessian is not "
                "positive definite to round-off. Penalise the model, drop linearly dependent "
                "columns, or scale the features."
            )
        failed = np.count_nonzero(~solution.converged)
        if failed:
            warnings.warn(
                f"CG stopped after {iterations} iterations at relative residual "
                f"{relative.max():.1e} (rtol={self.solver.rtol:.0e}) for {failed} of "
                f"{len(relative)} right-hand sides. Increase max_iter, scale the features, or use "
                "solver='exact'.",
                ConvergenceWarning,
                stacklevel=level_outside(),
            )
        return solution.X, iterations

    def _refuse_options(self):
        """For problems that bring their own curvature (modules): what this solver cannot do."""
        solver = self.solver
        if solver.damping or solver.start is not None:
            raise ValueError(
                "CG of a module takes no damping or start of its own. Got "
                f"damping={solver.damping!r}, start={solver.start!r}; damping is a parameter of "
                "the module's influence."
            )
        check_precision(solver.precision, self._precisions)
        if solver.preconditioner not in ("auto", "diagonal"):
            raise ValueError(
                "CG of a module is preconditioned by the diagonal. Got preconditioner="
                f"{solver.preconditioner!r}."
            )


class _Scaled:
    """``S H S`` of a curvature."""

    def __init__(self, curvature, scale):
        self._curvature, self._scale = curvature, scale[:, None]

    def matmat(self, V):
        return self.product(V)

    def product(self, V, dtype=np.float64):
        return self._scale * self._curvature.product(self._scale * V, dtype)


class _ScaledPreconditioner:
    """``S^-1 M^-1 S^-1``."""

    def __init__(self, precondition, inverse_scale):
        self._precondition, self._inverse = precondition, inverse_scale[:, None]

    def apply(self, R):
        return self._inverse * self._precondition(self._inverse * R)


class _ScaledStart:
    """Solutions of another factor in the units of ``S H S``."""

    def __init__(self, start, scale):
        self._start, self._scale = start, scale[:, None]

    def solution(self, B):
        found = self._start.solution(B / self._scale)
        return replace(found, X=found.X / self._scale)


class ProbedFactor(CGFactor):
    """Leverages from random probes, ``V = H^-1 (J' D^1/2 z_1 + R^1/2 z_2)`` with ``D = w Lambda``.

    ``mean (x_i'V)^2`` estimates ``h_i`` and ``mean (z_1i - D_i^1/2 x_i'V)^2`` estimates
    ``1 - D_i h_i``, positive whatever the leverage; their ratio, from the same probes, is what a
    removal needs.
    """

    name = "CG, random probes"
    # Of the probes' solves: far below their sampling error.
    PROBE_RTOL = 1e-4

    def __init__(self, objective, solver, shift=0.0):
        super().__init__(objective, solver, shift)
        if solver.probes < 4:
            raise ValueError(f"probes must be at least 4. Got {solver.probes!r} instead.")
        rng = check_random_state(solver.random_state)
        root = np.sqrt(objective.weighted_hessians[:, 0, 0])[:, None]
        z = rng.standard_normal((objective.n_samples, solver.probes))
        B = objective.design.adjoint(root * z)
        B += np.sqrt(self.curvature.penalty)[:, None] * rng.standard_normal(B.shape)
        self._V = self._iterate(B, self.PROBE_RTOL).X
        moved = objective.design.multiply(self._V)
        own, rest = moved**2, (z - root * moved) ** 2
        self._h, kept = own.mean(axis=1), rest.mean(axis=1)
        # Delta method on the ratio of the two means.
        m = solver.probes
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = own / self._h[:, None] - rest / kept[:, None]
        self.standard_error = np.nan_to_num(spread.std(axis=1)) / np.sqrt(m)
        # The mean of 1 / chi^2_m is m / (m - 2) times the inverse mean.
        self._kept = kept / (1.0 - 2.0 / m)
        self.leverage_error = float(np.median(self.standard_error))
        warnings.warn(
            f"Leverages are estimated from {m} random probes, with a median relative standard "
            f"error of {self.leverage_error:.2f} (largest {self.standard_error.max():.2f}) in each "
            "removal. It halves with four times the probes.",
            UserWarning,
            stacklevel=level_outside(),
        )

    is_random = True

    def complements(self, rows, share):
        return ((1.0 - share) + share * self._kept[rows])[:, None, None]

    def _leverages(self, design):
        h = self._h if design is None else (design.multiply(self._V) ** 2).mean(axis=1)
        return h[:, None, None]

    def _sibling(self, shift):
        raise ValueError("Random probes need hold='C'.")
