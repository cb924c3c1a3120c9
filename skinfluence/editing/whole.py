"""Edits of everything that learned from the rows: transformers, class weights, kernel widths."""

import copy
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import validate_data

from skinfluence._utils.stacking import n_rows
from skinfluence._utils.untouched import fitted_to, untouched
from skinfluence._utils.validation import model_in_numpy
from skinfluence.editing.members import OfMember
from skinfluence.editing.problems import names_of
from skinfluence.editing.rows import EditedInputs
from skinfluence.editing.solving import solve_whole
from skinfluence.editing.writing import innermost, like, rebuilt
from skinfluence.inputs.curves import seen_through
from skinfluence.inputs.frozen import uses_y
from skinfluence.kernel.functions import scaled_gamma
from skinfluence.objective import objective_of
from skinfluence.offsets import with_offset
from skinfluence.statistics import any_learns, fitted_leaves
from skinfluence.statistics.registry import learns

# Fitted again on the rows of the fit, steps give what they gave to this share of a column's size.
SAME = 1e-6


def learned_from_rows(influence):
    """What learned from the rows besides the model, by name: it moves with an edit."""
    found = [name for name, one in fitted_leaves(influence.data.inputs.steps) if learns(one)]
    parts = list(_parts(influence.objective))
    if any(one.balanced for one in parts):
        found.append("class_weight")
    if any(one.gamma_counts for one in parts):
        found.append("gamma")
    return tuple(found)


def _parts(problem):
    """A problem, and those of the models that it is made of."""
    yield problem
    for one in getattr(problem, "members", ()):
        yield from _parts(one)


class WholeEdit:
    """An edit of a whole pipeline: what learned from the rows is fitted again, the model solved.

    Parameters
    ----------
    influence : Influence
    rows : RowChanges
    left : ndarray of int
        Rows after the edit, new ones included, without those that were removed.
    problem : Problem
        After the edit with everything else held, all rows with their numbers.
    lines : list of Line
        What the targets went through.

    Attributes
    ----------
    inputs : EditedInputs
        With the steps as fitted on the rows that are left.
    solved : Solved
        On the rows that are left, in the units in which the model has its targets.
    """

    def __init__(self, influence, rows, left, problem, lines):
        self.influence, self.left, self.problem, self.lines = influence, left, problem, lines
        steps = influence.data.inputs.steps
        self.moves = any_learns(steps)
        if self.moves and not influence.data.fitted_again:
            refuse_other_fits(influence)
            influence.data.fitted_again = True
        self.inputs = EditedInputs(influence.data.inputs, rows, None)
        labels = problem.labels
        self.y = problem.y if labels is None else labels.classes[labels.codes_of(problem.y)]
        if labels is None and problem.offset is not None:
            self.y = problem.loss.bare(problem.y)
        self.X, fitted = fitted_on(steps, self.inputs.raw, self.y, left)
        self.columns = _columns(influence.data.inputs.steps, fitted)
        self.inputs.steps = [(name, one) for (name, _), one in zip(steps, fitted, strict=True)]
        self.inputs.transformers = fitted
        self.model = self._start()
        self.inputs.model = self.model

    def _start(self):
        """The model in the new columns, as it is read by ``validate_data``."""
        made = like(innermost(self.influence.estimator))
        if self.moves:
            inside = made
            while isinstance(getattr(type(inside), "n_features_in_", None), property):
                # A vote, or a stack, has its number of columns from its models.
                inside = like(innermost(inside.estimators_[0]))
            self.X = validate_data(
                inside, self.X, reset=True, accept_sparse="csr", dtype=np.float64, order="C"
            )
        return made

    def solve(self, tol):
        """The :class:`Solved` problem; kinds register with :func:`solve_whole` in files of their own."""
        self.solved = solve_whole(self.problem, self, tol)
        return self.solved

    def of_member(self, k):
        """The same edit of one of several models, behind the same steps."""
        made = copy.copy(self)
        made.influence, made.problem = OfMember(self.influence, k), self.problem.members[k]
        labels, y = made.problem.labels, made.problem.y
        made.y = y if labels is None else labels.classes[labels.codes_of(y)]
        made.model = like(made.influence.estimator)
        return made

    def estimator(self):
        """The fitted pipeline."""
        everything = np.arange(len(self.left))
        model = self.solved.write(self.model, self.solved, everything, ())
        return rebuilt(self.influence.estimator, model, list(self.inputs.transformers))

    def objective(self):
        """The smooth problem on the rows that are left, from the old coefficients."""
        y = self.y
        for line in self.lines:
            y = line(y)
        weights = self.problem.own_weights[self.left]
        found = objective_of(model_in_numpy(self._placed()), self.X, y[self.left], weights)
        if self.problem.offset is not None:
            return with_offset(found, self.problem.offset[self.left])
        curve = self.problem.curve
        return found if curve is None else seen_through(found, curve)

    def _placed(self):
        """The model with its old coefficients in the new columns, zero in those that are new."""
        model = like(self.model)
        if not hasattr(model, "estimators_"):
            return self._placed_in(model)
        model.estimators_ = [
            rebuilt(one, self._placed_in(like(innermost(one))), None) for one in model.estimators_
        ]
        return model

    def _placed_in(self, model):
        before = np.asarray(model.coef_)
        coef = np.zeros((*before.shape[:-1], self.X.shape[1]))
        if self.columns is not None:
            there = np.flatnonzero(self.columns >= 0)
            coef[..., there] = before[..., self.columns[there]]
        elif coef.shape == before.shape:
            coef = before
        model.coef_ = coef
        return model

    def taken(self, design, **more):
        """The problem of the rows that are left, by name of what has one entry for each row."""
        problem, left = self.problem, self.left
        names = {"y", "weights", "sample_weight"} & names_of(type(problem))
        own = {name: getattr(problem, name)[left] for name in names}
        return replace(problem, design=design, **own, **more)

    def kernel_design(self):
        """The rows of a kernel model that are left, with the gamma that a fit on them has."""
        problem, design = self.problem, self.problem.design.like(self.X)
        given, kernel = getattr(self.model, "gamma", 0.0), design.kernel
        if not hasattr(kernel, "gamma"):
            return design
        if given is None or (isinstance(given, str) and given == "auto"):
            return replace(design, kernel=replace(kernel, gamma=1.0 / design.n_features))
        if problem.gamma_counts is None:
            return design
        counted = problem.counted(problem.sample_weight[self.left])
        return replace(design, kernel=replace(kernel, gamma=scaled_gamma(self.X, counted)))


def fitted_on(steps, raw, y, rows):
    """Steps fitted on some rows, and what they make of those."""
    X, fitted = raw if len(rows) == n_rows(raw) else _safe_indexing(raw, rows), []
    if not steps:
        return X, fitted
    X = untouched(X, *(one for _, one in steps))
    for _, step in steps:
        fitted.append(clone(step))
        X = fitted_to(fitted[-1], X, y[rows])
    return X, fitted


def refuse_other_fits(influence):
    """Refuse steps that, fitted again on the same rows, do not give what they gave.

    Raises
    ------
    ValueError
    """
    inputs, problem = influence.data.inputs, influence.objective
    names = ", ".join(name for name, one in fitted_leaves(inputs.steps) if learns(one))
    if inputs.moves_targets and any(uses_y(one) for _, one in fitted_leaves(inputs.steps)):
        raise ValueError(
            "A step that uses y cannot be fitted again behind a transformer of the targets. Got "
            f"{names}. Pass frozen='accept' to hold the steps as fitted."
        )
    if not isinstance(inputs.training_X, np.ndarray) and not sp.issparse(inputs.training_X):
        raise TypeError(
            "The steps of a pipeline are fitted again where all rows are in memory. Got rows that are "
            "read in blocks, or lie on a device; pass frozen='accept' to hold the steps as fitted."
        )
    kept = np.setdiff1d(np.arange(problem.n_samples), list(influence.data.gone))
    X, _ = fitted_on(inputs.steps, inputs.raw, influence.data.y, kept)
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    before = inputs.training_X[kept]
    same = X.shape == before.shape
    if same:
        away, size = abs(X - before), abs(before)
        away, size = ((one.max(axis=0)) for one in (away, size))
        away, size = (
            one.toarray().ravel() if sp.issparse(one) else np.ravel(one) for one in (away, size)
        )
        same = bool((away <= SAME * size).all())
    if not same:
        raise ValueError(
            "The steps of a pipeline must be what a fit on its rows gives. Got "
            f"{names}: fitted again on the same rows, they give others (they draw, or were fitted on "
            "other rows or with weights). Pass frozen='accept' to hold them as fitted."
        )


def _columns(before, after):
    """Where each new column was among the old ones, -1 for nowhere; None without names."""
    old, new = (_names(steps) for steps in ([one for _, one in before], after))
    if old is None or new is None:
        return None
    place = {name: j for j, name in enumerate(old)}
    return np.array([place.get(name, -1) for name in new], dtype=np.intp)


def _names(steps):
    names = None
    for step in steps:
        try:
            names = step.get_feature_names_out(*([] if names is None else [names]))
        except (AttributeError, ValueError, TypeError):
            return None
    return names
