"""What a closed-form model learned, and what it would have learned from other rows."""

from abc import ABC, abstractmethod

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.solvers import SingularHessianError


class NoModelError(SingularHessianError):
    """Without these rows the estimator has no fit: a class is empty, or a covariance singular."""


class Family(ABC):
    """A model that is a function of sums over its training rows.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    codes : ndarray of int, shape (n_samples,)
        Positions of the classes.
    weights : ndarray of shape (n_samples,)
    n_classes : int

    Raises
    ------
    NoModelError
    """

    # Whether ``fit`` takes weights; without them, rows are there or not.
    takes_weights = False
    # What to do where rows and columns do not determine one.
    determined_by = (
        "Drop the columns that others give and the rows of a class in which none has weight, or shrink the "
        "covariances (reg_param)."
    )
    # What becomes of it without a row.
    how = "sums, nothing is solved"
    # What to say where answers are about this fit, as a warning.
    concern = None

    def __init__(self, X, codes, weights, n_classes):
        self.X, self.codes, self.weights, self.n_classes = X, codes, weights, n_classes
        self.counts = np.bincount(codes, weights, n_classes)
        if (self.counts <= 0).any():
            raise NoModelError("A class has no rows.")
        self.members = [np.flatnonzero(codes == k) for k in range(n_classes)]
        # Where each row is among those of its class.
        self.place = np.empty(len(codes), dtype=np.intp)
        for mine in self.members:
            self.place[mine] = np.arange(len(mine))

    @abstractmethod
    def again(self, X, codes, weights):
        """The same kind of model of other rows.

        Raises
        ------
        NoModelError
        """

    @abstractmethod
    def scores(self, X):
        """One score a class for each row of X, shape (m, n_classes)."""

    @abstractmethod
    def own_scores(self, rows):
        """Scores of training rows, each without itself, shape (n_rows, n_classes).

        NaN where the others have no model.
        """

    @abstractmethod
    def scores_without(self, X, rows):
        """Scores of rows of X without each of some training rows, in blocks.

        Yields
        ------
        block : slice
            Of ``rows``.
        scores : ndarray of shape (b, m, n_classes)
            NaN where the others have no model.
        """

    def blocks(self, rows, X):
        """Slices of rows whose scores at X fit in memory."""
        return row_blocks(len(rows), 8 * (1 + X.shape[0]) * self.n_classes)


def log_priors(counts, priors):
    """Logarithms of what classes are expected with: as given, or by their share of the weight."""
    if priors is not None:
        return np.log(priors)
    return np.log(counts) - np.log(counts.sum(axis=-1, keepdims=True))
