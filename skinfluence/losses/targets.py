"""Losses of regressions: squared error, with and without a tube, and Tweedie deviances."""

import numpy as np

from skinfluence.losses.base import Loss, SingleOutputLoss


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
