"""Functions of a user's own among the steps of a pipeline, and the rows that each is given."""

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import _safe_indexing

from skinfluence._utils.alone import is_own_function, treats_rows_alone, try_beside, try_functions
from skinfluence._utils.untouched import transformed
from skinfluence.pullbacks.composition import chain, column_parts, union_parts
from skinfluence.statistics import fitted_leaves


def look_at_functions(steps, X):
    """Try the functions among the steps, on the rows that reach them; see :func:`try_functions`.

    Parameters
    ----------
    steps : list of transformers
        Fitted.
    X : array-like
        Raw training rows.
    """
    if has_functions(steps):
        try_functions(_given(steps, X))


def look_at_edited_rows(steps, X, rows, new):
    """Try the functions that are trusted on what an edit leaves: those that then move rows are no longer.

    Parameters
    ----------
    steps : list of transformers
    X : array-like
        Raw training rows.
    rows : ndarray of int
        Those that stay.
    new : list of array-like
        Raw containers of one row, which come beside them.
    """
    here, there = list(_given(steps, X)), [list(_given(steps, one)) for one in new]
    for k, (function, given) in enumerate(here):
        if treats_rows_alone(function):
            try_beside(function, given, rows, [one[k][1] for one in there])


def has_functions(steps):
    """Whether there are functions of a user's own among some steps."""
    leaves = fitted_leaves([("", one) for one in steps])
    return any(is_own_function(one) for _, one in leaves)


def _given(steps, X):
    """Each function, with what it is given of some raw rows."""
    for i, step in enumerate(steps):
        yield from _inside(step, X)
        if not has_functions(steps[i + 1 :]):
            return
        X = transformed([step], X)


def _inside(step, X):
    if is_own_function(step):
        yield step, X
    elif not has_functions([step]):
        return
    elif isinstance(step, Pipeline):
        yield from _given(chain(step), X)
    elif isinstance(step, FeatureUnion):
        for _, part, *_ in union_parts(step, X):
            if part is not None:
                yield from _inside(part, X)
    elif isinstance(step, ColumnTransformer):
        for _, part, columns, *_ in column_parts(step, X):
            if part is not None:
                yield from _inside(part, _safe_indexing(X, columns, axis=1))
