"""Pointwise losses: value, gradient and Hessian in the decision values eta.

A loss knows nothing of features or parameters. ``eta`` always has the outputs on its last
axis, shape ``(..., n_outputs)``; ``y`` broadcasts against the leading axes.
"""

from abc import ABC, abstractmethod

import numpy as np
from scipy.special import expit, softmax

from skinfluence._utils.locks import one_trace_at_a_time
from skinfluence._utils.memory import row_blocks

__all__ = [
    "AutogradLoss",
    "Binomial",
    "Gamma",
    "Loss",
    "Multinomial",
    "OneVsRest",
    "Poisson",
    "SingleOutputLoss",
    "SmoothHinge",
    "SquaredEpsilonInsensitive",
    "SquaredError",
    "SquaredHinge",
    "SumToZero",
    "Tweedie",
]


# Outputs from which products of all pairs of classes at once pay.
MANY_CLASSES = 12


class Loss(ABC):
    """A convex or user-written loss of the decision values.

    Attributes
    ----------
    n_outputs : int
        Number of decision values per sample.
    self_concordance : float or None
        The smallest known ``M`` with ``|l'''| <= M l''`` per unit of ``eta`` (see
        :meth:`spread`), or None when there is none; certificates need it.
    coding : tuple of float or None
        Of a binary loss: the targets of the rest and of the class itself.
    needs_positive : bool
        Whether a free intercept has its optimum at minus infinity when no target is positive.
    third : callable or None
        ``third(eta, y)``: the third derivative of a loss of one output, shape ``(...)``, where the
        fourth is at most ``M^2`` times the second; certificates of a row's own value need it.
    hessian_product : callable or None
        ``hessian_product(P, V)``: the Hessian at ``eta`` times vectors V, (n, m, n_outputs), with
        ``P = hessian_state(eta)``; for losses that need no (n_outputs, n_outputs) matrix and no
        targets for it.
    softmax_basis : ndarray of shape (n_classes, n_outputs) or None
        Columns in which a softmax of many classes is seen.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Loss
    >>> class Cubed(Loss):
    ...     n_outputs = 1
    ...     def value(self, eta, y):
    ...         return np.abs(eta[..., 0] - y) ** 3
    ...     def gradient(self, eta, y):
    ...         r = eta - y[..., None]
    ...         return 3 * r * np.abs(r)
    ...     def hessian(self, eta, y):
    ...         return 6 * np.abs(eta - y[..., None])[..., None]
    ...
    >>> Cubed().hessian(np.array([[2.0]]), np.array([0.0]))
    array([[[12.]]])
    """

    n_outputs = 1
    self_concordance = None
    coding = None
    needs_positive = False
    hessian_product = None
    softmax_basis = None
    third = None

    def check_y(self, y):
        """The targets themselves, if the loss is defined for them.

        Raises
        ------
        ValueError
            If it is not.
        """
        return y

    def reweighted(self, ratio):
        """The loss where each class weighs ``ratio`` times as much: itself, unless it knows weights."""
        return self

    @abstractmethod
    def value(self, eta, y):
        """Loss of each sample, shape ``(...)``."""

    @abstractmethod
    def gradient(self, eta, y):
        """First derivative in ``eta``, shape ``(..., n_outputs)``."""

    @abstractmethod
    def hessian(self, eta, y):
        """Second derivative in ``eta``, shape ``(..., n_outputs, n_outputs)``."""

    def hessian_state(self, eta):
        """What ``hessian_product`` needs of ``eta``, a line for each sample; computed once."""
        return eta

    def hessian_terms(self, eta, y):
        """The Hessian as few weighted constant matrices, ``sum_t weights[t] * matrices[t]``.

        A Gram matrix of the design is needed per term, so fewer and non-negative weights are
        cheaper.

        Returns
        -------
        weights : ndarray of shape (n_terms, n_samples)
        matrices : ndarray of shape (n_terms, n_outputs, n_outputs)
        """
        hessian = self.hessian(eta, y)
        k = self.n_outputs
        rows, columns = np.triu_indices(k)
        matrices = np.zeros((len(rows), k, k))
        matrices[np.arange(len(rows)), rows, columns] = 1.0
        matrices[np.arange(len(rows)), columns, rows] = 1.0
        return np.ascontiguousarray(hessian[:, rows, columns].T), matrices

    def remainder(self, eta, y, delta):
        """What a step leaves of the gradient beyond first order.

        ``l'(eta + delta) - l'(eta) - l''(eta) delta``, shape ``(..., n_outputs)``.
        """
        curved = (self.hessian(eta, y) @ delta[..., None])[..., 0]
        return self.gradient(eta + delta, y) - self.gradient(eta, y) - curved

    def spread(self, delta):
        """Size of a change of ``eta`` in the sense of the self-concordance constant.

        The absolute value for one output. Shape ``(...)`` from ``(..., n_outputs)``.
        """
        return np.abs(delta).max(axis=-1)

    def spread_directions(self):
        """Directions ``v`` of unit spread: ``spread(delta) = max_v |v . delta|``, shape (m, K)."""
        return np.eye(self.n_outputs)

    def reach(self, h):
        """``max_v v' h v`` over the directions of unit spread, at least 0, of some h (n, K, K)."""
        sizes = [np.einsum("ikl,k,l->i", h, v, v) for v in self.spread_directions()]
        return np.maximum(np.max(sizes, axis=0), 0.0)

    def expand(self, eta):
        """Decision values as the user sees them; the identity unless outputs are reduced."""
        return eta

    def by_class(self, eta):
        """A number for each class that grows with its chance, ``(..., n_classes)``; of two classes one."""
        return self.expand(eta)

    def decide(self, eta):
        """Position of the class that a classifier predicts, shape ``(...)``."""
        return decided(self.expand(eta))

    def mean(self, eta):
        """What a regression predicts, the inverse link of ``eta``."""
        return eta

    def predict_proba(self, eta):
        """Class probabilities, shape ``(..., n_classes)``.

        Raises
        ------
        AttributeError
            For losses that define none.
        """
        raise AttributeError(
            "The model must be a classifier with probabilities. Got one without, such as Ridge or "
            "RidgeClassifier; ask for the decision function instead."
        )


def decided(eta):
    """Positions of classes from decision values: the sign of one, the largest of several."""
    return (eta[..., 0] > 0).astype(int) if eta.shape[-1] == 1 else eta.argmax(axis=-1)


class SingleOutputLoss(Loss):
    """A loss of one decision value, written elementwise in ``_value``, ``_first``, ``_second``.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import SingleOutputLoss
    >>> class Quartic(SingleOutputLoss):
    ...     def _value(self, eta, y):
    ...         return (eta - y) ** 4
    ...     def _first(self, eta, y):
    ...         return 4 * (eta - y) ** 3
    ...     def _second(self, eta, y):
    ...         return 12 * (eta - y) ** 2
    ...
    >>> Quartic().gradient(np.array([[2.0], [0.0]]), np.array([1.0, 1.0]))
    array([[ 4.],
           [-4.]])
    """

    @abstractmethod
    def _value(self, eta, y): ...

    @abstractmethod
    def _first(self, eta, y): ...

    @abstractmethod
    def _second(self, eta, y): ...

    def value(self, eta, y):
        return self._value(eta[..., 0], y)

    def gradient(self, eta, y):
        return self._first(eta[..., 0], y)[..., None]

    def hessian(self, eta, y):
        return self._second(eta[..., 0], y)[..., None, None]


class Binomial(SingleOutputLoss):
    """Logistic loss ``log(1 + exp(eta)) - y eta`` with ``y`` in {0, 1}.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Binomial
    >>> eta, y = np.array([[0.0], [2.0]]), np.array([1.0, 0.0])
    >>> Binomial().value(eta, y).round(3), Binomial().gradient(eta, y).round(3)
    (array([0.693, 2.127]), array([[-0.5  ],
           [ 0.881]]))
    """

    self_concordance = 1.0
    coding = (0.0, 1.0)

    def _value(self, eta, y):
        return np.logaddexp(0.0, np.where(np.asarray(y) == 1, -eta, eta))

    def _first(self, eta, y):
        # expit(eta) - 1 would cancel for large eta: the positive rows' sign is turned instead.
        sign = np.where(np.asarray(y) == 1, -1.0, 1.0).astype(eta.dtype, copy=False)
        out = np.asarray(eta * sign)
        expit(out, out=out)
        out *= sign
        return out

    def _second(self, eta, y):
        return np.broadcast_to(
            expit(eta) * expit(-eta), np.broadcast_shapes(eta.shape, np.shape(y))
        )

    def third(self, eta, y):
        """Third derivative, shape ``(...)``."""
        eta = eta[..., 0]
        return expit(eta) * expit(-eta) * -np.tanh(0.5 * eta)

    def predict_proba(self, eta):
        return np.concatenate([expit(-eta), expit(eta)], axis=-1)


class Multinomial(Loss):
    """Softmax cross-entropy ``logsumexp(eta) - eta[y]`` with ``y`` in 0..K-1.

    Parameters
    ----------
    n_classes : int

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Multinomial
    >>> eta, y = np.array([[0.0, 0.0, 1.0]]), np.array([2])
    >>> Multinomial(3).value(eta, y).round(3), Multinomial(3).gradient(eta, y).round(3)
    (array([0.551]), array([[ 0.212,  0.212, -0.424]]))
    """

    self_concordance = 1.0

    def __init__(self, n_classes):
        self.n_outputs = n_classes

    def value(self, eta, y):
        picked = np.broadcast_to(np.asarray(y, dtype=np.intp), eta.shape[:-1])[..., None]
        ahead = eta - np.take_along_axis(eta, picked, axis=-1)
        np.put_along_axis(ahead, picked, -np.inf, axis=-1)
        # log(1 + sum of the others' odds): the log of a probability near 1 would cancel.
        top = ahead.max(axis=-1)
        return np.logaddexp(0.0, top + np.log(np.exp(ahead - top[..., None]).sum(axis=-1)))

    def gradient(self, eta, y):
        probability = softmax(eta, axis=-1)
        picked = np.broadcast_to(np.asarray(y, dtype=np.intp), eta.shape[:-1])[..., None]
        own = np.take_along_axis(probability, picked, axis=-1)
        # The own entry is minus the sum of the others: p_y - 1 would cancel when p_y is near 1.
        np.put_along_axis(probability, picked, 0.0, axis=-1)
        others = probability.sum(axis=-1, keepdims=True)
        np.put_along_axis(probability, picked, np.where(own > 0.5, -others, own - 1.0), axis=-1)
        return probability

    def hessian(self, eta, y):
        p = softmax(eta, axis=-1)
        out = -p[..., :, None] * p[..., None, :]
        diagonal = np.arange(self.n_outputs)
        # sum of p_a p_b over b != a, again without 1 - p.
        out[..., diagonal, diagonal] = 0.0
        out[..., diagonal, diagonal] = -out.sum(axis=-1)
        return out

    def hessian_state(self, eta):
        return softmax(eta, axis=-1)

    def hessian_product(self, P, V):
        """``(diag(p) - p p') v`` for vectors V of each sample."""
        # p_a sum_b p_b (v_a - v_b): from the likeliest class, whose p is near 1 and would cancel.
        top = P.argmax(axis=-1)[:, None, None]
        V = V - np.take_along_axis(V, top, axis=-1)
        V -= np.einsum("imk,ik->im", V, P)[:, :, None]
        V *= P[:, None, :]
        return V

    def hessian_terms(self, eta, y):
        # sum over pairs a < b of p_a p_b (e_a - e_b)(e_a - e_b)': non-negative weights.
        p = softmax(eta, axis=-1)
        rows, columns = np.triu_indices(self.n_outputs, 1)
        directions = self.spread_directions()
        return (p[:, rows] * p[:, columns]).T, directions[:, :, None] * directions[:, None, :]

    def spread(self, delta):
        return delta.max(axis=-1) - delta.min(axis=-1)

    def spread_directions(self):
        rows, columns = np.triu_indices(self.n_outputs, 1)
        identity = np.eye(self.n_outputs)
        return identity[rows] - identity[columns]

    def predict_proba(self, eta):
        return softmax(eta, axis=-1)


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
        return self.basis.T @ self.loss.hessian(self.expand(eta), y) @ self.basis

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


class SquaredError(Loss):
    """Half squared error ``(y - eta)^2 / 2``, summed over the outputs.

    Parameters
    ----------
    n_outputs : int, default=1

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import SquaredError
    >>> SquaredError().value(np.array([[2.0]]), np.array([5.0]))
    array([4.5])
    """

    self_concordance = 0.0
    coding = (-1.0, 1.0)

    def __init__(self, n_outputs=1):
        self.n_outputs = n_outputs

    def _residual(self, eta, y):
        return eta - (y[..., None] if self.n_outputs == 1 else y)

    def value(self, eta, y):
        return 0.5 * (self._residual(eta, np.asarray(y)) ** 2).sum(axis=-1)

    def gradient(self, eta, y):
        return self._residual(eta, np.asarray(y))

    def hessian(self, eta, y):
        return np.broadcast_to(np.eye(self.n_outputs), (*eta.shape, self.n_outputs))

    def hessian_terms(self, eta, y):
        return np.ones((1, len(eta))), np.eye(self.n_outputs)[None]


class Tweedie(SingleOutputLoss):
    """Half Tweedie deviance with log link, without the terms that depend on ``y`` only.

    Parameters
    ----------
    power : float
        1 is Poisson, 2 is Gamma. ``self_concordance`` is known for 1 <= power <= 2; outside the
        Hessian can be negative.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Tweedie
    >>> Tweedie(1.5).gradient(np.array([[0.0], [1.0]]), np.array([1.0, 1.0])).round(3)
    array([[0.   ],
           [1.042]])
    """

    def __init__(self, power):
        self.power = power
        inside = 1 <= power <= 2
        self.self_concordance = float(max(power - 1, 2 - power)) if inside else None
        self.needs_positive = power < 2

    def check_y(self, y):
        rule = "positive" if self.power >= 2 else "non-negative"
        outside = y <= 0 if self.power >= 2 else y < 0
        if self.power > 0 and outside.any():
            raise ValueError(
                f"Targets of a Tweedie loss of power {self.power:g} must be {rule}. Got "
                f"{np.min(y):g}. Drop those rows, or choose the loss of the data: power 1 for "
                "counts, between 1 and 2 for amounts with exact zeros, 0 for any number."
            )
        return y

    def mean(self, eta):
        return np.exp(eta)

    def _value(self, eta, y):
        a, b = 2.0 - self.power, 1.0 - self.power
        mean = np.exp(a * eta) / a if a else eta
        observed = y * np.exp(b * eta) / b if b else y * eta
        return mean - observed

    def _first(self, eta, y):
        return np.exp((2.0 - self.power) * eta) - y * np.exp((1.0 - self.power) * eta)

    def _second(self, eta, y):
        a, b = 2.0 - self.power, 1.0 - self.power
        return a * np.exp(a * eta) - b * y * np.exp(b * eta)

    def third(self, eta, y):
        """Third derivative, shape ``(...)``."""
        a, b = 2.0 - self.power, 1.0 - self.power
        return a**2 * np.exp(a * eta[..., 0]) - b**2 * y * np.exp(b * eta[..., 0])


class Poisson(Tweedie):
    """Poisson loss with log link, ``exp(eta) - y eta``.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Poisson
    >>> Poisson().gradient(np.array([[0.0], [1.0]]), np.array([1.0, 1.0])).round(3)
    array([[0.   ],
           [1.718]])
    """

    def __init__(self):
        super().__init__(power=1)

    def _second(self, eta, y):
        return np.broadcast_to(np.exp(eta), np.broadcast_shapes(eta.shape, np.shape(y)))


class Gamma(Tweedie):
    """Gamma loss with log link, ``eta + y exp(-eta)``.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Gamma
    >>> Gamma().gradient(np.array([[0.0], [1.0]]), np.array([1.0, 1.0])).round(3)
    array([[0.   ],
           [0.632]])
    """

    def __init__(self):
        super().__init__(power=2)


class SmoothHinge(SingleOutputLoss):
    """Koh and Liang's smooth hinge ``t log(1 + exp((1 - y eta) / t))`` with ``y`` in {-1, 1}.

    Parameters
    ----------
    temperature : float
        ``t``, positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import SmoothHinge
    >>> eta, y = np.array([[0.0], [3.0]]), np.array([1.0, 1.0])
    >>> SmoothHinge(0.1).value(eta, y).round(3), SmoothHinge(0.1).gradient(eta, y).round(3)
    (array([1., 0.]), array([[-1.],
           [-0.]]))
    """

    coding = (-1.0, 1.0)

    def __init__(self, temperature):
        if not temperature > 0:
            raise ValueError(f"temperature must be positive. Got {temperature!r} instead.")
        self.temperature = temperature
        self.self_concordance = 1.0 / temperature

    def _value(self, eta, y):
        t = self.temperature
        return t * np.logaddexp(0.0, (1.0 - y * eta) / t)

    def _first(self, eta, y):
        return -y * expit((1.0 - y * eta) / self.temperature)

    def _second(self, eta, y):
        z = (1.0 - y * eta) / self.temperature
        return expit(z) * expit(-z) / self.temperature

    def third(self, eta, y):
        """Third derivative, shape ``(...)``."""
        z = (1.0 - y * eta[..., 0]) / self.temperature
        return y * expit(z) * expit(-z) * np.tanh(0.5 * z) / self.temperature**2


class SquaredHinge(SingleOutputLoss):
    """``max(0, 1 - y eta)^2`` with ``y`` in {-1, 1}; twice differentiable but at the margin.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import SquaredHinge
    >>> SquaredHinge().value(np.array([[0.0], [3.0]]), np.array([1.0, 1.0]))
    array([1., 0.])
    """

    coding = (-1.0, 1.0)

    def _value(self, eta, y):
        return np.maximum(0.0, 1.0 - y * eta) ** 2

    def _first(self, eta, y):
        return -2.0 * y * np.maximum(0.0, 1.0 - y * eta)

    def _second(self, eta, y):
        return np.where(y * eta < 1.0, 2.0, 0.0)


class SquaredEpsilonInsensitive(SingleOutputLoss):
    """``max(0, |y - eta| - epsilon)^2``; twice differentiable but at the edges of the tube.

    Parameters
    ----------
    epsilon : float
        Half of the width of the tube within which nothing counts.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import SquaredEpsilonInsensitive
    >>> SquaredEpsilonInsensitive(0.5).value(np.array([[0.2], [3.0]]), np.array([0.0, 1.0]))
    array([0.  , 2.25])
    """

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def _beyond(self, eta, y):
        return np.maximum(0.0, np.abs(eta - y) - self.epsilon)

    def _value(self, eta, y):
        return self._beyond(eta, y) ** 2

    def _first(self, eta, y):
        return 2.0 * np.sign(eta - y) * self._beyond(eta, y)

    def _second(self, eta, y):
        return np.where(np.abs(eta - y) > self.epsilon, 2.0, 0.0)


class AutogradLoss(Loss):
    """A loss written with ``autograd.numpy``; its derivatives come by themselves.

    Parameters
    ----------
    fn : callable
        ``fn(eta, y)`` with ``eta`` of shape ``(..., n_outputs)``, returning shape ``(...)``. The
        value of a sample may depend on its own ``eta`` and ``y`` only.
    n_outputs : int, default=1
    self_concordance : float, default=None
        Declare it only with a proof: certificates rest on it.

    Examples
    --------
    >>> import autograd.numpy as anp
    >>> import numpy as np
    >>> from skinfluence.losses import AutogradLoss
    >>> loss = AutogradLoss(lambda eta, y: anp.log(anp.cosh(eta[..., 0] - y)))
    >>> loss.gradient(np.array([[2.0]]), np.array([1.0])).round(3)
    array([[0.762]])
    """

    def __init__(self, fn, n_outputs=1, self_concordance=None):
        self.fn = fn
        self.n_outputs = n_outputs
        self.self_concordance = self_concordance

    def value(self, eta, y):
        return np.asarray(self.fn(eta, y))

    @one_trace_at_a_time
    def gradient(self, eta, y):
        from autograd import grad

        return grad(lambda e: self.fn(e, y).sum())(eta)

    @one_trace_at_a_time
    def hessian(self, eta, y):
        from autograd import grad

        first = grad(lambda e: self.fn(e, y).sum())
        columns = [grad(lambda e, k=k: first(e)[..., k].sum())(eta) for k in range(self.n_outputs)]
        return np.stack(columns, axis=-1)


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
