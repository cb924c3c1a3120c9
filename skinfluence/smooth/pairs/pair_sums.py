"""Sums over all pairs of rows that say what leaving a row out does to its own decision value.

For one-row edits every step is a multiple of ``H^-1 x_i``, so what a bound needs of the other rows
are sums of powers of ``K_ij = x_i' H^-1 x_j``: one pass over K in single precision, its upper half
only, serves all rows and all edits of them. The rounding is counted.
"""

import numpy as np
from scipy import linalg

from skinfluence._utils.threads import small_blas
from skinfluence._utils.weights import weigh
from skinfluence.smooth.pairs.pair_products import EPS, ROWS, cosines_of, with_constant
from skinfluence.solvers.primal import PrimalFactor

# Columns of one block of K: it stays in cache, and each entry is used twice.
COLUMNS = 1024
# Relative rounding of a sum of a block's terms in single precision, and the smallest normal number.
SUMMED, TINY = 4e-5, 1.2e-38


class PairSums:
    """Sums over the rows ``j != i`` of positive weight, for each training row i.

    Parameters
    ----------
    factor : PrimalFactor
        Of an objective with one output.
    rows : ndarray of shape (n_samples, n_parameters), default=None
        Its :func:`half_solved` rows, if they are known.
    asked : ndarray of int, default=None
        The rows i whose sums are asked; all when None. Others have sums of nothing, known to ``inf``.

    Attributes
    ----------
    largest : ndarray of shape (n_samples,)
        At least ``max_j |K_ij|``.
    cubes, cubes_error : ndarray of shape (n_samples,)
        ``sum_j w_j l'''_j K_ij^3`` and a bound on its rounding.
    quarts : ndarray of shape (n_samples,)
        At least ``sum_j w_j l''_j K_ij^4``.
    """

    def __init__(self, factor, rows=None, asked=None):
        objective = factor.objective
        weights, M = objective.weights, objective.loss.self_concordance
        second = objective.weighted_hessians[:, 0, 0]
        third = weigh(weights, objective.loss.third(objective.eta, objective.y))
        rows = half_solved(factor) if rows is None else rows
        norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        unique, of = _distinct(rows)
        m = n_asked = len(unique)
        if asked is not None:
            unique, of, n_asked = _first(unique, of, asked)
        n = norm[unique]
        T, W = np.bincount(of, third, m), np.bincount(of, second, m)
        there = np.bincount(of, weights > 0, m) > 0
        cosines = cosines_of(factor, rows, n, unique)
        sizes = n * there, T * n**3, W * n**4
        scales = [float(np.abs(one).max(initial=0.0)) or 1.0 for one in sizes]
        scaled = (one / s for one, s in zip(sizes, scales, strict=True))
        found = _sums(cosines, *scaled, n_asked)
        largest, cubes, quarts = (one * s for one, s in zip(found, scales, strict=True))

        # K is off by at most blur_i blur_j, sums by SUMMED and by what underflows.
        blur = cosines.blur
        quarts = n**4 * (quarts * (1.0 + SUMMED) + m * TINY * scales[2])
        rounded = (quarts**0.25 + blur * float(W @ blur**4) ** 0.25) ** 4
        error = (3.0 * blur * np.sqrt(float(W @ blur**2)) + SUMMED * n) * np.sqrt(rounded)
        largest = n * largest * (1.0 + 4.0 * EPS) + blur * float((blur * there).max(initial=0.0))

        # Copies of a row are at the leverage of the row itself.
        own = norm**2
        copies = np.bincount(of, weights > 0, m)[of] - (weights > 0)
        self.largest = np.maximum(largest[of], np.where(copies > 0, own, 0.0))
        self.cubes = n[of] ** 3 * cubes[of] + (T[of] - third) * own**3
        self.cubes_error = M * error[of] + n[of] ** 3 * m * TINY * scales[1]
        self.quarts = rounded[of] + np.maximum(W[of] - second, 0.0) * own**4
        self._unknown = of >= n_asked
        for sums in (self.largest, self.cubes_error, self.quarts):
            sums[self._unknown] = np.inf

    def knows(self, rows):
        """Whether the sums of some rows were asked for."""
        return not self._unknown[rows].any()

    @staticmethod
    def serves(factor):
        """Whether a factor has what the sums are made of."""
        objective = factor.objective
        return (
            type(factor) is PrimalFactor
            and objective.loss.n_outputs == 1
            and objective.design.in_memory
            and bool(objective.loss.self_concordance)
            and objective.loss.third is not None
        )


def half_solved(factor):
    """``L^-1 x_i`` of every row, whose products are K, (n_samples, n_parameters)."""
    L, scale = factor.cholesky
    design = factor.objective.design
    if design.is_sparse:
        rows = with_constant(design, slice(None), scale).toarray()
    else:
        rows = design.dense_rows() * scale
    with small_blas(len(L)):
        return linalg.solve_triangular(
            L, rows.T, lower=True, overwrite_b=True, check_finite=False
        ).T


def _distinct(rows):
    """One row of each set of equal ones, and which of them each row is."""
    key = rows @ np.random.default_rng(0).standard_normal(rows.shape[1])
    _, first, of = np.unique(key, return_index=True, return_inverse=True)
    if len(first) == len(key) or not (rows[first][of] == rows).all():
        return np.arange(len(key)), np.arange(len(key))
    return first, of


def _first(unique, of, asked):
    """Distinct rows in another order, those of some rows first, and how many these are."""
    first = np.zeros(len(unique), dtype=bool)
    first[of[asked]] = True
    order = np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)])
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    return unique[order], place[of], int(np.count_nonzero(first))


def _sums(cosines, size, third, fourth, n_asked):
    """The sums of each distinct row over all the others, of the first ones."""
    from skinfluence._compiled.pairs import sums_of_block

    m = len(cosines)
    largest, cubes, quarts = np.zeros(m, dtype=np.float32), np.zeros(m), np.zeros(m)
    size, third, fourth = (np.asarray(one, dtype=np.float32) for one in (size, third, fourth))
    buffer = np.empty(ROWS * COLUMNS, dtype=np.float32)
    below = np.tri(min(ROWS, m), dtype=bool)
    for low in range(0, n_asked, ROWS):
        height = min(ROWS, m - low)
        for start in range(low, m, COLUMNS):
            width = min(COLUMNS, m - start)
            K = buffer[: height * width].reshape(height, width)
            cosines.block(low, start, K)
            if start == low:
                # Every pair once, and no row with itself.
                K[:, :height][below[:height, :height]] = 0.0
            sums_of_block(K, low, start, size, third, fourth, largest, cubes, quarts)
    return largest.astype(float), cubes, quarts
