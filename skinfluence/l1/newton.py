"""The optimum of a smooth loss with an L1 penalty: Newton's method on the columns with a coefficient.

With the signs held the objective is smooth. A step ends where a coefficient comes to zero, whose column
goes; at the optimum of a set, the column whose slope is most above its penalty comes in. The objective
falls at each step, so that no set comes twice.
"""

import numpy as np
import scipy.linalg

from skinfluence.l1.optimum import MOST_SETS, NOT_UNIQUE, SLACK, factored
from skinfluence.solvers import SingularHessianError

# Of the objective: squared decrements from which on steps are whole and the factor is kept.
NEAR = 1e-9
# Squared decrements, of the objective, below which nothing is left.
SETTLED = 1e-27
# And below which a set is known well enough to see what else comes in, for so many sets.
SEEN, ROUGH_SETS = 1e-13, 100
# A step that leaves more than this share of the squared decrement before it was no good one.
FALLS = 0.25
# What a step must gain of what its slope says, and how often it is halved.
ARMIJO, HALVINGS = 1e-4, 40


def minimise(loss, design, y, w, l1, l2, start, guide=None):
    """Parameters at the optimum, from a start.

    Parameters
    ----------
    loss : SingleOutputLoss
    design : Design
    y, w : ndarray of shape (n,)
    l1, l2 : ndarray of shape (n_columns,)
    start : ndarray of shape (n_columns,)
    guide : ndarray of shape (n_columns, n_columns), default=None
        The Hessian of the loss of nearly the same rows at nearly the same parameters, for steps as long as
        they are good ones.

    Returns
    -------
    theta : ndarray of shape (n_columns,)

    Raises
    ------
    SingularHessianError
        Where it is not unique.
    """
    there = w > 0
    if not there.all():
        design, y, w = design.take(np.flatnonzero(there)), y[there], w[there]
    theta = np.array(start, dtype=float)
    signs = np.sign(theta) * (l1 > 0)
    inside = (theta != 0) | (l1 == 0)
    rough = True
    for k in range(MOST_SETS):
        settled = SEEN if rough and k < ROUGH_SETS else SETTLED
        problem = loss, design, y, w, l1, l2
        eta, theta, inside = _on_set(problem, theta, signs, inside, guide, settled)
        slope = _slopes(loss, design, y, w, eta) + l2 * theta
        excess = np.where(inside, -np.inf, np.abs(slope) - l1)
        j = int(excess.argmax())
        if not excess[j] > SLACK * l1[j]:
            if settled == SETTLED:
                return theta
            rough = False
            continue
        rough = True
        inside[j], signs[j] = True, -np.sign(slope[j])
    raise SingularHessianError(NOT_UNIQUE)


def columns_of(design, A):
    """Some columns of all rows, dense, (n, k); the intercept is the last of the design."""
    features = A[A < design.n_features]
    X = design.X[:, features]
    X = X.toarray() if hasattr(X, "toarray") else X
    if len(features) == len(A):
        return np.ascontiguousarray(X)
    return np.column_stack([X, np.full(len(X), design.intercept)])


def _slopes(loss, design, y, w, eta):
    pull = w[:, None] * loss.gradient(eta[:, None], y)
    return design.adjoint(pull)[:, 0]


def _on_set(problem, theta, signs, inside, guide, settled):
    """The optimum on a set with its signs, and what is left of the set."""
    loss, design, y, w, l1, l2 = problem
    theta, inside = theta.copy(), inside.copy()
    A = np.flatnonzero(inside)
    Z = columns_of(design, A)
    eta = Z @ theta[A]
    value = _value(loss, y, w, l1, l2, theta, eta)
    factor, fresh, before = None, False, np.inf
    while len(A):
        slope = Z.T @ (w * loss.gradient(eta[:, None], y)[:, 0])
        slope += l2[A] * theta[A] + l1[A] * signs[A]
        if factor is None:
            fresh = guide is None
            H = _hessian_on(problem, Z, eta) if fresh else guide[np.ix_(A, A)].copy()
            H[np.arange(len(A)), np.arange(len(A))] += l2[A]
            factor = factored(H)
        step = -scipy.linalg.cho_solve(factor, slope)
        size = -float(slope @ step)
        if size <= settled * value:
            break
        near = size <= NEAR * value
        if size > FALLS * before and (near or guide is not None):
            if fresh:
                # Rounding is all that is left.
                break
            guide, factor, before = None, None, np.inf
            continue
        before = size
        # Not beyond where a coefficient comes to zero.
        with np.errstate(divide="ignore", invalid="ignore"):
            reached = np.where(signs[A] * step < 0, -theta[A] / step, np.inf)
        goes = int(reached.argmin())
        most = min(1.0, reached[goes])
        least = None if near else ARMIJO * size
        theta, eta, value, t = _searched(problem, theta, (A, Z, step), value, most, least)
        fresh = False
        if guide is None and not near:
            factor = None
        if t == most < 1.0:
            theta[A[goes]] = 0.0
            inside[A[goes]] = False
            A = np.flatnonzero(inside)
            Z = columns_of(design, A)
            eta = Z @ theta[A]
            factor, before = None, np.inf
    return eta, theta, inside


def _hessian_on(problem, Z, eta):
    """The Hessian of the loss in some columns, (k, k)."""
    loss, _, y, w, *_ = problem
    curved = w * loss.hessian(eta[:, None], y)[:, 0, 0]
    return (curved[:, None] * Z).T @ Z


def _searched(problem, theta, way, value, most, least):
    """The point on a way where the objective falls by ``least`` for each part of it, halved from ``most``.

    Parameters
    ----------
    problem : tuple
        Of :func:`_on_set`.
    theta : ndarray of shape (n_columns,)
    way : tuple of the set, its columns and the step on it
    value : float
        Of the objective at ``theta``.
    most : float
    least : float or None
        None where any end of the way does.

    Returns
    -------
    theta, eta : ndarray
    value, t : float
        Of the objective there, and the share of the way.
    """
    loss, _, y, w, l1, l2 = problem
    A, Z, step = way
    moved, t = theta.copy(), most
    for _ in range(HALVINGS):
        moved[A] = theta[A] + t * step
        eta = Z @ moved[A]
        gained = value - _value(loss, y, w, l1, l2, moved, eta)
        if least is None or gained >= t * least or not t:
            break
        t *= 0.5
    return moved, eta, value - gained, t


def _value(loss, y, w, l1, l2, theta, eta):
    penalty = l1 @ np.abs(theta) + 0.5 * l2 @ theta**2
    return float(w @ loss.value(eta[:, None], y) + penalty)
