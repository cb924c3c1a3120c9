"""What every factorisation offers."""

import copy
from abc import ABC, abstractmethod
from typing import Literal, Protocol

import numpy as np

from skinfluence._utils.locks import Locked
from skinfluence._utils.memory import row_blocks
from skinfluence.curvature import Curvature
from skinfluence.solvers.reports import Solution, SolveReport


class SingularHessianError(ValueError):
    """The objective has no unique optimum, so its answers are not defined.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import Influence
    >>> from skinfluence.solvers import SingularHessianError
    >>> X, y = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), [0, 1, 0, 1]
    >>> model = LogisticRegression(C=np.inf).fit(X, y)
    >>> try:
    ...     Influence(model, X, y).self_influence()
    ... except SingularHessianError:
    ...     print("two columns are the same")
    two columns are the same
    """


class DistantFitError(SingularHessianError):
    """The Hessian is singular at the fit, not at the optimum.

    Parameters
    ----------
    message : str
    polished : callable
        Without arguments: the answers at the optimum.
    """

    def __init__(self, message, polished):
        super().__init__(message)
        self.polished = polished


# Up to this size the leverages of the training rows are kept.
KEPT_BYTES = 2**27


class Factor(Locked, ABC):
    """A factorised Hessian. Read-only once made, so queries may run concurrently.

    Parameters
    ----------
    objective : Objective
    shift : float, default=0.0
        The Hessian is ``H + shift R0`` (see :class:`~skinfluence.curvature.Curvature`).
    damping : float, default=0.0
        And ``damping`` times the identity.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import objective_of
    >>> from skinfluence.solvers import Exact
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> objective = objective_of(Ridge(fit_intercept=False).fit(X, y), X, y)
    >>> Exact().factor(objective).solve(np.array([[22.0]]))  # H = 1 + 0 + 1 + 4 + 16
    array([[1.]])
    """

    name = ""
    rcond = None
    # Relative error of leverages beyond float64 round-off, and whether it is a standard error.
    leverage_error = 0.0
    is_random = False
    rtol = 0.0
    # Leverages of the training rows once they were asked for, where they are small.
    kept_leverages = None

    # Whether leverages are best asked for by blocks of rows: they cost no more, and are too many to keep.
    leverages_by_blocks = False

    def __init__(self, objective, shift=0.0, damping=0.0):
        self.objective = objective
        self.curvature = Curvature(objective, shift, damping)
        super().__init__()
        self._siblings = {}

    def __getstate__(self):
        return {**super().__getstate__(), "_siblings": {}}

    @abstractmethod
    def _solve(self, B):
        """``H^-1 B`` and the number of iterations, for this factor's own shift."""

    @abstractmethod
    def _sibling(self, shift):
        """A factor of the same kind for another shift."""

    @abstractmethod
    def _leverages(self, design):
        """``J_i H^-1 J_i'`` for this factor's own shift."""

    def holding(self, hold):
        """The factor for another meaning of edits: the Hessian is the same."""
        objective = self.objective.holding(hold)
        if objective.hold == self.objective.hold:
            return self
        # With a lock and siblings of its own, like any copy.
        other = copy.copy(self)
        other.objective, other.curvature = objective, self._curvature_at(objective)
        # Belongs to R0.
        other.__dict__.pop("_spectrum", None)
        return other

    def moved_to(self, objective):
        """The factor at other parameters, where the Hessian is the same."""
        other = copy.copy(self)
        other.objective, other.curvature = objective, self._curvature_at(objective)
        return other

    def _curvature_at(self, objective):
        return Curvature(objective, self.curvature.shift, self.curvature.damping)

    def shifted(self, shift):
        """The factor of ``H + shift R0``; this one for 0."""
        if shift == 0.0 or self.objective.penalty_stays:
            return self
        with self._lock:
            if shift not in self._siblings:
                # A handful is enough for the questions that repeat; more would only hold memory.
                while len(self._siblings) >= 4:
                    self._siblings.pop(next(iter(self._siblings)))
                self._siblings[shift] = self._sibling(shift)
            return self._siblings[shift]

    def lost_at(self, shift):
        """What solves with ``shifted(shift)`` lose, of one shift or each; 0 where nobody looks."""
        return 0.0

    def solution(self, B):
        """Solve, and say how well each column is solved.

        Parameters
        ----------
        B : ndarray of shape (n_parameters, m)

        Returns
        -------
        solution : Solution
        """
        X, iterations = self._solve(B)
        residual = relative_residuals(B, B - self.curvature.matmat(X))
        return Solution(X, np.full(B.shape[1], iterations), residual, residual < 1e-6)

    def for_steps(self):
        """What solves for steps whose errors the next gradient takes back: itself, if nothing is faster."""
        return self

    def solve(self, B, shift=0.0):
        """``(H + shift R0)^-1 B``.

        Parameters
        ----------
        B : ndarray of shape (n_parameters, m)
        shift : float or ndarray of shape (m,), default=0.0
            One for all columns, or one per column.
        """
        if not B.shape[1]:
            return np.zeros(B.shape)
        shift = np.asarray(shift, dtype=float)
        if shift.ndim == 0 or self.objective.penalty_stays:
            own = self if shift.ndim else self.shifted(float(shift))
            return own._solve(B)[0]
        return self._solve_each(B, shift)

    def leverages(self, design=None, shift=0.0):
        """``h_i = J_i (H + shift R0)^-1 J_i'`` of every row.

        Parameters
        ----------
        design : Design, default=None
            The training rows when None.
        shift : float or ndarray of shape (n_rows,), default=0.0

        Returns
        -------
        h : ndarray of shape (n_rows, n_outputs, n_outputs)
        """
        shift = np.asarray(shift, dtype=float)
        if shift.ndim == 0 or self.objective.penalty_stays:
            own = self if shift.ndim else self.shifted(float(shift))
            return own._leverages(design) if design is not None else own._training_leverages()
        return self._leverages_each(design, shift)

    def _training_leverages(self):
        """Those of all training rows, kept for the next question where they are small."""
        h = self.kept_leverages
        if h is None:
            h = self._leverages(None)
            if h.nbytes <= KEPT_BYTES and not self.is_random:
                h.flags.writeable = False
                self.kept_leverages = h
        return h

    def complements(self, rows, share):
        """``I - share_i w_i Lambda_i h_i`` of training rows where it is known without cancellation.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)
        share : ndarray of shape (m,)
            Of the curvature of each row, between 0 and 1.

        Returns
        -------
        complements : ndarray of shape (m, n_outputs, n_outputs) or None
            NaN where they are not.
        """
        return None

    def _solve_each(self, B, shift):
        out = np.empty_like(B)
        for value in np.unique(shift):
            columns = shift == value
            out[:, columns] = self.shifted(float(value))._solve(B[:, columns])[0]
        return out

    def _leverages_each(self, design, shift):
        rows = self.objective.design if design is None else design
        k = self.objective.loss.n_outputs
        out = np.empty((rows.n_samples, k, k))
        for value in np.unique(shift):
            chosen = np.flatnonzero(shift == value)
            out[chosen] = self.shifted(float(value))._leverages(rows.take(chosen))
        return out

    def solve_rows(self, design, coefficients, shift=0.0):
        """``H^-1 J_i' a_i`` for every row, shape (n_rows, n_outputs, n_columns).

        Parameters
        ----------
        design : Design of n_rows rows
        coefficients : ndarray of shape (n_rows, n_outputs)
            The ``a_i``.
        """
        rows = design.dense_rows()
        B = coefficients[:, :, None] * rows[:, None, :]
        flat = B.reshape(len(rows), B.shape[1] * B.shape[2])
        return self.solve(flat.T, shift).T.reshape(B.shape)

    def leverages_by_solves(self, design, shift=0.0):
        """As :meth:`leverages`, the general way: one solve per row and output, and one product.

        Of ``x`` near ``H^-1 b``, ``b'x + x'(b - H x)`` is off by the square of what x is.
        """
        k, d = self.objective.theta.shape
        penalty = np.tile(self.objective.unit_penalty, k)[:, None]
        h = np.empty((design.n_samples, k, k))
        identity = np.eye(k)
        for block in row_blocks(design.n_samples, 32 * k * self.objective.n_parameters):
            part = design.take(block)
            rows, own = part.dense_rows(), shift if np.ndim(shift) == 0 else shift[block]
            solved = [
                self.solve_rows(part, np.broadcast_to(identity[a], (len(rows), k)), own)
                for a in range(k)
            ]
            for a, S in enumerate(solved):
                flat = S.reshape(len(rows), k * d).T
                left = -(self._product(flat) + own * penalty * flat)
                left = left.T.reshape(len(rows), k, d)
                left[:, a] += rows
                for b, other in enumerate(solved):
                    h[block, b, a] = np.einsum("id,id->i", S[:, b], rows)
                    h[block, b, a] += np.einsum("ikd,ikd->i", other, left)
        return h

    def _product(self, V):
        """``H V``, the cheapest way that this factor has."""
        return self.curvature.matmat(V)

    def largest_decrement(self, gradient):
        """An upper bound of ``sqrt(G' H^-1 G)``, or that itself where a solve costs next to nothing.

        Parameters
        ----------
        gradient : ndarray of shape (n_parameters,)
        """
        return np.sqrt(np.maximum(0.0, float(gradient @ self._solve(gradient[:, None])[0][:, 0])))

    def report(self):
        """A :class:`SolveReport` from one probe solve, with the gradient as right-hand side."""
        objective = self.objective
        gradient = objective.gradient()
        scale = np.abs(objective.weighted_gradients)
        largest = np.max(_absolute_adjoint(objective.design, scale), initial=0.0)
        # At an exact optimum the gradient is round-off: still a fair probe of the solver.
        probe = gradient if np.any(gradient) else np.ones_like(gradient)
        solution = self.solution(probe[:, None])
        step, error = solution.X[:, 0], solution.standard_error
        decrement = np.sqrt(np.maximum(0.0, float(gradient @ step))) if np.any(gradient) else 0.0
        return SolveReport(
            solver=self.name,
            n_parameters=objective.n_parameters,
            iterations=int(solution.iterations[0]),
            residual=float(solution.residual[0]),
            converged=bool(solution.converged[0]),
            rcond=self.rcond,
            newton_decrement=float(decrement),
            leverage_error=float(self.leverage_error),
            relative_gradient=float(np.abs(gradient).max() / largest) if largest else 0.0,
            damping=float(getattr(self.curvature, "damping", 0.0)),
            standard_error=0.0
            if error is None
            else float(np.linalg.norm(error) / np.linalg.norm(step)),
        )


class Solver(Protocol):
    """What inverts a Hessian: anything with ``factor(objective)``.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> from skinfluence.solvers import Exact
    >>> class Mine:
    ...     def factor(self, objective):
    ...         return Exact(precision="float64").factor(objective)
    ...
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> Influence(Ridge().fit(X, y), X, y, solver=Mine()).report().solver
    'primal Cholesky'
    """

    def factor(self, objective) -> Factor:
        """Factor the Hessian at ``objective.theta``."""


SolverLike = Literal["auto", "exact", "cg", "lissa"] | Solver


def relative_residuals(B, R):
    """``|r| / |b|`` of each column, 0 for ``b = 0``."""
    size = column_sizes(B)
    return np.linalg.norm(R / size, axis=0) / np.maximum(np.linalg.norm(B / size, axis=0), 1e-300)


def column_sizes(B):
    """The largest entry of each column, 1 for columns of zeros: no square of the rest underflows."""
    size = np.abs(B).max(axis=0, initial=0.0)
    return np.where(size > 0, size, 1.0)


def check_determined(curvature, diagonal):
    """Refuse a Hessian whose diagonal already shows that it is singular.

    Raises
    ------
    SingularHessianError
        For more parameters without penalty than rows with weight, and for diagonal entries that
        are not positive.
    """
    objective = curvature.objective
    k, n_rows = objective.loss.n_outputs, int(np.count_nonzero(objective.weights))
    free = int(np.count_nonzero(curvature.penalty == 0)) * k
    if free > n_rows * k:
        raise SingularHessianError(
            f"The Hessian must be positive definite. {free} parameters are not penalised and "
            f"only {n_rows} rows have weight. Penalise the model."
        )
    if not (diagonal > 0).all():
        raise SingularHessianError(
            "The Hessian must be positive definite. Its diagonal has entries that are not "
            "positive. Penalise the model, or drop constant columns."
        )


def check_damping(damping):
    """``damping`` as a float.

    Raises
    ------
    ValueError
        If it is not finite and non-negative.
    """
    if not (np.isfinite(damping) and damping >= 0):
        raise ValueError(f"damping must be finite and non-negative. Got {damping!r} instead.")
    return float(damping)


def _absolute_adjoint(design, U):
    return type(design)(abs(design.X), abs(design.intercept)).adjoint(U)
