"""Bounds on sums over all pairs of rows by leverages alone: what most rows of a search need."""

import numpy as np

# Reciprocal condition from which on products with the inverse have three digits and more.
CONDITIONED, DIGITS = 1e-10, 1e-3


class LeverageSums:
    """What :class:`~skinfluence.smooth.pairs.pair_sums.PairSums` is, by inequalities.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output.

    Attributes
    ----------
    largest, cubes, cubes_error, quarts : ndarray of shape (n_samples,)
        As of :class:`~skinfluence.smooth.pairs.pair_sums.PairSums`; ``cubes`` are zero, known to
        ``cubes_error``.

    Notes
    -----
    One Gram matrix and one quadratic form a row: ``K_ij^2 <= h_i h_j`` once in ``sum_j w_j l''_j K_ij^4``
    leaves ``h_i a_i'(sum_j w_j l''_j h_j a_j a_j')a_i``.
    """

    def __init__(self, at):
        objective, factor = at.objective, at.factor
        h = np.einsum("ij,ij->i", at.rows, at.rows)
        there = objective.weights > 0
        most = float(h[there].max(initial=0.0))
        squares = most * h
        if factor.rcond > CONDITIONED:
            second = objective.weighted_hessians[:, 0, 0]
            G = objective.design.grams((second * h)[None])[0]
            forms = objective.design.quadratics((factor.inverse @ G @ factor.inverse)[None])[:, 0]
            squares = np.minimum(squares, np.maximum(forms, 0.0) * (1.0 + DIGITS))
        self.largest = np.sqrt(h * most) * (1.0 + 1e-9)
        self.quarts = h * squares * (1.0 + 1e-9)
        self.cubes = np.zeros(len(h))
        # |sum_j w_j l'''_j K_ij^3| <= M (sum_j w_j l''_j K_ij^2)^1/2 (sum_j w_j l''_j K_ij^4)^1/2.
        self.cubes_error = objective.loss.self_concordance * np.sqrt(h * self.quarts)
