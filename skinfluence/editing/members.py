"""Several models that make one prediction, after an edit: each as it is alone."""

import copy
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils import Bunch

from skinfluence.design import design_of
from skinfluence.editing.problems import edited_problem
from skinfluence.editing.solving import Solved, solve_edited, solve_whole
from skinfluence.editing.writing import innermost, like, rebuilt, with_parameters
from skinfluence.members.answers import answers_of_members
from skinfluence.members.joining import Average
from skinfluence.members.problem import MembersProblem


@dataclass(frozen=True, eq=False)
class OfMember:
    """What an Influence about one of the models has, for an edit of all.

    Parameters
    ----------
    influence : Influence
        About all of them.
    k : int
    """

    influence: object
    k: int

    @property
    def data(self):
        """Itself, of which are its :attr:`inputs` and :meth:`encoded`."""
        return self

    @property
    def inputs(self):
        """Those of all."""
        return self.influence.data.inputs

    @property
    def objective(self):
        """The problem of the model."""
        return self.influence.objective.members[self.k]

    @property
    def answers(self):
        """About the model alone."""
        return self.influence.answers.members[self.k]

    @property
    def estimator(self):
        """The fitted model; all of them where one estimator is."""
        models = getattr(innermost(self.influence.estimator), "estimators_", None)
        return innermost(self.influence.estimator if models is None else models[self.k])

    def encoded(self, y, offset=None):
        """Targets in the codes of the model, and the weights of their classes."""
        codes = self.influence.data.encode_y(y)[1]
        found = self.influence.objective.how.targets(self.objective, self.k, codes)
        return found, self.objective.class_weights_of(found)


def edited_members(influence, rows, points):
    """As :func:`~skinfluence.editing.problems.edited_problem`, of each of several models and of all."""
    before = influence.objective
    members = [
        edited_problem(OfMember(influence, k), rows, before.points_of(k, points))
        for k in range(len(before.members))
    ]
    return replace(edited_problem(influence, rows, points), members=tuple(members))


@solve_edited.register
def _(problem: MembersProblem, answers, points, tol):
    before = answers.problem
    solved = [
        solve_edited(one, own, before.points_of(k, points), tol)
        for k, (one, own) in enumerate(zip(problem.members, answers.members, strict=True))
    ]
    return solved_members(problem, solved)


@solve_whole.register
def _(problem: MembersProblem, edit, tol):
    parts = [edit.of_member(k).solve(tol) for k in range(len(problem.members))]
    return solved_members(edit.taken(design_of(edit.X)), parts)


def solved_members(problem, parts):
    """The :class:`Solved` problem of several models from those of each."""
    problem = replace(problem, members=tuple(one.problem for one in parts))
    used = {one.method_used for one in parts}
    reach = MembersReach(parts, problem.how)
    return MembersSolved(
        problem,
        reach.bound,
        np.nan,
        used.pop() if len(used) == 1 else "by member",
        reach,
        write_members,
        problem.loss.n_outputs,
        answers=answers_of_members(problem, [one.answers for one in parts]),
        parts=tuple(parts),
    )


@dataclass(frozen=True, eq=False)
class MembersSolved(Solved):
    """An edited problem of several models.

    Attributes
    ----------
    parts : tuple of Solved
    """

    parts: tuple = ()


class MembersReach:
    """What decision values may be off by, per unit of the largest bound; of a mean nothing is known.

    Parameters
    ----------
    parts : sequence of Solved
    how : Average, SideBySide or ClassAndRest
    """

    def __init__(self, parts, how):
        self.own = [
            (one.bound, one.reach, one.floor, one.problem.design.take(slice(0, 0))) for one in parts
        ]
        exact = all(bound == floor == 0.0 for bound, _, floor, _ in self.own)
        known = not isinstance(how, Average) and how.of == "decision_function"
        self.bound = max(bound for bound, *_ in self.own) if known else np.inf
        if exact:
            self.bound = 0.0

    def __call__(self, design):
        if not self.bound:
            return np.zeros((design.n_samples, 1))
        errors = [
            np.broadcast_to(bound * reach(own.like(design.X)) + floor, (design.n_samples, 1))
            for bound, reach, floor, own in self.own
        ]
        return np.concatenate(errors, axis=1) / self.bound

    def without(self, problem, left):
        """The same without rows, where one of them holds any."""
        made = copy.copy(self)
        made.own = [
            (bound, reach.without(one, left) if hasattr(reach, "without") else reach, floor, own)
            for one, (bound, reach, floor, own) in zip(problem.members, self.own, strict=True)
        ]
        return made


def write_members(model, solved, left, lines):
    """A vote, or a model for each target or class, of models at the optimum of each."""
    made = like(model)
    if hasattr(model, "coef_"):
        # Least squares of several labels.
        problems = [one.problem for one in solved.parts]
        theta = np.concatenate([one.design.in_units(one.theta) for one in problems])
        free = bool(problems[0].design.intercept)
        return with_parameters(
            made, theta[:, :-1] if free else theta, theta[:, -1] if free else None
        )
    if not hasattr(model, "estimators_"):
        # Kernel ridge regressions of several targets hold their rows once.
        parts = [one.write(model, one, left, ()) for one in solved.parts]
        made.X_fit_ = parts[0].X_fit_
        if hasattr(parts[0], "n_features_in_"):
            made.n_features_in_ = parts[0].n_features_in_
        made.dual_coef_ = np.stack([one.dual_coef_ for one in parts], axis=1)
        return made
    made.estimators_ = []
    for one, part in zip(model.estimators_, solved.parts, strict=True):
        before = innermost(one)
        inner = part.write(before, part, left, ())
        if getattr(inner, "n_features_in_", None) == getattr(before, "n_features_in_", None):
            # Behind steps that were fitted again there may be other columns.
            inner.n_features_in_ = part.problem.design.n_features
        made.estimators_.append(rebuilt(one, inner, None))
    if hasattr(model, "named_estimators_"):
        place = {id(one): k for k, one in enumerate(model.estimators_)}
        made.named_estimators_ = Bunch(
            **{
                name: made.estimators_[place[id(one)]] if id(one) in place else one
                for name, one in model.named_estimators_.items()
            }
        )
    return made
