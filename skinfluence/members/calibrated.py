"""Calibration in folds: models of the other folds, and calibrators of what these say of each.

Without a row the rows next to a fold's ends change their fold, a few of each class. So there are few cuts of
the other rows, and of each fold of these a model: what that says without each of its rows is known by its
own answers, and the calibrators are fitted to it.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from skinfluence.answers import EXACT_INSTEAD, EditsOnly, answers_of, check_method
from skinfluence.answers.checks import check_solved_exactly, rows_alone, warn_alone
from skinfluence.closed_form.family import NoModelError
from skinfluence.design import Design, design_of
from skinfluence.losses import Loss
from skinfluence.members.fold_models import Folds
from skinfluence.members.folds import Cuts
from skinfluence.members.lost import quietly, warn_lost
from skinfluence.objective import Labels
from skinfluence.problem import Problem, check_hold_is_free
from skinfluence.quantity import Quantity

LOST = (
    "a class has then fewer rows than there are folds, or a fold has none of it with weight, or its model or "
    "calibrators have no fit"
)


@dataclass(frozen=True, eq=False)
class CalibratedProblem(Problem):
    """A classifier that is calibrated in folds, and its training data.

    Parameters
    ----------
    design : Design
    y : ndarray of int, shape (n_samples,)
        Positions of the classes.
    weights : ndarray of shape (n_samples,)
        Before those that the classifier gives to classes.
    loss : Loss
        Of the chances.
    labels : Labels
    estimator : classifier
        What is fitted to the other folds, not fitted.
    own_labels : ndarray of shape (n_classes,)
        What it is fitted to in the place of the classes.
    cuts : Cuts
    calibrator : callable
        From scores of rows, codes and weights to their family.
    response : {"decision_function", "predict_proba"}
        What calibrators are fitted to.
    asked : callable
        From a fitted classifier, its rows, labels and weights to what it says without a row.
    ensemble : bool
        Whether each fold's model has its calibrators, whose chances are averaged, or all rows have them in
        common, of a model of all rows.
    model_name : str
    concern : str, default=None
        What about the fitted models makes answers misleading.
    """

    design: Design
    y: np.ndarray
    weights: np.ndarray
    loss: Loss
    labels: Labels
    estimator: object
    own_labels: np.ndarray
    cuts: Cuts
    calibrator: object
    response: str
    asked: object
    ensemble: bool
    model_name: str
    concern: str | None = None

    needs_all_classes = True
    without_a_class = "a fold has no row of it"
    without_rows = LOST, "Split such a group, or fit with fewer folds."
    own_rows = "calibration in folds, which are cut anew after each"
    in_folds = True

    @property
    def sample_weight(self):
        """The weights: those of classes are the classifier's."""
        return self.weights

    def kinds(self, y):
        return np.asarray(y, dtype=np.intp)

    def holding(self, hold):
        """The same problem: what a penalty holds is the classifier's."""
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
        X, y, weights = self.design.X, self.y, self.weights.copy()
        weights[points.rows] = np.maximum(weights[points.rows] + points.row_changes, 0.0)
        place = np.arange(self.n_samples)
        gone = points.rows[weights[points.rows] == 0] if points.gone is None else points.gone
        there = np.setdiff1d(place, gone)
        X, y, weights, place = X[there], y[there], weights[there], place[there]
        if points.new is not None:
            stack = sp.vstack if sp.issparse(X) else np.vstack
            X = stack([X, points.new.X])
            X = sp.csr_array(X) if sp.issparse(X) else X
            y = np.append(y, points.new_y)
            weights = np.append(weights, points.new_weights)
            order = np.argsort(np.append(place, _behind(points.places, self.n_samples)))
            X, y, weights = X[order], y[order], weights[order]
        return self.of(X, y, weights)


def _behind(places, n):
    """Places of new rows, of those that have none behind all others."""
    return np.where(places < 0, n + np.arange(len(places)), places)


@dataclass(frozen=True)
class CalibratedReport:
    """What calibration in folds is made of.

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
        return (
            f"{self.model}, {self.n_rows} rows x {self.n_columns} columns in {self.n_folds} folds: the folds "
            "are cut anew, their models and calibrators follow"
        )


class CalibratedAnswers(EditsOnly):
    """Edits of a classifier that is calibrated in folds.

    Parameters
    ----------
    problem : CalibratedProblem

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
            self._folds[method] = Folds(self.problem, method)
        return self._folds[method]

    def report(self):
        problem = self.problem
        return CalibratedReport(
            problem.model_name, *problem.design.X.shape, n_folds=problem.cuts.n_folds
        )

    def holding(self, hold):
        self.problem.holding("auto" if hold is None else hold)
        return self

    def polished(self):
        """The same: they are of the optima of its models."""
        return CalibratedAnswers(replace(self.problem, concern=None))

    def _check_finite(self, method):
        check_method(method)
        if method == "influence":
            self._refuse("its first order", EXACT_INSTEAD)

    def quantity(self, tests, of, method):
        self._check_finite(method)
        return Quantity(of, self.problem.loss, tests, self.folds(method).chances(tests.design.X))

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
            for some, chances in found:
                gone = np.isnan(chances).any(axis=(1, 2))
                lost.extend(rows[some[gone & ~alone[some]]])
                yield some, quantity.change(chances - quantity.eta)
        warn_lost(lost, f"{LOST}.")

    def _relabelled(self, X, rows, label, method):
        problem = self.problem
        for i, row in enumerate(rows):
            codes = problem.y.copy()
            codes[row] = label
            yield (
                np.array([i]),
                self._chances(problem.of(problem.design.X, codes, problem.weights), X),
            )

    def _chances(self, problem, X):
        try:
            return Folds(problem, "exact").chances(X)[None]
        except NoModelError:
            return np.full((1, X.shape[0], self.problem.loss.n_outputs), np.nan)

    def effects(self, points, quantity, method, tol):
        values = []
        for one in points:
            after = Folds(self.problem.after(one), "exact")
            values.append(
                quantity.change((after.chances(quantity.design.X) - quantity.eta)[None])[0]
            )
        values = np.array(values)
        values = np.swapaxes(values, 0, 1) if quantity.shape else values
        n = len(points)
        return values, np.full(n, np.inf), np.full(n, "fit"), np.full(n, np.nan)

    def own_removals(self, method, tol, rows=None):
        self._check_finite(method)
        rows = np.arange(self.problem.n_samples) if rows is None else rows
        out = np.full((len(rows), self.problem.loss.n_outputs), np.nan)
        with quietly():
            for some, chances in self.folds(method).without(rows, None, tol):
                out[some] = chances[:, 0]
        lost = rows[np.isnan(out).any(axis=1)]
        warn_lost(np.setdiff1d(lost, rows_alone(self.problem)), f"{LOST}.")
        return out

    def own_group_removals(self, removals, method, tol):
        self._check_finite(method)
        out = np.full((self.problem.n_samples, self.problem.loss.n_outputs), np.nan)
        for one in removals:
            X = self.problem.design.X[one.rows]
            out[one.rows] = Folds(self.problem.after(one), "exact").chances(X)
        return out


@answers_of.register
def _(problem: CalibratedProblem, *, solver, hold, precision, verbose):
    problem.holding(hold)
    how = f"Of {problem.model_name} the models of the folds are solved"
    check_solved_exactly(how, solver, precision, ("auto",))
    return CalibratedAnswers(problem)
