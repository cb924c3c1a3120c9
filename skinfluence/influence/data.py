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


class ProblemData:
    """A fitted problem, the rows it was fitted on, and what users' words for them mean.

    It is the ``data`` of an :class:`~skinfluence.Influence`: what the other rooms read of one, without a
    promise to users.

    Parameters
    ----------
    problem : Problem
    inputs : Inputs
    concern : str, default=None
        What is wrong with the fit; warned of when the model is first asked about.
    gone : frozenset of int, default=frozenset()
        Rows that edits took out.
    left : Left, default=None
        The pipeline of the others, where steps of it learn from the rows.
    followed : bool, default=False
        Whether an edit made the model, so that its estimator is a copy of our own.
    fitted_again : bool, default=False
        Whether the steps were fitted here on these rows, or were seen to give what they gave.

    Attributes
    ----------
    refits : Refits, False or None
        The steps, to be fitted again; False where they do not give what they gave; None until that matters.
    """

    def __init__(
        self,
        problem,
        inputs,
        concern=None,
        *,
        gone=frozenset(),
        left=None,
        followed=False,
        fitted_again=False,
    ):
        self.problem, self.inputs, self.concern = problem, inputs, concern
        self.gone, self.left, self.followed = gone, left, followed
        self.fitted_again, self.refits = fitted_again, None

    @property
    def y(self):
        """The training targets as the user gave them; computed at every look."""
        labels, curve = self.problem.labels, self.problem.curve
        y = self.problem.y
        if labels is not None:
            return labels.classes[labels.codes_of(y)]
        if self.problem.offset is not None:
            return self.problem.loss.bare(y)
        return y if curve is None else curve.raw(y)

    def positions(self, indices, labels=None):
        """Positions of training rows by number, mask or name: (n_rows,) int, all of them for None."""
        n = self.problem.n_samples
        if indices is None and labels is None:
            return np.arange(n)
        return named(indices, labels, "indices").positions(n, self.inputs.labels)

    def encode_y(self, y):
        """The loss's y, class positions or targets for callables, and class weights."""
        refuse_masked(y=y)
        y, labels = in_numpy(y), self.problem.labels
        if labels is None:
            y, own = _numbers(y, self.problem.classifies), np.shape(self.problem.y)[1:]
            own = own if self.problem.offset is None else ()
            y = y if own else column(y)
            if y.shape[1:] != own or not np.isfinite(y).all():
                came = "NaN or infinity" if y.shape[1:] == own else f"an array of shape {y.shape}"
                raise ValueError(
                    f"y must be finite numbers, {own[0]} for each row. Got {came}."
                    if own
                    else "y must be a one-dimensional array of finite numbers."
                )
            z = self.problem.loss.check_y(self._transformed(y))
            return z, z, np.ones(len(y))
        codes = labels.codes(column(y))
        return labels.targets[codes], codes, labels.class_weight[codes]

    def _transformed(self, y):
        """Targets as the loss sees them."""
        curve = self.problem.curve
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

    def tests(self, X, y, offset=None):
        """Test points as the model sees them, a :class:`~skinfluence.answers.Tests`; y None for no labels."""
        design = self.problem.design.like(self.inputs.transform(X))
        if offset is not None:
            self._check_has_offset()
            offset = checked_offset(in_numpy(offset), design.n_samples, "test points")
        if y is None:
            return Tests(design, None, None, self.problem.labels, offset)
        encoded, codes, _ = self.encode_y(y)
        if len(codes) != design.n_samples:
            raise ValueError(
                f"X and y must have one row each per test point. Got {design.n_samples} and "
                f"{len(codes)}."
            )
        if self.problem.offset is not None:
            # Without one no loss is known, which what is asked may not need.
            encoded = None if offset is None else np.column_stack([encoded, offset])
        return Tests(design, encoded, codes, self.problem.labels, offset)

    def labelled_tests(self, X, y, aggregate, offset=None):
        """As :meth:`tests`, of what is known of labelled points only."""
        if aggregate not in (None, "mean"):
            raise ValueError(f"aggregate must be None or 'mean'. Got {aggregate!r} instead.")
        if y is None:
            raise ValueError("The influence on test losses needs y, the labels of the test points.")
        tests = self.tests(X, y, offset)
        if tests.y is None:
            raise ValueError(NEEDS_OFFSET)
        return tests

    def encoded(self, y, offset=None):
        """The loss's y and class weights of rows of an edit, with the offset of each."""
        encoded, _, weight = self.encode_y(y)
        given = [one for one in (() if offset is None else offset) if one is not None]
        if given:
            self._check_has_offset()
        if self.problem.offset is None:
            return encoded, weight
        if len(given) < len(encoded):
            raise ValueError(
                "An added row of a model with an offset must come with its own. Got none. Pass it: "
                "edits.add(x, y, offset=...)."
            )
        beside = checked_offset(given, len(encoded), "added rows")
        return np.column_stack([encoded, beside]), weight

    def _check_has_offset(self):
        if self.problem.offset is None:
            raise ValueError(
                "offset= is for models with one. Got it for a model without. Leave it out, or say what the "
                "fit had: Influence(estimator, X, y, offset=...)."
            )

    def resolve(self, edit):
        """An edit as :class:`~skinfluence.edits.points.Points`, in the model's features."""
        transform_row, labels = self.inputs.transform_row, self.inputs.labels
        return resolve(edit, self.problem, transform_row, self.encoded, labels)

    def look_at(self, asked):
        """Look at edits where there is something to refuse."""
        for edit in asked if self.gone or self.inputs.has_functions else ():
            self.changes_of(edit)

    def changes_of(self, edit):
        """What an edit makes of the rows, as :class:`~skinfluence.edits.rows.RowChanges`.

        Edits of rows that are gone are refused; functions of the user's are tried on what is left.
        """
        changes = row_changes(edit, self.problem, self.inputs.labels)
        changes.refuse(self.gone)
        if self.inputs.has_functions:
            moved, new = changes.features
            if moved or new:
                self._try_functions(moved, new)
        return changes

    def look_at_groups(self, groups):
        """Try functions of the user's on what is left without each of some groups of rows."""
        for rows in groups if self.inputs.has_functions else ():
            self._try_functions(rows, [])

    def _try_functions(self, moved, new):
        gone = self.gone.union(moved)
        if len(gone) > 1 or new:
            # Without one row they were tried beforehand, on parts of the rows.
            left = np.setdiff1d(np.arange(self.problem.n_samples), list(gone))
            self.inputs.try_after(left, new)

    def rows_after(self, edit):
        """The raw rows after an edit, for steps that are fitted on them."""
        raw_row, labels = self.inputs.raw_row, self.inputs.labels
        return rows_after(edit, self.problem, self.y, raw_row, self.encoded, labels)


class Asked:
    """What each kind of question reads of the Influence that it is asked of."""

    estimator: Any
    answers: Any
    objective: Any
    data: ProblemData
    frozen: Frozen
    budget: float


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
