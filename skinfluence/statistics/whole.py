"""Leave-one-out of a whole pipeline: its transformers are without the row, too."""

import time
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils.calls import level_outside
from skinfluence._utils.naming import rows_have
from skinfluence._utils.progress import progress_bar
from skinfluence._utils.threads import small_blas
from skinfluence.answers import LOCAL
from skinfluence.objective import Objective
from skinfluence.smooth.newton import SeparableError
from skinfluence.smooth.piecewise import is_piecewise
from skinfluence.solvers import SingularHessianError
from skinfluence.statistics.draws import draw_in, fitted_leaves
from skinfluence.statistics.refitting import Refits, RefusedRowError, own_values
from skinfluence.statistics.registry import chain_moves, learns

# Seconds that fitting transformers again without each row may take.
BUDGET = 60.0


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
    if not isinstance(problem, Objective):
        return f"For {problem.model_name} only the answer with frozen transformers is known."
    if method in LOCAL:
        return f"method={method!r} moves the model only; 'auto' and 'exact' move the pipeline."
    if not isinstance(training_X, np.ndarray) and not sp.issparse(training_X):
        return "The rows are not in memory, so that the transformers cannot be fitted again."
    if not isinstance(raw, list | tuple) and not hasattr(raw, "shape"):
        return "The rows cannot be told apart: pass an array, a table or a list."
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


class WholePipeline:
    """Own decision values of training rows from the pipeline fitted without them.

    Parameters
    ----------
    answers : SmoothAnswers
    transformers : list of (str, transformer)
        Fitted.
    X : array-like
        Raw training rows.
    y : array-like of shape (n_samples,)
        As the steps of the pipeline saw it.
    training_X : ndarray or CSR array
        Rows as the model sees them.
    """

    def __init__(self, answers, transformers, X, y, training_X):
        self.answers = answers
        self.transformers = [one for _, one in transformers]
        self.X = X
        self.refits = Refits(self.transformers, X, y)
        self.training_X = training_X

    @property
    def is_refittable(self):
        """Whether the steps, fitted again on all rows, give the model the rows it was fitted on."""
        return self.refits.gives(self.training_X)

    def own_values(self, rows, method, tol, budget):
        """Decision values of rows, each from the pipeline without it, shape (n_rows, n_outputs).

        Parameters
        ----------
        rows : ndarray of int
        method : {"auto", "exact"}
        tol : float
        budget : float
            Seconds for fitting transformers again.

        Raises
        ------
        OverBudgetError
        """
        eta = np.empty((len(rows), self.answers.problem.loss.n_outputs))
        scale, again = self._moves(rows)
        at_once = np.flatnonzero(~again)
        if len(at_once):
            some = rows[at_once]
            if scale is None:
                eta[at_once] = self.answers.own_removals(method, tol, some)
            else:
                ratio = scale[at_once] ** 2
                eta[at_once] = self.answers.own_removals_rescaled(method, tol, some, ratio)
        left = np.flatnonzero(again)
        if len(left):
            eta[left] = np.concatenate(self.group_values(rows[left, None], budget))
        return eta

    def group_values(self, groups, budget):
        """Decision values of the rows of each group from the pipeline without the group.

        Parameters
        ----------
        groups : list of ndarray of int
        budget : float

        Returns
        -------
        eta : list of ndarray of shape (n_rows, n_outputs)
            NaN, with a warning, where there is no answer.

        Raises
        ------
        OverBudgetError
        """
        problem, solver = self.answers.edit_solver().objective, self.answers.solver
        found, refused, gone, cost = [], [], [], np.inf
        with (
            progress_bar(len(groups), "refits", self.answers.verbose) as advance,
            small_blas(problem.n_parameters),
        ):
            for i, rows in enumerate(groups):
                start = time.perf_counter()
                eta = np.full((len(rows), problem.loss.n_outputs), np.nan)
                try:
                    eta = own_values(problem, solver, self.refits.without(rows))
                except RefusedRowError as error:
                    refused.append((rows, str(error)))
                except (SingularHessianError, SeparableError):
                    gone.append(rows)
                found.append(eta)
                if i < 2:
                    # The first one loads what the others find loaded.
                    cost = min(cost, time.perf_counter() - start)
                if i == 1:
                    check_budget(cost * len(groups), len(groups), budget)
                advance(1)
        _warn(refused, gone)
        return found

    def _moves(self, rows):
        """What columns are divided by without each row, None for nothing; rows to fit again for."""
        problem = self.answers.edit_solver().objective
        moves = chain_moves(self.transformers, self.X, rows)
        if moves is None:
            return None, np.ones(len(rows), dtype=bool)
        free_intercept = bool(problem.design.intercept and problem.penalty[-1] == 0)
        if moves.shifted and not free_intercept:
            return None, np.ones(len(rows), dtype=bool)
        penalised = bool(problem.penalty[: problem.design.n_features].any())
        if moves.scale is None or not penalised:
            # A shift is the intercept's, and without a penalty a scale is the coefficient's.
            return None, moves.other
        if problem.loss.self_concordance is None or is_piecewise(problem.loss):
            return None, np.ones(len(rows), dtype=bool)
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
        f"Leaving rows out of the whole pipeline may take budget={budget:g} seconds. Fitting its "
        f"transformers {n_fits} times, each without a row or a group, would take about "
        f"{seconds:.3g}. Ask for fewer rows with indices=, raise budget=, or pass frozen='accept' "
        "for the answers with the transformers as fitted on all rows."
    )


def _warn(refused, gone):
    if refused:
        rows = np.concatenate([rows for rows, _ in refused])
        warnings.warn(
            f"{rows_have(rows)} no answer (NaN): the transformers, fitted on the others, refuse. "
            f"{refused[0][1]}",
            UserWarning,
            stacklevel=level_outside(),
        )
    if gone:
        warnings.warn(
            f"{rows_have(np.concatenate(gone))} no answer (NaN): without them a parameter is not "
            "determined, or the classes are separated, so there is no optimum. Penalise the model, "
            "or drop the columns that one row decides.",
            ConvergenceWarning,
            stacklevel=level_outside(),
        )


def any_learns(transformers):
    """Whether a transformer, or one inside it, looks at the rows."""
    return any(learns(one) for _, one in fitted_leaves(transformers))
