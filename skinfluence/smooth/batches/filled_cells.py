"""What the rows with missing cells add to gradients and Hessians when what fills them moves."""

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.weights import weigh


class FilledCells:
    """The rows that edits fill otherwise: ``x_j' = x_j + h_j * by_i``, and the decision values with them.

    Parameters
    ----------
    objective : Objective
    edits : RowEdits
        Removals with fills. No row moves the missing cells of its own.

    Attributes
    ----------
    columns : ndarray of int, shape (q,)
        Those that have missing cells.
    by : ndarray of shape (m, q)
        What each edit adds to what fills them.
    at : ndarray of int, shape (n_filled,)
        The rows that have any.
    holes : ndarray of shape (n_filled, q)
        1 where they do.

    Notes
    -----
    All but :meth:`first_order` costs a pass over these rows for each edit.
    """

    def __init__(self, objective, edits):
        self.objective, self.edits, fills = objective, edits, edits.fills
        used = fills.holes.any(axis=0)
        self.columns, self.by = fills.columns[used], fills.by[:, used]
        self.at = np.flatnonzero(fills.holes.any(axis=1))
        self.holes = fills.holes[self.at][:, used].astype(float)
        self.design = objective.design.take(self.at)

    def first_order(self):
        """What the moved cells add to the gradient at the fit, to first order, (m, n_outputs, n_columns).

        A row that leaves is not in the sums, as it moves no missing cells of its own.
        """
        objective, at = self.objective, self.at
        weights, theta = objective.weights[at], objective.theta[:, self.columns]
        curved = weigh(weights[:, None, None], objective.hessians[at])
        turned = np.einsum("nc,nkl,lc->nck", self.holes, curved, theta)
        moved = self.design.adjoint(turned.reshape(len(at), -1)).T
        moved = moved.reshape(len(self.columns), *objective.theta.shape)
        along = self.holes.T @ weigh(weights[:, None], objective.gradients[at])
        moved[np.arange(len(along)), :, self.columns] += along
        return np.einsum("ic,ckd->ikd", self.by, moved, optimize=True)

    def moved_rows(self, active, steps):
        """What the moved cells add to the gradient at some steps, and how far rows are from the fit.

        Parameters
        ----------
        active : ndarray of int, shape (b,)
            Of the edits.
        steps : ndarray of shape (b, n_outputs, n_columns)
            From the parameters of the fit.

        Returns
        -------
        push : ndarray of shape (b, n_outputs, n_columns)
        far : ndarray of shape (b,)
            Largest spread of what changed of decision values, over rows with missing cells.
        """
        objective, loss = self.objective, self.objective.loss
        push, far = np.empty_like(steps), np.empty(len(steps))
        y = objective.y[self.at]
        for part, edits, there in self._parts(active):
            v = steps[part]
            moved = self._multiply(v)
            shift = self._shifts(edits, objective.theta + v)
            eta = objective.eta[self.at][:, None] + moved
            after = weigh(there[..., None], loss.gradient(eta + shift, y[:, None]))
            change = after - weigh(there[..., None], loss.gradient(eta, y[:, None]))
            push[part] = self._adjoint(change, after, edits)
            spread = loss.spread(moved + shift)
            spread[there <= 0] = 0.0
            far[part] = spread.max(axis=0, initial=0.0)
        return push, far

    def curved(self, active, V):
        """What the moved cells add to the Hessian at the parameters of the fit, times vectors.

        Parameters
        ----------
        active : ndarray of int, shape (b,)
            Of the edits.
        V : ndarray of shape (b, n_outputs, n_columns)

        Returns
        -------
        product : ndarray of shape (b, n_outputs, n_columns)
        """
        objective, loss = self.objective, self.objective.loss
        out, y = np.empty_like(V), objective.y[self.at]
        before = objective.hessians[self.at][:, None]
        for part, edits, there in self._parts(active):
            along = self._multiply(V[part])
            eta = objective.eta[self.at][:, None] + self._shifts(edits, objective.theta)
            there = there[..., None]
            after = (
                loss.hessian(eta, y[:, None]) @ (along + self._shifts(edits, V[part]))[..., None]
            )
            after = weigh(there, after[..., 0])
            change = after - weigh(there, (before @ along[..., None])[..., 0])
            out[part] = self._adjoint(change, after, edits)
        return out

    def _parts(self, active):
        """Some of the edits at a time: where they are, which, and the weights of the rows without theirs."""
        at, k = self.at, self.objective.loss.n_outputs
        weights = self.objective.weights[at]
        own = np.searchsorted(at, self.edits.rows)
        inside = at[np.minimum(own, len(at) - 1)] == self.edits.rows
        for part in row_blocks(len(active), (32 + 8 * k) * k * len(at)):
            edits = active[part]
            there = np.repeat(weights[:, None], len(edits), axis=1)
            gone = np.flatnonzero(inside[edits])
            there[own[edits[gone]], gone] = 0.0
            yield part, edits, there

    def _multiply(self, v):
        """The rows as they were times parameters, (n_filled, b, n_outputs)."""
        b, k, d = v.shape
        flat = np.ascontiguousarray(v.reshape(b * k, d).T)
        return self.design.multiply(flat).reshape(len(self.at), b, k)

    def _shifts(self, edits, theta):
        """What moved cells add to the rows' products with parameters, (n_filled, b, n_outputs)."""
        inside = theta[..., self.columns] * self.by[edits][:, None, :]
        b, k, q = inside.shape
        return (self.holes @ inside.reshape(b * k, q).T).reshape(-1, b, k)

    def _adjoint(self, change, after, edits):
        """The rows as they were times ``change``, and what was added to them times ``after``."""
        n, b, k = change.shape
        out = self.design.adjoint(change.reshape(n, b * k)).T.reshape(b, k, -1)
        along = (self.holes.T @ after.reshape(n, b * k)).T.reshape(b, k, -1)
        out[:, :, self.columns] += along * self.by[edits][:, None, :]
        return out
