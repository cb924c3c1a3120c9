"""What stands where cells are missing, and by how much each edit moves it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils import _safe_indexing

from skinfluence._utils.untouched import transformed


@dataclass(frozen=True, eq=False)
class Fills:
    """Cells of some columns that were missing, in the units of the columns.

    Parameters
    ----------
    columns : ndarray of int, shape (q,)
        Where they stand.
    by : ndarray of shape (m, q)
        What each of m edits adds to what all missing cells of a column are filled with.
    holes : ndarray of bool, shape (n_samples, q)
        Which training rows are filled.
    holes_of : callable
        From other raw rows to the same of theirs.
    """

    columns: np.ndarray
    by: np.ndarray
    holes: np.ndarray
    holes_of: Callable

    def take(self, edits):
        """Those of some edits."""
        return replace(self, by=self.by[edits])

    __getitem__ = take

    def undone(self, edits):
        """The same but for some edits, a mask, which move nothing."""
        return replace(self, by=np.where(edits[:, None], 0.0, self.by))

    @property
    def moved(self):
        """Which edits move any, a mask of shape (m,)."""
        return self.by.any(axis=1)

    def divided(self, scale):
        """The same in columns that are divided by ``scale``, (n_columns,)."""
        return replace(self, by=self.by / scale[self.columns])

    def times(self, scale):
        """The same in columns that are multiplied by ``scale``, (n_columns,)."""
        return replace(self, by=self.by * scale[self.columns])

    def behind(self, transformers):
        """The same, where the rows went through some steps before."""
        if not transformers:
            return self
        return replace(self, holes_of=_Behind(transformers, self.holes_of))

    def of_columns(self, columns):
        """The same, where the rows are wider, and these are the columns of them."""
        return replace(self, holes_of=_OfColumns(columns, self.holes_of))

    def right_of(self, width):
        """The same, with other columns before them."""
        return replace(self, columns=self.columns + width)

    @classmethod
    def side_by_side(cls, parts):
        """Those of columns that stand side by side."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([one.columns for one in parts]),
            np.hstack([one.by for one in parts]),
            np.hstack([one.holes for one in parts]),
            _Beside([one.holes_of for one in parts]),
        )

    def on_steps(self, there, theta):
        """What moved fills do to decision values.

        Parameters
        ----------
        there : ndarray of bool, shape (n, q)
            Which rows are filled.
        theta : ndarray of shape (m, n_outputs, n_columns)
            After each edit.

        Returns
        -------
        change : ndarray of shape (m, n, n_outputs)
        """
        inside = self.by[:, None, :] * theta[:, :, self.columns]
        m, k, q = inside.shape
        change = inside.reshape(m * k, q) @ there.T.astype(float)
        return change.reshape(m, k, -1).transpose(0, 2, 1)


@dataclass(frozen=True, eq=False)
class _Behind:
    transformers: list
    holes_of: Callable

    def __call__(self, X):
        return self.holes_of(transformed(self.transformers, X))


@dataclass(frozen=True, eq=False)
class _OfColumns:
    columns: object
    holes_of: Callable

    def __call__(self, X):
        X = X if hasattr(X, "shape") else np.asarray(X, dtype=object)
        return self.holes_of(_safe_indexing(X, self.columns, axis=1))


@dataclass(frozen=True, eq=False)
class _Beside:
    parts: list

    def __call__(self, X):
        return np.hstack([one(X) for one in self.parts])
