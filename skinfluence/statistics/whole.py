"""Questions about a whole pipeline: its transformers see the edit, too."""

import copy
from dataclasses import fields

import numpy as np

from skinfluence.answers import LOCAL
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.answers.streams import gathered, top_of
from skinfluence.quantity import Effect
from skinfluence.statistics import edited_rows
from skinfluence.statistics.again import Again
from skinfluence.statistics.limits import (
    limits_of,
    shares_encoders,
    sharing,
    values_of_forgotten,
    ways_of_forgotten,
    with_encoder,
)
from skinfluence.statistics.removals import REFITTED, TOGETHER, UNMOVED, Removals, removals_of
from skinfluence.statistics.targets import moving_curve


class WholePipeline:
    """Answers about the pipeline fitted on edited rows, steps and all.

    Parameters
    ----------
    answers : Answers
    model : estimator
        The innermost one, fitted.
    refits : Refits
        Of the steps, with the raw training rows and y as the steps saw it.
    training_X : ndarray or CSR array
        Rows as the model sees them.
    supervised : bool
        Whether a step looks at y; a transformer of the targets that learns from them does.
    budget : float
        CPU seconds for fitting transformers again.
    """

    # What its rows are called where that is not their number.
    numbers = None

    def __init__(self, answers, model, refits, training_X, supervised, budget):
        self.answers, self.model, self.refits = answers, model, refits
        self.transformers, self.X, self.y = refits.transformers, refits.X, np.asarray(refits.y)
        self.training_X, self.budget = training_X, budget
        self.supervised = supervised or moving_curve(answers.problem) is not None

    def again(self, method, tol=0.0):
        """What fits the steps again, for answers by a method that may be off by a share of a change."""
        tol = tol if method == "auto" else 0.0
        given = self.answers, self.model, self.refits, self.training_X, self.budget
        return Again(*given, tol, self.numbers)

    def numbered(self, rows=(), edits=()):
        """What is asked about rows and EditedRows, which knows them by the numbers that are returned."""
        return self, rows, edits

    def holding(self, hold):
        """The same with another meaning of edits; itself for None."""
        if hold is None:
            return self
        names = {"answers": self.answers.holding(hold)}
        other = object.__new__(WholePipeline)
        other.__dict__.update(self.__dict__, **names)
        return other

    # Rows, one at a time

    def own_values(self, rows, method, tol):
        """Decision values of rows, each from the pipeline without it, shape (n_rows, n_outputs).

        Parameters
        ----------
        rows : ndarray of int
        method : str
        tol : float

        Raises
        ------
        OverBudgetError
        """
        eta = np.empty((len(rows), self.answers.problem.loss.n_outputs))
        removals = self.removals(rows, None)
        for _, some, ratio, fills in removals.at_once():
            if ratio is None:
                eta[some] = self.answers.own_removals(method, tol, rows[some])
            else:
                eta[some] = self.answers.own_removals_rescaled(
                    method, tol, rows[some], ratio, fills
                )
        left = removals.again
        for places, whole in self._at_limits(rows, left, method):
            eta[places] = whole.own_values(rows[places], method, tol)
            left = np.setdiff1d(left, places)
        for places, values in self._forgotten(rows, left, method, tol):
            eta[places] = values
            left = np.setdiff1d(left, places)
        if len(left):
            eta[left] = np.concatenate(self.group_values(rows[left, None], method, tol))
        return eta

    def _at_limits(self, rows, left, method):
        """Rows that share an encoder, and the pipeline with it that answers about each of them.

        Parameters
        ----------
        rows : ndarray of int
        left : ndarray of int
            Positions in it of those that the steps are fitted again for.
        method : str

        Yields
        ------
        places : ndarray of int
            Some of ``left``.
        whole : WholePipeline
        """
        if not self._holds_encoders(method) or not shares_encoders(self.answers):
            return
        for some, *encoder in limits_of(self.refits, rows[left]):
            found = with_encoder(self.answers, self.refits, rows[left[some]], *encoder)
            if found is not None:
                fine, answers, refits, X = found
                rest = refits, X, self.supervised, self.budget
                yield left[some[fine]], WholePipeline(answers, self.model, *rest)

    def _forgotten(self, rows, left, method, tol):
        """Own values of rows whose category no encoder knows without them, with positions among ``left``."""
        if not self._holds_encoders(method):
            return
        given = self.answers, self.refits, self.training_X
        for some, values in values_of_forgotten(*given, rows[left], method, tol):
            yield left[some], values

    def planned(self, rows, out, method):
        """Which way each row would take that leaves on its own, and how often steps would be fitted.

        Parameters
        ----------
        rows : ndarray of int
        out : array-like or None
            Raw rows that are asked about; None where each row is asked about itself.
        method : str

        Returns
        -------
        routes : ndarray of str, shape (n_rows,)
        fits : int
        """
        routes = self.removals(rows, out).routes
        shared = 0
        if (routes == REFITTED).any() and self._holds_encoders(method):
            given = self.answers, self.refits
            left = np.flatnonzero(routes == REFITTED)
            for some in sharing(*given, rows[left]):
                routes[left[some]], shared = TOGETHER, shared + 1
            left = np.flatnonzero(routes == REFITTED)
            for some, ways in ways_of_forgotten(*given, rows[left]) if out is None else ():
                routes[left[some]] = ways
        return routes, shared + np.count_nonzero(routes == REFITTED)

    def _holds_encoders(self, method):
        """Whether rows may be asked about with an encoder that is held as it is without them."""
        problem = self.answers.problem
        return method not in LOCAL and moving_curve(problem) is None and problem.offset is None

    def group_values(self, groups, method, tol=0.0):
        """Decision values of the rows of each group from the pipeline without the group.

        Parameters
        ----------
        groups : list of ndarray of int
        method : str
        tol : float, default=0.0

        Returns
        -------
        eta : list of ndarray of shape (n_rows, n_outputs)
            NaN, with a warning, where there is no answer.

        Raises
        ------
        OverBudgetError
        """
        problem = self.answers.problem
        edits = [edited_rows.without(problem, self.y, rows) for rows in groups]
        outs = [self.refits.rows(rows) for rows in groups]
        return [one.eta for _, one in self.again(method, tol).each(edits, outs, method)]

    def row_stream(self, quantity, X, rows, label, method, tol):
        """Effects of removing or relabelling rows one at a time, as of :class:`Answers`.

        Parameters
        ----------
        quantity : Quantity
        X : array-like
            Raw test rows.
        rows : ndarray of int
        label : int or None
            Position of the new class; None to remove.
        method : str
        tol : float

        Yields
        ------
        block : ndarray of int
            Positions in ``rows``.
        values : ndarray of shape (b, n_test, ...), or (b,) for a scalar
        """
        if label is not None and not self.supervised:
            yield from self.answers.row_stream(quantity, rows, label, method, tol)
            return
        removals = Removals.alike(REFITTED, len(rows))
        if label is None:
            removals = self.removals(rows, X)
        for _, some, ratio, fills in removals.at_once():
            if ratio is None:
                stream = self.answers.row_stream(quantity, rows[some], None, method, tol)
            else:
                stream = self.answers.rescaled_stream(
                    quantity, rows[some], ratio, method, tol, fills, removals.there
                )
            for block, values in stream:
                yield some[block], values
        left = removals.again
        for places, whole in self._at_limits(rows, left, method) if label is None else ():
            there = whole.quantity_from(quantity, X, method)
            for block, values in whole.row_stream(there, X, rows[places], None, method, tol):
                yield places[block], values
            left = np.setdiff1d(left, places)
        yield from self._one_by_one(quantity, X, rows, left, label, method, tol)

    def quantity_from(self, quantity, X, method):
        """A quantity of another pipeline's rows whose changes start where the answers of this one do.

        Parameters
        ----------
        quantity : Quantity
        X : array-like
            Its raw rows.
        method : str
        """
        started = copy.copy(quantity)
        started.design = self.answers.problem.design.like(self.refits.seen(X))
        started.eta = self.answers.start(started.design, method)
        return started

    def _one_by_one(self, quantity, X, rows, left, label, method, tol):
        """The stream of the rows that the steps are fitted again for."""
        problem = self.answers.problem
        lonely = np.isin(rows[left], rows_alone(problem))
        if label is not None:
            own = problem.labels.codes_of(problem.y)[rows[left]] == label
            if own.any():
                yield left[own], np.zeros((int(own.sum()), *quantity.shape))
            left, lonely = left[~own], lonely[~own]
        if lonely.any():
            warn_alone(problem, rows[left[lonely]])
            yield left[lonely], np.full((int(lonely.sum()), *quantity.shape), np.nan)
            left = left[~lonely]
        if label is None:
            edits = [edited_rows.without(problem, self.y, rows[[i]]) for i in left]
        else:
            edits = [edited_rows.relabelled(problem, self.y, rows[i], label) for i in left]
        for i, one in self.again(method, tol).each(edits, [X] * len(edits), method):
            yield left[[i]], quantity.change(one.eta[None] - quantity.eta)

    def row_effects(self, quantity, X, rows, label, method, tol, out=None):
        """All of :meth:`row_stream` as (n_test, m, ...), or (m,) for a scalar."""
        stream = self.row_stream(quantity, X, rows, label, method, tol)
        return gathered(stream, quantity, len(rows), out)

    def top(self, quantity, X, k, method, tol):
        """The k largest and smallest removal effects of each test point, streamed: a Top."""
        n = self.answers.problem.n_samples
        return top_of(self.row_stream(quantity, X, np.arange(n), None, method, tol), n, k)

    # Any edit

    def effects(self, edits, points, quantity, X, method, tol, strict=True):
        """Effects of any edits, as of :class:`Answers`, and how each came about.

        Parameters
        ----------
        edits : list of EditedRows
        points : callable
            From the position of an edit to what it is with the steps as fitted.
        quantity : Quantity
        X : array-like
            Raw test rows.
        method : str
        tol : float
        strict : bool, default=True
            Raise for an edit without an answer; else it has NaN, with a warning.

        Returns
        -------
        values, bound, used, leverage, more
            As of :meth:`Answers.effects`, then the route of each edit, in words.
        """
        n = len(edits)
        values = np.empty((*quantity.shape[:1], n, *quantity.shape[1:]))
        bound, used, leverage = (
            np.full(n, np.inf),
            np.full(n, method, dtype="<U9"),
            np.full(n, np.nan),
        )
        n_more = len(fields(self.answers.effect_type)) - len(fields(Effect))
        trust = [bound, used, leverage, *[np.full(n, np.nan) for _ in range(n_more)]]

        def write(some, found, *others):
            values[(slice(None), some) if quantity.shape else some] = found
            for field, given in zip(trust, others, strict=False):
                field[some] = given

        route, removals, lone = self.routes(edits, X)
        for name, some, ratio, fills in removals.at_once():
            if name != UNMOVED:
                rows = np.array([edits[i].lone for i in lone[some]])
                found = self.answers.rescaled_effects(
                    quantity, rows, ratio, method, tol, fills, removals.there
                )
                write(lone[some], *found)
        some = np.flatnonzero(route == UNMOVED)
        if len(some):
            asked = [points(i) for i in some]
            write(some, *self.answers.effects(asked, quantity, method, tol))
        some = np.flatnonzero(route == REFITTED)
        if len(some):
            write(some, *self._refitted([edits[i] for i in some], quantity, X, method, strict))
        return values, *trust, route

    def removals(self, rows, out):
        """How removals of single rows are answered about, see :func:`removals_of`."""
        problem = self.answers.problem
        if moving_curve(problem) is not None:
            # Without a target their transformer is another one.
            return Removals.alike(REFITTED, len(rows))
        return removals_of(problem, self.transformers, self.X, rows, out)

    def routes(self, edits, out):
        """How each edit is answered about, in words; of those of one row, which they are and how."""
        route = np.full(len(edits), REFITTED, dtype=Removals.alike(REFITTED, 0).routes.dtype)
        for i, one in enumerate(edits):
            if not (one.moves_features or (self.supervised and one.relabels)):
                route[i] = UNMOVED
        lone = np.array([-1 if one.lone is None else one.lone for one in edits], dtype=np.intp)
        chosen = np.flatnonzero(lone >= 0)
        removals = self.removals(lone[chosen], out)
        route[chosen] = removals.routes
        return route, removals, chosen

    def _refitted(self, edits, quantity, X, method, strict):
        found = self.again(method).each(
            edits, [X] * len(edits), method, certify=True, strict=strict
        )
        after = [one for _, one in found]
        change = np.array([quantity.change(one.eta[None] - quantity.eta)[0] for one in after])
        values = np.swapaxes(change, 0, 1) if quantity.shape else change
        used = method if method in LOCAL else "newton"
        return values, [one.bound for one in after], used
