"""Stacks: models of the folds, and a last one of what each says of rows that it has not seen.

Without a row what the models say moves everywhere, a little, and the last model follows.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.weights import unless_ones
from skinfluence.answers import Tests, answers_of
from skinfluence.closed_form.family import NoModelError
from skinfluence.design import Design
from skinfluence.members.fold_models import FoldModels, check_takes_weights
from skinfluence.members.in_folds import InFolds, Table
from skinfluence.objective import Labels, Objective
from skinfluence.solvers.base import DistantFitError
from skinfluence.statistics import Refits, moving
from skinfluence.statistics.again import Again
from skinfluence.statistics.edited_rows import without

LOST = "a fold has then all the rows of a class, or one of its models has no fit"
USUAL = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}


@dataclass(frozen=True, eq=False)
class Member:
    """One of the models of a stack, with the rows that all of them have.

    Parameters
    ----------
    design : Design
    given_y : ndarray of shape (n_samples,)
        What it is fitted to: positions of classes, or targets.
    weights : ndarray of shape (n_samples,)
    labels : Labels or None
    estimator : estimator
        Not fitted.
    response : {"predict_proba", "decision_function", "predict"}
        What the last model is given of it.
    asked : callable
        From it fitted, its rows, targets and weights to what it says without a row.
    """

    design: Design
    given_y: np.ndarray
    weights: np.ndarray
    labels: Labels | None
    estimator: object
    response: str
    asked: object

    weighs_all = True

    @property
    def n_samples(self):
        """Rows of the table."""
        return self.design.n_samples


@dataclass(frozen=True, eq=False, kw_only=True)
class OfModels(InFolds):
    """A model made of several of the same rows, each with steps of its own.

    Parameters
    ----------
    design, y, weights, loss, labels, cuts, model_name, concern
        As of :class:`~skinfluence.members.in_folds.InFolds`.
    models : tuple of (estimator, str, callable)
        Of each: not fitted, what it is asked for, and ``asked`` of a :class:`Member`.
    """

    models: tuple

    @property
    def given_y(self):
        """What all of its models are fitted to, (n_samples,)."""
        return self.y if self.labels is None else self.codes

    @property
    def estimators(self):
        """All that are fitted to its rows, with their weights."""
        return [one for one, *_ in self.models]

    def member(self, k):
        """One of its models, as a :class:`Member`."""
        given = self.design, self.given_y, self.weights, self.labels
        return Member(*given, *self.models[k])


@dataclass(frozen=True, eq=False, kw_only=True)
class StackProblem(OfModels):
    """A stack and its training data.

    Parameters
    ----------
    design, y, weights, loss, labels, cuts, model_name, concern, models
        As of :class:`OfModels`: the loss is the last model's.
    last : estimator
        Not fitted.
    read : callable
        From an estimator, fitted, and its rows to its :class:`~skinfluence.inputs.inputs.Inputs`.
    passthrough : bool
        Whether the last model has the features, too.
    """

    last: object
    read: object
    passthrough: bool

    without_rows = LOST, "Split such a group, or fit with fewer folds."
    own_rows = "a stack, whose folds are cut anew after each"

    @property
    def estimators(self):
        return [*super().estimators, self.last]

    def table(self, method):
        """The table cut into folds, and its last model."""
        return StackedFolds(self, method)


def beside(X, said, passthrough):
    """What the last model is given, (m, n_columns), of what the others say and, where it sees them, rows."""
    if not passthrough:
        return np.hstack(said)
    if sp.issparse(X):
        return sp.csr_array(sp.hstack([*said, X]))
    return np.hstack([*said, X])


class StackedFolds(Table):
    """A table cut into folds: the models of the others, and the last one.

    Parameters
    ----------
    problem : StackProblem
    method : str
    """

    def __init__(self, problem, method):
        super().__init__(problem, method)
        n_folds = problem.cuts.n_folds
        self.parts = [
            FoldModels(problem.member(k), method, n_folds) for k in range(len(problem.models))
        ]

    def _beside(self, X, said):
        return beside(X, said, self.problem.passthrough)

    @property
    def n_models(self):
        """How many are fitted to each part of the rows."""
        return len(self.parts)

    @cached_property
    def last(self):
        """The last model, fitted to what the others say of rows they have not seen."""
        problem = self.problem
        fold = problem.cuts.of(problem.codes)
        said = self._beside(problem.design.X, [one.out_of_fold(fold) for one in self.parts])
        return Last(problem.last, problem.read, said, problem.given_y, problem.weights)

    def _at(self, X):
        return self._beside(X, [one.whole.scores(X, self.method) for one in self.parts])

    def values(self, X):
        return self.last.values(self._at(X))

    def without(self, rows, X, tol):
        problem = self.problem
        n, m = problem.n_samples, 1 if X is None else X.shape[0]
        width = self.last.n_columns
        for fold, some in problem.cuts.without(problem.codes, rows):
            for block in row_blocks(len(some), 16 * width * (n + m)):
                yield some[block], self._moved(fold, rows[some[block]], X, tol)

    def _moved(self, fold, rows, X, tol):
        rows_of = self.problem.design.X
        try:
            inside = [one.moved_out_of_fold(fold, rows, tol) for one in self.parts]
            at = [one.moved_at(rows, X, tol) for one in self.parts]
        except NoModelError:
            return self._no_values(len(rows), X)
        outs = (rows_of[[row]] if X is None else X for row in rows)
        given = [
            (
                self._beside(rows_of, [one[i] for one in inside]),
                self._beside(out, [one[i] for one in at]),
            )
            for i, out in enumerate(outs)
        ]
        return self.last.without(rows, given)


class Last:
    """The last model of a stack, fitted to features; and to others, which have moved, without a row.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    read : callable
        As of :class:`StackProblem`.
    Z : ndarray or CSR array of shape (n_rows, n_columns)
    y : ndarray of shape (n_rows,)
    weights : ndarray of shape (n_rows,)

    Raises
    ------
    NoModelError
    """

    def __init__(self, estimator, read, Z, y, weights):
        self.estimator, self.read, self.y, self.weights = estimator, read, y, weights
        self.n_columns = Z.shape[1]
        self.inputs, self.answers = self._fitted(Z, y, weights)
        self._near = None
        problem = self.answers.problem
        if isinstance(problem, Objective) and problem.chosen is None:
            # Smooth: solved from the optimum before. What chose something chooses again.
            refits = Refits(self.inputs.transformers, Z, y)
            self._near = Again(
                self.answers, self.inputs.model, _Moved(refits), self.inputs.training_X, np.inf
            )

    def _fitted(self, Z, y, weights):
        given = {} if unless_ones(weights) is None else {"sample_weight": weights}
        check_takes_weights(self.estimator, weights)
        with warnings.catch_warnings():
            # Where its solver stops does not matter: answers are of its optimum.
            warnings.simplefilter("ignore")
            try:
                model = clone(self.estimator).fit(Z, y, **given)
                inputs = self.read(model, Z)
                problem = inputs.problem(y, weights, same_fit=False)
                return inputs, moving(answers_of(problem, **USUAL))
            except DistantFitError as error:
                return inputs, moving(error.polished())
            except ValueError as error:
                # Without a fit, or without an optimum.
                raise NoModelError(str(error)) from error

    def values(self, Z):
        """Decision values at its optimum, (m, n_outputs)."""
        return _values(self.inputs, self.answers, Z)

    def without(self, rows, given):
        """Decision values without each of some rows, (n_rows, m, n_outputs); NaN for no optimum.

        Parameters
        ----------
        rows : ndarray of int
        given : list of (array-like of shape (n_samples, n_columns), array-like of shape (m, n_columns))
            For each row, features of all rows and of those asked about, without it.
        """
        if self._near is not None:
            problem = self.answers.problem
            self._near.refits.moved = dict(zip(rows.tolist(), given, strict=True))
            edits = [without(problem, self.y, np.array([row])) for row in rows]
            found = self._near.each(edits, [out for _, out in given], "exact")
            return np.stack([one.eta for _, one in found])
        return np.stack([self._again(row, *one) for row, one in zip(rows, given, strict=True)])

    def _again(self, row, Z, out):
        kept = np.delete(np.arange(len(self.y)), row)
        try:
            fitted = self._fitted(Z[kept], self.y[kept], self.weights[kept])
            return _values(*fitted, out)
        except ValueError:
            return np.full((out.shape[0], self.answers.problem.loss.n_outputs), np.nan)


def _values(inputs, answers, Z):
    design = answers.problem.design.like(inputs.transform(Z))
    return answers.quantity(Tests(design, None, None), "decision_function", "exact").eta


class _Moved:
    """Features that have moved without a row, behind steps that are fitted to them.

    Parameters
    ----------
    refits : Refits
        Of the steps.
    """

    def __init__(self, refits):
        self.refits, self.moved = refits, {}
        # Read by those who look for texts, of which there are none.
        self.steps = refits.transformers

    def after(self, rows, out):
        """As of :meth:`Refits.after`."""
        Z, _ = self.moved[rows.lone]
        return self.refits.after_on(Z[rows.kept], rows, out)
