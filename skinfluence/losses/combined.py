"""Losses made of others: a softmax without its free direction, and one binary loss per class."""

import numpy as np
from scipy.special import softmax

from skinfluence._utils.memory import row_blocks
from skinfluence.losses.base import Loss
from skinfluence.losses.logistic import Multinomial

# Outputs from which products of all pairs of classes at once pay.
MANY_CLASSES = 12


class SumToZero(Loss):
    """A shift-invariant loss of K outputs, seen through K-1 coordinates.

    The softmax does not change when the same number is added to every output, so its Hessian is
    singular along that direction. ``eta = Q zeta`` with ``Q`` an orthonormal basis of the vectors
    that sum to zero removes the direction instead of damping it.

    Parameters
    ----------
    loss : Loss

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Multinomial, SumToZero
    >>> loss = SumToZero(Multinomial(3))
    >>> loss.n_outputs, bool(abs(loss.expand(np.array([[1.0, 0.0]])).sum()) < 1e-12)
    (2, True)
    """

    def __init__(self, loss):
        self.loss = loss
        k = loss.n_outputs
        # Helmert basis: column j compares output j+1 with the mean of outputs 0..j.
        basis = np.triu(np.ones((k, k - 1)))
        basis[np.arange(1, k), np.arange(k - 1)] = -np.arange(1, k)
        self.basis = basis / np.linalg.norm(basis, axis=0)
        self.n_outputs = k - 1
        self.self_concordance = loss.self_concordance
        if loss.hessian_product is None:
            self.hessian_product = None

    @property
    def softmax_basis(self):
        """The basis, of a softmax of so many classes that all pairs at once pay; None of others."""
        many = isinstance(self.loss, Multinomial) and self.n_outputs >= MANY_CLASSES
        return self.basis if many else None

    def expand(self, eta):
        return eta @ self.basis.T

    def reduce(self, eta):
        """Coordinates of ``eta`` after removing its mean over the outputs."""
        return eta @ self.basis

    def value(self, eta, y):
        return self.loss.value(self.expand(eta), y)

    def gradient(self, eta, y):
        return self.loss.gradient(self.expand(eta), y) @ self.basis

    def hessian(self, eta, y):
        if self.softmax_basis is not None:
            return _helmert_curvatures(self.loss.hessian_state(self.expand(eta)))
        return self.basis.T @ self.loss.hessian(self.expand(eta), y) @ self.basis

    def largest_curvature(self, eta, y):
        # Of an orthonormal basis the norm, which Multinomial bounds, is no larger.
        if isinstance(self.loss, Multinomial):
            return self.loss.largest_curvature(self.expand(eta), y)
        return super().largest_curvature(eta, y)

    def hessian_state(self, eta):
        return self.loss.hessian_state(self.expand(eta))

    def hessian_product(self, P, V):
        """The wrapped loss's, in the reduced coordinates."""
        basis = self.basis.astype(V.dtype, copy=False)
        # One product for all rows: a stack of small ones is slow.
        full = (V.reshape(-1, V.shape[-1]) @ basis.T).reshape(*V.shape[:-1], -1)
        inner = self.loss.hessian_product(P, full)
        return (inner.reshape(-1, inner.shape[-1]) @ basis).reshape(V.shape)

    def hessian_terms(self, eta, y):
        weights, matrices = self.loss.hessian_terms(self.expand(eta), y)
        return weights, self.basis.T @ matrices @ self.basis

    def spread(self, delta):
        return self.loss.spread(self.expand(delta))

    def remainder(self, eta, y, delta):
        if not isinstance(self.loss, Multinomial):
            return super().remainder(eta, y, delta)
        # Of vectors: no (K, K) Hessian per row.
        eta, delta = self.expand(eta), self.expand(delta)
        p = softmax(eta, axis=-1)
        # As hessian_product, from the likeliest class.
        top = np.broadcast_to(p.argmax(axis=-1)[..., None], (*delta.shape[:-1], 1))
        curved = delta - np.take_along_axis(delta, top, axis=-1)
        curved -= (curved * p).sum(axis=-1, keepdims=True)
        curved *= p
        moved = self.loss.gradient(eta + delta, y) - self.loss.gradient(eta, y)
        return (moved - curved) @ self.basis

    def spread_directions(self):
        return self.loss.spread_directions() @ self.basis

    def reach(self, h):
        if self.softmax_basis is None:
            return super().reach(h)
        # Of e_a - e_b: h_aa + h_bb - 2 h_ab, all pairs at once.
        out = np.empty(len(h))
        for block in row_blocks(len(h), 24 * (self.n_outputs + 1) ** 2):
            full = self.basis @ h[block] @ self.basis.T
            own = np.einsum("iaa->ia", full)
            pairs = own[:, :, None] + own[:, None, :] - 2.0 * full
            out[block] = pairs.max(axis=(1, 2))
        return np.maximum(out, 0.0)

    def predict_proba(self, eta):
        return self.loss.predict_proba(self.expand(eta))


def _helmert_curvatures(p):
    """``Q' (diag(p) - p p') Q`` in the Helmert basis, in a pass: (..., K) to (..., K - 1, K - 1).

    With ``c_j = (j (j + 1))^-1/2`` for ``j`` from 1, ``u = Q'p`` is ``c_j (p_0 + ... + p_(j-1) - j p_j)``.
    Above the diagonal ``Q' diag(p) Q`` is ``u_i c_j``: column j is ``c_j`` wherever column i is not zero.
    What is left of 1 is summed from the other classes, as ``c_j - u_j`` would cancel.
    """
    j = np.arange(1, p.shape[-1])
    c = 1.0 / np.sqrt(j * (j + 1.0))
    before = np.cumsum(p, axis=-1)[..., :-1]
    after = np.cumsum(p[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    own, beyond = p[..., 1:], np.zeros_like(after)
    beyond[..., :-1] = after[..., 1:]
    u, left = c * (before - j * own), c * (after + j * own)
    out = u[..., :, None] * left[..., None, :]
    for k in range(1, len(j)):
        out[..., k, :k] = u[..., :k] * left[..., k, None]
    out[..., j - 1, j - 1] = c**2 * (
        before * after + j**2 * own * (before + beyond) + 2 * j * before * own
    )
    return out


class OneVsRest(Loss):
    """The sum of one binary loss per class, "this class or not", with ``y`` in 0..K-1.

    Parameters
    ----------
    loss : SingleOutputLoss
        With a ``coding``, its targets of the rest and of the class: {0, 1} for
        :class:`Binomial`, {-1, 1} for hinges.
    n_classes : int
        Outputs: one decision value per class.
    factors : ndarray of shape (n_classes, n_classes), default=None
        What a row of class y counts in the problem of class k, as a multiple of its weight; positive. Ones
        when None.

    Notes
    -----
    The Hessian is diagonal. If ``|l'''| <= M l''`` for the binary loss, then for a change
    ``delta`` of the outputs and any ``a``::

        |sum_k l_k''' delta_k a_k^2| <= M max_k |delta_k| sum_k l_k'' a_k^2

    so ``M`` holds for the sum with the largest change of an output as its spread, whatever the
    factors.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Binomial, OneVsRest
    >>> OneVsRest(Binomial(), 3).value(np.array([[1.0, -1.0, 0.0]]), np.array([0])).round(3)
    array([1.32])
    """

    def __init__(self, loss, n_classes, factors=None):
        self.loss = loss
        self.n_outputs = n_classes
        self.factors = factors
        self.self_concordance = loss.self_concordance
        rest, own = loss.coding
        self._targets = np.where(np.eye(n_classes, dtype=bool), own, rest)

    def _binary(self, eta, y):
        """Each output as a problem of its own: one more axis, and its targets."""
        return eta[..., None], self._targets[np.asarray(y, dtype=np.intp)]

    def _counted(self, values, y):
        """Values of each problem, as often as the row counts there."""
        if self.factors is None:
            return values
        return self.factors[np.asarray(y, dtype=np.intp)] * values

    def value(self, eta, y):
        return self._counted(self.loss.value(*self._binary(eta, y)), y).sum(axis=-1)

    def gradient(self, eta, y):
        return self._counted(self.loss.gradient(*self._binary(eta, y))[..., 0], y)

    def _curvature(self, eta, y):
        return self._counted(self.loss.hessian(*self._binary(eta, y))[..., 0, 0], y)

    def hessian(self, eta, y):
        return self._curvature(eta, y)[..., None] * np.eye(self.n_outputs)

    def hessian_terms(self, eta, y):
        identity = np.eye(self.n_outputs)
        return self._curvature(eta, y).T, identity[:, :, None] * identity[:, None, :]

    def remainder(self, eta, y, delta):
        # Output by output: no (K, K) Hessian per row.
        left = self.loss.remainder(*self._binary(eta, y), delta[..., None])[..., 0]
        return self._counted(left, y)

    def predict_proba(self, eta):
        # As OneVsRestClassifier: the classes' own probabilities, normalised.
        own = self.loss.predict_proba(eta[..., None])[..., 1]
        total = own.sum(axis=-1, keepdims=True)
        return np.divide(own, total, out=np.zeros_like(own), where=total != 0)


def own_class_factors(class_weight):
    """1 for a row's own class, ``1 / class_weight`` for the others, (n_classes, n_classes)."""
    if not (class_weight > 0).all():
        raise ValueError(
            "With three classes or more the class weights of LinearSVC must be positive. Got "
            f"{class_weight}; drop the rows of a class that should not count."
        )
    factors = np.repeat(1.0 / class_weight[:, None], len(class_weight), axis=1)
    np.fill_diagonal(factors, 1.0)
    return factors
