"""What a loss is: value, gradient and Hessian in the decision values, and what they say of classes."""

from abc import ABC, abstractmethod

import numpy as np


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
    curve : callable or None
        What the targets of the user go through before the loss sees them, and predictions back; see
        ``skinfluence.losses.curved.through``.
    beside : callable or None
        ``beside(of, tests, eta)``: what quantities of test points are made of, where decision values have
        more in them than features and parameters; see ``skinfluence.losses.beside``.
    offset_of : callable or None
        ``offset_of(y)``: what stands beside the decision values, of targets that have it with them.

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
    curve = None
    beside = None
    offset_of = None

    def bare(self, y):
        """Targets without what else the loss has with them."""
        return y

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

    def largest_curvature(self, eta, y):
        """The largest entry of each Hessian, or more, shape ``(...)``."""
        return np.abs(self.hessian(eta, y)).max(axis=(-2, -1))

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
