"""The fitted estimator after an edit."""

import copy
from functools import cached_property

import numpy as np

from skinfluence._utils.validation import check_frozen_choice, check_tol
from skinfluence.answers.checks import check_chosen
from skinfluence.editing.problems import edited_problem
from skinfluence.editing.result import Edited, EditReport
from skinfluence.editing.solving import solve_edited
from skinfluence.editing.writing import innermost, rebuilt, write_linear
from skinfluence.members.problem import MembersProblem
from skinfluence.objective import resolve_hold
from skinfluence.problem import refuse_chosen
from skinfluence.statistics import moving_curve


def check_asked(influence, tol, frozen):
    """Refuse what is no tolerance, and meanings of edits that no refit has."""
    check_tol(tol)
    check_frozen_choice(frozen)
    frozen = influence.frozen if frozen is None else frozen
    # Here: it registers kinds of problems whose rooms only their own models load.
    from skinfluence.editing import fits, kernels, margins, members, row_losses, supports, tubes  # noqa: F401

    problem = influence.objective
    if solve_edited.dispatch(type(problem)) is solve_edited.dispatch(object):
        solve_edited(problem, None, None, tol)
    if problem.chosen is not None and not problem.chosen.among_candidates:
        refuse_chosen(problem, "Models after an edit")
    check_chosen(problem, frozen)
    _refuse_moving_curve(problem, frozen)
    natural = getattr(problem, "natural_hold", "C")
    if resolve_hold(getattr(problem, "hold", natural), natural) != natural:
        raise ValueError(
            "The model after an edit is the one that a refit gives, which holds "
            f"{natural!r}. Got Influence(..., hold={problem.hold!r}); leave hold out."
        )


def _refuse_moving_curve(problem, frozen):
    curve = moving_curve(problem)
    if curve is not None and frozen != "accept":
        raise TypeError(
            "The model after an edit is known where no transformer learned from the targets. Got "
            f"{curve.transformer!r}. Fit a clone of the estimator on the rows that are left, or pass "
            "frozen='accept' to hold the transformer."
        )


def edited_model(influence, edit, tol, frozen):
    """See :meth:`Influence.edited`."""
    check_asked(influence, tol, frozen)
    return Move(influence, edit, tol, frozen).edited()


class Move:
    """One edit of a fitted model, solved.

    Parameters
    ----------
    influence : Influence
    edit : Edit
    tol : float
    frozen : {None, "accept", "refuse"}
        None: as the influence was made with.

    Attributes
    ----------
    rows : RowChanges
    gone : frozenset of int
        Rows that this edit and earlier ones removed.
    points : Points
        The edit in the core's terms.
    problem : Problem
        After the edit with everything else held, at the old parameters.
    again : tuple of str
        What learned from the rows besides the model, and is fitted again.
    held : bool
        Whether what else learned from the rows stays as fitted.
    whole : WholeEdit or None
    """

    def __init__(self, influence, edit, tol, frozen):
        self.influence = influence
        self.rows = influence.data.changes_of(edit)
        points = influence.data.resolve(edit)
        self.gone = influence.data.gone | set(self.rows.gone.tolist())
        self.n_samples = influence.objective.n_samples + len(self.rows.added)
        from skinfluence.editing.members import edited_members
        from skinfluence.editing.whole import WholeEdit, learned_from_rows

        frozen = influence.frozen if frozen is None else frozen
        self.held = frozen == "accept"
        # With "refuse" nothing stays as fitted either: what cannot be fitted again is refused.
        self.again = () if self.held else learned_from_rows(influence)
        self.points, self.tol, self.whole = points, tol, None
        several = isinstance(influence.objective, MembersProblem)
        made = edited_members if several else edited_problem
        self.problem = made(influence, self.rows, points)
        if self.again:
            self.whole = WholeEdit(
                influence, self.rows, self.left, self.problem, lines_of(influence)
            )

    @cached_property
    def left(self):
        """The numbers of all rows that no edit removed."""
        left = np.ones(self.n_samples, dtype=bool)
        left[list(self.gone)] = False
        return np.flatnonzero(left)

    @cached_property
    def solved(self):
        """The :class:`Solved` problem."""
        if self.whole is not None:
            return self.whole.solve(self.tol)
        return solve_edited(self.problem, self.influence.answers.held, self.points, self.tol)

    @property
    def report(self):
        """An :class:`EditReport`."""
        route = "edit" if self.whole is None else "whole pipeline"
        solved = self.solved
        return EditReport(route, solved.method_used, solved.bound, solved.size, tuple(self.again))

    def estimator(self, transformers=None):
        """The fitted estimator; with copies of what is not fitted again if that is not given."""
        influence, solved = self.influence, self.solved
        if self.whole is not None:
            return self.whole.estimator()
        model = innermost(influence.estimator)
        # Linear models hold no rows, and in a stream of edits to number all of them shows.
        left = None if solved.write is write_linear else self.left
        model = solved.write(model, solved, left, lines_of(influence))
        return rebuilt(influence.estimator, model, transformers)

    def edited(self):
        """The :class:`Edited` estimator."""
        estimator = self.estimator()
        edited = Edited(estimator, self.report)
        edited._error = ErrorAt(self, innermost(estimator))
        return edited


class ErrorAt:
    """From raw rows to the error of their decision values; it holds no training rows.

    Parameters
    ----------
    move : Move
    model : estimator
        The edited one.
    """

    def __init__(self, move, model):
        solved = move.solved
        whole = move.whole is not None
        self.inputs = without_rows(move.whole.inputs if whole else move.influence.data.inputs)
        self.inputs.model = model
        self.design = solved.problem.design.take(slice(0, 0))
        self.reach, self.n_values = solved.reach, solved.n_values
        self.bound, self.floor = solved.bound, solved.floor
        if hasattr(self.reach, "without"):
            left = np.arange(solved.problem.n_samples) if whole else move.left
            self.reach = self.reach.without(solved.problem, left)
        # The whole route solves in the units that the model has its targets in.
        lines = move.whole.lines if whole else ()
        self.scale = float(np.prod([abs(one.slope) for one in lines]))

    def __call__(self, X):
        X = self.inputs.transform(X)
        shape = X.shape[0], self.n_values
        if not np.isfinite(self.bound):
            return np.full(shape, np.inf)
        error = self.bound * self.reach(self.design.like(X)) + self.floor
        return np.broadcast_to(error, shape) / self.scale


def without_rows(inputs):
    """Inputs that transform, and hold no training rows."""
    made = copy.copy(inputs)
    held = {"_raw", "_base", "_made", "_replaced", "_added", "training_X", "labels"}
    vars(made).update(dict.fromkeys(held & vars(made).keys()))
    return made


def lines_of(influence):
    """The straight lines that the targets went through to the model, outermost first."""
    if influence.objective.curve is not None or not influence.data.inputs.moves_targets:
        # Behind a curve the problem is the model's own, in transformed units.
        return []
    lines, _ = influence.data.inputs.transformed_targets(influence.data.y)
    return lines
