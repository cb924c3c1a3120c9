"""Shapes of label noise: matrices P(given | true) fitted to probabilities of the true labels.

The reasoning is in the notes of `skinfluence.cleaning.noise.estimate_noise`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import log_softmax, logsumexp

# Probabilities below this differ by rounding only.
SMALLEST = 1e-30
# Errors blunt the probabilities of a model that was fitted to them: log a is about this.
TYPICAL_LOG_A = 0.2
STARTS = (0.02, 0.2)
# Nats that an expected error must earn to stay in the model: three points of the path.
PRICES = (0.5, 1.5, 4.0)
SMALLEST_SHARE = 1e-4
# Half the 95 % quantile of chi-squared with one degree of freedom.
FALL = 1.92


@dataclass(frozen=True, eq=False)
class Kinds:
    """Kinds of errors, each with one share: how a unit of it spreads over pairs (true, given).

    Attributes
    ----------
    names : tuple of (str, ...)
        ``("even",)``, ``("true", k)``, ``("given", j)`` or ``("cell", k, j)``.
    pairs : csr_array of shape (n_kinds, n_classes ** 2)
        The chance of each pair, per unit.
    """

    names: tuple
    pairs: csr_array

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
        return cls(tuple(names), csr_array((values, (rows, columns)), shape=shape, dtype=float))

    def matrix(self, shares, k):
        """P(given | true), rows true."""
        T = (self.pairs.T @ shares).reshape(k, k)
        T[np.arange(k), np.arange(k)] = 1.0 - T.sum(axis=1)
        return T

    def errors(self, counts):
        """Expected errors per unit of each kind, for this many rows of each class."""
        k = len(counts)
        return self.pairs @ np.repeat(counts, k)


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

    def posterior(self, logs, codes):
        """Chance of each class to be the right one, given the label."""
        joint = np.exp(self.log_right(logs)) * self.T.T[codes]
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


class Likelihood:
    """The labels of some rows, and what shapes of noise make of them.

    Parameters
    ----------
    logs : ndarray of shape (n_samples, n_classes)
        Log probabilities of models that have not seen the row.
    codes : ndarray of int, shape (n_samples,)
        Positions of the given labels.
    """

    def __init__(self, logs, codes):
        self.logs, self.codes = logs, codes
        self.n, self.k = logs.shape
        self.counts = np.bincount(codes, minlength=self.k).astype(float)
        self._carries = np.zeros_like(logs)
        self._carries[np.arange(self.n), codes] = 1.0

    def value_and_gradient(self, parameters, kinds, price=0.0):
        """Penalised log likelihood and its gradient in ``log a``, ``b`` and the shares."""
        k = self.k
        log_a, b, shares = parameters[0], parameters[1 : 1 + k], parameters[1 + k :]
        a = np.exp(log_a)
        T = kinds.matrix(shares, k)
        q = np.exp(log_softmax(a * self.logs + b, axis=1))
        joint = q * T.T[self.codes]
        given = np.maximum(joint.sum(axis=1), SMALLEST)
        moved = joint / given[:, None] - q
        W = (q / given[:, None]).T @ self._carries
        uphill = (W - np.diag(W)[:, None]).ravel()
        value = np.log(given).sum() - 0.5 * (log_a - TYPICAL_LOG_A) ** 2 - 0.5 * (b @ b)
        gradient = np.concatenate(
            [
                [a * np.einsum("ik,ik->", moved, self.logs) - (log_a - TYPICAL_LOG_A)],
                moved.sum(axis=0) - b,
                kinds.pairs @ uphill,
            ]
        )
        if price:
            cost = price * kinds.errors(self.counts)
            value -= cost @ shares
            gradient[1 + k :] -= cost
        return value, gradient

    def fit(self, names, starts=None, price=0.0, held=None):
        """The best shape with these kinds of errors.

        `starts` are parameters to start from; `held` is a value for the last share.
        """
        k, kinds = self.k, Kinds.of(names, self.k)
        bounds = [(-4.0, 4.0)] + [(None, None)] * k + [(0.0, 1.0)] * len(names)
        if held is not None:
            bounds[-1] = (held, held)
        if starts is None:
            # Several kinds may take from one class: together no more than half of it.
            most = max(1.0, (1.0 - np.diag(kinds.matrix(np.ones(len(names)), k))).max())
            crowd = max(1.0, 2.0 * max(STARTS) * most)
            tried = STARTS if names else STARTS[:1]
            starts = [self._start(share / crowd, len(names)) for share in tried]
        best = None
        for start in starts:
            start = np.array(start, dtype=float)
            if held is not None:
                start[-1] = held
            found = minimize(
                self._downhill,
                start,
                args=(kinds, price),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": 300, "ftol": 1e-9, "gtol": 1e-6},
            )
            if best is None or found.fun < best.fun:
                best = found
        shares = best.x[1 + k :]
        return Shape(kinds.names, best.x, kinds.matrix(shares, k), -float(best.fun) * self.n)

    def _start(self, share, n_kinds):
        return np.concatenate([[TYPICAL_LOG_A], np.zeros(self.k), np.full(n_kinds, share)])

    def _downhill(self, parameters, kinds, price):
        value, gradient = self.value_and_gradient(parameters, kinds, price)
        return -value / self.n, -gradient / self.n

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

    def searched(self, start):
        """Sparse shapes for more than two classes: a lasso path, refitted, thinned from behind."""
        k = self.k
        names = [("even",), *(("true", i) for i in range(k))]
        names += [("cell", i, j) for i in range(k) for j in range(k) if i != j]
        kinds = Kinds.of(names, k)
        shares = np.full(len(names), 0.02 / k)
        parameters = np.concatenate([start.parameters[: 1 + k], shares])
        seen, shapes = {()}, []
        for price in PRICES:
            path = self.fit(names, [parameters], price)
            parameters = path.parameters
            errors = kinds.errors(self.counts) * path.shares
            chosen = np.flatnonzero((path.shares > SMALLEST_SHARE) & (errors > 0.5))
            # As many as could ever be worth their price in evidence.
            chosen = chosen[np.argsort(-errors[chosen], kind="stable")][: 3 * k]
            at = path.parameters[np.r_[: 1 + k, 1 + k + chosen]]
            while len(chosen) and tuple(sorted(chosen)) not in seen:
                seen.add(tuple(sorted(chosen)))
                shape = self.fit([names[i] for i in chosen], [at])
                shapes.append(shape)
                errors = kinds.errors(self.counts)[chosen] * shape.shares
                stays = np.ones(len(chosen), dtype=bool)
                stays[np.argmin(errors)] = False
                stays &= shape.shares > SMALLEST_SHARE
                chosen = chosen[stays]
                at = shape.parameters[np.r_[: 1 + k, 1 + k + np.flatnonzero(stays)]]
        return shapes, len(names)
