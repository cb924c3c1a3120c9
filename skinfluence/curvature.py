"""The Hessian of an objective as a scipy LinearOperator."""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from skinfluence._utils.memory import BLOCK_BYTES, row_blocks
from skinfluence._utils.threads import in_parts
from skinfluence._utils.weights import weigh

__all__ = ["Curvature"]

# Blocks of dense rows are multiplied twice, so they should still be in the cache the second time.
CACHE_BYTES = 2**23


def _cast(A, dtype):
    """In another precision; infinite beyond its range, which whoever asks for it looks at."""
    with np.errstate(over="ignore"):
        return A if A.dtype == dtype else A.astype(dtype)


class Curvature(LinearOperator):
    """``H = sum_i w_i J_i' Lambda_i J_i + R (+ shift R0 + damping I)``, symmetric, never stored.

    Parameters are ordered output by output, each with its columns, the intercept last: the same
    as ``theta.ravel()``.

    Parameters
    ----------
    objective : Objective
    shift : float, default=0.0
        Change of the total weight whose penalty is added (``hold="lambda"``).
    damping : float, default=0.0

    Notes
    -----
    One product costs O(n d K) per column, plus O(n K^2); ``dense`` costs one Gram matrix per
    term of the loss's Hessian, O(n d^2) each.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import objective_of
    >>> from skinfluence.curvature import Curvature
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    >>> H = Curvature(objective_of(Ridge().fit(X, y), X, y))
    >>> H.dense()
    array([[22.,  7.],
           [ 7.,  4.]])
    >>> H @ np.array([1.0, 0.0])
    array([22.,  7.])
    """

    def __init__(self, objective, shift=0.0, damping=0.0):
        self.objective = objective
        self.shift = shift
        self.damping = damping
        self._single = None
        p = objective.n_parameters
        super().__init__(dtype=np.dtype(np.float64), shape=(p, p))

    @property
    def penalty(self):
        """What is added to the diagonal for each output, shape (n_columns,)."""
        added = self.objective.penalty + self.shift * self.objective.unit_penalty
        return added + self.damping if self.damping else added

    def _matmat(self, V):
        return self.product(V)

    def product(self, V, dtype=np.float64):
        """``H V``, with the products of the rows in ``dtype``; shape (n_parameters, m).

        Parameters
        ----------
        V : ndarray of shape (n_parameters, m)
        dtype : {np.float64, np.float32}
            The rows are kept in float32 after the first time, up to 64 MB of them.
        """
        k, d = self.objective.theta.shape
        m = V.shape[1]
        # The outputs last, as losses have them.
        columns = V.reshape(k, d, m).transpose(1, 2, 0).reshape(d, m * k)
        out = self._sum(self._design(dtype), _cast(columns, dtype))
        out += self.penalty[:, None] * columns
        return out.reshape(d, m, k).transpose(2, 0, 1).reshape(k * d, m)

    def _design(self, dtype):
        """The rows in another precision, kept where they are small."""
        design = self.objective.design
        if dtype == np.float64 or not design.in_memory:
            return design
        X = design.X
        if (X.data if design.is_sparse else X).nbytes // 2 > BLOCK_BYTES:
            return design
        if self._single is None:
            self._single = type(design)(_cast(X, dtype), design.intercept)
        return self._single

    def _sum(self, design, columns):
        """The data's part, by blocks of rows."""
        size = 8 * sum(columns.shape) + 8 * columns.shape[1]
        if not design.in_memory or design.is_sparse:
            return self._sum_of(design, columns, design.slices(size))

        def part(rows):
            return self._sum_of(design, columns, row_blocks(rows, size, CACHE_BYTES))

        return sum(in_parts(part, design.n_samples, 2 * columns.size))

    def _sum_of(self, design, columns, blocks):
        k, dtype = self.objective.loss.n_outputs, columns.dtype
        out = np.zeros(columns.shape, order="F")
        beyond = "warn" if dtype == np.float64 else "ignore"
        with np.errstate(over=beyond, invalid=beyond):
            for block in blocks:
                whole = block == slice(0, design.n_samples)
                rows = design if whole else design.take(block)
                if rows.X.dtype != dtype:
                    rows = type(rows)(_cast(rows.X, dtype), design.intercept)
                moved = rows.multiply(columns)
                curved = self._curve(block, moved.reshape(len(moved), -1, k))
                out += rows.adjoint(curved.reshape(moved.shape))
        return out

    def _curve(self, block, moved):
        """``w_i Lambda_i v`` for the vectors of a block of rows, (n_rows, m, K)."""
        objective = self.objective
        weights = objective.weights[block, None, None].astype(moved.dtype)
        if objective.loss.n_outputs == 1:
            return weigh(weights, objective.hessians[block].astype(moved.dtype)) * moved
        if objective.loss.hessian_product is None:
            return moved @ weigh(weights, objective.hessians[block].astype(moved.dtype))
        state = objective.hessian_state[block].astype(moved.dtype, copy=False)
        out = objective.loss.hessian_product(state, moved)
        out *= weights
        return out

    def _matvec(self, v):
        return self._matmat(np.asarray(v).reshape(-1, 1))[:, 0]

    def _adjoint(self):
        return self

    def dense(self, dtype=np.float64):
        """H as an array of shape (n_parameters, n_parameters), products in ``dtype``."""
        objective = self.objective
        k, d = objective.theta.shape
        design = objective.design
        many = objective.loss.softmax_basis is not None
        if many and design.in_memory and not design.is_sparse:
            return self._of_many_classes(dtype)
        scales, matrices = objective.loss.hessian_terms(objective.eta, objective.y)
        grams = objective.design.grams(weigh(objective.weights, scales), dtype)
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

    def _of_many_classes(self, dtype):
        """As :meth:`dense`, by one product in the place of a Gram matrix for each pair of classes."""
        objective = self.objective
        loss, design = objective.loss, objective.design
        (k, d), K = objective.theta.shape, len(loss.softmax_basis)
        roots = np.sqrt(objective.weights)[:, None] * loss.predict_proba(objective.eta)
        G = None
        for block in design.slices(16 * K * d, BLOCK_BYTES):
            rows = design.take(block).dense_rows().astype(dtype, copy=False)
            products = roots[block, :, None].astype(dtype) * rows[:, None, :]
            products = products.reshape(len(rows), K * d)
            # numpy calls syrk: half the flops of a general product.
            own = products.T @ products
            G = own if G is None else np.add(G, own, out=G)
        np.negative(G, out=G)
        pairs = G.reshape(K, d, K, d)
        # Rows of diag(p) - p p' sum to zero, so that the blocks of the diagonal follow from the
        # others: p - p^2 would cancel.
        for a in range(K):
            pairs[a, :, a] = 0.0
            pairs[a, :, a] = -pairs[a].sum(axis=1)
        basis = loss.softmax_basis.astype(dtype)
        left = (basis.T @ G.reshape(K, -1)).reshape(k * d, K, d)
        H = (left.transpose(0, 2, 1).reshape(-1, K) @ basis).reshape(k * d, d, k)
        H = np.ascontiguousarray(H.transpose(0, 2, 1)).reshape(k * d, k * d)
        H = H + H.T
        H *= 0.5
        H[np.diag_indices(k * d)] += np.tile(self.penalty, k)
        return H

    def diagonal(self):
        """The diagonal of H, shape (n_parameters,)."""
        objective = self.objective
        k, d = objective.theta.shape
        data = np.zeros((d, k))
        # By blocks, where all K x K matrices would be as large as the rows.
        for block in objective.design.slices(16 * (d + 2 * k * k), BLOCK_BYTES // 8):
            own = objective.loss.hessian(objective.eta[block], objective.y[block])
            curved = weigh(objective.weights[block, None], np.einsum("iaa->ia", own))
            data += objective.design.take(block).squared_columns(curved)
        return (data.T + self.penalty).ravel()

    def largest_decrement(self, gradient):
        """An upper bound of ``sqrt(G' H^-1 G)`` from one pass over the rows.

        ``inf`` for features without a penalty and for losses that may curve down. With
        ``C = sum_i w_i Lambda_i`` and the intercept's part ``g_b`` of ``G``, the variance of the
        decision values is not negative, so::

            G' H^-1 G <= |G_f - sum_i w_i Lambda_i C^-1 g_b x_i'|^2 in R^-1 + g_b' C^-1 g_b.

        Parameters
        ----------
        gradient : ndarray of shape (n_parameters,)
        """
        objective, design = self.objective, self.objective.design
        f = design.n_features
        if objective.loss.self_concordance is None or not (self.penalty[:f] > 0).all():
            return np.inf
        G = gradient.reshape(objective.theta.shape)
        if not design.intercept:
            return float(np.sqrt((G**2 / self.penalty).sum()))
        curved = objective.weighted_hessians
        total = curved.sum(axis=0)
        if not np.linalg.eigvalsh(total)[0] > 0:
            return np.inf
        s = design.intercept
        share = np.linalg.solve(total, G[:, f] / s)
        rest = G[:, :f] - design.adjoint(curved @ share)[:f].T
        last = G[:, f] / s @ share
        return float(np.sqrt((rest**2 / self.penalty[:f]).sum() + last))
