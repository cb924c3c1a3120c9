"""Questions about a whole pipeline: its transformers see the edit, too."""

import time
import warnings
from dataclasses import fields

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer

from skinfluence._utils.calls import level_outside
from skinfluence._utils.naming import rows_have
from skinfluence._utils.progress import progress_bar
from skinfluence._utils.threads import small_blas
from skinfluence.answers import (
    LOCAL,
    gathered,
    rows_alone,
    top_of,
    warn_alone,
)
from skinfluence.objective import Objective
from skinfluence.quantity import Effect
from skinfluence.smooth.newton import SeparableError
from skinfluence.smooth.piecewise import is_piecewise
from skinfluence.solvers import SingularHessianError
from skinfluence.statistics import edited_rows
from skinfluence.statistics.draws import draw_in, fitted_leaves
from skinfluence.statistics.refitting import (
    Moved,
    Refits,
    RefusedRowError,
    model_after,
    smooth_after,
)
from skinfluence.statistics.registry import chain_moves, learns

# Seconds that fitting transformers again may take.
BUDGET = 60.0

# How an answer about a pipeline came about.
HELD = "transformers as fitted"
UNMOVED = "nothing to move"
RESCALED = "penalty moved"
REFITTED = "fitted again"


class OverBudgetError(RuntimeError):
    """Answering would take longer than the budget."""


def why_not(answers, transformers, training_X, raw, method):
    """Why the whole pipeline cannot be answered about, a sentence, or None.

    Parameters
    ----------
    answers : Answers
    transformers : list of (str, transformer)
        Fitted.
    training_X : ndarray, CSR array or other rows
        As the model sees them.
    raw : array-like
        As the user passed them.
    method : str
    """
    problem = answers.problem
    if not isinstance(training_X, np.ndarray) and not sp.issparse(training_X):
        return "The rows are not in memory, so that the transformers cannot be fitted again."
    if not isinstance(raw, list | tuple) and not hasattr(raw, "shape"):
        return "The rows cannot be told apart: pass an array, a table or a list."
    if not isinstance(problem, Objective):
        if method in LOCAL:
            return (
                f"method={method!r} moves only the model of a pipeline that ends in "
                f"{problem.model_name}; 'auto' and 'exact' move all of it."
            )
    else:
        features = problem.penalty[: problem.design.n_features]
        if len(features) and not (features == features[0]).all():
            return "The penalty is not the same for all columns, which a refit may number anew."
    drawn = draw_in(transformers, problem.n_samples)
    if drawn is not None:
        return (
            f"The step {drawn}: fitted without a row it is another draw, seeded or not, so it is "
            "held."
        )
    return None


def is_balanced(problem):
    """Whether a model weighs its classes by how many rows they have."""
    return problem.labels is not None and bool(problem.labels.balanced)


class WholePipeline:
    """Answers about the pipeline fitted on edited rows, steps and all.

    Parameters
    ----------
    answers : Answers
    model : estimator
        The innermost one, fitted.
    transformers : list of (str, transformer)
        Fitted.
    X : array-like
        Raw training rows.
    y : array-like of shape (n_samples,)
        As the steps of the pipeline saw it.
    training_X : ndarray or CSR array
        Rows as the model sees them.
    supervised : bool
        Whether a step looks at y.
    budget : float
        Seconds for fitting transformers again.
    """

    def __init__(self, answers, model, transformers, X, y, training_X, supervised, budget):
        self.answers, self.model = answers, model
        self.transformers = [one for _, one in transformers]
        self.X, self.y = X, np.asarray(y)
        self.refits = Refits(self.transformers, X, y)
        self.training_X = training_X
        self.supervised, self.budget = supervised, budget

    @property
    def is_refittable(self):
        """Whether the steps, fitted again on all rows, give the model the rows it was fitted on."""
        return self.refits.gives(self.training_X)

    def holding(self, hold):
        """The same with another meaning of edits; itself for None."""
        if hold is None:
            return self
        names = {"answers": self.answers.holding(hold)}
        other = object.__new__(WholePipeline)
        other.__dict__.update(self.__dict__, **names)
        return other

    # Rows, one at a time

    def own_values(self, rows, method, tol):
        """Decision values of rows, each from the pipeline without it, shape (n_rows, n_outputs).

        Parameters
        ----------
        rows : ndarray of int
        method : str
        tol : float

        Raises
        ------
        OverBudgetError
        """
        eta = np.empty((len(rows), self.answers.problem.loss.n_outputs))
        scale, again = self._moves(rows)
        at_once, left = np.flatnonzero(~again), np.flatnonzero(again)
        if len(at_once) and scale is None:
            eta[at_once] = self.answers.own_removals(method, tol, rows[at_once])
        elif len(at_once):
            ratio = scale[at_once] ** 2
            eta[at_once] = self.answers.own_removals_rescaled(method, tol, rows[at_once], ratio)
        if len(left):
            eta[left] = np.concatenate(self.group_values(rows[left, None], method))
        return eta

    def group_values(self, groups, method):
        """Decision values of the rows of each group from the pipeline without the group.

        Parameters
        ----------
        groups : list of ndarray of int
        method : str

        Returns
        -------
        eta : list of ndarray of shape (n_rows, n_outputs)
            NaN, with a warning, where there is no answer.

        Raises
        ------
        OverBudgetError
        """
        problem = self.answers.problem
        edits = [edited_rows.without(problem, self.y, rows) for rows in groups]
        outs = [self.refits.rows(rows) for rows in groups]
        return [one.eta for _, one in self._solved(edits, outs, method)]

    def row_stream(self, quantity, X, rows, label, method, tol):
        """Effects of removing or relabelling rows one at a time, as of :class:`Answers`.

        Parameters
        ----------
        quantity : Quantity
        X : array-like
            Raw test rows.
        rows : ndarray of int
        label : int or None
            Position of the new class; None to remove.
        method : str
        tol : float

        Yields
        ------
        block : ndarray of int
            Positions in ``rows``.
        values : ndarray of shape (b, n_test, ...), or (b,) for a scalar
        """
        if label is not None and not self.supervised:
            yield from self.answers.row_stream(quantity, rows, label, method, tol)
            return
        again = np.ones(len(rows), dtype=bool)
        if label is None:
            scale, again = self._moves(rows)
            again = again | self._fills(X)
            at_once = np.flatnonzero(~again)
            if not len(at_once):
                stream = ()
            elif scale is None:
                stream = self.answers.row_stream(quantity, rows[at_once], None, method, tol)
            else:
                ratio = scale[at_once] ** 2
                stream = self.answers.rescaled_stream(quantity, rows[at_once], ratio, method, tol)
            for block, values in stream:
                yield at_once[block], values
        yield from self._one_by_one(quantity, X, rows, np.flatnonzero(again), label, method)

    def _one_by_one(self, quantity, X, rows, left, label, method):
        """The stream of the rows that the steps are fitted again for."""
        problem = self.answers.problem
        lonely = np.isin(rows[left], rows_alone(problem))
        if label is not None:
            own = problem.labels.codes_of(problem.y)[rows[left]] == label
            if own.any():
                yield left[own], np.zeros((int(own.sum()), *quantity.shape))
            left, lonely = left[~own], lonely[~own]
        if lonely.any():
            warn_alone(problem, rows[left[lonely]])
            yield left[lonely], np.full((int(lonely.sum()), *quantity.shape), np.nan)
            left = left[~lonely]
        if label is None:
            edits = [edited_rows.without(problem, self.y, rows[[i]]) for i in left]
        else:
            edits = [edited_rows.relabelled(problem, self.y, rows[i], label) for i in left]
        for i, one in self._solved(edits, [X] * len(edits), method):
            yield left[[i]], quantity.change(one.eta[None] - quantity.eta)

    def row_effects(self, quantity, X, rows, label, method, tol, out=None):
        """All of :meth:`row_stream` as (n_test, m, ...), or (m,) for a scalar."""
        stream = self.row_stream(quantity, X, rows, label, method, tol)
        return gathered(stream, quantity, len(rows), out)

    def top(self, quantity, X, k, method, tol):
        """The k largest and smallest removal effects of each test point, streamed: a Top."""
        n = self.answers.problem.n_samples
        return top_of(self.row_stream(quantity, X, np.arange(n), None, method, tol), n, k)

    # Any edit

    def effects(self, edits, points, quantity, X, method, tol, strict=True):
        """Effects of any edits, as of :class:`Answers`, and how each came about.

        Parameters
        ----------
        edits : list of EditedRows
        points : callable
            From the position of an edit to what it is with the steps as fitted.
        quantity : Quantity
        X : array-like
            Raw test rows.
        method : str
        tol : float
        strict : bool, default=True
            Raise for an edit without an answer; else it has NaN, with a warning.

        Returns
        -------
        values, bound, used, leverage, more
            As of :meth:`Answers.effects`, then the route of each edit, in words.
        """
        n = len(edits)
        values = np.empty((*quantity.shape[:1], n, *quantity.shape[1:]))
        bound, used, leverage = (
            np.full(n, np.inf),
            np.full(n, method, dtype="<U9"),
            np.full(n, np.nan),
        )
        n_more = len(fields(self.answers.effect_type)) - len(fields(Effect))
        trust = [bound, used, leverage, *[np.full(n, np.nan) for _ in range(n_more)]]
        route = self.routes(edits)
        if self._fills(X):
            route[[one.moves_features for one in edits]] = REFITTED
        for name in np.unique(route):
            some = np.flatnonzero(route == name)
            if name == UNMOVED:
                asked = [points(i) for i in some]
                found, *others = self.answers.effects(asked, quantity, method, tol)
            elif name == RESCALED:
                rows = np.array([edits[i].lone for i in some])
                ratio = self._moves(rows)[0] ** 2
                found, *others = self.answers.rescaled_effects(quantity, rows, ratio, method, tol)
            else:
                found, *others = self._refitted(
                    [edits[i] for i in some], quantity, X, method, strict
                )
            values[(slice(None), some) if quantity.shape else some] = found
            for field, given in zip(trust, others, strict=False):
                field[some] = given
        return values, *trust, route

    def ways(self, rows):
        """The way that rows are removed together, in words, and those that steps are fitted without."""
        scale, again = self._moves(rows)
        return UNMOVED if scale is None else RESCALED, again

    def routes(self, edits):
        """How each edit is answered about, in words."""
        route = np.full(len(edits), REFITTED, dtype=f"<U{len(HELD)}")
        for i, one in enumerate(edits):
            if not (one.moves_features or (self.supervised and one.relabels)):
                route[i] = UNMOVED
        lone = np.array([-1 if one.lone is None else one.lone for one in edits])
        chosen = np.flatnonzero(lone >= 0)
        if len(chosen):
            scale, again = self._moves(lone[chosen])
            route[chosen[~again]] = UNMOVED if scale is None else RESCALED
        return route

    def _refitted(self, edits, quantity, X, method, strict):
        found = self._solved(edits, [X] * len(edits), method, certify=True, strict=strict)
        after = [one for _, one in found]
        change = np.array([quantity.change(one.eta[None] - quantity.eta)[0] for one in after])
        values = np.swapaxes(change, 0, 1) if quantity.shape else change
        used = method if method in LOCAL else "newton"
        return values, [one.bound for one in after], used

    # Fitted again

    def _solved(self, edits, outs, method, certify=False, strict=False):
        """What pipelines fitted again give, ``(position, Moved)``, within the budget."""
        refused, gone, cost = [], [], np.inf
        n_parameters = getattr(self.answers.problem, "n_parameters", 0)
        verbose = getattr(self.answers, "verbose", False)
        with (
            progress_bar(len(edits), "refits", verbose) as advance,
            small_blas(n_parameters),
        ):
            for i, (rows, out) in enumerate(zip(edits, outs, strict=True)):
                start = time.perf_counter()
                try:
                    found = self._one(rows, out, method, certify)
                except RefusedRowError as error:
                    if strict:
                        raise
                    refused.append((rows.gone, str(error)))
                    found = None
                except (SingularHessianError, SeparableError):
                    if strict:
                        raise
                    gone.append(rows.gone)
                    found = None
                if i < 2:
                    # The first one loads what the others find loaded.
                    cost = min(cost, time.perf_counter() - start)
                if i == 1:
                    check_budget(cost * len(edits), len(edits), self.budget)
                advance(1)
                yield i, self._no_answer(out) if found is None else found
        _warn(refused, gone)

    def _no_answer(self, out):
        n_out = out.shape[0] if hasattr(out, "shape") else len(out)
        return Moved(np.full((n_out, self.answers.problem.loss.n_outputs), np.nan))

    def once(self, rows, X, method):
        """Answer about one edit by fitting the steps again, whatever comes out: to see how long it takes."""
        try:
            self._one(rows, X, method, certify=False)
        except (RefusedRowError, SingularHessianError, SeparableError):
            pass

    def _one(self, rows, out, method, certify):
        moved = self.refits.after(rows, out)
        if not np.isfinite(rows.weights).all():
            raise RefusedRowError(
                "A class has no rows without it, so that its balanced weight would be infinite."
            )
        if isinstance(self.answers.problem, Objective):
            answers = self.answers
            factor = answers.factor if method in LOCAL else answers.edit_solver().factor
            return smooth_after(factor, answers.solver, rows, moved, method, certify)
        return model_after(self.model, rows, moved, method)

    def _fills(self, X):
        """Whether rows have missing cells that an imputer fills by what it learned.

        Training rows without any say nothing of how the fill moves.
        """
        leaves = fitted_leaves([("", one) for one in self.transformers])
        if not any(
            isinstance(one, SimpleImputer) and one.strategy != "constant" for _, one in leaves
        ):
            return False
        if sp.issparse(X):
            return bool(np.isnan(X.data).any())
        cells = X.to_numpy(dtype=object) if hasattr(X, "to_numpy") else np.asarray(X, dtype=object)
        # NaN and NaT are not themselves; None and pandas.NA are no values.
        return any(cell is None or (cell == cell) is not True for cell in cells.ravel())

    def _moves(self, rows):
        """What columns are divided by without each row, None for nothing; rows to fit again for."""
        every = np.ones(len(rows), dtype=bool)
        moves = chain_moves(self.transformers, self.X, rows)
        if moves is None:
            return None, every
        if not isinstance(self.answers.problem, Objective):
            return None, every if moves.shifted or moves.scale is not None else moves.other
        problem = self.answers.problem
        free_intercept = bool(problem.design.intercept and problem.penalty[-1] == 0)
        if moves.shifted and not free_intercept:
            return None, every
        penalised = bool(problem.penalty[: problem.design.n_features].any())
        if moves.scale is None or not penalised:
            # A shift is the intercept's, and without a penalty a scale is the coefficient's.
            return None, moves.other
        if problem.loss.self_concordance is None or is_piecewise(problem.loss):
            return None, every
        return moves.scale, moves.other


def check_budget(seconds, n_fits, budget):
    """Refuse what takes longer than the budget.

    Raises
    ------
    OverBudgetError
    """
    if seconds <= budget:
        return
    raise OverBudgetError(
        f"Answers about the whole pipeline may take budget={budget:g} seconds. Fitting its "
        f"transformers {n_fits} times, once for each edit, would take about {seconds:.3g}. Ask for "
        "fewer rows with indices=, raise budget=, or pass frozen='accept' for the answers with the "
        "transformers as fitted on all rows."
    )


def _warn(refused, gone):
    if refused:
        warnings.warn(
            f"{_who(refused_rows for refused_rows, _ in refused)} no answer (NaN): the "
            f"transformers, fitted on what the edit leaves, refuse. {refused[0][1]}",
            UserWarning,
            stacklevel=level_outside(),
        )
    if gone:
        warnings.warn(
            f"{_who(gone)} no answer (NaN): without them a parameter is not determined, or the "
            "classes are separated, so there is no optimum. Penalise the model, or drop the columns "
            "that one row decides.",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )


def _who(rows):
    rows = np.concatenate([*rows])
    return rows_have(rows) if len(rows) else "An edit has"


def any_learns(transformers):
    """Whether a transformer, or one inside it, looks at the rows."""
    return any(learns(one) for _, one in fitted_leaves(transformers))
