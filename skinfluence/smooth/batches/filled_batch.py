"""Many one-row edits that move what stands in missing cells: what a row does behind an imputer."""

import numpy as np
import scipy.sparse as sp

from skinfluence import certificate
from skinfluence._utils.weights import weigh
from skinfluence.smooth.batches.filled_cells import FilledCells
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
        self.cells = FilledCells(accuracy.objective, edits)
        super().__init__(accuracy, edits, remainders)
        cells, blocks = self.cells, self._blocks_of_inverse()
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(self.growth)
            self.eps = root * (np.abs(cells.by) @ self._turned(blocks))
            reach = np.abs(cells.by) * np.sqrt(accuracy.sizes(blocks))
            self.farther = root * (reach @ cells.holes.T).max(axis=1, initial=0.0)
            self.eps[~(self.eps < 0.5)] = np.inf
        # Gradients of moved rows are rounded like those of others.
        self.noise = self.noise + accuracy.noise * root

    def _push(self, offset):
        """To first order: what that leaves is taken where the rows have moved."""
        return self.cells.first_order()

    def _blocks_of_inverse(self):
        """``E_c' H^-1 E_c`` of the parameters of each column, (q, n_outputs, n_outputs)."""
        k, d = self.objective.theta.shape
        columns = self.cells.columns
        q = len(columns)
        units = np.zeros((k, d, q, k))
        for output in range(k):
            units[output, columns, np.arange(q), output] = 1.0
        solved = self.factor.solve(units.reshape(k * d, q * k)).reshape(k, d, q, k)
        return solved[:, columns, np.arange(q)].transpose(1, 0, 2)

    def _turned(self, blocks):
        """Root of the largest eigenvalue of ``L_c B_c`` of each column, (q,)."""
        objective, at = self.objective, self.cells.at
        weights = weigh(objective.weights[at, None, None], objective.hessians[at])
        L = np.einsum("nc,nkl->ckl", self.cells.holes, weights)
        return np.sqrt(
            [np.abs(np.linalg.eigvals(l @ b)).max() for l, b in zip(L, blocks, strict=True)]
        )

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
            push, far = self.cells.moved_rows(active, v)
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


class FilledStep(RescaledBatch):
    """One Newton step of each removal after which filled cells are others: all of it as after the edit.

    Parameters
    ----------
    accuracy : Accuracy
    edits : RowEdits
        Removals, with a ratio and with fills.
    offset : ndarray of shape (n_outputs, n_columns), default=None
        As of :class:`RescaledBatch`.

    Notes
    -----
    The Hessian after the edit is that of :class:`RescaledBatch` and what the moved rows add; conjugate
    gradients take a pass over the rows with missing cells for each iteration, and a handful of those.
    """

    def __init__(self, accuracy, edits, offset=None):
        self.cells = FilledCells(accuracy.objective, edits)
        super().__init__(accuracy, edits, offset=offset)

    def _push(self, offset):
        objective, every = self.objective, np.arange(len(self.edits.rows))
        nowhere = np.zeros((len(every), *objective.theta.shape))
        push, _ = self.cells.moved_rows(every, nowhere)
        return push if offset is None else push + self.cells.curved(every, nowhere + offset)

    def _beyond(self, V, active):
        return super()._beyond(V, active) + self.cells.curved(active, V)


def filled_design(design, fills):
    """The rows after one edit of the :class:`~skinfluence.smooth.one_step.fills.Fills`."""
    rows, places = np.nonzero(fills.holes)
    added = fills.by[0, places], (rows, fills.columns[places])
    added = sp.csr_array(added, shape=design.X.shape)
    X = design.X + added if design.is_sparse else np.asarray(design.X + added)
    return design.held(X)
