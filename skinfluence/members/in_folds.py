"""Models whose rows are cut into folds by their order: without a row the folds are cut anew.

The rows next to a fold's ends change their fold then, a few of each class. So there are few cuts of
the other rows, and of each fold of these a model: what that says without each of its rows is known by its
own answers, and what stands on that is fitted to it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from skinfluence.answers import EXACT_INSTEAD, EditsOnly, answers_of, check_method
from skinfluence.answers.checks import check_solved_exactly, rows_alone, warn_alone
from skinfluence.closed_form.family import NoModelError
from skinfluence.design import Design, design_of
from skinfluence.losses import Loss
from skinfluence.members.folds import Cuts
from skinfluence.members.lost import quietly, warn_lost
from skinfluence.objective import Labels
from skinfluence.problem import Problem, check_hold_is_free
from skinfluence.quantity import Quantity
from skinfluence.statistics.budget import clock

# Rows by which it is told what all cost.
TRIED = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class InFolds(Problem):
    """A model made of models that are fitted to folds of its training data, or to all of them.

    Parameters
    ----------
    design : Design
    y : ndarray of shape (n_samples, ...)
        As the loss wants it.
    weights : ndarray of shape (n_samples,)
        Before those that the models give to classes.
    loss : Loss
        Of what it says in the end.
    labels : Labels or None
        For classifiers.
    cuts : Cuts or None
        None where there are no folds.
    model_name : str
    concern : str, default=None
        What about the fitted models makes answers misleading.
    """

    design: Design
    y: np.ndarray
    weights: np.ndarray
    loss: Loss
    labels: Labels | None
    cuts: Cuts | None
    model_name: str
    concern: str | None = None

    without_a_class = "a fold has no row of it"

    @property
    def in_folds(self):
        """Whether rows are cut into folds by their order."""
        return self.cuts is not None

    @property
    def n_folds(self):
        """None of them are 0."""
        return 0 if self.cuts is None else self.cuts.n_folds

    def cuts_without(self, rows):
        """How the others are cut without each of some rows, as of :meth:`Cuts.without`."""
        if self.cuts is None:
            return [(np.zeros(self.n_samples, dtype=np.int16), np.arange(len(rows)))]
        return self.cuts.without(self.codes, rows)

    @abstractmethod
    def table(self, method):
        """Its rows and the models fitted to them, asked by a method: a :class:`Table`."""

    @property
    def needs_all_classes(self):
        """Of a classifier each fold has all classes."""
        return self.labels is not None

    @property
    def codes(self):
        """What folds are cut by, (n_samples,): positions of the classes, or nothing of a regression."""
        if self.labels is None:
            return np.zeros(self.n_samples, dtype=np.intp)
        return self.labels.codes_of(self.y)

    @property
    def sample_weight(self):
        """The weights: those of classes are the models'."""
        return self.weights

    def kinds(self, y):
        return self.labels.codes_of(np.asarray(y))

    def holding(self, hold):
        """The same problem: what a penalty holds is the models' own."""
        check_hold_is_free(f"Edits of {self.model_name} are refits", hold)
        return self

    def on(self, X, rows, carried):
        """The problem on the rows after an edit, as they stand in the table."""
        order = slice(None) if rows.order is None else rows.order
        return self.of(X[order], rows.y[order], rows.weights[order])

    def of(self, X, y, weights):
        """The same problem of other rows."""
        given = {**vars(self), "design": design_of(X), "y": y, "weights": weights, "concern": None}
        names = self.__dataclass_fields__
        return type(self)(**{name: given[name] for name in names})

    def after(self, points):
        """The problem of the rows after an edit, in their order.

        Rows that weigh nothing are there, and in a fold.

        Parameters
        ----------
        points : Points
        """
        weights = self.weights.copy()
        weights[points.rows] = np.maximum(weights[points.rows] + points.row_changes, 0.0)
        place = np.arange(self.n_samples)
        gone = points.rows[weights[points.rows] == 0] if points.gone is None else points.gone
        there = np.setdiff1d(place, gone)
        X, y, weights, place = self.design.X[there], self.y[there], weights[there], place[there]
        if points.new is not None:
            X = self.design.take(there).extended(points.new).X
            y = np.concatenate([y, points.new_y])
            weights = np.append(weights, points.new_weights)
            order = np.argsort(np.append(place, _behind(points.places, self.n_samples)))
            X, y, weights = X[order], y[order], weights[order]
        return self.of(X, y, weights)


class Table(ABC):
    """The rows of a problem, cut into folds or not, and the models that are fitted to them.

    Parameters
    ----------
    problem : InFolds
    method : str

    Attributes
    ----------
    n_models : int
        How many are fitted to each part of the rows.
    """

    n_models = 1

    def __init__(self, problem, method):
        self.problem, self.method = problem, method

    @abstractmethod
    def values(self, X):
        """What the model says in the end of rows, (m, n_outputs).

        Raises
        ------
        NoModelError
        """

    @abstractmethod
    def without(self, rows, X, tol):
        """The same without each of some rows; of each row itself where X is None.

        Parameters
        ----------
        rows : ndarray of int
        X : array-like of shape (m, n_features) or None
        tol : float

        Yields
        ------
        some : ndarray of int
            Positions in ``rows``.
        values : ndarray of shape (b, m, n_outputs), m being 1 where X is None
            NaN where there are none.
        """

    def _no_values(self, n_rows, X):
        """What :meth:`without` says of some rows without which there is no model."""
        m = 1 if X is None else X.shape[0]
        return np.full((n_rows, m, self.problem.loss.n_outputs), np.nan)


def _behind(places, n):
    """Places of new rows, of those that have none behind all others."""
    return np.where(places < 0, n + np.arange(len(places)), places)


@dataclass(frozen=True)
class FoldsReport:
    """What a model in folds is made of.

    Attributes
    ----------
    model : str
    n_rows, n_columns, n_folds : int
    held : str or None
        What was chosen on all rows, and every answer holds.
    """

    model: str
    n_rows: int
    n_columns: int
    n_folds: int
    held: str | None = None

    def __str__(self):
        size = f"{self.model}, {self.n_rows} rows x {self.n_columns} columns"
        if not self.n_folds:
            return f"{size}: its models follow, steps and all"
        return (
            f"{size} in {self.n_folds} folds: the folds are cut anew, their models follow, and what stands "
            "on these"
        )


class InFoldsAnswers(EditsOnly):
    """Edits of a model that is made of models of folds.

    Parameters
    ----------
    problem : InFolds

    Notes
    -----
    Leaving rows out asks the models of the folds; any other edit is one refit of all of them.
    """

    def __init__(self, problem):
        self.problem = problem
        self._folds = {}

    @property
    def concern(self):
        return self.problem.concern

    def folds(self, method):
        """The table, asked by a method: of one step, which is no refit, as exactly as may be."""
        method = "auto" if method == "auto" else "exact"
        if method not in self._folds:
            self._folds[method] = self.problem.table(method)
        return self._folds[method]

    def report(self):
        problem = self.problem
        return FoldsReport(problem.model_name, *problem.design.X.shape, n_folds=problem.n_folds)

    def holding(self, hold):
        self.problem.holding("auto" if hold is None else hold)
        return self

    def polished(self):
        """The same: they are of the optima of its models."""
        return type(self)(replace(self.problem, concern=None))

    def _check_finite(self, method):
        check_method(method)
        if method == "influence":
            self._refuse("its first order", EXACT_INSTEAD)

    def quantity(self, tests, of, method):
        self._check_finite(method)
        return Quantity(of, self.problem.loss, tests, self.folds(method).values(tests.design.X))

    def row_stream(self, quantity, rows, label, method, tol):
        X, lost = quantity.design.X, []
        alone = np.isin(rows, rows_alone(self.problem))
        if alone.any():
            warn_alone(self.problem, rows[alone])
        if label is not None:
            found = self._relabelled(X, rows, label, method)
        else:
            found = self.folds(method).without(rows, X, tol)
        with quietly():
            for some, values in found:
                gone = np.isnan(values).any(axis=(1, 2))
                lost.extend(rows[some[gone & ~alone[some]]])
                yield some, quantity.change(values - quantity.eta)
        warn_lost(lost, f"{self.problem.without_rows[0]}.")

    def _relabelled(self, X, rows, label, method):
        problem = self.problem
        for i, row in enumerate(rows):
            y = problem.y.copy()
            y[row] = problem.labels.targets[label]
            after = problem.of(problem.design.X, y, problem.weights)
            yield np.array([i]), self._refitted(after, X)

    def _refitted(self, after, X):
        """Values at rows by all models fitted to another table, (1, m, n_outputs); NaN for no fit."""
        try:
            return after.table("exact").values(X)[None]
        except NoModelError:
            return np.full((1, X.shape[0], self.problem.loss.n_outputs), np.nan)

    def effects(self, points, quantity, method, tol):
        values = []
        for one in points:
            after = self.problem.after(one).table("exact").values(quantity.design.X)
            values.append(quantity.change((after - quantity.eta)[None])[0])
        values = np.array(values)
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        n = len(points)
        return values, np.full(n, np.inf), np.full(n, "fit"), np.full(n, np.nan)

    def price(self, rows, n_edits, X, method):
        """What answering costs, from what a few rows cost now, whose models are kept.

        Parameters
        ----------
        rows : ndarray of int or None
            That leave one at a time; None for other edits.
        n_edits : int
        X : array-like
            Rows that are asked about, as the model sees them.
        method : str

        Returns
        -------
        fits : int
            Of models to parts of the rows.
        seconds : float
            Of CPU.
        """
        problem = self.problem
        start = clock()
        table = problem.table("exact") if rows is None else self.folds(method)
        table.values(X)
        # Of each fold's model, and that of all rows.
        n_fitted = table.n_models * (problem.n_folds + 1)
        spent = clock() - start
        if rows is None or not len(rows):
            return n_edits * n_fitted, n_edits * spent
        cuts = problem.cuts_without(rows)
        parts = {(fold != k).tobytes() for fold, _ in cuts for k in range(problem.n_folds)}
        fits = table.n_models * (1 + len(parts))
        some = rows[max(cuts, key=lambda cut: len(cut[1]))[1][:TRIED]]
        with quietly():
            for _ in range(2):
                # The first time their models are fitted.
                start = clock()
                for _ in table.without(some, X, 1e-3):
                    pass
                each = (clock() - start) / len(some)
        return fits, fits * spent / n_fitted + len(rows) * each

    def own_removals(self, method, tol, rows=None):
        self._check_finite(method)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        out = np.full((len(rows), self.problem.loss.n_outputs), np.nan)
        with quietly():
            for some, values in self.folds(method).without(rows, None, tol):
                out[some] = values[:, 0]
        lost = rows[np.isnan(out).any(axis=1)]
        lost = np.setdiff1d(lost, rows_alone(self.problem))
        warn_lost(lost, f"{self.problem.without_rows[0]}.")
        return out

    def own_group_removals(self, removals, method, tol):
        self._check_finite(method)
        out = np.full((self.problem.n_samples, self.problem.loss.n_outputs), np.nan)
        for one in removals:
            X = self.problem.design.X[one.rows]
            out[one.rows] = self.problem.after(one).table("exact").values(X)
        return out


@answers_of.register
def _(problem: InFolds, *, solver, hold, precision, verbose):
    problem.holding(hold)
    how = f"Of {problem.model_name} the models of the folds are solved"
    check_solved_exactly(how, solver, precision, ("auto",))
    return InFoldsAnswers(problem)
