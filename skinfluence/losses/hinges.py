"""Losses of margins: the hinge made smooth, and squared."""

import numpy as np
from scipy.special import expit

from skinfluence.losses.base import SingleOutputLoss


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
