"""Nearest neighbours: a row that leaves hands its vote to the next one.

Answers are those of a search among the other rows up to ties: of rows at one distance, which are the
nearest is the search's to choose.
"""

from functools import cached_property

import numpy as np
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from skinfluence._utils.memory import row_blocks
from skinfluence.closed_form.family import Family, NoModelError

# Distances this close are one.
TIED = 1e-9


class NeighbourFamily:
    """Votes, or the mean target, of the nearest training rows.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,)
        Positions of the classes, or the targets.
    weights : ndarray of shape (n_samples,)
        All one: a neighbour is there or not.
    n_classes : int or None
        None for a regression.
    voting : {"uniform", "distance"} or callable
    search : dict
        Parameters of :class:`~sklearn.neighbors.NearestNeighbors`.
    """

    takes_weights, how = False, Family.how

    def __init__(self, X, codes, weights, n_classes, voting, search):
        self.X, self.codes, self.weights, self.n_classes = X, codes, weights, n_classes
        self.voting, self.search = voting, search
        if X.shape[0] < self.k:
            raise NoModelError(
                f"A search for {self.k} neighbours needs as many rows. Got {X.shape[0]}."
            )
        self.found = NearestNeighbors(**search).fit(X)
        self.targets = codes[:, None] if n_classes is None else np.eye(n_classes)[codes]

    @property
    def concern(self):
        """Where several rows are at one distance, a refit may ask others of them."""
        near = min(self.k + 2, self.X.shape[0])
        if near <= self.k or not _may_tie(self.X):
            return None
        distances, neighbours = self._beside
        votes, split = self.targets[neighbours], np.zeros(len(distances), dtype=bool)
        # Of a row itself, the nearest of all, and of one that is left out.
        for last in range(max(self.k - 1, 1), min(self.k + 1, near - 1)):
            tied = np.isclose(distances, distances[:, [last - 1]], rtol=TIED, atol=0.0)[..., None]
            low = np.where(tied, votes, np.inf).min(axis=1)
            high = np.where(tied, votes, -np.inf).max(axis=1)
            split |= tied[:, last:].any(axis=(1, 2)) & (high > low).any(axis=1)
        if not split.any():
            return None
        return UserWarning(
            "Neighbours must be nearer than other rows, else their votes are not determined. Got "
            f"{split.sum()} of {len(split)} rows with several at the distance of the last of {self.k} that "
            "vote in different ways: which of them a refit asks is the search's to choose, and answers are "
            "those of one choice. Add a column that tells the rows apart."
        )

    @property
    def k(self):
        """How many neighbours vote."""
        return self.search["n_neighbors"]

    @cached_property
    def _beside(self):
        """Distances and numbers of the next ``k + 1`` rows of each one beside itself, or of all there are."""
        return self.found.kneighbors(n_neighbors=min(self.k + 1, self.X.shape[0] - 1))

    def again(self, X, codes, weights):
        """The same kind of model of other rows."""
        return NeighbourFamily(X, codes, weights, self.n_classes, self.voting, self.search)

    def scores(self, X):
        """Shares of the votes, or the mean target, (m, n_outputs)."""
        return self._voted(*self.found.kneighbors(X))

    def own_scores(self, rows):
        """Of training rows, each without itself."""
        if self.X.shape[0] == self.k:
            return np.full((len(rows), self.targets.shape[1]), np.nan)
        distances, neighbours = self._beside
        return self._voted(distances[rows, : self.k], neighbours[rows, : self.k])

    def scores_without(self, X, rows):
        """Of rows of X without each of some training rows, in blocks; see ``Family``."""
        n_outputs = self.targets.shape[1]
        reachable = self.X.shape[0] > self.k
        if reachable:
            distances, neighbours = self.found.kneighbors(X, self.k + 1)
            before = self._voted(distances[:, :-1], neighbours[:, :-1])
        for block in row_blocks(len(rows), 8 * (1 + X.shape[0]) * n_outputs):
            out = np.full((len(rows[block]), X.shape[0], n_outputs), np.nan)
            if reachable:
                out[:] = before
                for i, row in enumerate(rows[block]):
                    tests = np.flatnonzero((neighbours[:, :-1] == row).any(axis=1))
                    stay = neighbours[tests] != row
                    shape = (len(tests), self.k)
                    out[i, tests] = self._voted(
                        distances[tests][stay].reshape(shape),
                        neighbours[tests][stay].reshape(shape),
                    )
            yield block, out

    def _voted(self, distances, neighbours):
        votes = self.targets[neighbours]
        if self.voting == "uniform":
            return votes.mean(axis=1)
        weights = _by_distance(distances) if self.voting == "distance" else self.voting(distances)
        return (weights[:, :, None] * votes).sum(axis=1) / weights.sum(axis=1, keepdims=True)


def _may_tie(X):
    """Whether every column has a value twice: a continuous one tells all rows apart."""
    if sp.issparse(X):
        return True
    return all(len(np.unique(column)) < len(column) for column in X.T)


def _by_distance(distances):
    """One over the distance; only rows at none where there are such."""
    with np.errstate(divide="ignore"):
        weights = 1.0 / distances
    there = np.isinf(weights)
    return np.where(there.any(axis=1, keepdims=True), there, weights)
