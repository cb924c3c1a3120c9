"""Kernel values at many gammas, from those at a few.

As a function of gamma an entry ``exp(-gamma D)`` is interpolated, with a bound that no distance
enters. With P Chebyshev nodes on ``[a, b]`` the error of a function h is at most

    2 / P! ((b - a) / 4)^P max |h^(P)|,   |h^(P)| = D^P exp(-gamma D) <= (P / (e a))^P  for all D >= 0

so that with ``P! >= sqrt(2 pi P) (P / e)^P`` it is at most ``2 / sqrt(2 pi P) ((b - a) / (4 a))^P``:
1e-13 with seven nodes where gamma varies by 5 %. A polynomial kernel of degree p is a polynomial in
gamma, exactly known from p + 1 values.
"""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.kernel.functions import RBF, Laplacian, Poly

# Gammas that share nodes lie within this ratio of each other.
RATIO = 1.05
MOST_NODES = 12
# Matrices of all rows at all nodes are kept up to this size.
KEPT_BYTES = 2**27


def groups_of(gammas):
    """Positions of gammas that may share nodes, a list of ndarray of int.

    Parameters
    ----------
    gammas : ndarray of shape (n_edits,)
    """
    order = np.argsort(gammas, kind="stable")
    groups, first = [], 0
    for i in range(1, len(order) + 1):
        if i == len(order) or gammas[order[i]] > RATIO * gammas[order[first]]:
            groups.append(order[first:i])
            first = i
    return groups


@dataclass(frozen=True, eq=False)
class Nodes:
    """Where a kernel is evaluated, and how its values in between are made of those.

    Attributes
    ----------
    gammas : ndarray of shape (P,)
    weights : ndarray of shape (n_edits, P)
    error : float
        Largest error of a value in between, round-off apart.
    """

    gammas: np.ndarray
    weights: np.ndarray
    error: float

    @classmethod
    def of(cls, kernel, gammas, error):
        """Nodes for some gammas, no more than those themselves.

        Parameters
        ----------
        kernel : Kernel
        gammas : ndarray of shape (n_edits,)
        error : float
            That a value may have.
        """
        distinct, which = np.unique(gammas, return_inverse=True)
        low, high = distinct[0], distinct[-1]
        count, left = len(distinct), 0.0
        if isinstance(kernel, RBF | Laplacian):
            for P in range(1, min(MOST_NODES, len(distinct) - 1) + 1):
                bound = 2.0 / np.sqrt(2.0 * np.pi * P) * ((high - low) / (4.0 * low)) ** P
                if bound <= error:
                    count, left = P, float(bound)
                    break
        elif isinstance(kernel, Poly) and float(kernel.degree).is_integer():
            count = min(count, int(kernel.degree) + 1)
        if count == len(distinct):
            weights = np.zeros((len(gammas), count))
            weights[np.arange(len(gammas)), which.ravel()] = 1.0
            return cls(distinct, weights, 0.0)
        angle = np.pi * (np.arange(count) + 0.5) / count
        nodes = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angle)
        return cls(nodes, lagrange(nodes, gammas), left)


def lagrange(nodes, at):
    """Weights of the values at nodes of the polynomial through them, (n_points, n_nodes)."""
    out = np.ones((len(at), len(nodes)))
    for k, node in enumerate(nodes):
        for other in np.delete(nodes, k):
            out[:, k] *= (at - other) / (node - other)
    return out


class KernelsNear:
    """One kernel among some rows at many gammas.

    Parameters
    ----------
    kernel : Kernel
        With a parameter gamma.
    X : ndarray or CSR array of shape (n, n_features)
    gammas : ndarray of shape (n_edits,)
        Of each edit, all within a few per cent.
    error : float
        That a value may have.
    """

    def __init__(self, kernel, X, gammas, error):
        self.kernel, self.X, self.gammas = kernel, X, gammas
        self.nodes = Nodes.of(kernel, gammas, error)
        self._all, self._some, self._place = None, None, np.full(X.shape[0], -1)
        if 8 * len(self.nodes.gammas) * X.shape[0] ** 2 <= KEPT_BYTES:
            self._all = [self._at(gamma)(X) for gamma in self.nodes.gammas]

    @property
    def error(self):
        """Largest error of a value, round-off apart."""
        return self.nodes.error

    def _at(self, gamma):
        return replace(self.kernel, gamma=float(gamma))

    def times(self, edits, B, Z=None):
        """Kernel expansions, each at the gamma of its edit.

        Parameters
        ----------
        edits : ndarray of int, shape (m,)
        B : ndarray of shape (m, n)
            Coefficients of the rows.
        Z : ndarray or CSR array of shape (n_out, n_features), default=None
            Where; the rows themselves for None.

        Returns
        -------
        values : ndarray of shape (m, n_out)

        Notes
        -----
        ``2 m n_out n_used`` flops and ``n_out n_used`` values of the kernel for each node.
        """
        used = np.flatnonzero(B.any(axis=0))
        B, nodes = B[:, used], self.nodes
        gammas, weights, kept = nodes.gammas, nodes.weights[edits], self._all
        if len(edits) < len(gammas) and (kept is None or Z is not None):
            gammas, weights, kept = self.gammas[edits], np.eye(len(edits)), None
        own, Z = Z is None, self.X if Z is None else Z
        out = np.zeros((len(edits), Z.shape[0]))
        if not len(used):
            return out
        if own and kept is not None:
            for k, K in enumerate(kept):
                out += weights[:, k, None] * (B @ K[used])
            return out
        support = self.X[used]
        for part in row_blocks(Z.shape[0], 8 * (len(used) + len(edits))):
            for k, gamma in enumerate(gammas):
                some = np.flatnonzero(weights[:, k])
                values = B[some] @ self._at(gamma)(support, Z[part])
                out[some, part] += weights[some, k, None] * values
        return out

    def each(self, edits, B, Z):
        """Kernel expansions at a point for each edit, (m,).

        Parameters
        ----------
        edits : ndarray of int, shape (m,)
        B : ndarray of shape (m, n)
        Z : ndarray or CSR array of shape (m, n_features)
        """
        used, out = np.flatnonzero(B.any(axis=0)), np.zeros(len(edits))
        if not len(used):
            return out
        support, weights = self.X[used], self.nodes.weights[edits]
        for part in row_blocks(len(edits), 16 * len(used)):
            for k, gamma in enumerate(self.nodes.gammas):
                K = self._at(gamma)(Z[part], support)
                out[part] += weights[part, k] * np.einsum("ij,ij->i", K, B[part][:, used])
        return out

    def among(self, edits, rows):
        """Kernel matrices among rows of each edit's own.

        Parameters
        ----------
        edits : ndarray of int, shape (m,)
        rows : ndarray of int, shape (m, k)

        Returns
        -------
        values : ndarray of shape (m, k, k)
        """
        if (self._place[rows] < 0).any():
            union = np.union1d(np.flatnonzero(self._place >= 0), rows)
            self._place[union] = np.arange(len(union))
            if self._all is None:
                some = [self._at(gamma)(self.X[union]) for gamma in self.nodes.gammas]
            else:
                some = [K[np.ix_(union, union)] for K in self._all]
            self._some = np.array(some).reshape(len(some), -1)
        place, (m, k) = self._place[rows], rows.shape
        width = int(np.sqrt(self._some.shape[1]))
        out = np.empty((m, k, k))
        for part in row_blocks(m, 8 * width**2):
            every = (self.nodes.weights[edits[part]] @ self._some).reshape(-1, width, width)
            at = np.arange(len(every))[:, None, None]
            out[part] = every[at, place[part, :, None], place[part, None, :]]
        return out
