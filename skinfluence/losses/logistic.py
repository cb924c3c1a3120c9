"""Losses of class probabilities: the logistic loss of two classes, the softmax of several."""

import numpy as np
from scipy.special import expit, softmax

from skinfluence.losses.base import Loss, SingleOutputLoss


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
        # Of the side that is less likely: what is left of 1 has all its digits.
        less, shape = expit(-np.abs(eta)), np.shape(y)
        out = less * (1.0 - less)
        if eta.shape[eta.ndim - len(shape) :] == shape:
            # Of few rows, to broadcast takes longer than all the rest.
            return out
        return np.broadcast_to(out, np.broadcast_shapes(eta.shape, shape))

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

    def largest_curvature(self, eta, y):
        # No entry of diag(p) - pp' is larger than its norm, nor that than the sum of the largest row.
        p = softmax(eta, axis=-1)
        return 2.0 * (p * (1.0 - p)).max(axis=-1)

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
