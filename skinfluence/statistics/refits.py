"""The transformers of a pipeline, fitted again on the rows that an edit leaves."""

from functools import cached_property
from itertools import repeat

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_array

from skinfluence._utils.stacking import chosen_and
from skinfluence._utils.untouched import fitted_to, transformed, untouched
from skinfluence.statistics.read_once import read_once

# Fitted again on all rows, transformers give what they gave to this share of a column's size.
SAME = 1e-6
# Steps that read a row once give what the others give to this share of the largest value.
READ = 1e-12
# Columns below this share of the largest one are compared in units of that share.
NOTHING_LEFT = 1e-9
# The largest column number of four bytes.
SHORT = np.iinfo(np.int32).max


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

    # The rows of the model, where a fit on all rows is known to give them.
    _given = None

    def __init__(self, transformers, X, y):
        self.transformers, self.X, self.y = transformers, X, y
        names = _names(transformers)
        self._places = None if names is None else {name: j for j, name in enumerate(names)}

    def __getstate__(self):
        # Rows are read again where that is needed.
        kept = [name for name in self.__dict__ if name not in ("steps", "_given")]
        return {name: self.__dict__[name] for name in kept}

    @cached_property
    def steps(self):
        """The steps to fit again: as they are, but that a text is counted and a category looked up once."""
        given = self._given
        if given is None:
            # Rows of the model came from ``transform``, which may round otherwise.
            given = self._fitted(self.X, self.y, None, self.transformers)[0]
        return self._read_once(given) or self.transformers

    def _read_once(self, given):
        """Steps that read each row once, where there are such and they give these rows; else None."""
        steps = [read_once(one) for one in self.transformers]
        if all(one is other for one, other in zip(steps, self.transformers, strict=True)):
            return None
        try:
            again = self._fitted(self.X, self.y, None, steps)[0]
        except (TypeError, ValueError):
            return None
        return steps if _same(again, given) else None

    def gives(self, training_X):
        """Whether a fit on all rows gives the model the rows it was fitted on."""
        steps = self._read_once(training_X)
        if steps is not None:
            # They are what is fitted again, and count and look up what the others would.
            self.steps, self._given = steps, training_X
            return True
        again, _, _ = self._fitted(self.X, self.y, None, self.transformers)
        if again.shape != training_X.shape:
            return False
        self._given = training_X
        # Rows as they are, sparse or not: only what differs is looked at.
        largest = _largest(abs(training_X))
        # What is left of a column of one value is round-off.
        largest = np.maximum(largest, NOTHING_LEFT * largest.max(initial=0.0))
        return bool((_largest(abs(again - training_X)) <= SAME * largest).all())

    def rows(self, rows):
        """Some raw training rows."""
        return _safe_indexing(self.X, rows)

    def after(self, rows, out):
        """What the model is given after an edit.

        Parameters
        ----------
        rows : EditedRows
        out : array-like
            Raw rows that the edited pipeline is asked about.

        Returns
        -------
        X : ndarray or CSR array of shape (n_rows, n_columns)
        X_out : the same of ``out``
        columns : ndarray of int, shape (n_columns,), or None
            Where each column was among the old ones, -1 for nowhere; None where they have no names.

        Raises
        ------
        RefusedRowError
        """
        return self.after_on(chosen_and(self.X, rows.kept, rows.new), rows, out)

    def after_on(self, X, rows, out):
        """The same, where the raw rows that are there are others than they were: X, as ``rows`` has them."""
        try:
            X, X_out, fitted = self._fitted(X, rows.raw_y, out, self.steps)
        except (ValueError, IndexError) as error:
            # Bins of a column of one value end in an IndexError.
            raise RefusedRowError(str(error)) from error
        return X, X_out, self.columns_of(fitted)

    def _fitted(self, X, y, out, steps):
        steps = [clone(one) for one in steps]
        X = untouched(X, *steps)
        out = None if out is None else untouched(out, *steps)
        for step in steps:
            X = fitted_to(step, X, y)
            if out is not None:
                out = step.transform(out)
        return _checked(X), out if out is None else _checked(out), steps

    def seen(self, X):
        """Any raw rows, as the model sees them behind the steps as fitted."""
        return _checked(transformed(self.transformers, X))

    def with_steps(self, steps):
        """The same rows behind other steps.

        Parameters
        ----------
        steps : list of transformers
            Not fitted.

        Returns
        -------
        refits : Refits
            Of those, fitted on all rows.
        X : ndarray or CSR array
            What they give.
        """
        X, _, fitted = self._fitted(self.X, self.y, None, steps)
        after = Refits(fitted, self.X, self.y)
        after._given = X
        return after, X

    def columns_of(self, fitted):
        """Where each column of other steps, fitted, was among the old ones; as of :meth:`after`."""
        names = _names(fitted)
        if names is not None and self._places is not None:
            return np.fromiter(map(self._places.get, names, repeat(-1)), np.intp, len(names))
        return None


def _same(again, given):
    """Whether rows differ in their last digits only."""
    if again.shape != given.shape:
        return False
    return bool((_largest(abs(again - given)) <= READ * abs(given).max()).all())


def _checked(X):
    X = check_array(X, accept_sparse="csr", dtype=np.float64, order="C")
    if sp.issparse(X) and X.indices.dtype != np.int32 and max(X.nnz, *X.shape) <= SHORT:
        # As scikit-learn's own steps number columns, and some of its models ask for.
        X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X


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
