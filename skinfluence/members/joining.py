"""How the outputs of several models become one prediction, and the loss of that."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence._utils._compat import one_against_the_rest
from skinfluence.losses import Loss, SquaredError
from skinfluence.losses.chances import LogOfChance, OfChances


class JointLoss(Loss):
    """The sum of losses of one decision value each.

    Parameters
    ----------
    losses : list of Loss
    """

    def __init__(self, losses):
        self.losses = list(losses)
        self.n_outputs = len(self.losses)

    @abstractmethod
    def _target(self, k, y):
        """What one of the losses has of the targets, shape (...)."""

    def _parts(self, eta, y):
        """Each loss, its decision values and its targets."""
        return [(one, eta[..., [k]], self._target(k, y)) for k, one in enumerate(self.losses)]

    def value(self, eta, y):
        return sum(one.value(part, target) for one, part, target in self._parts(eta, y))

    def gradient(self, eta, y):
        found = [one.gradient(part, target) for one, part, target in self._parts(eta, y)]
        return np.concatenate(found, axis=-1)

    def hessian(self, eta, y):
        own = [one.hessian(part, target)[..., 0] for one, part, target in self._parts(eta, y)]
        return np.concatenate(own, axis=-1)[..., None] * np.eye(self.n_outputs)


class SumOfLosses(JointLoss):
    """The sum of the losses of several targets, each of its own decision values."""

    def _target(self, k, y):
        return y[..., k]

    def check_y(self, y):
        return np.stack([one.check_y(y[:, k]) for k, one in enumerate(self.losses)], axis=1)

    def mean(self, eta):
        found = [one.mean(eta[..., [k]]) for k, one in enumerate(self.losses)]
        return np.concatenate(found, axis=-1)


class SumOfSides(JointLoss):
    """The sum of binary losses, each of one class and the rest; decisions are those of OneVsRestClassifier.

    Parameters
    ----------
    members : tuple of Problem
        Of classes 0 and 1, of the class itself; one for two classes.
    as_chance : bool
        Whether decision values are probabilities of the class, whose loss is the log loss.
    """

    def __init__(self, members, as_chance):
        super().__init__([LogOfChance() if as_chance else one.loss for one in members])
        self.members, self.as_chance = members, as_chance

    def _target(self, k, y):
        own = 1 * (np.asarray(y, dtype=np.intp) == own_classes(self.n_outputs)[k])
        return own if self.as_chance else self.members[k].labels.targets[own]

    @property
    def edge(self):
        """Above it a decision value is of the class, below it of the rest."""
        return 0.5 if self.as_chance else 0.0

    def chances(self, eta):
        """The chance of each class by its own model, (..., n_outputs)."""
        parts = [one.predict_proba(eta[..., [k]])[..., 1:] for k, one in enumerate(self.losses)]
        return np.concatenate(parts, axis=-1)

    def decide(self, eta):
        if self.n_outputs == 1:
            return (eta[..., 0] > self.edge).astype(int)
        return one_against_the_rest(eta)

    def predict_proba(self, eta):
        chance = self.chances(eta)
        if self.n_outputs == 1:
            return np.concatenate([1.0 - chance, chance], axis=-1)
        total = chance.sum(axis=-1, keepdims=True)
        return chance / np.where(total == 0, 1.0, total)


def own_classes(n_members):
    """Which class each binary model is of: of two classes the second."""
    return np.arange(n_members) if n_members > 1 else np.array([1])


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
        return SquaredError() if self.n_classes is None else OfChances(self.n_classes)

    def outputs(self, loss, eta):
        """What a member predicts at its decision values, shape (..., k)."""
        return loss.mean(eta) if self.n_classes is None else loss.predict_proba(eta)

    def joined(self, parts):
        """Decision values of all from the outputs of each member."""
        return sum(share * part for share, part in zip(self.shares, parts, strict=True))

    def targets(self, member, k, y):
        """Targets of a member from those of all."""
        return y if self.n_classes is None else member.labels.targets[np.asarray(y, dtype=np.intp)]

    def label(self, k, label):
        """The position of a class among those of a member."""
        return label


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

    def label(self, k, label):
        """Regressions have no labels."""
        return label


@dataclass(frozen=True, eq=False)
class ClassAndRest:
    """A binary model for each class, which tells it from the others; one for two classes.

    Parameters
    ----------
    members : tuple of Problem
    as_chance : bool
        Whether models without a decision function are asked for probabilities.
    """

    members: tuple
    as_chance: bool

    @property
    def of(self):
        """What members are asked."""
        return "predict_proba" if self.as_chance else "decision_function"

    @cached_property
    def loss(self):
        """The sum of those of the classes."""
        return SumOfSides(self.members, self.as_chance)

    def outputs(self, loss, eta):
        """Decision values, or probabilities of both sides."""
        return loss.predict_proba(eta) if self.as_chance else loss.expand(eta)

    def joined(self, parts):
        """The last of each: of two probabilities that of the class itself."""
        return np.concatenate([part[..., -1:] for part in parts], axis=-1)

    def targets(self, member, k, y):
        """Whether rows are of the class, in the codes of a member."""
        return member.labels.targets[self.label(k, np.asarray(y, dtype=np.intp))]

    def label(self, k, label):
        """1 for the class of a member, 0 for the others."""
        return 1 * (label == own_classes(len(self.members))[k])


class SumOfLabels(SumOfSides):
    """The sum of binary losses of several labels, each of which a row has (1) or has not (0)."""

    def _target(self, k, y):
        own = np.asarray(y[..., k], dtype=np.intp)
        return own if self.as_chance else self.members[k].labels.targets[own]

    def check_y(self, y):
        if not np.isin(y, (0, 1)).all():
            raise ValueError(
                "Of several labels a row has each (1) or has it not (0). Got "
                f"{np.asarray(y)[~np.isin(y, (0, 1))][0]:g}. Pass zeros and ones, a column for each label; a "
                "model that knows another label must be fitted with it."
            )
        return np.asarray(y, dtype=np.intp)

    def mean(self, eta):
        """Whether a row has each label, 1 or 0; NaN where that is not known."""
        has = 1 * (eta > self.edge)
        unknown = np.isnan(eta)
        return np.where(unknown, np.nan, has) if unknown.any() else has

    def predict_proba(self, eta):
        """The chance of each label, (..., n_labels)."""
        return self.chances(eta)


@dataclass(frozen=True, eq=False)
class LabelByLabel(ClassAndRest):
    """A binary model for each label, several of which a row may have."""

    @cached_property
    def loss(self):
        """The sum of those of the labels."""
        return SumOfLabels(self.members, self.as_chance)

    def targets(self, member, k, y):
        """Whether rows have the label, in the codes of a member."""
        return member.labels.targets[np.asarray(y[..., k], dtype=np.intp)]
