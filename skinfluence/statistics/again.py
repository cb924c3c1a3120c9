"""The pipeline fitted again on what each of some edits leaves: in blocks, and within a budget."""

from functools import cached_property
from itertools import islice

import numpy as np
import scipy.sparse as sp

from skinfluence._utils.progress import progress_bar
from skinfluence._utils.stacking import n_rows
from skinfluence._utils.threads import small_blas
from skinfluence.answers import LOCAL
from skinfluence.edits import NoOptimumError
from skinfluence.objective import Objective
from skinfluence.solvers import SingularHessianError
from skinfluence.statistics.balanced import EmptiedClassError, class_is_gone
from skinfluence.statistics.budget import check_budget, clock, warn_unanswered
from skinfluence.statistics.near_before import near_after
from skinfluence.statistics.refits import RefusedRowError
from skinfluence.statistics.refitting import (
    ModelAfter,
    local_after,
    model_after,
    smooth_after,
)
from skinfluence.statistics.targets import in_old_units, moving_curve, retargeted
from skinfluence.statistics.weighted_texts import WeightedTexts

# Edits that are solved side by side, the bytes of their rows, and the CPU seconds of a trial of some.
MOST, BLOCK_BYTES, TRIAL = 32, 2**27, 1.0
NO_ANSWER = (RefusedRowError, NoOptimumError, SingularHessianError)


class Again:
    """Steps fitted again, and the model behind them.

    Parameters
    ----------
    answers : Answers
    model : estimator
        The innermost one, fitted.
    refits : Refits
    training_X : ndarray or CSR array
        Rows as the model sees them.
    budget : float
        CPU seconds.
    tol : float, default=0.0
        Share of the largest change that decision values of an edit may be off by, where that is certified
        on the way; 0 for round-off.
    numbers : ndarray of int, shape (n_samples,), default=None
        What the rows are called where that is not their number.
    """

    def __init__(self, answers, model, refits, training_X, budget, tol=0.0, numbers=None):
        self.answers, self.model, self.refits = answers, model, refits
        self.training_X, self.budget, self.tol = training_X, budget, tol
        self.numbers = numbers

    def each(self, edits, outs, method, certify=False, strict=False):
        """Models after edits.

        Parameters
        ----------
        edits : list of EditedRows
        outs : list of array-like
            Raw rows that the pipeline after each edit is asked about.
        method : str
        certify : bool, default=False
            Whether bounds are wanted.
        strict : bool, default=False
            Raise for an edit without an answer; else it has NaN, with a warning.

        Yields
        ------
        i : int
        after : ModelAfter

        Raises
        ------
        OverBudgetError
            Where a few say that all would take longer than the budget.
        """
        refused, gone, emptied = [], [], []
        verbose = getattr(self.answers, "verbose", False)
        with progress_bar(len(edits), "refits", verbose) as advance:
            for first, block in self._blocks(edits, outs, method, certify, self.budget):
                for i, found in enumerate(block, first):
                    advance(1)
                    if not isinstance(found, NO_ANSWER):
                        yield i, found
                        continue
                    if strict:
                        raise found
                    rows = edits[i].gone if self.numbers is None else self.numbers[edits[i].gone]
                    if isinstance(found, RefusedRowError):
                        refused.append((rows, str(found)))
                    else:
                        (emptied if isinstance(found, EmptiedClassError) else gone).append(rows)
                    yield i, self._no_answer(outs[i])
        warn_unanswered(self.answers.problem, refused, gone, emptied)

    def seconds(self, edits, out, n, method):
        """CPU seconds that ``n`` edits would take, from what the first of them take.

        Parameters
        ----------
        edits : iterable of EditedRows
        out : array-like
        n : int
        method : str
        """
        if not n:
            return 0.0
        some = list(islice(edits, min(n, 1 + MOST)))
        cost = np.inf
        for first, (spent, _) in self._timed(some, [out] * len(some), method, False):
            cost = min(cost, spent)
            if first:
                break
        return n * cost

    def _blocks(self, edits, outs, method, certify, budget):
        """The answers of blocks of edits, each with the position of its first."""
        cost, n = np.inf, len(edits)
        for first, (spent, found) in self._timed(edits, outs, method, certify):
            # The first one loads what the others find loaded.
            cost = min(cost, spent)
            if first == 1:
                check_budget(cost * n, n, budget)
            yield first, found

    def _timed(self, edits, outs, method, certify):
        """Blocks of edits: where each starts, the seconds of one of its edits, their answers.

        One, then as many as a trial takes, then as many as go side by side.
        """
        first, spent, most = 0, np.inf, self._most(method)
        with small_blas(getattr(self.answers.problem, "n_parameters", 0)):
            while first < len(edits):
                size = 1
                if first:
                    size = most if first > 1 else int(np.clip(TRIAL / max(spent, 1e-9), 1, most))
                block = slice(first, first + size)
                start = clock()
                found = self._answered(edits[block], outs[block], method, certify)
                spent = (clock() - start) / len(found)
                yield first, (spent, found)
                first += len(found)

    def _most(self, method):
        """How many edits go side by side."""
        if method in LOCAL or not isinstance(self.answers.problem, Objective):
            return 1
        X = self.training_X
        size = 12 * X.nnz if sp.issparse(X) else 8 * X.size
        return int(np.clip(BLOCK_BYTES // (2 * size + 1), 1, MOST))

    def _answered(self, edits, outs, method, certify):
        """What each of a block of edits gives: a ModelAfter, or an error that says why there is none."""
        curve = moving_curve(self.answers.problem)
        if curve is None:
            return self._behind_steps(edits, outs, method, certify)
        behind = [_retargeted(curve, one) for one in edits]
        fine = [k for k, one in enumerate(behind) if not isinstance(one, Exception)]
        found = self._behind_steps(
            [behind[k][0] for k in fine], [outs[k] for k in fine], method, certify
        )
        for k, one in zip(fine, found, strict=True):
            if not isinstance(one, Exception):
                # A bound would be in the units of the new transformer.
                one = ModelAfter(in_old_units(curve, behind[k][1], one.eta))
            behind[k] = one
        return behind

    def _behind_steps(self, edits, outs, method, certify):
        found = [None] * len(edits)
        texts = None if method in LOCAL else self._texts
        if texts is not None and (texts.bounds_errors or not certify):
            taken = [k for k, one in enumerate(edits) if texts.takes(one)]
            if taken:
                noise = self.answers.edit_solver().accuracy.noise
                asked = [edits[k] for k in taken], [outs[k] for k in taken]
                after = texts.after(*asked, noise, self.tol, certify)
                for k, one in zip(taken, after, strict=True):
                    found[k] = None if one is None else ModelAfter(*one)
        left = [k for k, one in enumerate(found) if one is None]
        if left:
            asked = [edits[k] for k in left], [outs[k] for k in left]
            for k, one in zip(left, self._fitted_again(*asked, method, certify), strict=True):
                found[k] = one
        return found

    @cached_property
    def _texts(self):
        """The model as one of weighted counts of texts, where it is one; else None."""
        problem = self.answers.problem
        if not isinstance(problem, Objective) or not sp.issparse(self.training_X):
            return None
        return WeightedTexts.of(self.answers.edit_solver().factor, self.refits, self.training_X)

    def _fitted_again(self, edits, outs, method, certify):
        moved = [self._refitted(*one) for one in zip(edits, outs, strict=True)]
        near = [None] * len(edits)
        if isinstance(self.answers.problem, Objective) and method not in LOCAL:
            solver = self.answers.edit_solver()
            fine = [k for k, one in enumerate(moved) if not isinstance(one, Exception)]
            asked = [edits[k] for k in fine], [moved[k] for k in fine]
            found = near_after(solver.factor, *asked, solver.accuracy.noise)
            for k, one in zip(fine, found, strict=True):
                near[k] = one
        return [self._model(*one, method, certify) for one in zip(edits, moved, near, strict=True)]

    def _refitted(self, rows, out):
        try:
            moved = self.refits.after(rows, out)
        except RefusedRowError as error:
            return error
        if not np.isfinite(rows.weights).all():
            return class_is_gone(self.answers.problem, int(np.argmax(np.isinf(rows.ratio))))
        return moved

    def _model(self, rows, moved, near, method, certify):
        answers = self.answers
        if isinstance(moved, Exception):
            return moved
        try:
            if not isinstance(answers.problem, Objective):
                start = answers.at_optimum
                return model_after(start, self.model, rows, moved, method, certify)
            if method in LOCAL:
                return local_after(answers.factor, answers.solver, rows, moved, method)
            factor = answers.edit_solver().factor
            return smooth_after(factor, answers.solver, rows, moved, near, certify)
        except NO_ANSWER as error:
            return error

    def _no_answer(self, out):
        return ModelAfter(np.full((n_rows(out), self.answers.problem.loss.n_outputs), np.nan))


def _retargeted(curve, rows):
    try:
        return retargeted(curve, rows)
    except RefusedRowError as error:
        return error
