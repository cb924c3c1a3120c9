"""Losses of decision values in long double: value, gradient and Hessian of each row."""

import numpy as np

LD = np.longdouble


def _sigmoid(z):
    # Both branches are exact in the tail that matters to them.
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


class Scalar:
    """A loss of one output; ``derivatives`` gives value, first and second derivative."""

    n_outputs = 1
    exact_newton = False

    def value(self, eta, y):
        return self.derivatives(eta[:, 0], y)[0]

    def gradient(self, eta, y):
        return self.derivatives(eta[:, 0], y)[1][:, None]

    def hessian(self, eta, y):
        return self.derivatives(eta[:, 0], y)[2][:, None, None]


class Logistic(Scalar):
    """``log(1 + exp(eta)) - y eta`` for y in {0, 1}."""

    def derivatives(self, eta, y):
        own = np.where(y > 0, eta, -eta)
        wrong = _sigmoid(-own)
        first = np.where(y > 0, -wrong, wrong)
        return np.logaddexp(LD(0), -own), first, wrong * _sigmoid(own)


class Squared:
    """``1/2 |eta - y|^2``."""

    exact_newton = True
    concordance = 0.0

    def __init__(self, n_outputs=1):
        self.n_outputs = n_outputs

    def value(self, eta, y):
        return ((eta - y.reshape(eta.shape)) ** 2).sum(axis=1) / 2

    def gradient(self, eta, y):
        return eta - y.reshape(eta.shape)

    def hessian(self, eta, y):
        return np.broadcast_to(np.eye(self.n_outputs, dtype=LD), (len(eta), *2 * (self.n_outputs,)))


class Tweedie(Scalar):
    """Half the deviance under the log link, up to a constant; powers 1 and 2 are Poisson and Gamma."""

    def __init__(self, power):
        self.power = LD(power)

    def derivatives(self, eta, y):
        p = self.power
        if p == 0:
            mean = np.exp(eta)
            return (y - mean) ** 2 / 2, (mean - y) * mean, (2 * mean - y) * mean
        if p == 1:
            mean = np.exp(eta)
            return mean - y * eta, mean - y, mean
        if p == 2:
            ratio = y * np.exp(-eta)
            return eta + ratio, 1 - ratio, ratio
        up, down = np.exp((2 - p) * eta), y * np.exp((1 - p) * eta)
        return up / (2 - p) - down / (1 - p), up - down, (2 - p) * up - (1 - p) * down


class SmoothHinge(Scalar):
    """``t log(1 + exp((1 - y eta) / t))`` for y in {-1, 1}."""

    def __init__(self, temperature):
        self.t = LD(temperature)

    @property
    def concordance(self):
        """``|third derivative| <= concordance * second``, per unit of the decision value."""
        return float(1 / self.t)

    def derivatives(self, eta, y):
        z = (1 - y * eta) / self.t
        inside = _sigmoid(z)
        return self.t * np.logaddexp(LD(0), z), -y * inside, inside * _sigmoid(-z) / self.t


class SquaredHinge(Scalar):
    """``max(0, 1 - y eta)^2`` for y in {-1, 1}."""

    # Piecewise quadratic: between the kinks a step is exact, and the search along it ends there.
    concordance = 0.0

    def derivatives(self, eta, y):
        short = np.maximum(1 - y * eta, 0)
        return short**2, -2 * y * short, np.where(short > 0, LD(2), LD(0))


class Softmax:
    """``log sum exp(eta) - eta_y`` for y a class position."""

    exact_newton = False

    def __init__(self, n_outputs):
        self.n_outputs = n_outputs

    def _probabilities(self, eta):
        e = np.exp(eta - eta.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def value(self, eta, y):
        # Differences to the own output: no cancellation where the row is far on its side.
        others = eta - eta[np.arange(len(eta)), y][:, None]
        top = others.max(axis=1)
        return top + np.log(np.exp(others - top[:, None]).sum(axis=1))

    def gradient(self, eta, y):
        p = self._probabilities(eta)
        rows = np.arange(len(eta))
        p[rows, y] = 0
        p[rows, y] = -p.sum(axis=1)
        return p

    def hessian(self, eta, y):
        p = self._probabilities(eta)
        out = -p[:, :, None] * p[:, None, :]
        k = np.arange(self.n_outputs)
        out[:, k, k] = 0
        out[:, k, k] = -out.sum(axis=2)
        return out


class OneVsRest:
    """A binary loss per class; ``factors[y, k]`` weighs a row of class y in the problem of class k."""

    def __init__(self, loss, factors):
        self.loss = loss
        self.factors = np.asarray(factors, dtype=LD)
        self.n_outputs = self.factors.shape[1]
        self.exact_newton = loss.exact_newton

    @property
    def concordance(self):
        return getattr(self.loss, "concordance", 1.0)

    def _parts(self, eta, y):
        low = 0 if isinstance(self.loss, Logistic) else -1
        for k in range(self.n_outputs):
            target = np.where(y == k, LD(1), LD(low))
            found = self.loss.derivatives(eta[:, k], target)
            yield [self.factors[y, k] * one for one in found]

    def value(self, eta, y):
        return sum(part[0] for part in self._parts(eta, y))

    def gradient(self, eta, y):
        return np.column_stack([part[1] for part in self._parts(eta, y)])

    def hessian(self, eta, y):
        out = np.zeros((len(eta), self.n_outputs, self.n_outputs), dtype=LD)
        for k, part in enumerate(self._parts(eta, y)):
            out[:, k, k] = part[2]
        return out
