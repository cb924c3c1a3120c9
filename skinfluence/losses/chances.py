"""Log losses of models that say probabilities, which are no function of decision values of theirs."""

import numpy as np

from skinfluence.losses.base import Loss, SingleOutputLoss, decided


class OfChances(Loss):
    """Log loss of probabilities, which are the decision values.

    Parameters
    ----------
    n_classes : int
    """

    def __init__(self, n_classes):
        self.n_outputs = n_classes

    def value(self, eta, y):
        picked = np.broadcast_to(np.asarray(y, dtype=np.intp), eta.shape[:-1])[..., None]
        with np.errstate(divide="ignore"):
            return -np.log(np.take_along_axis(eta, picked, axis=-1)[..., 0])

    def gradient(self, eta, y):
        return -np.eye(self.n_outputs)[np.asarray(y, dtype=np.intp)] / eta

    def hessian(self, eta, y):
        return self.gradient(eta, y)[..., None] ** 2 * np.eye(self.n_outputs)

    def decide(self, eta):
        return decided(eta)

    def predict_proba(self, eta):
        return eta


class LogOfChance(SingleOutputLoss):
    """Log loss of a probability, which is the decision value, of targets 0 and 1."""

    def _value(self, eta, y):
        with np.errstate(divide="ignore"):
            return -np.log(np.where(y, eta, 1.0 - eta))

    def _first(self, eta, y):
        return np.where(y, -1.0 / eta, 1.0 / (1.0 - eta))

    def _second(self, eta, y):
        return self._first(eta, y) ** 2

    def predict_proba(self, eta):
        return np.concatenate([1.0 - eta, eta], axis=-1)
