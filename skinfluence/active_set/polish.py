"""The optimum of a hinge problem to round-off, from any start."""

from dataclasses import dataclass

import numpy as np

from skinfluence.active_set.problem import HingeProblem


@dataclass(frozen=True)
class Solution:
    """An optimum of a hinge problem.

    Attributes
    ----------
    problem : HingeProblem
    beta : ndarray of shape (n,)
        Coefficients with the sign of the label.
    bias : float
        Zero without a free bias. Where no row is on the margin every bias of an interval is
        optimal; this is its midpoint, which is libsvm's convention.
    bias_interval : tuple of float
        The optimal biases: both ends equal unless no row is on the margin.
    f : ndarray of shape (n,)
        Decision values.
    role : ndarray of int8, shape (n,)
        ``NONE``, ``MARGIN`` or ``BOUND``.
    kkt_residual : float
        Largest violation of the optimality conditions over all rows.
    distance : float
        Largest difference of decision values on the rows from those of the start.
    n_pivots : int
        Changes of role on the way from the start.
    """

    problem: HingeProblem
    beta: np.ndarray
    bias: float
    bias_interval: tuple
    f: np.ndarray
    role: np.ndarray
    kkt_residual: float
    distance: float
    n_pivots: int


def polish(problem, beta0=None, bias0=None):
    """Optimum of a hinge problem, exact to round-off.

    Parameters
    ----------
    problem : HingeProblem
    beta0 : ndarray of shape (n,), optional
        Where to start, with the sign of the label: the coefficients of a loosely converged solver,
        or zeros (default; a fit from scratch, for small n).
    bias0 : float, optional
        Bias of the start, for ``distance``.

    Returns
    -------
    solution : Solution

    Raises
    ------
    ValueError
        If ``beta0`` has another shape or is not finite.
    """
    raise NotImplementedError
