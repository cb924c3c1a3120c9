"""A list of edits, of which some may leave no model: they have NaN and a word, the others their answers."""

import warnings

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence.influence.groups import answered


def effects_of_several(ask, edits, quantity):
    """Effects of each edit of a list, with NaN for those that leave no optimum.

    Parameters
    ----------
    ask : callable
        Of a list of edits: their values and one array a field of trust, as of
        :meth:`~skinfluence.answers.Answers.effects`. It raises where one of them leaves no optimum.
    edits : list of Edit
    quantity : Quantity

    Returns
    -------
    values : ndarray of shape (n_test, n_edits, ...), or (n_edits,) for a scalar
    trust : list of ndarray of shape (n_edits,)
        Of an edit without an answer an infinite bound, no method, NaN, and no route.

    Notes
    -----
    One question where all have answers; else each half is asked again until those without stand alone.
    """
    if not edits:
        values, *trust = ask(edits)
        return values, trust
    refused = {}
    found = list(answered(ask, edits, refused))
    if not refused:
        values, *trust = found[0][1]
        return values, trust
    if not found:
        raise refused[0]
    n = len(edits)
    values = np.full((*quantity.shape[:1], n, *quantity.shape[1:]), np.nan)
    trust = [_nothing(n, one, place) for place, one in enumerate(found[0][1][1:])]
    for some, (own, *fields) in found:
        values[(slice(None), some) if quantity.shape else some] = own
        for whole, part in zip(trust, fields, strict=True):
            whole[some] = part
    _warn(sorted(refused), refused)
    return values, trust


def _nothing(n, field, place):
    """A field of trust that says nothing yet; the first one is the bound, others may be words."""
    if np.asarray(field).dtype.kind in "US":
        return np.full(n, "none", dtype="<U32")
    return np.full(n, np.nan if place else np.inf)


def _warn(rows, refused):
    shown = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
    have = f"Edit {shown} of the list has" if len(rows) == 1 else f"Edits {shown} of the list have"
    warnings.warn(
        f"{have} no answer (NaN). {refused[rows[0]]}", UserWarning, stacklevel=level_outside()
    )
