"""Many one-row edits that rescale the penalty too: what a row that leaves does behind a scaler."""

import numpy as np

from skinfluence.smooth.batches.row_batch import LOOSE, RowBatch

# Conjugate gradients end at this share of the right-hand side, in the norm of the inverse.
RESIDUAL = 1e-12
MAX_STEPS = 200


class RescaledBatch(RowBatch):
    """Iterates of edits with ``P' = P + diag(c_i)``, ``c_i = (R + shift R0) (ratio_i - 1)``.

    ``P`` is the Hessian of the batch without the ratio, known by Woodbury's formula; a diagonal
    change has full rank, so ``P'`` is solved by conjugate gradients preconditioned with ``P``, all
    edits side by side. They need no product with a Hessian: ``P' z = r + c z`` for ``z = P^-1 r``.

    Parameters
    ----------
    accuracy : Accuracy
    edits : RowEdits
        With a ratio, 1 where nothing is penalised.
    remainders : RemainderPass, default=None
    offset : ndarray of shape (n_outputs, n_columns), default=None
        Where the steps are taken from, as a distance from the parameters; the gradient of the edits
        is that there, but for the penalty's.

    Notes
    -----
    With ``tau`` the largest decrease of a ratio below 1, over penalised columns,
    ``(1 - tau) P <= P'``; increases do no harm. So the bounds of the batch hold with
    ``1 / (1 - tau)`` times its growth.
    """

    # Conjugate gradients solve some five times, each with two solves for one that is kept.
    many_outputs = 16

    def __init__(self, accuracy, edits, remainders=None, offset=None):
        super().__init__(accuracy, edits, remainders)
        objective, m = self.objective, len(edits.rows)
        super().use(np.arange(m))
        penalty = objective.penalty + np.multiply.outer(edits.shift, objective.unit_penalty)
        self.change = penalty * (edits.ratio - 1.0)
        penalised = edits.ratio[:, objective.penalty > 0]
        self.kept = np.minimum(penalised.min(axis=1, initial=1.0), 1.0)
        self.added = np.maximum(penalised.max(axis=1, initial=1.0), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.growth = np.where(self.kept > 0, self.growth / self.kept, np.inf)
            self.slack = np.where(self.kept > 0, self.slack / self.kept, np.inf)
        own = accuracy.rounding(edits.design, edits.gradient, edits.hessian, self._own_sizes)
        self.noise = accuracy.floor * (np.sqrt(self.growth) - 1.0) + own * np.sqrt(self.growth)
        self.inflation = self.inflation * np.sqrt(self.added)
        # What conjugate gradients left, relative to the solution.
        self.lost, self.solver_slack = np.zeros(m), self.slack
        self.residual = RESIDUAL
        theta = objective.theta if offset is None else objective.theta + offset
        self.right = self.right + self.change[:, None, :] * theta
        self.solved = self.right + self._push(offset)
        self.idle = ~self.solved.any(axis=(1, 2))
        self.theta_steps = -self.edited_solve(self.solved, np.arange(m))
        self.size = self._size(self.theta_steps, self.solved)

    def _push(self, offset):
        """What moved rows add to the gradient of the first step, (m, n_outputs, n_columns) or 0."""
        return 0.0

    def _beyond(self, V, active):
        """What the edits add to ``P`` beside it, times vectors: what conjugate gradients solve with."""
        return self.change[active][:, None, :] * V

    def use(self, active):
        """Nothing: all edits are in use from the start."""

    def loosen(self, single, tol):
        super().loosen(single, tol)
        self.solver_slack = self.slack - self.lost
        self.residual = max(RESIDUAL, 0.1 * LOOSE * tol)

    def _lost_by(self, single):
        # Products with P are by what solves are said to solve: as far off again.
        return 2.0 * super()._lost_by(single)

    def precondition(self, B, active):
        """As without the ratio."""
        return super().edited_solve(B, active)

    def edited_solve(self, B, active):
        """``P'^-1 B`` of each active edit."""
        X, R = np.zeros_like(B), B.copy()
        Z = super().edited_solve(R, active)
        D, PD = Z.copy(), R + self._beyond(Z, active)
        rz = _inner(R, Z)
        start = rz.copy()
        left = np.flatnonzero(np.abs(rz) > 0)
        for _ in range(MAX_STEPS):
            if not len(left):
                break
            step = (rz[left] / _inner(D[left], PD[left]))[:, None, None]
            X[left] += step * D[left]
            R[left] -= step * PD[left]
            Z = super().edited_solve(R[left], active[left])
            after = _inner(R[left], Z)
            ratio = (after / rz[left])[:, None, None]
            D[left] = Z + ratio * D[left]
            PD[left] = R[left] + self._beyond(Z, active[left]) + ratio * PD[left]
            rz[left] = after
            # A residual that is negative or NaN is round-off, and counted as it stands.
            left = left[after > self.residual**2 * start[left]]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.sqrt(np.abs(rz) / np.abs(start) * (self.added / self.kept)[active])
        share[start == 0] = 0.0
        share[~np.isfinite(share)] = np.inf
        self.lost[active] = np.maximum(share, self.lost[active])
        self.slack = self.solver_slack + self.lost
        return X


def _inner(A, B):
    return np.einsum("ikd,ikd->i", A, B)
