"""Edits of kernel ridge regression in closed form.

Over the rows U whose weight goes from w to w' or whose target changes by dy, and the new rows N,

    [ diag(d^-1) + X_UU    V_U          ] [ mu     ]   [ b_U       ]
    [ -V_U'                C - k_N'V    ] [ beta_N ] = [ y_N - f_N ]

with ``X = A^-1``, ``V = X k_N``, ``C = k_NN + alpha W_N^-1``, ``d^-1 = w w' / (alpha (w - w'))``, and
``b`` and ``f`` those after the change of the targets. Decision values then move by
``s_tU' (dy - mu) + (k_tN - s_t' k_N) beta_N``. A removed row has ``d^-1 = 0``.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from skinfluence.kernel.system import SolvedSide


@dataclass(frozen=True, eq=False)
class FreshRows:
    """Rows the system does not hold: new ones, and training rows that had no weight.

    Attributes
    ----------
    idle : ndarray of int, shape (q_idle,)
        Training rows of weight zero; they come first.
    design : KernelDesign or None
        The others.
    y, weights : ndarray of shape (q,)
    """

    idle: np.ndarray
    design: object
    y: np.ndarray
    weights: np.ndarray

    def __len__(self):
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Change:
    """An edit in the terms of the system.

    Attributes
    ----------
    active : ndarray of int, shape (m,)
        Positions in the system of the rows that change.
    weight, y : ndarray of shape (m,)
        After the edit.
    new : FreshRows
    """

    active: np.ndarray
    weight: np.ndarray
    y: np.ndarray
    new: FreshRows


def change_of(answers, points):
    """A :class:`Change` from :class:`~skinfluence.edits.points.Points`.

    A row that is removed and comes back, with another target or weight, stays the same row: its
    kernel values are those of the system, exact where differences of them would lose digits.
    """
    problem, place = answers.problem, answers.place
    after = np.maximum(problem.weights[points.rows] + points.row_changes, 0.0)
    y = problem.y[points.rows].copy()
    keep = np.flatnonzero(points.new_weights > 0)
    fresh = []
    for j in keep:
        twin = _twin(problem.design.X, points.new.X, points.rows[after == 0.0], j)
        if twin is None:
            fresh.append(j)
            continue
        at = np.flatnonzero(points.rows == twin)[0]
        after[at], y[at] = points.new_weights[j], points.new_y[j]
    if fresh and not problem.design.kernel.knows_new_rows:
        raise TypeError(
            "New and replaced rows need their kernel values with each other. Got a precomputed "
            "kernel, which has those with the training rows only; fit with the kernel itself."
        )
    held = place[points.rows] >= 0
    idle = ~held & (after > 0)
    new = FreshRows(
        points.rows[idle],
        points.new.take(fresh) if fresh else None,
        np.concatenate([y[idle], points.new_y[fresh] if fresh else []]),
        np.concatenate([after[idle], points.new_weights[fresh]]),
    )
    return Change(place[points.rows[held]], after[held], y[held], new)


def _twin(X, new, rows, j):
    """The first of some training rows that new row j repeats, or None."""
    for row in rows:
        if sp.issparse(X):
            same = X.shape[1] == new.shape[1] and not (X[[row]] != new[[j]]).nnz
        else:
            same = np.array_equal(X[row], new[j])
        if same:
            return row
    return None


@dataclass(frozen=True, eq=False)
class SolvedEdit:
    """How the decision values of any point move under an edit.

    Attributes
    ----------
    active : ndarray of int, shape (m,)
    coef : ndarray of shape (m,)
        The factors of ``s_t`` at these positions.
    new : FreshRows
    known : SolvedSide
        The new rows' kernel values with the active rows.
    new_coef : ndarray of shape (q,)
        The factors of what the system leaves of the new rows' kernel values.
    measured : callable
        What makes ``size`` and ``leverage``, which not everybody asks for.
    """

    active: np.ndarray
    coef: np.ndarray
    new: FreshRows
    known: SolvedSide
    new_coef: np.ndarray
    measured: object

    @cached_property
    def _measures(self):
        return self.measured(self.coef, self.new_coef)

    @property
    def size(self):
        """The change of the function in the norm of the edited Hessian."""
        return self._measures[0]

    @property
    def leverage(self):
        """Largest eigenvalue of ``D^1/2 h D^1/2`` over the weight that is taken away."""
        return self._measures[1]


def solve_edit(answers, change, method):
    """The :class:`SolvedEdit`, to first order for ``method="influence"``, else exact."""
    system, alpha = answers.system, answers.problem.alpha
    U, new = change.active, change.new
    rows, ridge = system.rows[U], system.ridge[U]
    w, old_y = answers.problem.weights[rows], answers.problem.y[rows]
    X = system.inverse[U[:, None], U]
    known = system.solved(answers.columns(new)[system.rows])
    V, left = known.solution[U], known.left_of(answers.among(new), known)
    y_left = known.left_of(new.y[:, None], answers.solved_y)[:, 0]
    dy = np.where(change.weight > 0, change.y - old_y, 0.0)
    # c = d(w g), the change of the weighted gradients at the fit; g = -alpha beta / w.
    c = change.weight * (-ridge * answers.beta[U] - dy) + alpha * answers.beta[U]
    c_new = -new.weights * y_left

    def measured(coef, new_coef):
        at_rows = (coef - ridge * (X @ coef)) + ridge * (V @ new_coef)
        at_new = V.T @ coef + left @ new_coef
        size = np.sqrt(max(-(c @ at_rows + c_new @ at_new), 0.0))
        return float(size), _leverage(X, w, change.weight, alpha)

    if method == "influence":
        coef, new_coef = -c / w, -c_new / alpha
    else:
        moving = np.flatnonzero(change.weight != w)
        k = len(moving)
        core = np.empty((k + len(new), k + len(new)))
        core[:k, :k], core[:k, k:] = X[moving[:, None], moving], V[moving]
        core[k:, :k], core[k:, k:] = -V[moving].T, left
        factor = w[moving] * change.weight[moving] / (alpha * (w - change.weight)[moving])
        core.flat[:: len(core) + 1] += np.concatenate([factor, alpha / new.weights])
        beta = answers.beta[U] + X @ dy
        right = np.concatenate([beta[moving], y_left - V.T @ dy])
        found = scipy.linalg.solve(core, right, assume_a="gen") if len(right) else right
        coef, new_coef = dy.copy(), found[k:]
        coef[moving] -= found[:k]
    return SolvedEdit(U, coef, new, known, new_coef, measured)


def _leverage(X, w, after, alpha):
    losing = after < w
    if not losing.any():
        return 0.0
    w = w[losing]
    root = np.sqrt(w - after[losing])
    h = np.diag(1.0 / w) - alpha * X[np.ix_(losing, losing)] / np.outer(w, w)
    return float(np.linalg.eigvalsh(root[:, None] * h * root).max())
