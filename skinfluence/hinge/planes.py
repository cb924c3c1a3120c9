"""Linear machines by their weights, where coefficients have too few digits for what they add up to.

A decision value ``sum_j beta_j x_j' x`` of columns in very different units is a sum of terms that cancel:
rounding coefficients to float64 may move it by 1e-16 of the largest term. Its weights ``w`` have digits of
their own. They are summed with more digits, and moved until the rows on the margin have their targets.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy import linalg

from skinfluence._utils.products import subtract_product
from skinfluence.active_set.problem import AT_LIMIT

# What rounding may leave of decision values before weights replace coefficients.
ENOUGH = 1e-9
# Entries of the rows that are summed with more digits.
MOST_ENTRIES = 20_000_000
MOST_REFINEMENTS = 8
EPS = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Turned:
    """Changes of a decision function by changes of its weights.

    Attributes
    ----------
    places : ndarray of int, shape (k,)
        Of the edits among those that move anything.
    weights : ndarray of shape (k, n_features)
    bias : ndarray of shape (k,)
    """

    places: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def at(self, X, some=slice(None)):
        """At rows, (k, n_rows)."""
        return self.weights[some] @ X.T + self.bias[some, None]


class Planes:
    """The weights of one binary problem at its optimum and after edits.

    Parameters
    ----------
    problem : HingeObjective
    solution : HingeOptimum
    rows : ndarray of int
        Training rows of the binary problem.
    """

    def __init__(self, problem, solution, rows):
        self.solution, self.free_bias = solution, problem.free_bias
        X = problem.design.X
        self.X = X if len(rows) == problem.n_samples else X[rows]
        self.intercept = 0.0 if problem.free_bias else problem.intercept
        self.known = problem.is_linear and not sp.issparse(X) and X.size <= MOST_ENTRIES

    @cached_property
    def _sizes(self):
        return np.sqrt(np.maximum(self.solution.problem.diagonal, 0.0))

    @property
    def lacks_digits(self):
        """Whether coefficients at the optimum itself have too few."""
        return self.known and self.solution.problem.rounding(self.solution.beta) > ENOUGH

    @cached_property
    def at_optimum(self):
        """Weights and bias of the optimum; the bias is what stands beside the features."""
        beta, problem = self.solution.beta, self.solution.problem
        return self._settled(self.X, beta, problem.C, problem.target, self.solution.bias)

    def decision(self, X):
        """Decision values of rows at the optimum, (n_rows,)."""
        w, bias = self.at_optimum
        return X @ w + bias

    def after(self, moves, new=None):
        """The edits whose coefficients lack digits, as :class:`Turned`; None for none.

        Parameters
        ----------
        moves : CoefficientMoves
        new : ndarray of shape (n_new, n_features) or None
            Rows that the edit adds.
        """
        if not self.known or not len(moves.moving) or sp.issparse(new):
            return None
        sizes, beta = self._sizes, self.solution.beta
        total = sizes @ np.abs(beta) + np.abs(moves.delta_beta) @ sizes[moves.columns]
        largest = sizes.max(initial=0.0)
        if new is not None:
            size = np.sqrt(np.einsum("ij,ij->i", new, new) + self.intercept**2)
            total, largest = total + np.abs(moves.new_beta) @ size, max(largest, size.max())
        # Of an edit that leaves one class nothing is known.
        places = np.flatnonzero(EPS * largest * total > ENOUGH)
        if not len(places):
            return None
        before = self.at_optimum
        ends = [self._edited(moves, i, new) for i in places]
        weights = np.array([w - before[0] for w, _ in ends])
        return Turned(places, weights, np.array([b - before[1] for _, b in ends]))

    def _edited(self, moves, i, new):
        problem = self.solution.problem
        beta, C, target = self.solution.beta.copy(), problem.C.copy(), problem.target.copy()
        beta[moves.columns] += moves.delta_beta[i]
        changes = moves.changes.subset([moves.moving[i]])
        C[changes.rows], target[changes.rows] = changes.C, changes.target
        X, bias = self.X, self.solution.bias + moves.delta_bias[i]
        if new is not None:
            X, beta = np.vstack([X, new]), np.append(beta, moves.new_beta[i])
            C = np.append(C, changes.new.C)
            target = np.append(target, changes.new.target)
        return self._settled(X, beta, C, target, bias)

    def _settled(self, X, beta, C, target, bias):
        """Weights that give the rows on the margin their targets, from coefficients near to it."""
        used, size = np.flatnonzero(beta), np.abs(beta)
        near = AT_LIMIT * np.minimum(C, size.max(initial=0.0))
        margin = np.flatnonzero((size > near) & (size < C - near))
        Z = self._with_intercept(X[used])
        w = -subtract_product(np.zeros((Z.shape[1], 1)), Z.T, beta[used, None], bits=100)[:, 0]
        w, bias = held(self._with_intercept(X[margin]), target[margin], w, bias, self.free_bias)
        return (w[:-1], bias + self.intercept * w[-1]) if self.intercept else (w, bias)

    def _with_intercept(self, X):
        if not self.intercept:
            return X
        return np.column_stack([X, np.full(len(X), self.intercept)])


def held(Z, targets, w, bias, free_bias):
    """The nearest weights at which rows have their targets, while that gains digits.

    Parameters
    ----------
    Z : ndarray of shape (m, d)
        Rows on the margin.
    targets : ndarray of shape (m,)
    w : ndarray of shape (d,)
    bias : float
    free_bias : bool
        Whether the bias moves, too, without weight.

    Returns
    -------
    w : ndarray of shape (d,)
    bias : float
    """
    if not len(Z):
        return w, bias
    # A free bias is no part of differences of rows.
    rows = Z[1:] - Z[0] if free_bias else Z
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if len(rows) > rows.shape[1] or not (lengths > 0).all():
        return w, bias
    Q, R = linalg.qr((rows / lengths[:, None]).T, mode="economic", check_finite=False)
    if not np.abs(np.diagonal(R)).min(initial=1.0) > 4.0 * EPS * len(Z):
        return w, bias
    last = np.inf
    for _ in range(MOST_REFINEMENTS):
        left = targets - (Z @ w + bias)
        if free_bias:
            bias, left = bias + left[0], left[1:] - left[0]
        size = np.abs(left).max(initial=0.0)
        if not size < 0.5 * last:
            break
        w = w + Q @ linalg.solve_triangular(R, left / lengths, trans="T", check_finite=False)
        last = size
    return w, bias
