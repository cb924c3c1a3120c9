"""Shapes of label noise: matrices P(given | true) fitted to probabilities of the true labels.

The reasoning is in the notes of `skinfluence.cleaning.noise.estimate_noise`.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.special import gammaln, log_softmax, logsumexp

from skinfluence.cleaning.likelihood import SMALLEST, TYPICAL_LOG_A, LabelLikelihood
from skinfluence.cleaning.uphill import highest

STARTS = (0.02, 0.2)
# When a kind of error is looked for: shares it may have, how many of the best are fitted, how many
# pairs of classes are looked at.
SHARES_TRIED, TRIED, MOST_CELLS = np.array([0.002, 0.01, 0.05, 0.2]), 2, 300
SHARES_IN_REACH = np.geomspace(1e-4, 0.9, 24)
# Half the 95 % quantile of chi-squared with one degree of freedom.
FALL = 1.92
# Up to this many, the pairs of kinds are a dense array.
DENSE_CELLS = 20_000


@dataclass(frozen=True, eq=False)
class Kinds:
    """Kinds of errors, each with one share: how a unit of it spreads over pairs (true, given).

    Attributes
    ----------
    names : tuple of (str, ...)
        ``("even",)``, ``("true", k)``, ``("given", j)`` or ``("cell", k, j)``.
    pairs : ndarray or csr_array of shape (n_kinds, n_classes ** 2)
        The chance of each pair, per unit.
    """

    names: tuple
    pairs: np.ndarray | csr_array

    @classmethod
    def of(cls, names, k):
        """The kinds with these names among `k` classes."""
        rows, columns, values = [], [], []
        for row, (kind, *at) in enumerate(names):
            if kind == "cell":
                cells, chance = [tuple(at)], 1.0
            elif kind == "true":
                cells = [(at[0], j) for j in range(k) if j != at[0]]
                chance = 1.0 / (k - 1)
            elif kind == "given":
                cells, chance = [(i, at[0]) for i in range(k) if i != at[0]], 1.0
            else:
                cells = [(i, j) for i in range(k) for j in range(k) if i != j]
                chance = 1.0 / (k - 1)
            rows += [row] * len(cells)
            columns += [i * k + j for i, j in cells]
            values += [chance] * len(cells)
        shape = (len(names), k * k)
        pairs = csr_array((values, (rows, columns)), shape=shape, dtype=float)
        # Products of small matrices cost less than looking at what is zero in them.
        small = len(names) * k * k <= DENSE_CELLS
        return cls(tuple(names), pairs.toarray() if small else pairs)

    def dense(self):
        """:attr:`pairs` as an array of its own."""
        return self.pairs.toarray() if issparse(self.pairs) else self.pairs.copy()

    @cached_property
    def _given(self):
        """For each label what a unit of each kind adds to its chance, by true class, (n_kinds, n_classes)."""
        k = math.isqrt(self.pairs.shape[1])
        leaving = self.dense().reshape(len(self.names), k, k).sum(axis=2)
        out = []
        for j in range(k):
            stays = np.zeros((len(self.names), k))
            stays[:, j] = leaving[:, j]
            part = self.pairs[:, j::k]
            out.append(part - csr_array(stays) if issparse(part) else part - stays)
        return out

    def given_as(self, j, values):
        """What a unit of each kind adds to the chance of the label `j`, by chances of the true ones.

        Parameters
        ----------
        j : int
        values : ndarray of shape (n_classes, n)

        Returns
        -------
        added : ndarray of shape (n_kinds, n)
        """
        return self._given[j] @ values

    def along(self, weights):
        """What a unit of each kind adds to the sum of T times `weights` of shape (n_classes, n_classes)."""
        return self.pairs @ (weights - np.diag(weights)[:, None]).ravel()

    def by_class(self, weights):
        """As :meth:`along`, of each true class, (n_kinds, n_classes)."""
        k = len(weights)
        uphill = (weights - np.diag(weights)[:, None]).ravel()
        if issparse(self.pairs):
            return (self.pairs * uphill) @ np.repeat(np.eye(k), k, axis=0)
        return (self.pairs * uphill).reshape(-1, k, k).sum(axis=2)

    def matrix(self, shares, k):
        """P(given | true), rows true."""
        T = (shares @ self.pairs).reshape(k, k)
        T[np.arange(k), np.arange(k)] = 1.0 - T.sum(axis=1)
        return T


@dataclass(frozen=True, eq=False)
class Shape:
    """One fitted shape of noise.

    Attributes
    ----------
    names : tuple
        The kinds of errors in it; none for labels that are all right.
    parameters : ndarray
        ``log a``, ``b`` and the shares.
    T : ndarray of shape (n_classes, n_classes)
        P(given | true), rows true.
    value : float
        Penalised log likelihood.
    """

    names: tuple
    parameters: np.ndarray
    T: np.ndarray
    value: float

    @classmethod
    def trivial(cls, k):
        """Labels that are all right, of probabilities taken as they are."""
        return cls((), np.zeros(1 + k), np.eye(k), 0.0)

    @property
    def shares(self):
        return self.parameters[1 + len(self.T) :]

    @property
    def swaps(self):
        """Whether a class is given more often as another one than as itself."""
        return bool((self.T > np.diag(self.T)[:, None]).any())

    def log_right(self, logs):
        """Log chances of the true labels, ``log q``."""
        k = len(self.T)
        return log_softmax(np.exp(self.parameters[0]) * logs + self.parameters[1 : 1 + k], axis=1)

    def posterior(self, logs, codes, doubt=0.0, mass=0.0):
        """Chance of each class to be the right one, given the label.

        With the chance `doubt` a row is one of which only how large the classes are, `mass`, is known.
        """
        joint = ((1.0 - doubt) * np.exp(self.log_right(logs)) + doubt * mass) * self.T.T[codes]
        return joint / np.maximum(joint.sum(axis=1, keepdims=True), SMALLEST)

    def log_odds(self, logs, codes, leak):
        """Log odds that the label is wrong, where `leak` (a matrix of pairs) is added to the shape."""
        k = len(self.T)
        T = self.T * (1.0 - leak.sum(axis=1))[:, None] + leak
        with np.errstate(divide="ignore"):
            joint = self.log_right(logs) + np.log(T.T)[codes]
        rows = np.arange(len(codes))
        right = joint[rows, codes].copy()
        joint[rows, codes] = -np.inf
        return logsumexp(joint, axis=1) - right if k > 1 else np.full(len(codes), -np.inf)


class Likelihood(LabelLikelihood):
    """What shapes of noise make of the labels of some rows. See :class:`LabelLikelihood`."""

    def fit(self, names, starts=None, held=None):
        """The best shape with these kinds of errors.

        `starts` are parameters to start from; `held` is a value for the last share.
        """
        k, kinds = self.k, Kinds.of(names, self.k)
        free = np.full(k, np.inf)
        low = np.concatenate([[-4.0], -free, np.zeros(len(names))])
        high = np.concatenate([[4.0], free, np.ones(len(names))])
        if held is not None:
            low[-1] = high[-1] = held
        if starts is None:
            # Several kinds may take from one class: together no more than half of it.
            most = max(1.0, (1.0 - np.diag(kinds.matrix(np.ones(len(names)), k))).max())
            crowd = max(1.0, 2.0 * max(STARTS) * most)
            tried = STARTS if names else STARTS[:1]
            starts = [self._start(share / crowd, len(names)) for share in tried]
        fits = []
        for start in starts:
            start = np.clip(np.array(start, dtype=float), low, high)
            fits.append(highest(lambda at: self.parts(at, kinds), start, low, high))
        parameters, value = max(fits, key=lambda fit: fit[1])
        return Shape(kinds.names, parameters, kinds.matrix(parameters[1 + k :], k), value * self.n)

    def _start(self, share, n_kinds):
        return np.concatenate([[TYPICAL_LOG_A], np.zeros(self.k), np.full(n_kinds, share)])

    def largest(self, shape):
        """The last share that the labels do not exclude, by profile likelihood."""
        low, high = float(shape.shares[-1]), 1.0
        fall_low, fall_high = 0.0, None
        start, value = shape.parameters, shape.value
        guess = min(0.5 * (low + high), 2.0 * low + 4.0 / self.n)
        for _ in range(12):
            moved = self.fit(shape.names, [start], held=guess)
            value = max(value, moved.value)
            fall = shape.value - moved.value
            if abs(fall - FALL) < 0.1:
                return guess
            if fall < FALL:
                low, fall_low, start = guess, fall, moved.parameters
            else:
                high, fall_high = guess, fall
            if fall_high is None:
                guess = min(0.5 * (low + high), 2.0 * low)
            else:
                # The square root of the fall is close to a straight line.
                roots = np.sqrt(max(fall_low, 0.0)), np.sqrt(fall_high)
                part = (np.sqrt(FALL) - roots[0]) / max(roots[1] - roots[0], 1e-12)
                guess = low + float(np.clip(part, 0.1, 0.9)) * (high - low)
        return high

    def searched(self, none, price):
        """Sparse shapes for more than two classes, built one kind of error at a time.

        Parameters
        ----------
        none : Shape
            Labels that are all right.
        price : float
            Nats that a share costs; kinds are added while they earn it and their own surprise.

        Returns
        -------
        shapes : list of Shape
            All that were fitted on the way there, and back from the last by one kind.
        """
        kinds = Kinds.of(self._candidates(none), self.k)
        shapes, last, names = [], none, []
        while len(names) < 3 * self.k:
            profiles = self._profiles(last, kinds, SHARES_TRIED)
            gains, shares = profiles.max(axis=0), SHARES_TRIED[profiles.argmax(axis=0)]
            gains[[kinds.names.index(name) for name in names]] = -np.inf
            tried = []
            for at in np.argsort(-gains, kind="stable")[:TRIED]:
                start = np.append(last.parameters, shares[at])
                tried.append(self.fit([*names, kinds.names[at]], [start]))
            shapes += tried
            best = max(tried, key=lambda shape: shape.value - surprise(shape.names, self.k))
            earned = best.value - surprise(best.names, self.k)
            earned -= last.value - surprise(last.names, self.k)
            if earned < price:
                break
            last, names = best, list(best.names)
        return shapes + self._without_one(last)

    def _candidates(self, none):
        """Even errors, those of each class, and pairs of classes where labels disagree most often."""
        k = self.k
        right = none.log_right(self.logs)
        own = np.take_along_axis(right, self.codes[:, None], axis=1)
        ahead = self._by_label((right > own).T.astype(float))
        ahead[np.arange(k), np.arange(k)] = 0
        most = np.argsort(-ahead, axis=None, kind="stable")[:MOST_CELLS]
        cells = [("cell", *divmod(int(at), k)) for at in most if ahead.flat[at] > 0]
        return [("even",), *(("true", i) for i in range(k)), *cells]

    def _profiles(self, shape, kinds, shares):
        """What shares of each kind of error add to the log likelihood, chances of the true labels held.

        Returns
        -------
        gains : ndarray of shape (n_shares, n_kinds)
        """
        k = self.k
        q = np.exp(shape.log_right(self.logs))
        given = np.maximum((q * shape.T.T[self.codes]).sum(axis=1), SMALLEST)
        moved = kinds.dense().reshape(-1, k, k)
        moved[:, np.arange(k), np.arange(k)] -= moved.sum(axis=2)
        change = np.empty((self.n, len(kinds.names)))
        for j in range(k):
            mine = self.codes == j
            change[mine] = (q[mine] / given[mine, None]) @ moved[:, :, j].T
        return np.array(
            [np.log(np.maximum(1.0 + share * change, SMALLEST)).sum(axis=0) for share in shares]
        )

    def reach(self, none, names):
        """About how large a share of each kind of error the labels do not exclude, by itself."""
        gains = self._profiles(none, Kinds.of(names, self.k), SHARES_IN_REACH)
        stays = gains >= np.maximum(gains.max(axis=0), 0.0) - FALL
        return np.where(stays, SHARES_IN_REACH[:, None], 0.0).max(axis=0)

    def _without_one(self, shape):
        """The shapes with one kind of error less."""
        if len(shape.names) < 2:
            return []
        fits, head = [], 1 + self.k
        for at in range(len(shape.names)):
            names = [name for i, name in enumerate(shape.names) if i != at]
            fits.append(self.fit(names, [np.delete(shape.parameters, head + at)]))
        return fits


def surprise(names, k):
    """Nats that it costs to name these kinds of errors among those there are.

    Even errors, those of one class and those of one pair of classes are as likely as each other, and
    among the last two each class and each pair.
    """
    sizes = {"even": 1, "true": k, "given": k, "cell": k * (k - 1)}
    return sum(np.log(3.0 * sizes[name[0]]) for name in names) - gammaln(len(names) + 1)
