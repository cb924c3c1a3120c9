"""A random subspace of the parameters of a module."""

import numpy as np


class Projection:
    """Each parameter, with a random sign, follows one of a few free coordinates.

    Parameters
    ----------
    n_parameters : int
        All that were chosen.
    n_coordinates : int
    rng : RandomState

    Attributes
    ----------
    bucket : ndarray of int, shape (n_parameters,)
        Which coordinate each follows.
    sign : ndarray of shape (n_parameters,)

    Raises
    ------
    ValueError
        For a number of coordinates that is none.
    """

    def __init__(self, n_parameters, n_coordinates, rng):
        if not 1 <= n_coordinates <= n_parameters:
            raise ValueError(
                f"projection must lie between 1 and the {n_parameters} parameters. Got "
                f"{n_coordinates!r} instead."
            )
        # Every bucket gets its share: a permutation, then one coordinate after the other.
        self.bucket = rng.permutation(np.arange(n_parameters) % n_coordinates)
        self.sign = rng.choice([-1.0, 1.0], n_parameters)
        self.n_coordinates = n_coordinates

    def compress(self, vectors):
        """``P'`` times vectors of all parameters, along the last axis."""
        out = np.zeros((*vectors.shape[:-1], self.n_coordinates))
        np.add.at(out, (..., self.bucket), vectors * self.sign)
        return out

    def expand(self, vectors):
        """``P`` times vectors of the free coordinates, along the last axis."""
        return vectors[..., self.bucket] * self.sign

    def spread(self, values):
        """The diagonal of ``P' diag(values) P``, which is diagonal."""
        return np.bincount(self.bucket, values, self.n_coordinates)
