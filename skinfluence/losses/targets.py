"""Losses of regressions: squared error, with and without a tube, and Tweedie deviances."""

from functools import cache

import numpy as np

from skinfluence._utils.weights import weigh
from skinfluence.losses.base import Loss, SingleOutputLoss


@cache
def _identity(k):
    """The identity in bytes, which nobody may write into."""
    return np.eye(k).tobytes()


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
        # One matrix for all rows, as by ``broadcast_to``, which takes longer than all the rest of few rows.
        k = self.n_outputs
        return np.ndarray(
            (*eta.shape, k), float, _identity(k), 0, (0,) * (eta.ndim - 1) + (8 * k, 8)
        )

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
        return _exponential(1.0, 1.0, eta)

    def _value(self, eta, y):
        a, b = 2.0 - self.power, 1.0 - self.power
        if a == 0.0:
            return eta + _exponential(y, -1.0, eta)
        if b == 0.0:
            return _exponential(1.0, 1.0, eta) - y * eta
        return self._difference(eta, y, 1.0 / a, 1.0 / b)

    def _first(self, eta, y):
        return self._difference(eta, y, 1.0, 1.0)

    def _second(self, eta, y):
        return self._difference(eta, y, 2.0 - self.power, 1.0 - self.power)

    def third(self, eta, y):
        """Third derivative, shape ``(...)``."""
        return self._difference(eta[..., 0], y, (2.0 - self.power) ** 2, (1.0 - self.power) ** 2)

    def _difference(self, eta, y, of_mean, of_target):
        """``of_mean exp(a eta) - of_target y exp(b eta)``, infinite where that overflows."""
        a, b = 2.0 - self.power, 1.0 - self.power
        if a >= 0.0 >= b:
            return _exponential(of_mean, a, eta) - _exponential(of_target * y, b, eta)
        # Both can overflow, and their difference would be no number: what they share is a factor there.
        with np.errstate(over="ignore", invalid="ignore"):
            found = of_mean * np.exp(a * eta) - of_target * y * np.exp(b * eta)
            if b > 0.0:
                together = np.exp(b * eta) * (of_mean * np.exp(eta) - of_target * y)
            else:
                together = np.exp(a * eta) * (of_mean - of_target * y * np.exp(-eta))
        return np.where(np.isnan(found), together, found)


def _exponential(mass, rate, eta):
    """``mass * exp(rate * eta)``: infinite where that overflows, nothing where the mass is."""
    if rate == 0.0:
        return np.broadcast_to(mass, np.broadcast_shapes(np.shape(mass), np.shape(eta)))
    with np.errstate(over="ignore"):
        return weigh(np.asarray(mass), np.exp(rate * eta))


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
        return np.broadcast_to(
            _exponential(1.0, 1.0, eta), np.broadcast_shapes(eta.shape, np.shape(y))
        )


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
