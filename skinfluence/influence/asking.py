"""From what users ask to what the problem is asked: rows, test points, labels and edits."""

from textwrap import shorten
from typing import Any

import numpy as np

from skinfluence._utils.memory import check_fits
from skinfluence._utils.rows import named
from skinfluence._utils.typing import Frozen
from skinfluence._utils.validation import column, in_numpy, refuse_masked
from skinfluence.answers import Tests
from skinfluence.edits.points import resolve
from skinfluence.edits.rows import row_changes
from skinfluence.losses.beside import NEEDS_OFFSET
from skinfluence.offsets import checked_offset
from skinfluence.statistics import rows_after

SMALLER = "Ask for fewer rows with indices=, aggregate='mean' over the test points, or use top()."


def check_effects_fit(quantity, n_edits):
    """Refuse numbers for each edit that would not fit in memory."""
    check_fits((*quantity.shape[:1], n_edits, *quantity.shape[1:]), SMALLER)


class Asked:
    """A fitted problem and its data: the part of Influence that all questions stand on."""

    estimator: Any
    answers: Any
    objective: Any
    frozen: Frozen
    budget: float
    _inputs: Any
    _gone: frozenset[int]

    def _y(self):
        """The training targets as the user gave them."""
        labels, curve = self.objective.labels, self.objective.curve
        y = self.objective.y
        if labels is not None:
            return labels.classes[labels.codes_of(y)]
        if self.objective.offset is not None:
            return self.objective.loss.bare(y)
        return y if curve is None else curve.raw(y)

    def _rows(self, indices, labels=None):
        n = self.objective.n_samples
        if indices is None and labels is None:
            return np.arange(n)
        return named(indices, labels, "indices").positions(n, self._inputs.labels)

    def _encode_y(self, y):
        """The loss's y, class positions or targets for callables, and class weights."""
        refuse_masked(y=y)
        y, labels = in_numpy(y), self.objective.labels
        if labels is None:
            y, own = _numbers(y, self.objective.classifies), np.shape(self.objective.y)[1:]
            own = own if self.objective.offset is None else ()
            y = y if own else column(y)
            if y.shape[1:] != own or not np.isfinite(y).all():
                came = "NaN or infinity" if y.shape[1:] == own else f"an array of shape {y.shape}"
                raise ValueError(
                    f"y must be finite numbers, {own[0]} for each row. Got {came}."
                    if own
                    else "y must be a one-dimensional array of finite numbers."
                )
            z = self.objective.loss.check_y(self._transformed(y))
            return z, z, np.ones(len(y))
        codes = labels.codes(column(y))
        return labels.targets[codes], codes, labels.class_weight[codes]

    def _transformed(self, y):
        """Targets as the loss sees them."""
        curve = self.objective.curve
        if curve is None:
            return y
        z = curve(y)
        lost = np.flatnonzero(~np.isfinite(z))
        if len(lost):
            raise ValueError(
                f"Targets must be ones that {curve.transformer!r} takes. Got {y[lost[0]]:g}, which it makes "
                f"{z[lost[0]]:g} of."
            )
        return z

    def _tests(self, X, y, offset=None):
        design = self.objective.design.like(self._inputs.transform(X))
        if offset is not None:
            self._check_has_offset()
            offset = checked_offset(in_numpy(offset), design.n_samples, "test points")
        if y is None:
            return Tests(design, None, None, self.objective.labels, offset)
        encoded, codes, _ = self._encode_y(y)
        if len(codes) != design.n_samples:
            raise ValueError(
                f"X and y must have one row each per test point. Got {design.n_samples} and "
                f"{len(codes)}."
            )
        if self.objective.offset is not None:
            # Without one no loss is known, which what is asked may not need.
            encoded = None if offset is None else np.column_stack([encoded, offset])
        return Tests(design, encoded, codes, self.objective.labels, offset)

    def _labelled_tests(self, X, y, aggregate, offset=None):
        if aggregate not in (None, "mean"):
            raise ValueError(f"aggregate must be None or 'mean'. Got {aggregate!r} instead.")
        if y is None:
            raise ValueError("The influence on test losses needs y, the labels of the test points.")
        tests = self._tests(X, y, offset)
        if tests.y is None:
            raise ValueError(NEEDS_OFFSET)
        return tests

    def _encoded(self, y, offset=None):
        """The loss's y and class weights of rows of an edit, with the offset of each."""
        encoded, _, weight = self._encode_y(y)
        given = [one for one in (() if offset is None else offset) if one is not None]
        if given:
            self._check_has_offset()
        if self.objective.offset is None:
            return encoded, weight
        if len(given) < len(encoded):
            raise ValueError(
                "An added row of a model with an offset must come with its own. Got none. Pass it: "
                "edits.add(x, y, offset=...)."
            )
        beside = checked_offset(given, len(encoded), "added rows")
        return np.column_stack([encoded, beside]), weight

    def _check_has_offset(self):
        if self.objective.offset is None:
            raise ValueError(
                "offset= is for models with one. Got it for a model without. Leave it out, or say what the "
                "fit had: Influence(estimator, X, y, offset=...)."
            )

    def _resolve(self, edit):
        transform_row, labels = self._inputs.transform_row, self._inputs.labels
        return resolve(edit, self.objective, transform_row, self._encoded, labels)

    def _look_at(self, asked):
        """Look at edits where there is something to refuse."""
        for edit in asked if self._gone or self._inputs.has_functions else ():
            self._changes_of(edit)

    def _changes_of(self, edit):
        """What an edit makes of the rows, as :class:`~skinfluence.edits.rows.RowChanges`.

        Edits of rows that are gone are refused; functions of the user's are tried on what is left.
        """
        changes = row_changes(edit, self.objective, self._inputs.labels)
        changes.refuse(self._gone)
        if self._inputs.has_functions:
            moved, new = changes.features
            if moved or new:
                self._try_functions(moved, new)
        return changes

    def _look_at_groups(self, groups):
        """Try functions of the user's on what is left without each of some groups of rows."""
        for rows in groups if self._inputs.has_functions else ():
            self._try_functions(rows, [])

    def _try_functions(self, moved, new):
        gone = self._gone.union(moved)
        if len(gone) > 1 or new:
            # Without one row they were tried beforehand, on parts of the rows.
            left = np.setdiff1d(np.arange(self.objective.n_samples), list(gone))
            self._inputs.try_after(left, new)

    def _rows_after(self, edit):
        raw_row, labels = self._inputs.raw_row, self._inputs.labels
        return rows_after(edit, self.objective, self._y(), raw_row, self._encoded, labels)


def _numbers(y, are_labels):
    try:
        return np.asarray(y, dtype=float)
    except (TypeError, ValueError) as error:
        came = shorten(repr(np.asarray(y, dtype=object).tolist()), 80, placeholder=" ...")
        raise ValueError(
            f"Of several labels a row has each (1) or has it not (0). Got {came}. Pass zeros and ones, a "
            "column for each label, as they were given to fit."
            if are_labels
            else f"y must be finite numbers. Got {came}."
        ) from error
