"""Whole pipelines of which earlier edits took rows out: each of the others keeps its number."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence.answers import Answers
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.answers.streams import gathered, top_of


@dataclass(frozen=True, eq=False)
class Left:
    """The rows that no edit took out, and the model of them alone.

    Attributes
    ----------
    rows : ndarray of int, shape (n_left,)
        Their numbers, ascending.
    answers : Answers
        About the model, whose rows are these and no others.
    """

    rows: np.ndarray
    answers: Answers

    def of(self, raw):
        """What is left of a container of all rows."""
        return _safe_indexing(raw, self.rows)


class PipelineOfLeft:
    """The :class:`WholePipeline` of the rows that are left, asked by their numbers in the table.

    Rows that were taken out do nothing, and their own values are those of the fit, as everywhere.

    Parameters
    ----------
    whole : WholePipeline
        Of the rows that are left, numbered among themselves.
    left : Left
    influence : Influence
        About all rows, those that were taken out with no weight.
    """

    def __init__(self, whole, left, influence):
        self.whole, self.left, self.influence = whole, left, influence
        whole.numbers = left.rows

    @cached_property
    def _place(self):
        """Where each row is among those that are left, -1 for one that is not."""
        place = np.full(self.influence.objective.n_samples, -1)
        place[self.left.rows] = np.arange(len(self.left.rows))
        return place

    def holding(self, hold):
        return PipelineOfLeft(self.whole.holding(hold), self.left, self.influence)

    def numbered(self, rows=(), edits=()):
        """What is asked about rows and edits, and these in its own numbers; see :class:`WholePipeline`."""
        rows = np.asarray(rows, dtype=np.intp)
        return self.whole, self._places(rows), [self._edited(one) for one in edits]

    def _places(self, rows):
        """Where those of some rows are that are left."""
        place = self._place[rows]
        return place[place >= 0]

    def _edited(self, rows):
        """An EditedRows by the places of its rows."""
        place = self._place[rows.kept]
        there = np.append(place >= 0, np.ones(len(rows.new), dtype=bool))
        given = ("raw_y", "y", "sample_weight", "weights")
        taken = {name: getattr(rows, name)[there] for name in given}
        return replace(rows, kept=place[place >= 0], gone=self._places(rows.gone), **taken)

    def _points(self, points):
        """A Points by the places of its rows."""
        gone = None if points.gone is None else self._places(points.gone)
        changes = points.row_changes[self._place[points.rows] >= 0]
        return replace(points, rows=self._places(points.rows), row_changes=changes, gone=gone)

    # Rows, one at a time

    def own_values(self, rows, method, tol):
        """See :meth:`WholePipeline.own_values`."""
        there = self._place[rows] >= 0
        eta = np.empty((len(rows), self.whole.answers.problem.loss.n_outputs))
        eta[there] = self.whole.own_values(self._place[rows[there]], method, tol)
        if not there.all():
            influence = self.influence
            tests = influence.data.tests(influence.data.inputs.raw_rows(rows[~there]), None)
            eta[~there] = influence.answers.quantity(tests, "decision_function", method).eta
        return eta

    def row_stream(self, quantity, X, rows, label, method, tol):
        """See :meth:`WholePipeline.row_stream`."""
        problem, there = self.influence.objective, self._place[rows] >= 0
        stays = ~there
        if label is not None:
            stays |= problem.labels.codes_of(problem.y[rows]) == label
        lonely = np.isin(rows, rows_alone(problem)) & ~stays
        if lonely.any():
            warn_alone(problem, rows[lonely])
        for some, value in ((stays, 0.0), (lonely, np.nan)):
            if some.any():
                yield np.flatnonzero(some), np.full((int(some.sum()), *quantity.shape), value)
        asked = np.flatnonzero(~stays & ~lonely)
        if len(asked):
            places = self._place[rows[asked]]
            for block, values in self.whole.row_stream(quantity, X, places, label, method, tol):
                yield asked[block], values

    def row_effects(self, quantity, X, rows, label, method, tol, out=None):
        """See :meth:`WholePipeline.row_effects`."""
        stream = self.row_stream(quantity, X, rows, label, method, tol)
        return gathered(stream, quantity, len(rows), out)

    def top(self, quantity, X, k, method, tol):
        """See :meth:`WholePipeline.top`."""
        n = self.influence.objective.n_samples
        return top_of(self.row_stream(quantity, X, np.arange(n), None, method, tol), n, k)

    # Any edit

    def effects(self, edits, points, quantity, X, method, tol, strict=True):
        """See :meth:`WholePipeline.effects`."""
        whole, _, after = self.numbered(edits=edits)
        return whole.effects(
            after, lambda i: self._points(points(i)), quantity, X, method, tol, strict
        )
