"""Columns that stand beside those of texts, and what becomes of them without a row."""

from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from skinfluence._utils.stacking import chosen_and
from skinfluence.statistics.composition import side_by_side
from skinfluence.statistics.counted import CountedVectorizer
from skinfluence.statistics.registry import statistics

# What scales without each row may take.
SCALES_BYTES = 2**27


class Beside:
    """Where the words of texts stand among the columns, and what stands beside them.

    Parameters
    ----------
    at : slice
        Of the words.
    column : str, int or None
        Of the texts in the raw rows; None where these are the texts.
    steps : list of (transformer, columns), default=()
        Of the other columns, in order.
    X : CSR array, default=None
        What they give, (n_samples, n_others).
    scale : ndarray of shape (n_samples, n_others), default=None
        What each column is divided by without each row, in units of what it was.
    other : ndarray of bool, shape (n_samples,), default=None
        Rows without which something else happens.
    """

    def __init__(self, at, column=None, steps=(), X=None, scale=None, other=None):
        self.at, self.column, self.steps, self.X = at, column, steps, X
        self._scale, self._other = scale, other
        width = 0 if X is None else X.shape[1]
        self.columns = np.r_[0 : at.start, at.stop : at.stop + width - at.start]
        self._turned = None if X is None else sp.csr_array(X.T)

    def takes(self, rows):
        """Whether it is known what an edit that takes rows away does."""
        if self.X is None:
            return True
        return len(rows.gone) == 1 and not self._other[rows.gone[0]]

    def ratio(self, rows):
        """What an edit multiplies the penalty of each column by."""
        return 1.0 if self._scale is None else self._scale[rows.gone[0]] ** 2

    def texts_of(self, out):
        """The texts of raw rows, a list."""
        return list(out if self.column is None else _safe_indexing(out, self.column, axis=1))

    def of(self, outs):
        """The columns of some sets of raw rows, a list of arrays; in the units of the fit."""
        if self.X is None:
            return [np.zeros((len(one), 0)) for one in outs]
        if all(one is outs[0] for one in outs):
            return [self._rows(outs[0])] * len(outs)
        sizes = np.cumsum([0, *[one.shape[0] for one in outs]])
        rows = self._rows(chosen_and(outs[0], np.arange(sizes[1]), list(outs[1:])))
        return [rows[first:last] for first, last in pairwise(sizes)]

    def _rows(self, out):
        parts = [
            step.transform(_safe_indexing(out, columns, axis=1)) for step, columns in self.steps
        ]
        return sp.csr_array(sp.hstack([sp.csr_array(one) for one in parts]), dtype=np.float64)

    def products(self, theta):
        """What these columns add to the decision values of some parameters, (m, n_samples, n_outputs)."""
        if self.X is None:
            return 0.0
        m, k, _ = theta.shape
        turned = theta[:, :, self.columns].reshape(m * k, -1).T
        return (self.X @ np.ascontiguousarray(turned)).reshape(-1, m, k).transpose(1, 0, 2)

    def add_adjoints(self, out, left):
        """Add what slopes ``left`` (m, n_samples, n_outputs) give in these columns."""
        if self.X is not None:
            m, n, k = left.shape
            turned = np.ascontiguousarray(left.transpose(1, 0, 2).reshape(n, m * k))
            out[:, :, self.columns] += (self._turned @ turned).T.reshape(m, k, -1)

    def largest(self, penalty, out):
        """The largest norm of a row, its words of norm 1, in the norm of the inverse penalty."""
        words = 1.0 / penalty[self.at].min()
        if self.X is None:
            return np.sqrt(words)
        inverse = 1.0 / penalty[self.columns]
        sizes = [(one * one @ inverse).max(initial=0.0) for one in (self.X, out)]
        return np.sqrt(words + max(sizes))


def parts_of(refits, rows, free_intercept):
    """The vectoriser of a pipeline and what stands beside it, where that is all there is; else None twice.

    Parameters
    ----------
    refits : Refits
    rows : CSR array of shape (n_samples, n_columns)
        What its steps give.
    free_intercept : bool
        Whether columns may be shifted.

    Returns
    -------
    counted : CountedVectorizer
    beside : Beside
    """
    n, nothing = rows.shape[0], (None, None)
    alone = _as_vectoriser(refits.steps)
    if alone is not None:
        return alone, Beside(slice(0, rows.shape[1]))
    if len(refits.steps) != 1:
        return nothing
    again, fitted = refits.steps[0], refits.transformers[0]
    if type(fitted) is not ColumnTransformer or fitted.transformer_weights:
        return nothing
    counted, steps, moves = None, [], []
    texts = {name: _as_vectoriser([step]) for name, step, _ in again.transformers}
    for name, step, columns in fitted.transformers_:
        where = fitted.output_indices_[name]
        if texts.get(name) is not None:
            if counted is not None or not isinstance(columns, str | int):
                return nothing
            counted, at, column = texts[name], where, columns
        elif where.stop > where.start:
            of_step = _rescaled(step, _safe_indexing(refits.X, columns, axis=1), n, free_intercept)
            if of_step is None or 8 * n * (where.stop - where.start) > SCALES_BYTES:
                return nothing
            steps.append((step, columns))
            moves.append((of_step, where.stop - where.start))
    if counted is None:
        return nothing
    if not steps:
        return counted, Beside(at, column)
    X = sp.csr_array(sp.hstack([rows[:, : at.start], rows[:, at.stop :]]))
    together = side_by_side(moves)
    other = np.zeros(n, dtype=bool) if together.other is None else together.other
    return counted, Beside(at, column, steps, X, together.scale, other)


def _as_vectoriser(steps):
    """A chain of steps that count texts once, and weigh the counts, as one vectoriser; else None."""
    if len(steps) == 1:
        if type(steps[0]) is Pipeline:
            return _as_vectoriser([step for _, step in steps[0].steps])
        return steps[0] if isinstance(steps[0], CountedVectorizer) else None
    if len(steps) != 2 or not isinstance(steps[0], CountedVectorizer):
        return None
    counted, weighing = steps
    if type(counted.vectoriser) is not CountVectorizer or type(weighing) is not TfidfTransformer:
        return None
    counting = counted.vectoriser.get_params(deep=False)
    return CountedVectorizer(
        TfidfVectorizer(**counting, **weighing.get_params(deep=False)), counted.texts
    )


def _rescaled(step, X, n, free_intercept):
    """What leaving out each row does to a step that at most divides columns by something else; else None."""
    moves = None if isinstance(step, str) else statistics(step, X, np.arange(n))
    if moves is None or moves.fills is not None or (moves.shifted and not free_intercept):
        return None
    return moves
