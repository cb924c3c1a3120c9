"""Categories are looked up once: what an encoder would learn from some rows is a count of their positions."""

import copy
from itertools import repeat

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.utils import _safe_indexing

from skinfluence._utils._compat import copy_output_config

KINDS = (OneHotEncoder, OrdinalEncoder)


def places(categories):
    """Where each category of a column stands, a dict."""
    return {one: i for i, one in enumerate(categories.tolist())}


def positions(column, places):
    """Where each cell of a column stands among its categories; their number for what is none of them.

    Parameters
    ----------
    column : ndarray of shape (n_rows,)
    places : dict
        Of :func:`places`.

    Raises
    ------
    TypeError
        For what cannot be a category.
    """
    values, nowhere = column.tolist(), len(places)
    found = np.fromiter(map(places.get, values, repeat(nowhere)), np.int64, len(values))
    if nowhere and _is_nan(next(reversed(places))):
        # It stands last, and does not equal itself.
        for i in np.flatnonzero(found == nowhere):
            found[i] -= _is_nan(values[i])
    return found


class Categories:
    """The categories of a first fit, column by column, in the order that encoders give them.

    Attributes
    ----------
    of_columns : list of ndarray, or None
        Before the first fit None.
    """

    def __init__(self):
        self.of_columns, self._places = None, None

    def learn(self, X, missing):
        """Find the categories of a first fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_columns)
        missing : bool
            Whether a missing value is a category like others.

        Raises
        ------
        TypeError
            Where it is not, and there is one.
        """
        found = OneHotEncoder().fit(X).categories_
        if not missing and any(_is_nan(one) for part in found for one in part[-1:].tolist()):
            raise TypeError("A value that is missing is no category here.")
        self.of_columns = found
        self._places = [places(part) for part in found]

    def positions(self, X):
        """Where each cell stands among the categories of its column, (n_rows, n_columns).

        As many as there are categories for what is none of them.
        """
        columns = [np.asarray(_safe_indexing(X, j, axis=1)) for j in range(len(self._places))]
        found = [positions(*one) for one in zip(columns, self._places, strict=True)]
        return np.stack(found, axis=1) if found else np.empty((X.shape[0], 0), dtype=np.int64)

    def known(self, positions):
        """Whether all cells are categories of the first fit."""
        return bool((positions < [len(one) for one in self._places]).all())


class CodedEncoder(TransformerMixin, BaseEstimator):
    """An encoder that looks categories up once, and is fitted on their positions after that.

    Parameters
    ----------
    encoder : OneHotEncoder or OrdinalEncoder
        Whose limits and columns these are.
    categories : Categories
        Shared by all clones.
    """

    def __init__(self, encoder, categories):
        self.encoder, self.categories = encoder, categories

    def __sklearn_clone__(self):
        # The categories are those of all rows, and stay as they are.
        made = type(self)(self.encoder, self.categories)
        copy_output_config(made, self)
        return made

    def fit(self, X, y=None):
        """Learn which categories there are, and which of them are rare."""
        self._learn(X)
        return self

    def fit_transform(self, X, y=None):
        """The columns of some rows, learned from them."""
        return self._columns(X, self._learn(X))

    def _learn(self, X):
        """The positions of the categories; None where a new one is among them."""
        known = self.categories
        if known.of_columns is None:
            known.learn(X, isinstance(self.encoder, OneHotEncoder))
        positions = known.positions(X)
        if not known.known(positions):
            # The order of categories is another one.
            self.by_position_, self.fitted_ = None, _plain(self.encoder).fit(X)
            return None
        self.by_position_ = _plain(self.encoder).fit(positions)
        self.fitted_ = copy.copy(self.by_position_)
        self.fitted_.categories_ = [
            part[there.astype(np.intp)]
            for part, there in zip(known.of_columns, self.by_position_.categories_, strict=True)
        ]
        names = getattr(X, "columns", None)
        if names is not None and all(isinstance(one, str) for one in names):
            self.fitted_.feature_names_in_ = np.asarray(names, dtype=object)
        return positions

    def transform(self, X):
        """The columns of any rows."""
        return self._columns(X, None if self.by_position_ is None else self.categories.positions(X))

    def _columns(self, X, positions):
        if positions is None:
            return self.fitted_.transform(X)
        try:
            return self.by_position_.transform(positions)
        except ValueError:
            # The error names categories, not positions.
            return self.fitted_.transform(X)

    def get_feature_names_out(self, input_features=None):
        """The names that the encoder gives its columns."""
        return self.fitted_.get_feature_names_out(input_features)


def codable(step):
    """Whether a step is an encoder that can be fitted on the positions of categories."""
    if type(step) not in KINDS or not isinstance(step.categories, str):
        return False
    return getattr(step, "drop", None) is None or isinstance(step.drop, str)


def coded(encoder):
    """Such an encoder, not fitted, that looks categories up once."""
    made = CodedEncoder(clone(encoder), Categories())
    copy_output_config(made, encoder)
    return made


def _plain(encoder):
    """An encoder with the same parameters, of arrays."""
    return type(encoder)(**encoder.get_params(deep=False))


def _is_nan(value):
    return isinstance(value, float) and value != value
