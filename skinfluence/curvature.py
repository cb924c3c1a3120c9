"""The Hessian of an objective as a scipy LinearOperator."""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from skinfluence.utils.memory import row_blocks


class Curvature(LinearOperator):
    """``H = sum_i w_i J_i' Lambda_i J_i + R (+ shift R0)``, symmetric, never stored.

    Parameters are ordered output by output, each with its columns, the intercept last: the same
    as ``theta.ravel()``.

    Parameters
    ----------
    objective : Objective
    shift : float, default=0.0
        Change of the total weight whose penalty is added (``hold="lambda"``).

    Notes
    -----
    One product costs O(n d K) per column, plus O(n K^2); ``dense`` costs one Gram matrix per
    term of the loss's Hessian, O(n d^2) each.
    """

    def __init__(self, objective, shift=0.0):
        self.objective = objective
        self.shift = shift
        p = objective.n_parameters
        super().__init__(dtype=np.dtype(np.float64), shape=(p, p))

    @property
    def penalty(self):
        """Diagonal of the penalty part for one output, shape (n_columns,)."""
        return self.objective.penalty + self.shift * self.objective.unit_penalty

    def _matmat(self, V):
        objective = self.objective
        k, d = objective.theta.shape
        m = V.shape[1]
        columns = V.reshape(k, d, m).transpose(1, 0, 2).reshape(d, k * m)
        weighted = objective.weights[:, None, None] * objective.hessians
        out = np.zeros((d, k * m))
        for block in row_blocks(objective.n_samples, 16 * (d + k * m)):
            rows = objective.design.take(block)
            moved = rows.multiply(columns).reshape(-1, k, m)
            moved = weighted[block] @ moved if k > 1 else weighted[block][:, :, 0, None] * moved
            out += rows.adjoint(moved.reshape(-1, k * m))
        out += np.repeat(self.penalty, k * m).reshape(d, k * m) * columns
        return out.reshape(d, k, m).transpose(1, 0, 2).reshape(k * d, m)

    def _matvec(self, v):
        return self._matmat(np.asarray(v).reshape(-1, 1))[:, 0]

    def _adjoint(self):
        return self

    def dense(self, dtype=np.float64):
        """H as an array of shape (n_parameters, n_parameters), products in ``dtype``."""
        objective = self.objective
        k, d = objective.theta.shape
        scales, matrices = objective.loss.hessian_terms(objective.eta, objective.y)
        grams = objective.design.grams(objective.weights * scales, dtype)
        # All blocks of outputs as combinations of the Gram matrices, in one product.
        rows, columns = np.tril_indices(k)
        mixing = matrices[:, rows, columns].T.astype(dtype)
        mixed = (mixing @ grams.reshape(len(grams), d * d)).reshape(-1, d, d)
        del grams
        H = np.empty((k, d, k, d), dtype)
        for a, b, block in zip(rows, columns, mixed, strict=True):
            H[a, :, b, :] = block
            H[b, :, a, :] = block
        for a in range(k):
            H[a, np.arange(d), a, np.arange(d)] += self.penalty
        return H.reshape(k * d, k * d)

    def diagonal(self):
        """The diagonal of H, shape (n_parameters,)."""
        objective = self.objective
        weighted = objective.weights[:, None] * np.einsum("iaa->ia", objective.hessians)
        data = objective.design.squared_columns(weighted)
        return (data.T + self.penalty).ravel()
