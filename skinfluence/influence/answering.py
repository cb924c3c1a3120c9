"""Who answers about edits, the model behind held steps or the whole pipeline, asked in the same words."""

import numpy as np

from skinfluence.edits import remove
from skinfluence.edits.points import removal
from skinfluence.influence.groups import fill_groups
from skinfluence.inputs.routes import answers_for, whole_pipeline
from skinfluence.statistics import HELD, UNMOVED, learns_from_rows


def answering(influence, method, frozen, budget, hold=None):
    """Who answers a finite question: an :class:`OfModel` or an :class:`OfPipeline`.

    Parameters
    ----------
    influence : Influence
    method : str
    frozen, budget
        Those of the influence when None.
    hold : {None, "auto", "C", "lambda"}, default=None
        What edits keep, if not what the influence was made with.
    """
    answers = answers_for(influence, frozen).holding(hold)
    whole = whole_pipeline(influence, method, frozen, budget)
    if whole is None:
        return OfModel(influence, answers)
    return OfPipeline(influence, answers, whole.holding(hold))


class OfModel:
    """Answers of the model; what a pipeline before it learned from the rows stays as fitted.

    Parameters
    ----------
    influence : Influence
    answers : Answers
    """

    def __init__(self, influence, answers):
        self.influence, self.answers = influence, answers

    def quantity(self, tests, of, method):
        """What is asked at test points, as of :class:`~skinfluence.answers.Answers`."""
        return self.answers.quantity(tests, of, method)

    def row_effects(self, quantity, X, rows, label, method, tol, out=None):
        """Effects of removing or relabelling each of some rows, (n_test, m, ...); X are raw test points."""
        return self.answers.row_effects(quantity, rows, label, method, tol, out)

    def top(self, quantity, X, k, method, tol):
        """The k largest and smallest removal effects of each test point, a Top."""
        return self.answers.top(quantity, k, method, tol)

    def edit_effects(self, edits, quantity, X, method, tol):
        """Effects of a list of edits, and of each its bound, method, leverage and route."""
        points = [self.influence.data.resolve(edit) for edit in edits]
        way = HELD if learns_from_rows(self.influence) else UNMOVED
        return *self.answers.effects(points, quantity, method, tol), np.full(len(edits), way)

    def without(self, rows):
        """The edit that :meth:`fill` takes for the removal of a group of rows.

        Raises
        ------
        NoOptimumError
            Where nothing, or no model, is left.
        """
        return removal(self.influence.objective, rows)

    def fill(self, values, kept, edits, members, quantity, X, method, tol):
        """Write the effects of removing groups at their places of ``values``; say which have none.

        Parameters
        ----------
        values : ndarray of shape (n_test, n_groups, ...), or (n_groups,) for a scalar
        kept : list of int
            The places.
        edits : list
            What :meth:`without` gave of each.
        members : list of ndarray of int
            The rows of each.
        quantity, X, method, tol
            As of :meth:`row_effects`.
        """
        return fill_groups(values, kept, edits, quantity, method, tol, self.answers)


class OfPipeline(OfModel):
    """Answers of a pipeline whose steps are without the edited rows, too.

    Parameters
    ----------
    influence : Influence
    answers : Answers
        Of the model.
    whole : WholePipeline or PipelineOfLeft
    """

    def __init__(self, influence, answers, whole):
        super().__init__(influence, answers)
        self.whole = whole

    def row_effects(self, quantity, X, rows, label, method, tol, out=None):
        return self.whole.row_effects(quantity, X, rows, label, method, tol, out)

    def top(self, quantity, X, k, method, tol):
        return self.whole.top(quantity, X, k, method, tol)

    def edit_effects(self, edits, quantity, X, method, tol):
        after = [self.influence.data.rows_after(edit) for edit in edits]

        def points(i):
            return self.influence.data.resolve(edits[i])

        return self.whole.effects(after, points, quantity, X, method, tol)

    def without(self, rows):
        return self.influence.data.rows_after(remove(rows))

    def fill(self, values, kept, edits, members, quantity, X, method, tol):
        if not edits:
            return []

        def points(i):
            return self.influence.data.resolve(remove(members[i]))

        found, *_ = self.whole.effects(edits, points, quantity, X, method, tol, strict=False)
        values[(slice(None), kept) if quantity.shape else kept] = found
        return []
