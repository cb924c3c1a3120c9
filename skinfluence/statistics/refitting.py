"""Transformers fitted again without rows, and the model's problem on what they then make."""

from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_array

from skinfluence._utils.untouched import untouched
from skinfluence.design import design_of
from skinfluence.objective import centred
from skinfluence.smooth import piecewise
from skinfluence.smooth.newton import minimise, refuse_separable
from skinfluence.statistics.balanced import weights_of

# Fitted again on all rows, transformers give what they gave to this share of a column's size.
SAME = 1e-6


class RefusedRowError(ValueError):
    """Transformers fitted without a row do not take it, or cannot be fitted without it."""


class Refits:
    """The transformers of a pipeline, to be fitted again without some rows.

    Parameters
    ----------
    transformers : list of transformers
        Fitted on all rows.
    X : array-like
        Raw training rows.
    y : array-like of shape (n_samples,)
        For steps that look at it.
    """

    def __init__(self, transformers, X, y):
        self.transformers, self.X, self.y = transformers, X, y
        self.names = _names(transformers)

    def gives(self, training_X):
        """Whether a fit on all rows gives the model the rows it was fitted on."""
        again, _, _ = self._fitted(np.arange(len(self.y)), None)
        if again.shape != training_X.shape:
            return False
        # Rows as they are, sparse or not: only what differs is looked at.
        largest = _largest(abs(training_X))
        return bool((_largest(abs(again - training_X)) <= SAME * largest).all())

    def without(self, rows):
        """What the model is given when some rows were never there.

        Parameters
        ----------
        rows : ndarray of int

        Returns
        -------
        kept : ndarray of int
            The other rows.
        X : ndarray or CSR array of shape (n_kept, n_columns)
        X_out : the same of the rows themselves, shape (n_rows, n_columns)
        columns : ndarray of int, shape (n_columns,), or None
            Where each column was among the old ones, -1 for nowhere; None where they have no names.

        Raises
        ------
        RefusedRowError
        """
        kept = np.delete(np.arange(len(self.y)), rows)
        try:
            X, X_out, fitted = self._fitted(kept, rows)
        except ValueError as error:
            raise RefusedRowError(str(error)) from error
        return kept, X, X_out, self._columns(fitted)

    def _fitted(self, kept, rows):
        steps = [clone(one) for one in self.transformers]
        X = untouched(_safe_indexing(self.X, kept), *steps)
        out = None if rows is None else untouched(_safe_indexing(self.X, rows), *steps)
        y = np.asarray(self.y)[kept]
        for step in steps:
            X = step.fit_transform(X, y)
            if out is not None:
                out = step.transform(out)
        return _checked(X), out if out is None else _checked(out), steps

    def _columns(self, fitted):
        names = _names(fitted)
        if names is not None and self.names is not None:
            place = {name: j for j, name in enumerate(self.names)}
            return np.array([place.get(name, -1) for name in names], dtype=np.intp)
        return None


def own_values(objective, solver, moved):
    """Decision values of rows from the model without them, solved to round-off.

    Parameters
    ----------
    objective : Objective
        At the optimum on all rows.
    solver : solver object
    moved : tuple
        What :meth:`Refits.without` returns.

    Returns
    -------
    eta : ndarray of shape (n_rows, n_outputs)

    Raises
    ------
    SingularHessianError, SeparableError
        Without the rows there is no optimum.
    """
    kept, X, X_out, columns = moved
    design = design_of(X, objective.design.intercept)
    weights = weights_of(objective, kept)
    share = 1.0
    if objective.hold != "C":
        share = weights.sum() / objective.total_weight
    penalty = np.full(design.n_columns, objective.penalty[0] * share)
    if design.intercept:
        penalty[-1] = objective.penalty[-1] * share
    problem = replace(
        objective,
        design=design,
        y=objective.y[kept],
        weights=weights,
        penalty=penalty,
        theta=_start(objective, columns, design.n_columns),
        sample_weight=None,
    )
    problem = centred(problem)
    nowhere = problem.at(np.zeros_like(problem.theta))
    if not problem.value() <= nowhere.value():
        problem = nowhere
    if piecewise.is_piecewise(problem.loss):
        found, _ = piecewise.minimise(problem, solver)
    else:
        found = minimise(problem, solver).objective
    refuse_separable(found)
    return found.design.like(X_out).multiply(found.theta.T)


def _start(objective, columns, n_columns):
    """The old optimum in the new columns, zero in those that were not there."""
    design, old = objective.design, objective.theta
    theta = np.zeros((len(old), n_columns))
    if design.intercept:
        theta[:, -1] = old[:, -1]
        if design.shift is not None:
            theta[:, -1] -= old[:, :-1] @ design.shift / design.intercept
    if columns is None and n_columns == old.shape[1]:
        theta[:, : design.n_features] = old[:, : design.n_features]
    elif columns is not None:
        there = np.flatnonzero(columns >= 0)
        theta[:, there] = old[:, columns[there]]
    return theta


def _checked(X):
    return check_array(X, accept_sparse="csr", dtype=np.float64, order="C")


def _largest(X):
    largest = X.max(axis=0)
    return largest.toarray().ravel() if hasattr(largest, "toarray") else np.asarray(largest)


def _names(transformers):
    """Names of the outputs of a chain, or None."""
    names = None
    for one in transformers:
        try:
            names = one.get_feature_names_out(*([] if names is None else [names]))
        except (AttributeError, TypeError, ValueError):
            return None
    return None if names is None else list(names)
