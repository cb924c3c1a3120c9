"""What users write: an edit, and what makes one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._utils.rows import named
from skinfluence._utils.typing import Names
from skinfluence._utils.validation import refuse_masked


class _Unset(Enum):
    # A member of an enumeration, so that it is itself in a pickle too.
    UNSET = 0


_UNSET = _Unset.UNSET


def is_given(value):
    """Whether a term of an edit says this, or leaves it as it is."""
    return value is not _UNSET


@dataclass(frozen=True, eq=False)
class _Term:
    """One weighted point. Its sample weight is ``scale`` x the row's own + ``amount``.

    The row is a position, or a pair: rows as they were named, and which of them. Before a model a
    row that leaves is one of weight 0; before steps that count rows it is not.
    """

    row: object
    x: object = None
    y: object = _UNSET
    scale: float = 0.0
    amount: float = 0.0
    leaves: bool = False
    reweighted: bool = False
    offset: float | None = None


@dataclass(frozen=True, eq=False)
class Edit:
    """A change of the training set; add edits with ``+`` to make them together.

    Made by :func:`remove`, :func:`relabel`, :func:`replace`, :func:`add` and :func:`reweight`.

    Attributes
    ----------
    terms : tuple
        Its weighted points.

    Examples
    --------
    >>> from skinfluence import edits
    >>> change = edits.remove([3, 7]) + edits.relabel(5, 1)
    >>> len(change.terms)
    4
    """

    terms: tuple

    def __add__(self, other: Edit) -> Edit:
        if not isinstance(other, Edit):
            return NotImplemented
        return Edit(self.terms + other.terms)

    def __radd__(self, other: Literal[0]) -> Edit:
        # sum() starts from 0.
        return self if other == 0 else NotImplemented

    def __repr__(self) -> str:
        return f"Edit({len(self.terms)} weighted points)"


def remove(rows: ArrayLike | None = None, *, labels: Names | Hashable = None) -> Edit:
    """Remove a row, or several together.

    Parameters
    ----------
    rows : int, array-like of int or of bool, default=None
        Positions in the training data, or a mask of them; a mask that is a Series is aligned by its
        index.
    labels : label or array-like of labels, default=None
        Names the rows by the index of the training frame, instead of ``rows``.

    Examples
    --------
    >>> from skinfluence import edits
    >>> edits.remove(3) + edits.add([0.5, 1.0], "spam")
    Edit(2 weighted points)
    """
    return Edit(tuple(_Term(row, scale=-1.0, leaves=True) for row in _rows(rows, labels)))


def reweight(
    rows: ArrayLike | None = None,
    sample_weight: ArrayLike | _Unset = _UNSET,
    *,
    labels: Names | Hashable = None,
) -> Edit:
    """Give rows another sample weight.

    Parameters
    ----------
    rows, labels
        As in :func:`remove`.
    sample_weight : float or array-like of float
        The new weights, before class weights.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.reweight(3, 2.0), [[5.0]], of="predict").values.round(3)
    array([0.304])
    >>> refit = Ridge().fit(X, y, sample_weight=[1, 1, 1, 2])
    >>> (refit.predict([[5.0]]) - Ridge().fit(X, y).predict([[5.0]])).round(3)
    array([0.304])
    """
    _check_given("reweight", sample_weight=sample_weight)
    chosen = _rows(rows, labels)
    weights = [_weight(w) for w in _per_row(sample_weight, chosen, "sample_weight")]
    pairs = zip(chosen, weights, strict=True)
    return Edit(tuple(_Term(r, scale=-1.0, amount=w, reweighted=True) for r, w in pairs))


def relabel(
    rows: ArrayLike | None = None,
    y: ArrayLike | _Unset = _UNSET,
    *,
    labels: Names | Hashable = None,
) -> Edit:
    """Give rows another label or target, their features and sample weights kept.

    Parameters
    ----------
    rows, labels
        As in :func:`remove`; ``labels`` name rows, they are no classes.
    y : label or array-like of labels
        The new labels, in the user's own coding.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.relabel(3, 5.0), [[5.0]], of="predict").values.round(3)
    array([1.])
    """
    _check_given("relabel", y=y)
    chosen = _rows(rows, labels)
    terms = []
    for row, label in zip(chosen, _per_row(y, chosen, "y"), strict=True):
        terms += [_Term(row, scale=-1.0), _Term(row, y=label, scale=1.0)]
    return Edit(tuple(terms))


def replace(
    row: int | None = None, x: Any = _UNSET, y: Any = _UNSET, *, labels: Hashable = None
) -> Edit:
    """Replace the features of a row, and its label if one is given.

    Parameters
    ----------
    row : int, default=None
    x : array-like of shape (n_features,)
    y : label, optional
    labels : label, default=None
        Names the row by the index of the training frame, instead of ``row``.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.replace(3, [3.0]), [[5.0]], of="predict").values.round(3)
    array([0.667])
    """
    _check_given("replace", x=x)
    refuse_masked(y=y)
    rows = _rows(row, labels)
    if len(rows) != 1:
        raise ValueError(f"replace changes one row. Got {len(rows)}; add one edit for each.")
    return Edit((_Term(rows[0], scale=-1.0), _Term(rows[0], x=x, y=y, scale=1.0)))


def add(x: Any, y: Any, sample_weight: float = 1.0, *, offset: float | None = None) -> Edit:
    """Add a new row.

    Parameters
    ----------
    x : array-like of shape (n_features,)
    y : label or float
    sample_weight : float, default=1.0
    offset : float, default=None
        Of a row for a model with an offset, such as the log of an exposure, and needed there.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> inf = Influence(Ridge().fit(X, y), X, y)
    >>> inf.effect(edits.add([5.0], 6.0), [[5.0]], of="predict").values.round(3)
    array([0.952])
    """
    refuse_masked(x=x, y=y, sample_weight=sample_weight, offset=offset)
    beside = None if offset is None else float(offset)
    return Edit((_Term(None, x=x, y=y, amount=_weight(sample_weight), offset=beside),))


def _rows(rows, labels):
    if type(rows) is int and labels is None:
        return [rows]
    rows = named(rows, labels)
    if not len(rows):
        raise ValueError("An edit must name at least one row. Got none.")
    if rows.kind == "positions":
        return [int(row) for row in rows.names]
    return [(rows, k) for k in range(len(rows))]


def _per_row(values, rows, name):
    refuse_masked(**{name: values})
    if isinstance(values, str) or np.ndim(values) == 0:
        return [values] * len(rows)
    values = list(values)
    if len(values) != len(rows):
        raise ValueError(
            f"{name} must hold one value per row. Got {len(values)} for {len(rows)} rows."
        )
    return values


def _weight(value):
    value = float(value)
    if not 0.0 <= value < np.inf:
        raise ValueError(f"sample_weight must be finite and non-negative. Got {value}.")
    return value


def _check_given(name, **given):
    refuse_masked(**given)
    for parameter, value in given.items():
        if value is _UNSET:
            raise TypeError(f"edits.{name} needs {parameter}. Got none.")
