"""What an edit makes of the training rows, each by the number it had."""

from dataclasses import dataclass

import numpy as np

from skinfluence.edits.constructors import is_given
from skinfluence.edits.points import offset_of, terms_of


@dataclass(frozen=True, eq=False)
class RowChange:
    """What one row is after an edit.

    Attributes
    ----------
    x : object
        Its new features, raw; None where they stay.
    y : object
        Its new label; None where it stays.
    sample_weight : float
    present : bool
        False for a row that is removed; one whose weight becomes 0 is there.
    offset : float or None
        What stands beside its decision value, where the model has that.
    """

    x: object
    y: object
    sample_weight: float
    present: bool
    offset: float | None = None


@dataclass(frozen=True, eq=False)
class RowChanges:
    """The rows that an edit changes, and those that it adds.

    Attributes
    ----------
    changed : dict of int to RowChange
    added : list of RowChange
    """

    changed: dict
    added: list

    @property
    def gone(self):
        """Rows that the edit removes."""
        return np.array([r for r, one in self.changed.items() if not one.present], dtype=np.intp)

    @property
    def features(self):
        """Rows that are not there with the features they had, and the features of those that are new."""
        replaced = {row: one.x for row, one in self.changed.items() if one.x is not None}
        come = [*replaced.values(), *(one.x for one in self.added)]
        return [*replaced, *self.gone.tolist()], come

    def refuse(self, taken):
        """Refuse changes of rows that earlier edits took out.

        Parameters
        ----------
        taken : frozenset of int

        Raises
        ------
        ValueError
        """
        again = taken.intersection(self.changed)
        if again:
            raise ValueError(
                f"A removed row stays removed. Got an edit of row {min(again)}, which an earlier edit took "
                "out; bring it back as a new row with edits.add(x, y)."
            )


def row_changes(edit, problem, labels=None):
    """The :class:`RowChanges` of an :class:`~skinfluence.edits.Edit`.

    Parameters
    ----------
    edit : Edit
    problem : Problem
    labels : pandas Index, default=None
        Of the training rows.

    Raises
    ------
    IndexError
        For a row that does not exist.
    ValueError
        For a row that is named twice.
    """
    own, changed, added = problem.own_weights, {}, []
    for term, row in terms_of(edit, problem.n_samples, labels):
        if row is not None and term.scale < 0:
            # The row as it was is taken; what comes in its place follows.
            changed[row] = RowChange(None, None, float(term.amount), not term.leaves)
            continue
        y, beside = term.y if is_given(term.y) else None, offset_of(term, row, problem)
        if row is None:
            added.append(RowChange(term.x, y, float(term.amount), True, beside))
            continue
        weight = float(term.scale * own[row] + term.amount)
        changed[row] = RowChange(term.x, y, weight, True, beside)
    return RowChanges(changed, added)
