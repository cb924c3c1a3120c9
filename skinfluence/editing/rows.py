"""Training rows after an edit, each by the number it had."""

import numpy as np
import scipy.sparse as sp

from skinfluence.edits.rows import row_changes
from skinfluence.inputs import Inputs
from skinfluence.inputs.rows import row_like


def edited_rows(influence, edit):
    """The :class:`~skinfluence.edits.rows.RowChanges` of an edit of an influence's rows."""
    return row_changes(edit, influence.objective, influence.data.inputs.labels)


class EditedInputs(Inputs):
    """The inputs of an edited model: rows as they were, but for some, and then new ones.

    Parameters
    ----------
    inputs : Inputs
    rows : RowChanges
    training_X : ndarray or CSR array
        As the model sees them.
    """

    def __init__(self, inputs, rows, training_X):
        vars(self).update({name: one for name, one in vars(inputs).items() if name != "_raw"})
        again = isinstance(inputs, EditedInputs)
        self._base = inputs._base if again else inputs._raw
        replaced = {row: one.x for row, one in rows.changed.items() if one.x is not None}
        self._replaced = {**(inputs._replaced if again else {}), **replaced}
        self._added = [*(inputs._added if again else ()), *(one.x for one in rows.added)]
        self._made = None
        self.training_X = training_X
        if rows.added and self.labels is not None:
            self.labels = _with_unnamed(self.labels, len(rows.added))

    @property
    def _raw(self):
        """The training rows as the user passed them, edited; removed ones are still there."""
        if self._made is None:
            self._made = edited_raw(self._base, self._replaced, self._added)
        return self._made


def edited_raw(raw, replaced, added):
    """Raw rows with some replaced and some new ones at the end, in the same container.

    Parameters
    ----------
    raw : array-like
    replaced : dict of int to object
        Rows by number.
    added : list of object
    """
    if not replaced and not added:
        return raw
    if isinstance(raw, list):
        out = [*raw, *added]
        for row, x in replaced.items():
            out[row] = x
        return out
    n = raw.shape[0]
    position = {row: raw_row(raw, x) for row, x in replaced.items() if row < n}
    late = [raw_row(raw, replaced.get(n + k, x)) for k, x in enumerate(added)]
    pieces, start = [], 0
    for row in sorted(position):
        pieces += [_part(raw, start, row), position[row]]
        start = row + 1
    pieces = [*pieces, _part(raw, start, n), *late]
    if sp.issparse(raw):
        return sp.vstack(pieces, format=raw.format)
    if hasattr(raw, "iloc"):
        # Imported by whoever made the frame.
        import pandas as pd

        return pd.concat(pieces, ignore_index=True)
    if not isinstance(raw, np.ndarray):
        raise TypeError(
            "Rows can be added and replaced in arrays, sparse matrices, pandas frames and lists. Got "
            f"{type(raw).__name__}; pass X.to_pandas() or X.to_numpy() to Influence."
        )
    return np.concatenate(pieces)


def raw_row(raw, x):
    """One raw row in the container of the others."""
    if sp.issparse(raw):
        return (
            sp.csr_array(x) if np.ndim(x) == 2 or sp.issparse(x) else sp.csr_array(np.atleast_2d(x))
        )
    if np.ndim(raw) == 1:
        if hasattr(raw, "iloc"):
            return type(raw)([x])
        return np.array([x], dtype=object if raw.dtype == object else None)
    if np.ndim(x) == 2:
        return x if hasattr(raw, "iloc") else np.asarray(x)
    row = row_like(raw, x)
    return row if hasattr(raw, "iloc") else row.reshape(1, *np.shape(raw)[1:])


def _part(raw, start, stop):
    return raw.iloc[start:stop] if hasattr(raw, "iloc") else raw[start:stop]


def _with_unnamed(labels, m):
    """An index with ``m`` more rows, which no label names."""
    import pandas as pd

    kind = getattr(labels.dtype, "kind", "O")
    missing = pd.Index(
        [pd.NaT if kind in "mM" else None] * m, dtype=labels.dtype if kind in "mM" else object
    )
    return (labels if kind in "mM" else labels.astype(object)).append(missing)
