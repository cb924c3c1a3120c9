"""Steps of the parameters that answer edits: to first order, or one Newton step by Woodbury.

Arrays in, arrays out; nothing here evaluates a model at test points.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from skinfluence.design import Design
from skinfluence.edits import edited


@dataclass(frozen=True, eq=False)
class RowEdits:
    """Many edits, each at one row: ``b_i = J_i' c_i`` and ``dH_i = J_i' D_i J_i``.

    Parameters
    ----------
    design : Design of m rows
    gradient : ndarray of shape (m, n_outputs)
        ``c_i``, the change of the weighted gradient.
    hessian : ndarray of shape (m, n_outputs, n_outputs)
        ``D_i``, the change of the weighted Hessian.
    shift : ndarray of shape (m,)
        The change of the total weight.
    rows : ndarray of int, shape (m,)
        The training row of each edit.
    weight : ndarray of shape (m,)
        Weight left on the training row itself after the edit.
    """

    design: Design
    gradient: np.ndarray
    hessian: np.ndarray
    shift: np.ndarray
    rows: np.ndarray
    weight: np.ndarray

    @property
    def one_shift(self):
        """The shift as one number where it is the same for all, else the array."""
        first = float(self.shift[0]) if len(self.shift) else 0.0
        return first if (self.shift == first).all() else self.shift

    def take(self, chosen):
        """Some of the edits."""
        return RowEdits(
            self.design.take(chosen),
            self.gradient[chosen],
            self.hessian[chosen],
            self.shift[chosen],
            self.rows[chosen],
            self.weight[chosen],
        )


def removals(objective, rows):
    """Removing each of ``rows`` on its own."""
    w = objective.weights[rows]
    return RowEdits(
        objective.design.take(rows),
        -w[:, None] * objective.gradients[rows],
        -w[:, None, None] * objective.hessians[rows],
        -w,
        rows,
        np.zeros(len(rows)),
    )


def relabels(objective, rows, label):
    """Giving each of ``rows``, on its own, the label at position ``label`` of the classes."""
    labels = objective.labels
    eta, y = (
        objective.eta[rows],
        np.broadcast_to(labels.targets[label], (len(rows), *labels.targets.shape[1:])),
    )
    old = objective.weights[rows]
    new = objective.sample_weight[rows] * labels.class_weight[label]
    same = (objective.y[rows] == y).reshape(len(rows), -1).all(axis=1)
    new = np.where(same, old, new)
    gradient = new[:, None] * objective.loss.gradient(eta, y)
    hessian = new[:, None, None] * objective.loss.hessian(eta, y)
    return RowEdits(
        objective.design.take(rows),
        gradient - old[:, None] * objective.gradients[rows],
        hessian - old[:, None, None] * objective.hessians[rows],
        new - old,
        rows,
        np.where(same, old, 0.0),
    )


def row_leverages(factor, edits, method="one-step"):
    """``h_i`` of each edit's row at its own shift, shape (m, n_outputs, n_outputs)."""
    shift = 0.0 if method == "influence" else edits.one_shift
    n = factor.objective.n_samples
    # The dual has a short cut for all training rows at once: one inverse instead of n solves.
    if len(edits.rows) == n and np.array_equal(edits.rows, np.arange(n)):
        return factor.leverages(None, shift)
    return factor.leverages(edits.design, shift)


def step_coefficients(factor, edits, method, leverages=None):
    """The ``a_i`` of ``dtheta_i = -(H + shift R0)^-1 (J_i' a_i + shift R0 theta)``.

    Parameters
    ----------
    factor : Factor
    edits : RowEdits
    method : {"influence", "one-step"}
    leverages : ndarray of shape (m, K, K), default=None
        ``h_i`` at the shift of each edit, if they are known.

    Returns
    -------
    a : ndarray of shape (m, n_outputs)

    Notes
    -----
    ``"influence"``: ``a = c``, with the Hessian unshifted. ``"one-step"`` (Woodbury):
    ``a = (I + D h)^-1 (c - shift D J_i z)`` with ``z = (H + shift R0)^-1 R0 theta``.
    """
    if method == "influence":
        return edits.gradient
    h = row_leverages(factor, edits) if leverages is None else leverages
    right = edits.gradient
    Z = penalty_steps(factor, edits, method)
    if Z is not None:
        at_row = _at_rows(edits.design, Z)
        right = right - edits.shift[:, None] * (edits.hessian @ at_row[..., None])[..., 0]
    k = h.shape[1]
    if k == 1:
        return right / (1.0 + edits.hessian[:, 0] * h[:, 0])
    return np.linalg.solve(np.eye(k) + edits.hessian @ h, right[..., None])[..., 0]


def penalty_steps(factor, edits, method):
    """``z = (H + shift R0)^-1 R0 theta``, what one unit of weight does through its penalty.

    Returns
    -------
    Z : ndarray of shape (m, n_outputs, n_columns) or None
        None where edits carry no penalty.
    """
    objective = factor.objective
    if objective.hold == "C" or not edits.shift.any():
        return None
    k, d = objective.theta.shape
    q = (objective.unit_penalty * objective.theta).reshape(-1, 1)
    shift = 0.0 if method == "influence" else edits.one_shift
    if np.ndim(shift) == 0:
        one = factor.solve(q, shift).reshape(k, d)
        return np.broadcast_to(one, (len(edits.shift), k, d))
    distinct, position = np.unique(shift, return_inverse=True)
    each = factor.solve(np.repeat(q, len(distinct), axis=1), distinct)
    return each.T.reshape(-1, k, d)[position]


def _at_rows(design, Z):
    """``J_i z_i`` of each row, shape (m, n_outputs)."""
    if Z.strides[0] == 0:
        return design.multiply(Z[0].T)
    return np.einsum("id,ikd->ik", design.dense_rows(), Z)


def parameter_steps(factor, edits, method, leverages=None):
    """``dtheta`` of each edit, shape (m, n_outputs, n_columns): one solve per edit."""
    return steps_from(factor, edits, method, step_coefficients(factor, edits, method, leverages))


def steps_from(factor, edits, method, a):
    """``dtheta`` of each edit from its coefficients ``a_i`` (see :func:`step_coefficients`)."""
    shift = 0.0 if method == "influence" else edits.one_shift
    steps = -factor.solve_rows(edits.design, a, shift)
    Z = penalty_steps(factor, edits, method)
    return steps if Z is None else steps - edits.shift[:, None, None] * Z


def own_eta_steps(factor, edits, method):
    """Change of the decision values of each edit's own row, shape (m, n_outputs).

    Needs the leverages only: no solve per row.
    """
    h = row_leverages(factor, edits, method)
    a = step_coefficients(factor, edits, method, h)
    steps = -(h @ a[..., None])[..., 0]
    Z = penalty_steps(factor, edits, method)
    return steps if Z is None else steps - edits.shift[:, None] * _at_rows(edits.design, Z)


def points_step(factor, solver, points, method):
    """``dtheta`` of one edit of several points, shape (n_outputs, n_columns).

    Woodbury with one (mK x mK) system, or, where the edit has more outputs than the model has
    parameters, one factorisation of the edited Hessian.
    """
    objective = factor.objective
    k, d = objective.theta.shape
    design, gradient, hessian = _stack(objective, points)
    right = design.adjoint(gradient).T + points.shift * objective.unit_penalty * objective.theta
    right = right.reshape(-1, 1)
    if method == "influence":
        return -factor.solve(right)[:, 0].reshape(k, d)
    m = design.n_samples
    if m * k > max(objective.n_parameters // 2, 1):
        after = solver.factor(edited(objective, points))
        return -after.solve(right)[:, 0].reshape(k, d)
    rows = design.dense_rows()
    U = np.einsum("mc,ab->macb", rows, np.eye(k)).transpose(0, 1, 3, 2).reshape(m * k, k * d)
    solved = factor.solve(np.concatenate([U.T, right], axis=1), points.shift)
    h = U @ solved[:, :-1]
    D = np.zeros((m, k, m, k))
    D[np.arange(m), :, np.arange(m), :] = hessian
    D = D.reshape(m * k, m * k)
    inner = np.linalg.solve(np.eye(m * k) + D @ h, D @ (U @ solved[:, -1]))
    return -(solved[:, -1] - solved[:, :-1] @ inner).reshape(k, d)


def _stack(objective, points):
    """All points of an edit as one design with their gradient and Hessian changes."""
    rows, change = points.rows, points.row_changes
    design = objective.design.take(rows)
    gradient = change[:, None] * objective.gradients[rows]
    hessian = change[:, None, None] * objective.hessians[rows]
    if points.new is None:
        return design, gradient, hessian
    eta = points.new.multiply(objective.theta.T)
    w = points.new_weights
    new_gradient = w[:, None] * objective.loss.gradient(eta, points.new_y)
    new_hessian = w[:, None, None] * objective.loss.hessian(eta, points.new_y)
    stack = sp.vstack if sp.issparse(design.X) else np.vstack
    return (
        design.like(stack([design.X, points.new.X])),
        np.concatenate([gradient, new_gradient]),
        np.concatenate([hessian, new_hessian]),
    )


def points_leverage(factor, points):
    """Largest eigenvalue of ``(-D)^1/2 h (-D)^1/2`` over the rows that lose weight; 0 if none."""
    objective = factor.objective
    losing = points.row_changes < 0
    rows = points.rows[losing]
    if not len(rows):
        return 0.0
    k = objective.loss.n_outputs
    lost = -points.row_changes[losing, None, None] * objective.hessians[rows]
    if len(rows) == 1:
        h = factor.leverages(objective.design.take(rows))
        return float(np.linalg.eigvals(lost[0] @ h[0]).real.max())
    values, vectors = np.linalg.eigh(lost)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    U = np.einsum("ml,mab->mbal", objective.design.take(rows).dense_rows(), root)
    U = U.reshape(len(rows) * k, -1)
    if len(U) > U.shape[1]:
        # The same non-zero eigenvalues from the smaller side.
        return float(np.linalg.eigvals(factor.solve(U.T @ U)).real.max())
    return float(np.linalg.eigvalsh(U @ factor.solve(U.T)).max())
