"""Rows in coordinates in which the Hessian that edits start from is the identity."""

from functools import cached_property

import numpy as np
from scipy import linalg

from skinfluence.smooth.chords.filled_rows import FilledRows
from skinfluence.smooth.chords.moved_rows import MovedRows
from skinfluence.smooth.chords.rescaled_rows import RescaledRows
from skinfluence.smooth.chords.single_chords import SingleChords
from skinfluence.smooth.pairs.own_values import OneRowEdits
from skinfluence.smooth.pairs.pair_products import width_of
from skinfluence.smooth.pairs.pair_sums import PairSums, half_solved
from skinfluence.smooth.pairs.step_sums import StepSums
from skinfluence.smooth.pairs.tall_sums import TallSums


class Whitened:
    """What edits of one row and one output share that change the total weight by the same.

    Parameters
    ----------
    accuracy : Accuracy
        Of the unedited objective.
    shift : float
        Change of the total weight; of no account where edits hold C.

    Attributes
    ----------
    factor : PrimalFactor
        Of ``H_s = H + shift R0``, with ``H_s = L L'``.
    rows : ndarray of shape (n_samples, n_parameters)
        ``L^-1 x_i``.
    drift : ndarray of shape (n_parameters,) or None
        ``-L^-1 shift R0 theta``, the step that the penalty alone makes; None for none.
    """

    def __init__(self, accuracy, shift):
        self.accuracy, self.objective = accuracy, accuracy.objective
        self.factor = accuracy.factor.shifted(shift)
        self.rows = half_solved(self.factor)
        objective = self.objective
        moves = objective.hold != "C" and shift * objective.unit_penalty
        self.drift, self._pairs = None, None
        if np.any(moves):
            step = -self.factor.solve((moves * objective.theta[0])[:, None])[:, 0]
            self.drift = self.halved(step)

    @cached_property
    def drifts(self):
        """Changes of decision values by the drift, (n_samples,)."""
        return self.rows @ self.drift

    @cached_property
    def single_rows(self):
        """:attr:`rows` in single precision."""
        return np.ascontiguousarray(self.rows, dtype=np.float32)

    def pairs_of(self, rows):
        """The sums over pairs of rows that certify own values of some rows, kept for the next ones."""
        pairs = self._pairs
        if pairs is None or not pairs.knows(rows):
            self._pairs = pairs = PairSums(self.factor, self.rows, rows)
        return pairs

    def knows_pairs_of(self, rows):
        """Whether they were made."""
        return self._pairs is not None and self._pairs.knows(rows)

    @cached_property
    def tall(self):
        """What stands in for them where rows are many and move each other little."""
        return TallSums(self)

    def tall_for(self, own, asked):
        """A tensor in the place of products with all rows, where it is cheaper for some edits; else None.

        Parameters
        ----------
        own : OneRowEdits
        asked : ndarray of int
            Rows that are edited in all.
        """
        n, p = self.rows.shape
        if own.are_along_rows:
            width = width_of(self.objective.design, p)
            pays = not self.knows_pairs_of(asked) and TallSums.pays(n, p, len(asked), width)
        else:
            pays = TallSums.pays_for_steps(self.rows, len(own))
        return self.tall if pays else None

    def knows_sums_of(self, rows):
        """Whether one or the other was made."""
        return self.knows_pairs_of(rows) or "cubes" in vars(vars(self).get("tall", self))

    @cached_property
    def step_sums(self):
        """The sums over rows that certify own values of steps along no row."""
        return StepSums(self)

    @cached_property
    def chords(self):
        """Chords in single precision."""
        return SingleChords(self)

    @cached_property
    def newton(self):
        """Newton steps that renew the rows that moved."""
        return MovedRows(self)

    @cached_property
    def unwhitened(self):
        """``L^-1 diag(scale)``: ``v' L^-1 diag(scale)`` are the parameters of v, (p, p)."""
        L, scale = self.factor.cholesky
        inverse = linalg.solve_triangular(L, np.diag(scale), lower=True, check_finite=False)
        return np.ascontiguousarray(inverse)

    def edits(self, edits):
        """What the bounds of some edits need."""
        if edits.move_fills:
            return FilledRows(self, edits)
        return (OneRowEdits if edits.ratio is None else RescaledRows)(self, edits)

    def adjoint_whole(self, sums):
        """Gradients in these coordinates as gradients in the parameters."""
        L, scale = self.factor.cholesky
        return (sums @ L.T) / scale

    def halved(self, steps):
        """Steps of the parameters in these coordinates."""
        L, scale = self.factor.cholesky
        return (steps / scale) @ L

    def whole(self, steps):
        """Steps in these coordinates as steps of the parameters."""
        L, scale = self.factor.cholesky
        solved = linalg.solve_triangular(L, steps.T, lower=True, trans="T", check_finite=False)
        return (scale[:, None] * solved).T
