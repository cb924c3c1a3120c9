"""Sums over all pairs of rows of a tall table, without its pairs: third powers from one tensor.

``sum_j t_j (a_i'a_j)^3`` is a symmetric tensor of the columns contracted with ``a_i`` three times: flops
that are linear in the rows. What else a bound needs is bounded by leverages, which does where no row
moves another one far.
"""

import numpy as np

from skinfluence.smooth.pair_sums import EPS

# Rows of one sum in single precision; flops that each pair of rows costs beside its product.
ROWS, BESIDE = 2048, 90
# Rows whose steps must be certified by leverages alone, as a share.
MOST = 0.9


class TallSums:
    """What :class:`~skinfluence.smooth.pair_sums.PairSums` is, with the same attributes.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output.

    Notes
    -----
    O(n d^3) for n rows of d parameters. By Cauchy and Schwarz ``|K_ij|^2 <= h_i h_j``, and
    ``sum_j w_j l''_j K_ij^2 <= h_i``.
    """

    def __init__(self, at):
        objective, rows = at.objective, at.rows
        weights = objective.weights
        third = weights * objective.loss.third(objective.eta, objective.y)
        h = np.einsum("ij,ij->i", rows, rows)
        n, d = rows.shape
        norm = np.sqrt(h)
        # Of one size: third powers of tiny rows would underflow.
        scale = float(norm.max(initial=0.0)) or 1.0
        heavy = float(np.abs(third).max(initial=0.0)) or 1.0
        A = (rows / scale).T.astype(np.float32)
        t = (third / heavy).astype(np.float32)
        blocks = [slice(low, min(low + ROWS, n)) for low in range(0, n, ROWS)]
        # Of each column with those that follow: every triple once, at its first column.
        tensor = [np.zeros((d - a, d - a)) for a in range(d)]
        for block in blocks:
            part = np.ascontiguousarray(A[:, block])
            for a, T in enumerate(tensor):
                T += (part[a:] * (t[block] * part[a])) @ part[a:].T
        tensor = [_often(T).astype(np.float32) for T in tensor]
        cubes = np.zeros(n)
        for block in blocks:
            part = np.ascontiguousarray(A[:, block])
            for a, T in enumerate(tensor):
                cubes[block] += part[a] * np.einsum("db,db->b", T @ part[a:], part[a:])
        rounding = (ROWS + 3 * d + 16) * EPS
        largest = float(h[weights > 0].max(initial=0.0))
        self.cubes = cubes * scale**6 * heavy - third * h**3
        self.cubes_error = rounding * norm**3 * float(np.abs(third) @ norm**3)
        self.largest = np.sqrt(h * largest) * (1.0 + 1e-9)
        self.quarts = h**2 * largest * (1.0 + 1e-9)

    @staticmethod
    def pays(own, tol):
        """Whether a tensor is cheaper than all pairs, and certifies most of some edits.

        Parameters
        ----------
        own : OneRowEdits
        tol : float
        """
        n, d = own.at.rows.shape
        if 2.0 * d**3 > n * (d + 0.5 * BESIDE):
            return False
        largest = own.at.accuracy.row_sizes.max(initial=0.0)
        with np.errstate(invalid="ignore", over="ignore"):
            r = own.M * np.abs(own.alpha) * np.sqrt(own.h * largest)
            # What is left beyond second order, of the row's own change, is about r^2 / 2.
            return float(np.mean(r**2 < tol)) > MOST


def _often(T):
    """The entries of a first column times how often they are in the sum over all triples.

    Three places for the first column where the others are two later ones in both orders.
    """
    out = 3.0 * T
    out[0] *= 0.5
    out[:, 0] *= 0.5
    out[0, 0] = T[0, 0]
    return out
