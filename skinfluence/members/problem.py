"""The fitted problem of several models of the same rows."""

from dataclasses import dataclass

import numpy as np

from skinfluence.design import Design
from skinfluence.edits.points import Points
from skinfluence.members.joining import LabelByLabel
from skinfluence.objective import Labels
from skinfluence.problem import Problem


@dataclass(frozen=True, eq=False)
class OfTarget:
    """A model of one target of several, as the one whose kinds must keep weight.

    Parameters
    ----------
    member : Problem
    how : SideBySide
    k : int
        Which target.
    """

    member: Problem
    how: object
    k: int

    @property
    def n_kinds(self):
        return self.member.n_kinds

    @property
    def without_a_class(self):
        return self.member.without_a_class

    def kinds(self, y):
        """The kinds of its own target of several, (n, n_targets)."""
        return self.member.kinds(self.how.targets(self.member, self.k, y))

    def kind_name(self, kind):
        """A kind in words."""
        return f"{self.member.kind_name(kind)} of target {self.k}"


class OfMembers(Problem):
    """What problems that are made of several fitted ones, their ``members``, have alike."""

    @property
    def sample_weight(self):
        """The weights: those of classes are the members'."""
        return self.weights

    def kinds(self, y):
        return np.asarray(y, dtype=np.intp)

    def holding(self, hold):
        """The same problem, where every member has this meaning of edits."""
        for one in self.members:
            one.holding(hold)
        return self

    def changes_of(self, member, rows, points, which=slice(None)):
        """What some rows of an edit change by in a member, where they stand at ``rows``, (n_rows,)."""
        asked = points.row_changes[which]
        # Of a row that goes to the last bit nothing is left.
        all_of_it = asked == -self.weights[points.rows[which]]
        changed = asked * member.class_weights_of(member.y[rows])
        return np.where(all_of_it, -member.weights[rows], changed)


@dataclass(frozen=True, eq=False)
class MembersProblem(OfMembers):
    """Several fitted problems of the same rows, whose outputs make one prediction.

    Parameters
    ----------
    members : tuple of Problem
        In their own codes of targets.
    how : Average, SideBySide, ClassAndRest or LabelByLabel
    design : Design
        The rows.
    y : ndarray of shape (n_samples, ...)
        Class positions, targets, or one column of them for each member.
    weights : ndarray of shape (n_samples,)
        Before those that members give to classes.
    labels : Labels or None
    model_name : str
    """

    members: tuple
    how: object
    design: Design
    y: np.ndarray
    weights: np.ndarray
    labels: Labels | None
    model_name: str

    @property
    def loss(self):
        """Of the prediction."""
        return self.how.loss

    @property
    def classifies(self):
        """Whether targets are labels, one or several of each row."""
        return self.labels is not None or isinstance(self.how, LabelByLabel)

    @property
    def needs_all_classes(self):
        """Whether one of the members does."""
        return any(one.needs_all_classes for one in self.members)

    @property
    def without_a_class(self):
        """Why there is no model without a class, of the member that needs it."""
        return next(one.without_a_class for one in self.members if one.needs_all_classes)

    @property
    def needing(self):
        if self.labels is not None or not self.needs_all_classes:
            return super().needing
        return tuple(
            OfTarget(one, self.how, k)
            for k, one in enumerate(self.members)
            if one.needs_all_classes
        )

    def points_of(self, k, points):
        """An edit as a member has it, in its codes of targets and with its weights of classes."""
        member = self.members[k]
        changes = self.changes_of(member, points.rows, points)
        if points.new is None:
            return Points(points.rows, changes, None, None, points.new_weights, points.gone)
        y = self.how.targets(member, k, points.new_y)
        weights = points.new_weights * member.class_weights_of(y)
        new = member.design.like(points.new.X)
        return Points(points.rows, changes, new, y, weights, points.gone, points.places)
