"""How the outputs of several models become one prediction, and the loss of that."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence.losses import Loss, SquaredError
from skinfluence.losses.base import decided


class MeanProbability(Loss):
    """Log loss of probabilities that are a mean: decision values are those probabilities.

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


class SumOfLosses(Loss):
    """The sum of the losses of several targets, each of its own decision values.

    Parameters
    ----------
    losses : list of Loss
        Of one output each.
    """

    def __init__(self, losses):
        self.losses = list(losses)
        self.n_outputs = len(self.losses)

    def _parts(self, eta, y):
        return [(one, eta[..., [k]], y[..., k]) for k, one in enumerate(self.losses)]

    def check_y(self, y):
        return np.stack([one.check_y(y[:, k]) for k, one in enumerate(self.losses)], axis=1)

    def value(self, eta, y):
        return sum(one.value(part, target) for one, part, target in self._parts(eta, y))

    def gradient(self, eta, y):
        found = [one.gradient(part, target) for one, part, target in self._parts(eta, y)]
        return np.concatenate(found, axis=-1)

    def hessian(self, eta, y):
        own = [one.hessian(part, target)[..., 0] for one, part, target in self._parts(eta, y)]
        return np.concatenate(own, axis=-1)[..., None] * np.eye(self.n_outputs)

    def mean(self, eta):
        found = [one.mean(eta[..., [k]]) for k, one in enumerate(self.losses)]
        return np.concatenate(found, axis=-1)


@dataclass(frozen=True, eq=False)
class Average:
    """A weighted mean of what the members predict, probabilities or numbers.

    Parameters
    ----------
    shares : ndarray of shape (n_members,)
        Sum to one.
    n_classes : int or None
        None for regressions.
    """

    shares: np.ndarray
    n_classes: int | None

    @property
    def of(self):
        """What members are asked."""
        return "predict" if self.n_classes is None else "predict_proba"

    @cached_property
    def loss(self):
        """Of the mean: half squared error, or the log loss."""
        return SquaredError() if self.n_classes is None else MeanProbability(self.n_classes)

    def outputs(self, loss, eta):
        """What a member predicts at its decision values, shape (..., k)."""
        return loss.mean(eta) if self.n_classes is None else loss.predict_proba(eta)

    def joined(self, parts):
        """Decision values of all from the outputs of each member."""
        return sum(share * part for share, part in zip(self.shares, parts, strict=True))

    def targets(self, member, k, y):
        """Targets of a member from those of all."""
        return y if self.n_classes is None else member.labels.targets[np.asarray(y, dtype=np.intp)]


@dataclass(frozen=True, eq=False)
class SideBySide:
    """One target for each member.

    Parameters
    ----------
    losses : list of Loss
    """

    losses: list
    of = "decision_function"

    @cached_property
    def loss(self):
        """The sum of those of the targets."""
        if all(type(one) is SquaredError for one in self.losses):
            return SquaredError(len(self.losses))
        return SumOfLosses(self.losses)

    def outputs(self, loss, eta):
        """The decision values themselves."""
        return loss.expand(eta)

    def joined(self, parts):
        """All of them, one after the other."""
        return np.concatenate(parts, axis=-1)

    def targets(self, member, k, y):
        """The column of a member."""
        return y[..., k]
