"""Models with an L1 penalty after an edit: the optimum by its support, and how far it may be off.

On the support A with its signs, what the coefficients leave of the slopes there is ``v``, and the optimum on
that set is within ``|v|`` in the norm of ``H^-1``. It is the optimum of all where that moves no sign and
takes no other column's slope to the penalty; that holds for all but ties, and is looked at.
"""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence import certificate
from skinfluence.editing.solving import Solved, solve_edited, solve_whole
from skinfluence.editing.writing import write_linear
from skinfluence.l1.answers import L1Answers
from skinfluence.l1.newton import columns_of
from skinfluence.l1.problem import L1Problem
from skinfluence.l1.smooth_answers import SmoothL1Answers
from skinfluence.l1.smooth_problem import SmoothL1Problem
from skinfluence.solvers import SingularHessianError

EPS = np.finfo(np.float64).eps


@solve_edited.register
def _(problem: L1Problem, answers, points, tol):
    return solved_squares(L1Answers(started(problem, answers.theta)))


@solve_edited.register
def _(problem: SmoothL1Problem, answers, points, tol):
    return solved_smooth(SmoothL1Answers(started(problem, answers.theta)))


@solve_whole.register
def _(problem: L1Problem | SmoothL1Problem, edit, tol):
    return solved_l1(edit.objective())


def solved_l1(problem):
    """The :class:`Solved` problem from wherever it is."""
    if isinstance(problem, L1Problem):
        return solved_squares(L1Answers(problem))
    return solved_smooth(SmoothL1Answers(problem))


def started(problem, theta):
    """The edited problem from other parameters."""
    return replace(problem, theta=theta)


def solved_squares(answers):
    """The :class:`Solved` problem of answers about a squared error, at its optimum."""
    problem, support = answers.problem, answers.support
    rows, A, b = support.rows, support.active, support.b
    Z = rows.columns(A)
    residual = rows.y - rows.target - Z @ b[A]
    left = rows.adjoint(residual) - problem.l2 * b
    rounded = np.abs(rows.y - rows.target) + np.abs(Z) @ np.abs(b[A])
    X = abs(rows.X)
    rounding = np.asarray(X.T @ (rows.w * rounded)).ravel()
    rounding += np.abs(rows.mean) * (rows.w @ rounded) + problem.l1 + problem.l2 * np.abs(b)
    norms = np.asarray((X * X if isinstance(X, np.ndarray) else X.multiply(X)).T @ rows.w).ravel()
    norms = np.sqrt(np.maximum(norms - rows.weight * rows.mean**2, 0.0) + 8 * EPS * norms)
    H = (rows.w[:, None] * Z).T @ Z + problem.l2 * np.eye(len(A))
    penalty = np.full(len(b), problem.l1)
    ends = Conditions(A, support.signs, b[A], left, 4.0 * EPS * rounding, norms, penalty)
    bound, inverse = ends.bound(H, Z, 0.0, problem.positive)
    reach = SupportReach(A, inverse, rows.mean[A], 0.0)
    size = np.abs(rows.target) + np.abs(Z) @ np.abs(b[A]) + np.abs(rows.mean[A]) @ np.abs(b[A])
    return _solved(answers, bound, reach, size)


def solved_smooth(answers):
    """The :class:`Solved` problem of answers about a smooth loss, at its optimum."""
    problem, support = answers.problem, answers.support
    A, theta = support.active, answers.theta
    there = problem.weights > 0
    design, y, w = problem.design.take(there), problem.y[there], problem.weights[there]
    Z = support.columns[there]
    eta = support.eta[there][:, None]
    loss = problem.loss
    left = -design.adjoint(w[:, None] * loss.gradient(eta, y))[:, 0] - problem.l2 * theta
    curved = w * loss.hessian(eta, y)[:, 0, 0]
    rounded = w * np.abs(loss.gradient(eta, y)[:, 0]) + curved * (np.abs(Z) @ np.abs(theta[A]))
    size = type(design)(abs(design.X), abs(design.intercept))
    rounding = size.adjoint(rounded[:, None])[:, 0] + problem.l1 + problem.l2 * np.abs(theta)
    squares = type(design)(_squared(design.X), design.intercept**2)
    norms = np.sqrt(squares.adjoint(curved[:, None])[:, 0])
    ends = Conditions(A, support.signs, theta[A], left, 4.0 * EPS * rounding, norms, problem.l1)
    M = loss.self_concordance
    bound, inverse = ends.bound(support.hessian, Z, np.inf if M is None else M)
    reach = SupportReach(A, inverse, np.zeros(len(A)), design.intercept)
    return _solved(answers, bound, reach, np.abs(Z) @ np.abs(theta[A]))


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the optimality conditions of a support are made of, at its coefficients.

    Parameters
    ----------
    active : ndarray of int, shape (k,)
        The support.
    signs, b : ndarray of shape (k,)
        Of the coefficients on it, 0 for those without a penalty; and these.
    left, rounding : ndarray of shape (d,)
        Minus the slopes without the L1 part, and what rounding may make of them.
    norms : ndarray of shape (d,)
        Of the columns, by the curvature.
    penalty : ndarray of shape (d,)
        The L1 penalty of each column.
    """

    active: np.ndarray
    signs: np.ndarray
    b: np.ndarray
    left: np.ndarray
    rounding: np.ndarray
    norms: np.ndarray
    penalty: np.ndarray

    def bound(self, H, Z, M, positive=False):
        """On the distance from the optimum in the norm of H, and the inverse of that.

        Infinite where the support may be another's.

        Parameters
        ----------
        H : ndarray of shape (k, k)
            On the support.
        Z : ndarray of shape (n, k)
            The columns of the support.
        M : float
            Of self-concordance; 0 for squared error.
        positive : bool, default=False
            Whether coefficients may not be negative.
        """
        A, penalty = self.active, self.penalty
        try:
            inverse = np.linalg.inv(H) if len(H) else np.empty((0, 0))
        except np.linalg.LinAlgError:
            raise SingularHessianError("The columns with a coefficient are combinations.") from None
        v, near = self.left[A] - penalty[A] * self.signs, self.rounding[A]
        bound = np.sqrt(max(v @ inverse @ v, 0.0)) + np.sqrt(near @ np.abs(inverse) @ near)
        kappa = 0.0
        if M:
            kappa = float(np.sqrt(np.einsum("ik,kl,il->i", Z, inverse, Z, optimize=True).max()))
            bound = float(certificate.gradient_bound(M, kappa, np.array(bound), np.array(0.0)))
        if not np.isfinite(bound):
            return np.inf, inverse
        moved = bound * np.sqrt(np.diagonal(inverse))
        rest = np.ones(len(self.left), dtype=bool)
        rest[A] = False
        slopes = self.left[rest] if positive else np.abs(self.left[rest])
        slopes = slopes + self.rounding[rest] + np.exp(M * kappa * bound) * self.norms[rest] * bound
        keeps_signs = (np.abs(self.b) > moved)[self.signs != 0].all()
        same = keeps_signs and (slopes <= penalty[rest]).all()
        return (float(bound) if same else np.inf), inverse


class SupportReach:
    """``|z|_{H^-1}`` of points on a support.

    Parameters
    ----------
    active : ndarray of int, shape (k,)
    inverse : ndarray of shape (k, k)
    middle : ndarray of shape (k,)
        What points are measured from.
    intercept : float
        Of a column of its own; 0 for none, or one that the middle takes up.
    """

    def __init__(self, active, inverse, middle, intercept):
        self.active, self.inverse, self.middle = active, inverse, middle
        self.intercept = intercept

    def __call__(self, design):
        Z = columns_of(design, self.active) - self.middle
        return np.sqrt(np.maximum(np.einsum("ik,kl,il->i", Z, self.inverse, Z), 0.0))[:, None]


def _solved(answers, bound, reach, sizes):
    """A :class:`Solved` problem at its optimum; sizes are those of the sums that predictions are."""
    problem = replace(answers.problem, theta=answers.theta)
    floor = 8.0 * EPS * float(sizes.max(initial=0.0))
    answers.problem = problem
    return Solved(problem, bound, np.nan, "support", reach, write_linear, 1, floor, answers)


def _squared(X):
    return X.multiply(X).tocsr() if hasattr(X, "multiply") else X * X
