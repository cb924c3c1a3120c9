"""Hinge models after an edit, from the rows on the margin before it, and along a stream of edits."""

from dataclasses import replace

import numpy as np
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_class_weight

from skinfluence.active_set import polish
from skinfluence.active_set.few_rows import solution_under
from skinfluence.editing.kernels import in_its_bounds, solved_hinge
from skinfluence.editing.solving import solve_edited, solve_whole
from skinfluence.hinge.answers import HingeAnswers
from skinfluence.hinge.optimum import Optimum
from skinfluence.hinge.problem import HingeObjective
from skinfluence.losses.combined import own_class_factors


@solve_edited.register
def _(problem: HingeObjective, answers, points, tol):
    start = in_its_bounds(problem, answers, np.arange(problem.n_samples))
    if problem.design is answers.problem.design and answers.optimum.in_memory:
        return solved_hinge(followed(start, answers))
    return solved_hinge(HingeAnswers(replace(start, near=True)))


@solve_whole.register
def _(problem: HingeObjective, edit, tol):
    start, model, own = (
        edit.taken(edit.kernel_design()),
        edit.model,
        problem.sample_weight[edit.left],
    )
    if isinstance(getattr(model, "class_weight", None), str):
        start = _balanced(start, model, own)
    start = in_its_bounds(start, edit.influence.answers.held, edit.left)
    return solved_hinge(HingeAnswers(replace(start, near=True)))


def _balanced(problem, model, sample_weight):
    """A hinge problem whose classes weigh what a fit on its rows makes them weigh."""
    labels, loss = problem.labels, problem.loss
    ours = type(model).__module__.startswith("skinfluence")
    weight = compute_class_weight(
        model.class_weight,
        classes=labels.classes,
        y=labels.classes[problem.y],
        sample_weight=sample_weight if ours or not isinstance(model, SVC) else None,
    )
    if not isinstance(model, SVC) and len(labels.classes) > 2:
        loss = type(loss)(loss.signs, own_class_factors(weight))
    labels = replace(labels, class_weight=weight)
    return replace(problem, labels=labels, weights=sample_weight * weight[problem.y], loss=loss)


class FollowedHingeAnswers(HingeAnswers):
    """Answers at the optimum that edits came to.

    Parameters
    ----------
    problem : HingeObjective
        At its optimum.
    verbose : bool
    optimum : Optimum
    margins : list of Margin or None
        Of every binary problem, where it is known: what the next edit starts from.
    """

    def __init__(self, problem, verbose, optimum, margins):
        super().__init__(problem, verbose, optimum)
        self.margins = margins


def followed(problem, answers):
    """Answers at the optimum after an edit that moves no row.

    Parameters
    ----------
    problem : HingeObjective
        After the edit, in its bounds at the optimum before.
    answers : HingeAnswers
        Before it.
    """
    margins = getattr(answers, "margins", None) or [None] * problem.n_outputs
    moved = [_moved(problem, answers.optimum, j, one) for j, one in enumerate(margins)]
    optimum = Optimum(problem, [solution for solution, _ in moved])
    at = replace(problem, beta=optimum.beta, bias=optimum.bias)
    return FollowedHingeAnswers(at, answers.verbose, optimum, [margin for _, margin in moved])


def _moved(problem, before, output, margin):
    """The solution of one binary problem after the edit, and its margin where that is known."""
    old, rows = before.solutions[output], problem.rows_of(output)
    if np.array_equal(rows, before.rows[output]):
        # Else a row belongs to other classes now.
        found, margin = solution_under(old, margin, *problem.sides(output, rows))
        if found is not None:
            return found, margin
    binary = problem.binary(output, rows)
    found = polish(binary, problem.beta[output, rows], problem.bias[output])
    # The model that the stream hands out is at this optimum.
    return replace(found, distance=0.0), None
