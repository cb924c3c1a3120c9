"""Kernels: values as scikit-learn computes them, and gradients in the first argument.

A kernel is a small frozen object with its parameters resolved (``gamma`` is a number), so that
it stays the same in every what-if. ``Poly(degree=1, gamma=1.0, coef0=s**2)`` is the linear kernel
of a model whose intercept is penalised as a feature of value ``s``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise

from skinfluence._utils.memory import row_blocks

# Bits that squared norms may take off the exponent of a kernel: of rows as they are, which gives
# scikit-learn's own values, and around their mean.
FEW_BITS, MANY_BITS = 5, 12


class Kernel(ABC):
    """A symmetric function of two rows.

    Attributes
    ----------
    is_psd : bool
        Whether every kernel matrix is positive semi-definite, round-off apart.
    knows_new_rows : bool
        Whether rows say enough to evaluate the kernel between any two.
    """

    is_psd = True
    knows_new_rows = True

    def __call__(self, X, Z=None):
        """Kernel values of all pairs of rows, in float64.

        Parameters
        ----------
        X : ndarray or CSR array of shape (n, n_features)
        Z : ndarray or CSR array of shape (m, n_features), default=None
            X itself when None; the matrix is then exactly symmetric.

        Returns
        -------
        K : ndarray of shape (n, m)
        """
        if Z is not None and Z is not X:
            return self._values(X, Z)
        K = self._values(X, X)
        _mirror(K)
        return K

    @abstractmethod
    def _values(self, X, Z): ...

    @abstractmethod
    def diagonal(self, X):
        """``k(x_i, x_i)`` of every row, shape (n,)."""

    def grad_combination(self, X, Z, coef):
        """Gradients at X of kernel expansions over Z, ``sum_j coef_jq d k(x, z_j) / dx``.

        Parameters
        ----------
        X : ndarray or CSR array of shape (n, n_features)
            Where to differentiate.
        Z : ndarray or CSR array of shape (m, n_features)
            The centres.
        coef : ndarray of shape (m, q)
            One column per expansion.

        Returns
        -------
        gradients : ndarray of shape (q, n, n_features)

        Raises
        ------
        TypeError
            For kernels whose gradient is not known.

        Notes
        -----
        O(n m q n_features) in matrix products; no temporary is larger than n x m or the result.
        """
        raise TypeError(
            "The gradient of the kernel must be known. Got "
            f"{self!r}; it is for linear, poly, rbf and laplacian."
        )


class _DotProduct(Kernel):
    """A function of ``x' z``."""

    def grad_combination(self, X, Z, coef):
        slopes = self._slopes(X, Z)
        return np.stack([_weighted_sums(slopes, c, Z) for c in coef.T])

    @abstractmethod
    def _slopes(self, X, Z):
        """Derivatives of the values in ``x' z``, shape (n, m)."""


@dataclass(frozen=True)
class Linear(Kernel):
    """``x' z``."""

    def _values(self, X, Z):
        return pairwise.linear_kernel(X, Z)

    def diagonal(self, X):
        return _squared_norms(X)

    def grad_combination(self, X, Z, coef):
        slopes = _dense(Z.T @ coef).T
        return np.repeat(slopes[:, None, :], X.shape[0], axis=1)


@dataclass(frozen=True)
class Poly(_DotProduct):
    """``(gamma x' z + coef0)^degree``."""

    gamma: float
    degree: float = 3
    coef0: float = 1.0

    @property
    def is_psd(self):
        """Natural powers of a positive semi-definite kernel."""
        return float(self.degree).is_integer() and self.coef0 >= 0 and self.gamma >= 0

    def _values(self, X, Z):
        # Who asks refuses values that are not finite.
        with np.errstate(over="ignore", invalid="ignore"):
            return pairwise.polynomial_kernel(X, Z, self.degree, self.gamma, self.coef0)

    def diagonal(self, X):
        with np.errstate(over="ignore", invalid="ignore"):
            return (self.gamma * _squared_norms(X) + self.coef0) ** self.degree

    def _slopes(self, X, Z):
        slopes = pairwise.polynomial_kernel(X, Z, 1, self.gamma, self.coef0)
        slopes **= self.degree - 1
        slopes *= self.degree * self.gamma
        return slopes


@dataclass(frozen=True)
class Sigmoid(_DotProduct):
    """``tanh(gamma x' z + coef0)``, which is not positive semi-definite in general."""

    gamma: float
    coef0: float = 1.0
    is_psd = False

    def _values(self, X, Z):
        return pairwise.sigmoid_kernel(X, Z, self.gamma, self.coef0)

    def diagonal(self, X):
        return np.tanh(self.gamma * _squared_norms(X) + self.coef0)

    def _slopes(self, X, Z):
        return self.gamma * (1.0 - self._values(X, Z) ** 2)


@dataclass(frozen=True)
class RBF(Kernel):
    """``exp(-gamma |x - z|^2)``."""

    gamma: float

    def _values(self, X, Z):
        # Distances of squares and products, where what cancels in them is small enough.
        if not self._rounds_to(FEW_BITS, X, Z):
            X, Z = _centred(X, Z)
            if not self._rounds_to(MANY_BITS, X, Z):
                return _rbf_of_differences(X, Z, self.gamma)
        return pairwise.rbf_kernel(X, Z, self.gamma)

    def _rounds_to(self, bits, X, Z):
        """Whether squares of the rows themselves leave the exponent rounded to so many bits."""
        largest = max(_squared_norms(A).max(initial=0.0) for A in ([X] if Z is X else [X, Z]))
        return self.gamma * largest < 2.0**bits

    def diagonal(self, X):
        return np.ones(X.shape[0])

    def grad_combination(self, X, Z, coef):
        # sum_j c_j k_j (x - z_j) as two products.
        X, Z = _centred(X, Z)
        K = self._values(X, Z)
        rows = _dense(X)
        out = (K @ coef).T[:, :, None] * rows
        for one, c in zip(out, coef.T, strict=True):
            one -= _weighted_sums(K, c, Z)
        out *= -2.0 * self.gamma
        return out


@dataclass(frozen=True)
class Laplacian(Kernel):
    """``exp(-gamma |x - z|_1)``.

    Where two rows agree in a feature the kernel has a kink there: its gradient is the mean of
    the two sides, 0.
    """

    gamma: float

    def _values(self, X, Z):
        return pairwise.laplacian_kernel(X, Z, self.gamma)

    def diagonal(self, X):
        return np.ones(X.shape[0])

    def grad_combination(self, X, Z, coef):
        K = self._values(X, Z)
        X, Z = (A.tocsc() if sp.issparse(A) else A for A in (X, Z))
        out = np.empty((coef.shape[1], X.shape[0], X.shape[1]))
        for feature in range(X.shape[1]):
            x, z = (_dense(A[:, [feature]])[:, 0] for A in (X, Z))
            out[:, :, feature] = ((np.sign(x[:, None] - z) * K) @ coef).T
        out *= -self.gamma
        return out


@dataclass(frozen=True)
class Pairwise(Kernel):
    """Any other kernel of :func:`sklearn.metrics.pairwise.pairwise_kernels`, by values only.

    Parameters
    ----------
    metric : str or callable
    params : dict
    """

    metric: object
    params: dict = field(default_factory=dict)

    @property
    def is_psd(self):
        """Known for some names; nothing is known of a callable."""
        return self.metric in ("cosine", "chi2")

    def _values(self, X, Z):
        K = pairwise.pairwise_kernels(X, Z, metric=self.metric, **self.params)
        return np.asarray(_dense(K), dtype=np.float64)

    def diagonal(self, X):
        # In small blocks: the kernel matrix of each is made for its diagonal.
        blocks = row_blocks(X.shape[0], 8, budget=8 * 64)
        return np.concatenate([self._values(X[b], X[b]).diagonal() for b in blocks])


@dataclass(frozen=True)
class Precomputed(Kernel):
    """Rows are their kernel values with the training rows; nothing is known of other pairs."""

    is_psd = False
    knows_new_rows = False

    def _values(self, X, Z):
        return np.asarray(X, dtype=np.float64)

    def __call__(self, X, Z=None):
        K = np.array(X, dtype=np.float64)
        if Z is None or Z is X:
            _mirror(K)
        return K

    def diagonal(self, X):
        raise TypeError(
            "Kernel values of new rows among themselves are needed. Got a precomputed kernel, which "
            "has those with the training rows only; fit with the kernel itself."
        )


def scaled_gamma(X, weight):
    """What ``gamma="scale"`` is on some rows: one over the columns times the variance of the cells.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n, n_features)
    weight : ndarray of shape (n,)
        What each row counts.
    """
    d = X.shape[1]
    share = weight / weight.sum() / d
    mean = float((share @ X).sum())
    if sp.issparse(X):
        away = X.copy()
        away.data = (X.data - mean) ** 2
        # What is not stored is 0.
        stored = np.asarray(away.sum(axis=1)).ravel()
        variance = float(share @ (stored + (d - np.diff(X.indptr)) * mean**2))
    else:
        variance = float((share @ (X - mean) ** 2).sum())
    return 1.0 / (d * variance) if variance > 0 else 1.0


def kernel_of(metric, n_features, *, gamma=None, degree=3, coef0=1.0, params=None):
    """The kernel of scikit-learn's parameters.

    Parameters
    ----------
    metric : str or callable
        A name known to :func:`sklearn.metrics.pairwise.pairwise_kernels`, ``"precomputed"`` or a
        function of two rows.
    n_features : int
        For ``gamma=None``, which is ``1 / n_features``.
    gamma, degree, coef0 : float
        For the named kernels that have them; ``gamma`` None or resolved to a number.
    params : dict, default=None
        For a callable.

    Returns
    -------
    kernel : Kernel

    Raises
    ------
    ValueError
        For a name that is not known.
    """
    if callable(metric):
        return Pairwise(metric, dict(params or {}))
    if metric == "precomputed":
        return Precomputed()
    if metric == "chi2":
        # Its gamma is 1 when not given, in scikit-learn too.
        return Pairwise("chi2", {} if gamma is None else {"gamma": float(gamma)})
    if metric in ("cosine", "additive_chi2"):
        return Pairwise(metric)
    gamma = 1.0 / n_features if gamma is None else float(gamma)
    known = {
        "linear": lambda: Linear(),
        "rbf": lambda: RBF(gamma),
        "poly": lambda: Poly(gamma, degree, float(coef0)),
        "polynomial": lambda: Poly(gamma, degree, float(coef0)),
        "sigmoid": lambda: Sigmoid(gamma, float(coef0)),
        "laplacian": lambda: Laplacian(gamma),
    }
    if metric not in known:
        raise ValueError(
            f"The kernel must be one of {sorted([*known, 'chi2', 'cosine', 'additive_chi2'])}, "
            f"'precomputed' or a callable. Got {metric!r}."
        )
    return known[metric]()


def _mirror(K, size=128):
    """Copy the upper triangle, which scikit-learn's solvers read, onto the lower one."""
    for start in range(0, len(K), size):
        block = slice(start, start + size)
        K[block, :start] = K[:start, block].T
        corner = np.triu(K[block, block])
        K[block, block] = corner + np.triu(corner, 1).T


def _weighted_sums(weights, c, Z):
    """``sum_j weights[i, j] c_j z_j`` of every i, dense (n, n_features)."""
    if sp.issparse(Z):
        return _dense(Z.T @ (weights * c).T).T
    return weights @ (c[:, None] * Z)


def _centred(X, Z):
    """Dense rows around the mean of Z, as far as anything that depends on differences goes."""
    if sp.issparse(X) or sp.issparse(Z) or not len(Z):
        return X, Z
    centre = Z.mean(axis=0)
    moved = Z - centre
    return (moved if X is Z else X - centre), moved


def _rbf_of_differences(X, Z, gamma):
    """The kernel from the differences themselves, in blocks."""
    K = np.empty((X.shape[0], Z.shape[0]))
    for columns in row_blocks(Z.shape[0], 8 * Z.shape[1]):
        part = _dense(Z[columns])
        for rows in row_blocks(X.shape[0], 8 * (X.shape[1] + len(part))):
            K[rows, columns] = cdist(_dense(X[rows]), part, "sqeuclidean")
    K *= -gamma
    return np.exp(K, out=K)


def _squared_norms(X):
    if sp.issparse(X):
        return np.asarray(X.power(2).sum(axis=1), dtype=np.float64).ravel()
    return np.einsum("ij,ij->i", X, X)


def _dense(A):
    return A.toarray() if sp.issparse(A) else np.asarray(A)
