"""Training rows as users name them: by position, by a boolean mask, by the labels of the frame."""

from dataclasses import dataclass

import numpy as np

BY_LABEL = (
    "Name rows of a frame by labels=, or pass positions: index.get_indexer(labels), or .to_numpy() "
    "of values that are positions already."
)


def are_all(rows, n):
    """Whether positions are those of all n rows, in order."""
    return len(rows) == n and bool((rows == np.arange(n)).all())


def index_of(X, y=None):
    """The labels of the training rows: the pandas index of X, else of y; None for data without one.

    Parameters
    ----------
    X, y : array-like
    """
    for data in (X, y):
        # Lists have an "index" too, and dask's is not in memory.
        if hasattr(data, "iloc") and hasattr(getattr(data, "index", None), "get_indexer"):
            return data.index
    return None


@dataclass(frozen=True, eq=False)
class Named:
    """Rows as they were named, before the training data are known.

    Attributes
    ----------
    kind : {"positions", "values", "mask", "labels"}
        ``"values"``: integers of a pandas Index or Series, positions where labels are those too.
    names : ndarray or pandas Index
        Positions (of a mask: where it is true), or labels.
    n : int or None
        Length of a mask.
    index : pandas Index or None
        That of a Series which is a mask; of ``"values"``, whether they came as an Index.
    """

    kind: str
    names: object
    n: int | None = None
    index: object = None

    def __len__(self):
        return len(self.names)

    def positions(self, n, labels):
        """Positions of the rows, an array of int.

        Parameters
        ----------
        n : int
            Training rows.
        labels : pandas Index or None
            Their labels.
        """
        if self.kind == "mask":
            return self._of_mask(n, labels)
        if self.kind == "labels":
            return _positions_of(self.names, labels)
        if self.kind == "values":
            self._refuse_labels(n, labels)
        rows = self.names
        outside = (rows < -n) | (rows >= n)
        if outside.any():
            raise IndexError(
                f"Rows must be below {n}, the rows given to fit. Got row {rows[outside][0]}."
            )
        return rows.astype(np.intp) % n

    def _refuse_labels(self, n, labels):
        if labels is None and self.index is None:
            return
        if labels is not None and _counts_rows(labels, n):
            return
        came = "Series" if self.index is None else "Index"
        whose = "training data have none" if labels is None else "frame's are not 0 .. n - 1"
        raise TypeError(
            f"Integers are positions in the training data. Got a pandas {came}, whose values may be "
            f"labels, and the {whose}. {BY_LABEL}"
        )

    def _of_mask(self, n, labels):
        if self.n != n:
            raise ValueError(
                f"A mask must have one entry per training row, {n}. Got {self.n} entries."
            )
        index = self.index
        if index is None or (labels is None and _counts_rows(index, n)):
            return self.names
        if labels is not None and index.equals(labels):
            return self.names
        unique = labels is not None and labels.is_unique and index.is_unique
        places = labels.get_indexer(index) if unique else np.array([-1])
        if (places < 0).any():
            raise ValueError(
                "A mask that is a Series is aligned by its index, which must hold the labels of the "
                f"training rows{'' if labels is not None else ', 0 .. n - 1'}. Got another index. "
                "Pass mask.to_numpy() if its order is that of the rows."
            )
        return np.sort(places[self.names])


def named(rows=None, labels=None, what="Rows"):
    """What a user passed to name rows, as :class:`Named`.

    Parameters
    ----------
    rows : int, array-like of int or of bool, default=None
    labels : label or array-like of labels, default=None
        Instead of rows.
    what : str
        The argument, for messages.
    """
    if (rows is None) == (labels is None):
        came = "neither" if rows is None else "both"
        raise TypeError(f"Name rows by position or by labels=, one of them. Got {came}.")
    _refuse_masked(what if labels is None else "labels", rows if labels is None else labels)
    if labels is not None:
        return Named("labels", _as_index(labels))
    kind = type(rows).__module__.partition(".")[0]
    pandas = kind == "pandas"
    mask = _as_mask(rows)
    if mask is not None:
        index = rows.index if pandas and hasattr(rows, "iloc") else None
        return Named("mask", np.flatnonzero(mask), len(mask), index)
    values = np.atleast_1d(np.asarray(rows))
    if not values.size:
        return Named("positions", np.empty(0, dtype=np.intp))
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise TypeError(
            f"{what} must be integer positions in the training data, or a boolean mask of its rows. "
            f"Got {rows!r}. Labels of a frame's index go to labels=."
        )
    if values.dtype.kind == "u":
        # No position is that large; wrapped, it would be another row.
        values = np.minimum(values, np.uint64(np.iinfo(np.int64).max)).astype(np.int64)
    if pandas and hasattr(rows, "index"):
        return Named("values", values)
    if pandas and hasattr(rows, "get_indexer"):
        return Named("values", values, index=rows)
    return Named("positions", values)


def _refuse_masked(what, values):
    """What a mask hides names no row, and no group."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{what} must be known everywhere. Got a masked array, whose masked entries name nothing: pass "
            ".compressed() for the others alone, or .filled(...) where there is one for each row."
        )


def check_aligned(values, labels, name):
    """Refuse a Series with an entry for each training row whose index is not that of the rows.

    Parameters
    ----------
    values : array-like
    labels : pandas Index or None
        Of the training rows.
    name : str
    """
    own = index_of(values)
    if own is None or labels is None or len(own) != len(labels) or own.equals(labels):
        return
    raise ValueError(
        f"{name} must be in the order of the training rows. Got a Series with another index than "
        f"theirs. Pass {name}.loc[X.index] to align it, or {name}.to_numpy() if it is in order."
    )


def rows_of_groups(position):
    """The rows of each group, from the position of each row's: a list of ndarray of int."""
    return np.split(np.argsort(position, kind="stable"), np.cumsum(np.bincount(position))[:-1])


def groups_of(groups, n, labels=None):
    """Names of the groups of rows, sorted, and the position of each row's.

    Parameters
    ----------
    groups : array-like of shape (n,)
    n : int
        Rows.
    labels : pandas Index or None
        Theirs.

    Returns
    -------
    names : ndarray of shape (n_groups,)
    position : ndarray of int, shape (n,)

    Raises
    ------
    ValueError
        For another length, another order of the rows, or labels that cannot be sorted.
    """
    check_aligned(groups, labels, "groups")
    _refuse_masked("groups", groups)
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(
            f"groups must hold one label per training row, {n}. Got an array of shape {groups.shape}."
        )
    try:
        return np.unique(groups, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            "groups must hold labels that can be sorted, all of one type. Got a mixture; fill missing "
            "labels and convert with astype(str)."
        ) from error


def _as_mask(rows):
    """A boolean array, or None for something else."""
    values = rows if hasattr(rows, "dtype") else np.asarray(rows)
    if str(values.dtype).lower().partition("[")[0] not in ("bool", "boolean"):
        return None
    if np.ndim(values) != 1:
        raise TypeError(f"A mask must be one-dimensional. Got {rows!r}.")
    values = np.asarray(values)
    if values.dtype != bool:
        if any(value is not True and value is not False for value in values.tolist()):
            raise ValueError("A mask must be true or false for each row. Got missing values.")
        values = values.astype(bool)
    return values


def _as_index(labels):
    one = isinstance(labels, str | bytes) or np.ndim(labels) == 0
    return [labels] if one else labels


def _counts_rows(index, n):
    """Whether labels are the positions 0 .. n - 1."""
    return getattr(index.dtype, "kind", "O") in "iu" and are_all(np.asarray(index), n)


def _positions_of(wanted, labels):
    if labels is None:
        raise TypeError(
            "labels= names rows by the index of the training frame. Got training data without an "
            "index; name rows by position or by a mask."
        )
    # Imported by whoever made the index.
    import pandas as pd

    dates = getattr(labels.dtype, "kind", "O") in "mM"
    wanted = type(labels)(wanted) if dates else pd.Index(wanted)
    if wanted.dtype == bool and labels.dtype != bool:
        raise TypeError("labels= takes labels of rows. Got booleans; pass a mask as rows.")
    several = wanted[wanted.isin(labels[labels.duplicated()])]
    if len(several):
        count = int(labels.isin(several[:1]).sum())
        raise ValueError(
            f"A label must name one row. Got {several.tolist()[0]!r}, which {count} rows have. Name "
            "them by position or by a mask."
        )
    once = np.flatnonzero(~labels.duplicated())
    found = labels[once].get_indexer(wanted)
    if (found < 0).any():
        raise IndexError(
            f"labels= must be in the index of the training rows. Got {wanted[found < 0].tolist()[0]!r}, "
            "which is not."
        )
    return once[found]
