"""Answers about several models of the same rows: each is asked, and what they say is joined."""

import warnings
from dataclasses import dataclass

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.answers import Answers, EditsOnly, Tests, answers_of, check_method
from skinfluence.members.joining import Average
from skinfluence.members.problem import MembersProblem
from skinfluence.quantity import Quantity
from skinfluence.statistics import moving


@dataclass(frozen=True)
class MembersReport:
    """How the members were solved.

    Attributes
    ----------
    model : str
    members : tuple
        The report of each.
    held : str or None
        What was chosen on all rows, and every answer holds.
    """

    model: str
    members: tuple
    held: str | None = None

    def __str__(self):
        return "\n".join([f"{self.model}:", *(f"- {one}" for one in self.members)])


class MembersQuantity(Quantity):
    """A quantity of what is joined, with what the members are asked for it.

    Parameters
    ----------
    of, loss, tests, eta
        As of :class:`~skinfluence.quantity.Quantity`.
    parts : list of Quantity
    """

    def __init__(self, of, loss, tests, eta, parts):
        super().__init__(of, loss, tests, eta)
        self.parts = parts


class MembersAnswers(EditsOnly):
    """Edits of several models, as exact as the answers of each.

    Parameters
    ----------
    problem : MembersProblem
    members : list of Answers
    """

    def __init__(self, problem, members):
        self.problem, self.members = problem, members

    def _with(self, members):
        return type(self)(self.problem, members)

    @property
    def certifies(self):
        """Whether ``"auto"`` refines one of them."""
        return any(one.certifies for one in self.members)

    def report(self):
        return MembersReport(self.problem.model_name, tuple(one.report() for one in self.members))

    @property
    def concern(self):
        found = [one.concern for one in self.members]
        return " ".join(dict.fromkeys(str(one) for one in found if one is not None)) or None

    def holding(self, hold):
        if hold is None:
            return self
        return self._with([one.holding(hold) for one in self.members])

    @property
    def held(self):
        return self._with([one.held for one in self.members])

    def polished(self):
        return self._with([one.polished() for one in self.members])

    # What members are asked

    def _tests(self, k, tests, targets=False):
        """The evaluation points as a member sees them; with targets only where its loss is asked."""
        member = self.problem.members[k]
        y = self.problem.how.targets(member, k, tests.y) if targets else None
        return Tests(member.design.like(tests.design.X), y, y)

    def _label(self, k, label):
        return None if label is None else self.problem.how.label(k, label)

    def _joined(self, parts):
        return self.problem.how.joined(parts)

    def quantity(self, tests, of, method):
        check_method(method)
        parts = [
            one.quantity(self._tests(k, tests), self.problem.how.of, method)
            for k, one in enumerate(self.members)
        ]
        n = tests.design.n_samples
        eta = self._joined([part.before.reshape(n, -1) for part in parts])
        return MembersQuantity(of, self.problem.loss, tests, eta, parts)

    # Edits

    def row_stream(self, quantity, rows, label, method, tol):
        n, n_members = quantity.design.n_samples, len(self.members)
        for block in row_blocks(len(rows), 8 * n * quantity.loss.n_outputs * (n_members + 2)):
            some = rows[block]
            found = [
                one.row_effects(part, some, self._label(k, label), method, tol)
                for k, (one, part) in enumerate(zip(self.members, quantity.parts, strict=True))
            ]
            found = [one.reshape(n, len(some), -1) for one in found]
            yield block, quantity.change(np.swapaxes(self._joined(found), 0, 1))

    def effects(self, points, quantity, method, tol):
        n, m = quantity.design.n_samples, len(points)
        moved, trust = [], []
        for k, (one, part) in enumerate(zip(self.members, quantity.parts, strict=True)):
            asked = [self.problem.points_of(k, each) for each in points]
            values, *rest = one.effects(asked, part, method, tol)
            moved.append(values.reshape(n, m, -1))
            trust.append(rest[:3])
        values = quantity.change(np.swapaxes(self._joined(moved), 0, 1))
        bounds, used, leverage = (
            np.array([each[i] for each in trust]).reshape(-1, m) for i in range(3)
        )
        # Bounds are in the norm of the Hessian of each: only that nothing is left can be said of all.
        bound = np.where((bounds == 0).all(axis=0), 0.0, np.inf)
        same = (used == used[0]).all(axis=0)
        used = np.where(same, used[0], "by member")
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        return values, bound, used, leverage.max(axis=0)

    def own_removals(self, method, tol, rows=None):
        return self._own(lambda k, one: one.own_removals(method, tol, rows))

    def own_group_removals(self, removals, method, tol):
        def asked(k, one):
            points = [self.problem.points_of(k, each) for each in removals]
            return one.own_group_removals(points, method, tol)

        return self._own(asked)

    def _own(self, ask):
        with warnings.catch_warnings(record=True) as said:
            found = [ask(k, one) for k, one in enumerate(self.members)]
        # What every member says of a row is said once.
        for one in {(str(one.message), one.category): one for one in said}.values():
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        outputs = self.problem.how.outputs
        losses = [one.loss for one in self.problem.members]
        return self._joined([outputs(loss, eta) for loss, eta in zip(losses, found, strict=True)])


class SumAnswers(MembersAnswers):
    """Answers about a model for each target, or class: derivatives of the sum of the losses, too."""

    def knows(self, question):
        own = ("up_params", "up_loss", "pert_loss", "self_influence")
        if question in own:
            return all(one.knows(question) for one in self.members)
        return super().knows(question)

    def up_params(self, rows):
        return np.concatenate([one.up_params(rows) for one in self.members], axis=1)

    def up_loss(self, tests, rows, aggregate):
        return sum(
            one.up_loss(self._tests(k, tests, True), rows, aggregate)
            for k, one in enumerate(self.members)
        )

    def pert_loss(self, tests, rows, aggregate, pull_back, out):
        out[...] = 0.0
        part = np.empty_like(out)
        for k, one in enumerate(self.members):
            one.pert_loss(self._tests(k, tests, True), rows, aggregate, pull_back, part)
            out += part
        return out

    def self_influence(self):
        return sum(one.self_influence() for one in self.members)


@answers_of.register
def _(problem: MembersProblem, *, solver, hold, precision, verbose):
    options = {"solver": solver, "hold": hold, "precision": precision, "verbose": verbose}
    return answers_of_members(problem, [None] * len(problem.members), **options)


def answers_of_members(problem, known, **options):
    """Answers about several models; of each those that are known, where they are.

    Parameters
    ----------
    problem : MembersProblem
    known : list of Answers or None
    **options
        Of :func:`~skinfluence.answers.answers_of`; its defaults when not given.
    """
    kind = MembersAnswers if isinstance(problem.how, Average) else SumAnswers
    return kind(problem, members_of(problem, known, **options))


def members_of(problem, known, **options):
    """The answers about each of several models, as of :func:`answers_of_members`."""
    usual = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}
    members: list[Answers] = []
    for one, answers in zip(problem.members, known, strict=True):
        if answers is not None:
            members.append(answers)
            continue
        # Kernel ridge regressions of several targets have one factor.
        beside = (made.beside(one) for made in members if hasattr(made, "beside"))
        shared = next((found for found in beside if found is not None), None)
        made = shared if shared is not None else moving(answers_of(one, **{**usual, **options}))
        members.append(made)
    return members
