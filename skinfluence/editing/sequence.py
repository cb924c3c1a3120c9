"""Influence after an edit: the same rows by the same numbers, another model."""

from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence._utils.locks import Locked
from skinfluence.answers import Answers, answers_of
from skinfluence.editing import stream
from skinfluence.editing.model import Move, check_asked
from skinfluence.editing.problems import names_of
from skinfluence.editing.rows import EditedInputs
from skinfluence.editing.writing import innermost, transformers_in
from skinfluence.inputs import Inputs
from skinfluence.members.problem import MembersProblem
from skinfluence.objective import Objective
from skinfluence.smooth.answers import SmoothAnswers
from skinfluence.statistics import Left, moving

# What is left of the change of the parameters.
TOL = 1e-10


@dataclass(frozen=True)
class After:
    """What an :class:`~skinfluence.Influence` after an edit is made of.

    Attributes
    ----------
    estimator : estimator
        As a refit on the edited rows would give it.
    inputs : Inputs
        Of all rows, those that were removed included.
    answers : Answers
        At the optimum, wherever its solution began: nothing is to be said of the fit.
    held : bool
        Whether what else learned from the rows stays as fitted from now on.
    gone : frozenset of int
        Rows that this edit and earlier ones removed.
    left : Left or None
        Of a pipeline whose steps were fitted again: the rows that are there, and answers about them alone.
    fitted_again : bool
        Whether the steps were fitted on the edited rows.
    """

    estimator: Any
    inputs: Inputs
    answers: Answers
    held: bool
    gone: frozenset[int]
    left: Left | None
    fitted_again: bool


def model_after(influence, edit, frozen):
    """The parts of :meth:`Influence.after`, as :class:`After`."""
    check_asked(influence, TOL, frozen)
    if influence.objective.own_rows is not None:
        raise TypeError(
            "A stream of edits follows models of which all have the same rows. Got "
            f"{influence.objective.own_rows}. Ask Influence about edited(...).estimator and the edited rows."
        )
    move = Move(influence, edit, TOL, frozen)
    left, whole = None, move.whole is not None
    if whole:
        inputs, answers, left = whole_after(move)
        estimator = move.estimator()
    else:
        answers = (
            smooth_after(move)
            or kernel_after(move)
            or move.solved.answers
            or answers_at(influence, move.solved.problem)
        )
        training_X = move.problem.design.X
        if getattr(move.problem.design, "shift", None) is not None:
            training_X = move.problem.design.given(slice(None))
        inputs = EditedInputs(influence.data.inputs, move.rows, training_X)
        # What the stream made is its own, and need not be copied again.
        own = transformers_in(influence.estimator) if influence.data.followed else None
        estimator = move.estimator(own)
        inputs.model = innermost(estimator)
    # Class weights that an edit holds are held from then on.
    answers = held_for_good(answers) if move.held else moving(answers)
    return After(estimator, inputs, answers, move.held, move.gone, left, whole)


def held_for_good(answers):
    """Answers whose class weights are given."""
    problem = answers.problem
    if problem.balanced:
        answers.problem = replace(problem, labels=replace(problem.labels, balanced=None))
    return answers


def smooth_after(move):
    """Answers about a smooth problem after an edit, from a Hessian that is kept; None for others."""
    problem, answers = move.problem, move.influence.answers.held
    if not isinstance(problem, Objective):
        return None
    before, follower = answers.problem, getattr(answers, "follower", None)
    if follower is None:
        edit_solver = answers.edit_solver()
        before, follower = edit_solver.objective, stream.follower_of(edit_solver)
    if follower is None:
        return None
    touched = np.array(sorted(move.rows.changed), dtype=np.intp)
    if problem.n_samples > before.n_samples:
        touched = np.append(touched, np.arange(before.n_samples, problem.n_samples))
    start = problem if before is move.influence.objective else problem.at(before.theta)
    found = stream.follow(follower, before, start, touched)
    if found is None:
        return None
    move.solved = found
    return FollowedAnswers(found.problem, found.follower, answers.solver, answers.verbose)


def kernel_after(move):
    """Answers about a kernel ridge regression after an edit, in closed form; None for others."""
    answers = move.influence.answers.held
    if not hasattr(move.problem, "dual_coef"):
        return None
    from skinfluence.editing.kernel_stream import follow

    found = follow(move.problem, answers)
    if found is None:
        return None
    move.solved = found
    return found.answers


class FollowedAnswers(SmoothAnswers):
    """Answers at the optimum of a problem that a stream of edits came to.

    Parameters
    ----------
    objective : Objective
        At its optimum.
    follower : Follower or None
        What the next edit starts from.
    solver : solver object
    verbose : bool
    """

    # At the optimum by construction.
    concern = None

    def __init__(self, objective, follower, solver, verbose):
        Locked.__init__(self)
        self.problem, self.follower = objective, follower
        self.solver, self.verbose = solver, verbose
        self._moved = None
        self._edit_solver, self._siblings = None, {}

    @cached_property
    def factor(self):
        """Of the Hessian at the optimum; made by the first question that is no edit."""
        return self.solver.factor(self.problem)


def answers_at(influence, problem):
    """Answers about a problem at its optimum."""
    answers = influence.answers.held
    if isinstance(problem, Objective):
        return FollowedAnswers(problem, None, answers.solver, answers.verbose)
    if hasattr(problem, "fitted_coef"):
        from skinfluence.editing.fits import process_answers

        return process_answers(problem)
    verbose = getattr(answers, "verbose", False)
    return answers_of(problem, solver="auto", hold="auto", precision="float64", verbose=verbose)


def whole_after(move):
    """Inputs and answers after an edit of a whole pipeline, every row with its number; and of those left."""
    whole = move.whole
    if isinstance(move.problem, MembersProblem):
        raise TypeError(
            "A stream of edits follows several models where nothing else learned from the rows. Got "
            f"{', '.join(move.again)} fitted again. Ask Influence about edited(...).estimator and the edited "
            "rows, or pass frozen='accept' to hold them."
        )
    inputs, solved = whole.inputs, move.solved
    inputs.model = innermost(move.estimator())
    try:
        inputs.training_X = inputs.transform(inputs.raw)
    except ValueError as error:
        raise ValueError(
            "Rows that were removed keep their numbers, so the steps of the pipeline must still take "
            f"them. Got steps, fitted on the others, that refuse: {error} Drop the rows from X and y "
            "and ask Influence about edited(...).estimator."
        ) from error
    problem = solved.problem
    for line in reversed(whole.lines):
        problem = problem.with_targets_back(line.slope, line.offset)
    answers = answers_on_all(problem, inputs.training_X, move)
    if not move.gone:
        return inputs, answers, None
    return inputs, answers, Left(move.left, moving(answers_at(move.influence, problem)))


def answers_on_all(problem, X, move):
    """Answers about a problem of the rows that are left, as one of all rows with weights of zero."""
    every, left, n = move.problem, move.left, move.problem.n_samples
    scattered = {}
    for name in {"weights", "sample_weight", "dual_coef", "beta", "fitted_coef"} & names_of(
        type(problem)
    ):
        values = getattr(problem, name)
        scattered[name] = np.zeros((*values.shape[:-1], n))
        scattered[name][..., left] = values
    y = every.y.copy()
    y[left] = problem.y
    if is_dataclass(problem.design):
        design = replace(problem.design, X=X)
    else:
        design = problem.design.like(X)
    if "held" in names_of(type(problem)):
        scattered["held"] = left[problem.held]
    problem = replace(problem, design=design, y=y, **scattered)
    if move.gone:
        problem = counting_those_left(problem, left)
    return answers_at(move.influence, problem)


def counting_those_left(problem, left):
    """The problem whose own statistics, where they count rows, count those that were not taken out."""
    balanced, gamma = (
        one in ("rows", "rows left") for one in (problem.balanced, problem.gamma_counts)
    )
    if not (balanced or gamma):
        return problem
    if not (problem.own_weights[left] > 0).all():
        what = "Balanced class weights count" if balanced else 'gamma="scale" counts'
        raise ValueError(
            f"{what} rows: in a stream of edits, those that have weight. Got rows of weight zero that are "
            "there. Remove rows in place of giving them no weight, and leave those of the fit out of X and y."
        )
    if balanced:
        problem = replace(problem, labels=replace(problem.labels, balanced="rows left"))
    if gamma:
        problem = replace(problem, gamma_counts="rows left")
    return problem
