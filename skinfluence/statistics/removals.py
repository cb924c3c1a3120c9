"""How a pipeline without single rows is answered about: which rows take which way."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from skinfluence.answers import LOCAL
from skinfluence.objective import Objective
from skinfluence.smooth.one_step.fills import Fills
from skinfluence.smooth.optimum.piecewise import is_piecewise
from skinfluence.statistics.draws import draw_in
from skinfluence.statistics.leaves import fitted_leaves
from skinfluence.statistics.registry import chain_moves, either, learns

# How an answer about a pipeline came about.
HELD = "transformers as fitted"
UNMOVED = "nothing to move"
RESCALED = "penalty moved"
FILLED = "fills moved"
REFITTED = "fitted again"
# Of some rows once, not for each.
TOGETHER = "fitted together"


@dataclass(frozen=True, eq=False)
class Removals:
    """Rows that leave one at a time.

    Attributes
    ----------
    routes : ndarray of str, shape (n_rows,)
    ratio : ndarray of shape (n_rows, n_columns) or None
        What the penalty of each column is multiplied by; None for nothing.
    fills : Fills or None
        What is put where cells are missing.
    there : ndarray of bool, shape (n_out, q), or None
        Which of the rows that are asked about are filled.
    """

    routes: np.ndarray
    ratio: np.ndarray | None = None
    fills: Fills | None = None
    there: np.ndarray | None = None
    n_columns: int = 0

    @classmethod
    def alike(cls, route, n_rows):
        """All of them on one way."""
        return cls(np.full(n_rows, route, dtype=f"<U{len(HELD)}"))

    @property
    def again(self):
        """Positions of rows for which steps are fitted again."""
        return np.flatnonzero(self.routes == REFITTED)

    def at_once(self):
        """Each other way, as ``(name, positions, ratio, fills)`` of its rows."""
        for name in (UNMOVED, RESCALED, FILLED):
            some = np.flatnonzero(self.routes == name)
            if not len(some):
                continue
            ratio = None if self.ratio is None else self.ratio[some]
            fills = self.fills.take(some) if name == FILLED else None
            if name == FILLED and ratio is None:
                ratio = np.ones((len(some), self.n_columns))
            yield name, some, ratio, fills


def removals_of(problem, transformers, X, rows, out):
    """How removals of single rows are answered about.

    Parameters
    ----------
    problem : Problem
    transformers : list of transformers
        Fitted.
    X : array-like
        Raw training rows.
    rows : ndarray of int
    out : array-like or None
        Raw rows that are asked about; None where each row is asked about itself.

    Returns
    -------
    removals : Removals
    """
    again = Removals.alike(REFITTED, len(rows))
    moves = chain_moves(transformers, X, rows)
    if moves is None:
        return again
    smooth = isinstance(problem, Objective)
    if not smooth:
        if moves.scale is not None or moves.shifted:
            # Behind an imputer too: a row with a hole moves no fill, and all scales.
            return again
        left = either(moves.other, moves.gone, _filled_otherwise(moves, X, rows, out))
        return _on(rows, left, None, None, None, 0)
    free_intercept = bool(problem.design.intercept and problem.penalty[-1] == 0)
    penalised = bool(problem.penalty[: problem.design.n_features].any())
    if moves.shifted and not free_intercept:
        return again
    # Without a penalty a scale is the coefficient's, and nothing takes that of a column of zeros.
    scale = moves.scale if penalised else None
    left = moves.other if penalised else either(moves.other, moves.gone)
    certified = problem.loss.self_concordance is not None and not is_piecewise(problem.loss)
    if scale is not None and not certified:
        return again
    fills = moves.fills
    there = None if fills is None else fills.holes_of(X if out is None else out)
    if fills is not None and there is None:
        return again
    if fills is not None and not fills.holes.any() and not there.any():
        fills = None
    if fills is not None and (not certified or problem.design.turned):
        left, fills = either(left, _filled_otherwise(moves, X, rows, out)), None
    ratio = None if scale is None else scale**2
    return _on(rows, left, ratio, fills, there, problem.design.n_features)


def _on(rows, again, ratio, fills, there, n_columns):
    routes = Removals.alike(UNMOVED if ratio is None else RESCALED, len(rows)).routes
    if fills is not None:
        routes[fills.moved] = FILLED
    if again is not None:
        routes[again] = REFITTED
    return Removals(routes, ratio, fills, there, n_columns)


def _filled_otherwise(moves, X, rows, out):
    """Rows without which some cell is filled otherwise, a mask."""
    fills = moves.fills
    if fills is None:
        return np.zeros(len(rows), dtype=bool)
    there = fills.holes_of(X if out is None else out)
    if there is None:
        return np.ones(len(rows), dtype=bool)
    used = fills.holes.any(axis=0) | there.any(axis=0)
    return (fills.by[:, used] != 0).any(axis=1)


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


def any_learns(transformers):
    """Whether a transformer, or one inside it, looks at the rows."""
    return any(learns(one) for _, one in fitted_leaves(transformers))
