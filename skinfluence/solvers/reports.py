"""What is known of solutions of linear systems."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moved:
    """How far ``polish=True`` took a model from its fit.

    Attributes
    ----------
    newton_decrement : float
        Of the fit, in units of the square root of the objective.
    parameters : float
        ``|theta - fitted| / |theta|``.
    decision_values : float
        Largest change of a training row's decision value.
    """

    newton_decrement: float
    parameters: float
    decision_values: float

    @classmethod
    def between(cls, before, after, decrement):
        """From an objective at its fit to the same one at its optimum."""
        eta = before.loss.expand(after.eta) - before.loss.expand(before.eta)
        size = float(np.linalg.norm(after.theta))
        return cls(
            newton_decrement=decrement,
            parameters=float(np.linalg.norm(after.theta - before.theta)) / size if size else 0.0,
            decision_values=float(np.abs(eta).max(initial=0.0)),
        )


@dataclass(frozen=True, eq=False)
class Solution:
    """Solutions of ``H X = B`` and what is known of each, column by column.

    Attributes
    ----------
    X : ndarray of shape (n_parameters, m)
    iterations : ndarray of int of shape (m,)
        0 for direct solvers.
    residual : ndarray of shape (m,)
        ``|H x - b| / |b|``, of the solution itself; 0 for ``b = 0``.
    converged : ndarray of bool of shape (m,)
    standard_error : ndarray of shape (n_parameters, m) or None
        Of each entry of ``X``, by a stochastic solver.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import objective_of
    >>> from skinfluence.solvers import Exact
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> factor = Exact().factor(objective_of(Ridge().fit(X, y), X, y))
    >>> solution = factor.solution(np.eye(2))
    >>> solution.X.shape, bool(solution.converged.all()), bool(solution.residual.max() < 1e-12)
    ((2, 2), True, True)
    """

    X: np.ndarray
    iterations: np.ndarray
    residual: np.ndarray
    converged: np.ndarray
    standard_error: np.ndarray | None = None


@dataclass(frozen=True)
class SolveReport:
    """How the linear systems are solved, and how near the optimum the fit is.

    Attributes
    ----------
    solver : str
        ``"primal Cholesky"``, ``"dual Cholesky"``, ``"CG"`` or ``"LiSSA"``.
    n_parameters : int
        Size of the Hessian.
    iterations : int
        Of the probe solve; 0 for direct solvers.
    residual : float
        Relative residual ``|H x - b| / |b|`` of the probe solve.
    converged : bool
    rcond : float or None
        Reciprocal condition estimate of the diagonally scaled Hessian (direct solvers).
    newton_decrement : float
        ``sqrt(G' H^-1 G)`` at the fitted parameters, in units of the square root of the
        objective; 0 at the optimum.
    leverage_error : float
        Relative error of leverages: 0 in float64, measured in mixed precision, the median standard
        error of random probes.
    relative_gradient : float
        Largest entry of ``G`` over the largest entry of ``sum_i w_i |J_i' g_i|``.
    moved : Moved or None
        What ``Influence(..., polish=True)`` did first.
    damping : float
        What was added to the diagonal of the Hessian because the solver was told to.
    standard_error : float
        Of the probe solve, relative to its size; 0 for solvers that do not draw rows.
    held : str or None
        What the estimator, or a search, chose on all rows, and every answer holds.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence
    >>> X, y = load_diabetes(return_X_y=True)
    >>> report = Influence(Ridge().fit(X, y), X, y).report()
    >>> report.solver, report.n_parameters, bool(report.newton_decrement < 1e-9)
    ('primal Cholesky', 11, True)
    """

    solver: str
    n_parameters: int
    iterations: int
    residual: float
    converged: bool
    rcond: float | None
    newton_decrement: float
    leverage_error: float
    relative_gradient: float
    moved: Moved | None = None
    damping: float = 0.0
    standard_error: float = 0.0
    held: str | None = None
