"""One pass over the training rows for many steps at once: remainders and largest changes."""

import sys
from functools import cached_property

import numpy as np

from skinfluence._utils.weights import weigh
from skinfluence.losses import Binomial, Multinomial, SmoothHinge, SumToZero, Tweedie

# Pairs of rows and steps, times outputs, from which loading compiled kernels pays, and calling them.
COMPILED_PAIRS, LOADED_PAIRS = 2_000_000, 100_000
# Losses of one output whose remainders are compiled.
COMPILED = Binomial | Tweedie | SmoothHinge


class RemainderPass:
    """What many steps leave of the gradient beyond first order, and how far they move a row.

    Parameters
    ----------
    objective : Objective
    """

    def __init__(self, objective):
        self.objective = objective

    def __call__(self, theta_steps, skip):
        """One pass.

        Parameters
        ----------
        theta_steps : ndarray of shape (m, n_outputs, n_columns)
        skip : ndarray of int, shape (m,)
            The training row that does not count for each step, or -1.

        Returns
        -------
        S : ndarray of shape (m, n_outputs, n_columns)
            ``sum_j w_j J_j' rho_j`` with ``rho`` the loss's remainder at ``J_j v``.
        r : ndarray of shape (m,)
            Largest spread of ``J_j v`` over the rows of positive weight.

        Notes
        -----
        O(n m d K), in blocks. Large passes go through compiled kernels, with the same result.
        """
        if self.pays(len(theta_steps)) and self.objective.design.in_memory:
            loss = self.objective.loss
            if isinstance(loss, COMPILED):
                return self._compiled(theta_steps, skip)
            if isinstance(loss, SumToZero) and isinstance(loss.loss, Multinomial):
                return self._compiled_softmax(theta_steps, skip)
        return self._plain(theta_steps, skip)

    def pays(self, n_steps):
        """Whether compiled kernels pay for so many steps."""
        pairs = n_steps * self.objective.n_samples * self.objective.loss.n_outputs
        return pairs >= (LOADED_PAIRS if "numba" in sys.modules else COMPILED_PAIRS)

    def in_single(self, rows, steps, skip):
        """One pass in other coordinates of the parameters and in single precision, of one output.

        Parameters
        ----------
        rows : ndarray of float32, shape (n_samples, p)
            The rows in these coordinates.
        steps : ndarray of shape (m, p)
        skip : ndarray of int, shape (m,)

        Returns
        -------
        S : ndarray of shape (m, p)
        r : ndarray of shape (m,)
        """
        from skinfluence._compiled.blocks import BLOCK
        from skinfluence._compiled.chord import chord_dense

        m = len(steps)
        U, places = _blocks_of(steps[:, None], skip, BLOCK)
        U = np.ascontiguousarray(U[:, :, 0], dtype=np.float32)
        S, r = chord_dense(rows, self._terms, self.objective.weights, U, places)
        return S.transpose(0, 2, 1).reshape(-1, S.shape[1])[:m], r.reshape(-1)[:m].astype(float)

    def _plain(self, theta_steps, skip):
        objective = self.objective
        m, k, d = theta_steps.shape
        flat = np.ascontiguousarray(theta_steps.reshape(m * k, d).T)
        S = np.zeros((d, m * k))
        r = np.zeros(m)
        loss, weights = objective.loss, objective.weights
        for block in objective.design.slices(40 * (m * k * (k + 2) + d)):
            rows = objective.design.take(block)
            moved = rows.multiply(flat).reshape(-1, m, k)
            inside = np.flatnonzero((skip >= block.start) & (skip < block.stop))
            moved[skip[inside] - block.start, inside] = 0.0
            eta, y = objective.eta[block][:, None], objective.y[block][:, None]
            rho = weigh(weights[block][:, None, None], loss.remainder(eta, y, moved))
            S += rows.adjoint(rho.reshape(-1, m * k))
            spread = loss.spread(moved)
            spread[weights[block] <= 0] = 0.0
            np.maximum(r, spread.max(axis=0, initial=0.0), out=r)
        return S.T.reshape(m, k, d), r

    @cached_property
    def _terms(self):
        from skinfluence._compiled import chord

        objective, loss = self.objective, self.objective.loss
        eta = objective.eta[:, 0]
        if isinstance(loss, Binomial):
            return chord.logistic_terms(eta)
        if isinstance(loss, SmoothHinge):
            return chord.smooth_hinge_terms(eta, objective.y, loss.temperature)
        return chord.tweedie_terms(eta, objective.y, loss.power)

    @cached_property
    def _packed(self):
        from skinfluence._compiled.packed_rows import pack_rows

        objective = self.objective
        keys = [objective.eta[:, 0]]
        if not isinstance(objective.loss, Binomial):
            keys.append(objective.y)
        return pack_rows(objective.design.X, *keys)

    def _compiled(self, theta_steps, skip):
        from skinfluence._compiled.blocks import BLOCK
        from skinfluence._compiled.chord import chord_dense
        from skinfluence._compiled.chord_sparse import chord_sparse

        design = self.objective.design
        U, places = _blocks_of(theta_steps, skip, BLOCK)
        U = np.ascontiguousarray(U[:, :, 0])
        constant = design.intercept or None
        weights = self.objective.weights
        if design.is_sparse:
            S, r = chord_sparse(self._packed, self._terms, weights, U, places, constant)
        else:
            S, r = chord_dense(design.X, self._terms, weights, U, places, constant)
        m = len(theta_steps)
        S = S.transpose(0, 2, 1).reshape(-1, S.shape[1])[:m, None]
        return S, r.reshape(-1)[:m]

    def _compiled_softmax(self, theta_steps, skip):
        from skinfluence._compiled.blocks import BLOCK
        from skinfluence._compiled.chord_softmax import chord_softmax

        objective, loss = self.objective, self.objective.loss
        full = np.matmul(loss.basis, theta_steps)
        U, places = _blocks_of(full, skip, BLOCK)
        eta = loss.expand(objective.eta)
        S, r = chord_softmax(
            objective.design.X,
            eta,
            loss.loss.predict_proba(eta),
            objective.weights,
            U,
            places,
            objective.design.intercept or None,
        )
        m = len(theta_steps)
        S = S.transpose(0, 3, 2, 1).reshape(-1, *full.shape[1:])[:m]
        return np.matmul(loss.basis.T, S), r.reshape(-1)[:m]


def _blocks_of(theta_steps, skip, width):
    """Steps (m, K, d) as blocks (n_blocks, d, K, width) padded with zeros, and their skips."""
    m, k, d = theta_steps.shape
    n_blocks = -(-m // width)
    padded = np.zeros((n_blocks * width, k, d))
    padded[:m] = theta_steps
    places = np.full(n_blocks * width, -1, dtype=np.int64)
    places[:m] = skip
    U = padded.reshape(n_blocks, width, k, d).transpose(0, 3, 2, 1)
    return np.ascontiguousarray(U), places.reshape(n_blocks, width)
