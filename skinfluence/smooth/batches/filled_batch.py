"""Many one-row edits that move what stands in missing cells: what a row does behind an imputer."""

import numpy as np
import scipy.sparse as sp

from skinfluence import certificate
from skinfluence._utils.memory import row_blocks
from skinfluence.smooth.batches.rescaled_batch import RescaledBatch
from skinfluence.smooth.batches.row_batch import Chord


class FilledBatch(RescaledBatch):
    """Iterates of removals after which filled cells are others, too: ``x_j' = x_j + h_j * by_i``.

    Only rows with missing cells move, and those of one column along one direction. The steps are
    chords with the Hessian ``P`` of :class:`RescaledBatch`, as if those rows had not moved, and the
    gradient as it is when they have.

    Parameters
    ----------
    accuracy : Accuracy
    edits : RowEdits
        Removals, with a ratio and with fills.
    remainders : RemainderPass, default=None

    Notes
    -----
    With ``L_c`` the sum of the rows' curvatures over the missing cells of column c, and ``B_c`` the
    block of ``P^-1`` of its parameters, the rows move by at most ``eps_i = sum_c |by_ic|
    (largest eigenvalue of L_c B_c)^1/2``, relative to the norm of P: the Hessian ``P'`` after the
    edit, with the curvatures of the fit, is between ``(1 -+ eps)^2 P``. Costs a pass over all rows
    for each iteration, like other chords, and one over the rows with missing cells.
    """

    def __init__(self, accuracy, edits, remainders=None):
        super().__init__(accuracy, edits, remainders)
        objective, fills = self.objective, edits.fills
        used = fills.holes.any(axis=0)
        self.columns, self.by = fills.columns[used], fills.by[:, used]
        self.filled = np.flatnonzero(fills.holes.any(axis=1))
        self.holes = fills.holes[self.filled][:, used].astype(float)
        self.cells = objective.design.take(self.filled)
        blocks = self._blocks_of_inverse()
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(self.growth)
            self.eps = root * (np.abs(self.by) @ self._turned(blocks))
            reach = np.abs(self.by) * np.sqrt(accuracy.sizes(blocks))
            self.farther = root * (reach @ self.holes.T).max(axis=1, initial=0.0)
            self.eps[~(self.eps < 0.5)] = np.inf
        # Gradients of moved rows are rounded like those of others.
        self.noise = self.noise + accuracy.noise * root
        every, push = np.arange(len(edits.rows)), self._first_push()
        self.idle = ~(self.right + push).any(axis=(1, 2))
        self.solved = self.right + push
        self.theta_steps = -self.edited_solve(self.solved, every)
        self.size = self._size(self.theta_steps, self.solved)

    def _blocks_of_inverse(self):
        """``E_c' H^-1 E_c`` of the parameters of each column, (q, n_outputs, n_outputs)."""
        k, d = self.objective.theta.shape
        q = len(self.columns)
        units = np.zeros((k, d, q, k))
        for output in range(k):
            units[output, self.columns, np.arange(q), output] = 1.0
        solved = self.factor.solve(units.reshape(k * d, q * k)).reshape(k, d, q, k)
        return solved[:, self.columns, np.arange(q)].transpose(1, 0, 2)

    def _turned(self, blocks):
        """Root of the largest eigenvalue of ``L_c B_c`` of each column, (q,)."""
        objective = self.objective
        weights = objective.weights[self.filled, None, None] * objective.hessians[self.filled]
        L = np.einsum("nc,nkl->ckl", self.holes, weights)
        return np.sqrt(
            [np.abs(np.linalg.eigvals(l @ b)).max() for l, b in zip(L, blocks, strict=True)]
        )

    def _first_push(self):
        """What the moved cells add to the gradient at the fit, to first order, (m, n_outputs, n_columns).

        That is where iterates start; what they leave is taken where the rows have moved. No row moves the
        missing cells of its own, so that it is not in the sums.
        """
        objective, at = self.objective, self.filled
        weights, theta = objective.weights[at], objective.theta[:, self.columns]
        turned = np.einsum("n,nc,nkl,lc->nck", weights, self.holes, objective.hessians[at], theta)
        moved = self.cells.adjoint(turned.reshape(len(at), -1)).T
        moved = moved.reshape(len(self.columns), *objective.theta.shape)
        along = self.holes.T @ (weights[:, None] * objective.gradients[at])
        moved[np.arange(len(along)), :, self.columns] += along
        return np.einsum("ic,ckd->ikd", self.by, moved, optimize=True)

    def _moved_rows(self, active, steps):
        """What the moved cells add to the gradient at some steps, and how far rows are from the fit.

        Returns
        -------
        push : ndarray of shape (b, n_outputs, n_columns)
        far : ndarray of shape (b,)
            Largest spread of what changed of decision values, over rows with missing cells.
        """
        objective, cells, holes = self.objective, self.cells, self.holes
        loss, at = objective.loss, self.filled
        b, k, d = steps.shape
        push, far = np.empty_like(steps), np.empty(b)
        weights, y = objective.weights[at], objective.y[at]
        own = np.searchsorted(at, self.edits.rows)
        inside = at[np.minimum(own, len(at) - 1)] == self.edits.rows
        for part in row_blocks(b, 40 * k * len(at)):
            edits = active[part]
            v = steps[part]
            flat = np.ascontiguousarray(v.reshape(-1, d).T)
            moved = cells.multiply(flat).reshape(len(at), len(edits), k)
            theta = (objective.theta + v)[:, :, self.columns] * self.by[edits][:, None, :]
            shift = (holes @ theta.reshape(-1, theta.shape[2]).T).reshape(moved.shape)
            eta = objective.eta[at][:, None] + moved
            there = np.repeat(weights[:, None], len(edits), axis=1)
            gone = np.flatnonzero(inside[edits])
            there[own[edits[gone]], gone] = 0.0
            after = there[..., None] * loss.gradient(eta + shift, y[:, None])
            change = after - there[..., None] * loss.gradient(eta, y[:, None])
            push[part] = cells.adjoint(change.reshape(len(at), -1)).T.reshape(v.shape)
            along = (holes.T @ after.reshape(len(at), -1)).T.reshape(len(edits), k, -1)
            push[part][:, :, self.columns] += along * self.by[edits][:, None, :]
            spread = loss.spread(moved + shift)
            spread[there <= 0] = 0.0
            far[part] = spread.max(axis=0, initial=0.0)
        return push, far

    def kappa(self):
        """As of the batch, after the rows have moved."""
        with np.errstate(invalid="ignore"):
            return (super().kappa() + self.farther) / (1.0 - self.eps)

    def sizes(self, i):
        """Nothing is known of rows that moved but :meth:`kappa`."""
        return np.full(self.objective.n_samples, np.inf)

    def newton_bound(self):
        """None but of no step: the first is not of the moved problem."""
        self._kappa = self.kappa()
        return np.where(self.idle, self.noise, np.inf)

    def split_bound(self, active):
        return np.full(len(active), np.inf)

    def chord(self, active, v, solved, mixed):
        """As of the batch; errors are in the norm of ``P'``."""
        M, edits, eps = self.M, self.edits, self.eps[active]
        with np.errstate(over="ignore", invalid="ignore"):
            S, r = np.zeros_like(v), np.zeros(len(active))
            if M:
                S, r = self.remainders(v, edits.rows[active])
            push, far = self._moved_rows(active, v)
            S, r = S + push, M * np.maximum(r, far)
        finite = np.isfinite(S).all(axis=(1, 2)) & np.isfinite(eps)
        B = self.right[active] + np.where(finite[:, None, None], S, 0.0)
        after = -self.edited_solve(B, active)
        change = np.einsum("ikd,ikd->i", after - v, solved - B)
        slack, noise = self.slack[active], self.noise[active]
        before, size = self._size(v, solved), self._size(after, B)
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = np.sqrt(np.abs(change)) * (1.0 + slack) + mixed * slack * before + noise
            kappa = self._kappa[active]
            here = certificate.gradient_bound(M, kappa, gradient / (1.0 - eps), r)
            # A chord leaves what curvatures differ by, and what P and P' do.
            left = (1.0 + eps) ** 2 * certificate.chord_bound(M, kappa, here, r)
            left = (left + eps * (2.0 + eps) * here) / (1.0 - eps)
            there = (1.0 + eps) * (left + slack * size + noise)
        r, gradient, there = (np.where(finite, one, np.inf) for one in (r, gradient, there))
        return Chord(r, gradient, after, B, after, B, there, size)


def filled_design(design, fills):
    """The rows after one edit of the :class:`~skinfluence.smooth.one_step.fills.Fills`."""
    rows, places = np.nonzero(fills.holes)
    added = fills.by[0, places], (rows, fills.columns[places])
    added = sp.csr_array(added, shape=design.X.shape)
    X = design.X + added if design.is_sparse else np.asarray(design.X + added)
    return design.held(X)
