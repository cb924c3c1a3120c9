"""Optima of one problem without a row or two, many side by side, by the factor at hand.

Newton's method whose steps are solved by conjugate gradients: the Hessian without few rows and at a
model nearby is that of the factor but for little, so that few products with the rows do. Nothing is
certified. It is for sums of many answers, of which certificates would cost more than the answers.
"""

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.weights import weigh

# Newton steps, and products with the rows within one.
MOST_STEPS, MOST_PRODUCTS = 25, 40
# What conjugate gradients leave of a gradient, and how far from the optimum is near, as a share of the way.
FORCING, NEAR = 0.05, 1e-2
# Halvings of a step that does not lower the objective by the share it promises.
MOST_HALVINGS, PROMISED = 30, 1e-4
# Arrays of a number for each row and output that are alive for each edit.
ARRAYS = 10


def optima_without(factor, removed, starts, sizes):
    """Parameters of the optimum without some rows, for each edit.

    Parameters
    ----------
    factor : Factor
        At the optimum of its objective, whose penalty is held.
    removed : list of ndarray of int
        The rows that each edit takes out.
    starts : ndarray of shape (m, n_outputs, n_columns)
        Parameters to start from.
    sizes : ndarray of shape (m,)
        About how far the optimum moves, in the norm of the Hessian.

    Returns
    -------
    theta : ndarray of shape (m, n_outputs, n_columns)
        NaN where the iteration did not end.
    """
    objective = factor.objective
    k = objective.loss.n_outputs
    out = np.empty_like(starts)
    per_edit = 8 * objective.n_samples * k * (ARRAYS + k)
    for block in row_blocks(len(removed), per_edit):
        batch = _Batch(factor, removed[block])
        out[block] = batch.run(starts[block].transpose(2, 0, 1), sizes[block]).transpose(1, 2, 0)
    return out


class _Batch:
    """Parameters of shape (n_columns, m, n_outputs), decision values of (n_samples, m, n_outputs)."""

    def __init__(self, factor, removed):
        self.factor, self.objective = factor, factor.objective
        self.penalty = self.objective.penalty[:, None, None]
        self.weights = np.repeat(self.objective.weights[:, None], len(removed), axis=1)
        for column, rows in enumerate(removed):
            self.weights[rows, column] = 0.0

    def run(self, theta, sizes):
        loss = self.objective.loss
        theta = np.array(theta)
        left = np.arange(theta.shape[1])
        at, eta, weights = theta, self._multiply(theta), self.weights
        value = self._value(at, eta, weights)
        for _ in range(MOST_STEPS):
            y = self._targets(weights)
            gradient = self._adjoint(weigh(weights[..., None], loss.gradient(eta, y)))
            gradient += self.penalty * at
            hessians = weigh(weights[..., None, None], loss.hessian(eta, y))
            step = self._newton_step(hessians, gradient)
            decrement = np.einsum("dmk,dmk->m", gradient, step)
            moved, share = self._multiply(step), np.ones(len(left))
            for _ in range(MOST_HALVINGS):
                there = at - share[:, None] * step
                eta_there = eta - share[:, None] * moved
                value_there = self._value(there, eta_there, weights)
                rounding = 1e-12 * np.abs(value)
                low = value_there <= value - PROMISED * share * decrement + rounding
                if low.all():
                    break
                share[~low] /= 2.0
            theta[:, left] = there
            again = ~(low & (decrement <= (NEAR * sizes[left]) ** 2))
            left = left[again]
            if not len(left):
                return theta
            at, eta = there[:, again], eta_there[:, again]
            weights, value = weights[:, again], value_there[again]
        theta[:, left] = np.nan
        return theta

    def _newton_step(self, hessians, gradient):
        """The Hessians' inverses times the gradients, by preconditioned conjugate gradients."""
        step, rest = np.zeros_like(gradient), gradient.copy()
        solved = self._solve(rest)
        way, size = solved, np.einsum("dmk,dmk->m", rest, solved)
        enough = FORCING**2 * size
        for _ in range(MOST_PRODUCTS):
            curved = self._curve(hessians, self._multiply(way))
            product = self._adjoint(curved) + self.penalty * way
            along = size / _positive(np.einsum("dmk,dmk->m", way, product))
            step += along[:, None] * way
            rest -= along[:, None] * product
            solved = self._solve(rest)
            before, size = size, np.einsum("dmk,dmk->m", rest, solved)
            if (size <= enough).all():
                break
            way = solved + (size / _positive(before))[:, None] * way
        return step

    def _value(self, theta, eta, weights):
        losses = self.objective.loss.value(eta, self._targets(weights))
        data = weigh(weights, losses).sum(axis=0)
        return data + 0.5 * np.einsum("dmk,dmk->m", self.penalty * theta, theta)

    def _targets(self, weights):
        y = self.objective.y
        return np.broadcast_to(y[:, None], weights.shape + y.shape[1:])

    def _multiply(self, theta):
        d, m, k = theta.shape
        columns = np.ascontiguousarray(theta.reshape(d, m * k))
        return np.asarray(self.objective.design.multiply(columns)).reshape(-1, m, k)

    def _adjoint(self, A):
        n, m, k = A.shape
        columns = np.ascontiguousarray(A.reshape(n, m * k))
        return np.array(self.objective.design.adjoint(columns)).reshape(-1, m, k)

    def _solve(self, B):
        d, m, k = B.shape
        flat = np.ascontiguousarray(B.transpose(2, 0, 1)).reshape(k * d, m)
        return self.factor.solve(flat).reshape(k, d, m).transpose(1, 2, 0)

    @staticmethod
    def _curve(hessians, moved):
        if moved.shape[2] == 1:
            return hessians[..., 0] * moved
        return (hessians @ moved[..., None])[..., 0]


def _positive(values):
    return np.maximum(values, np.finfo(float).tiny)
