"""What a question about a whole pipeline costs, beforehand."""

from collections import Counter

import numpy as np

from skinfluence.quantity import Estimate
from skinfluence.statistics import edited_rows
from skinfluence.statistics.removals import REFITTED, TOGETHER, UNMOVED


def held(n_edits, way, numbers):
    """The estimate of a question for which nothing is fitted again."""
    return Estimate({way: n_edits}, 0, 0.0, 8 * numbers)


def in_folds(n_edits, fits, seconds, numbers):
    """The estimate of a question about a model in folds, whose models are fitted again."""
    return Estimate({UNMOVED: n_edits}, fits, float(seconds), 8 * numbers)


def of_rows(whole, rows, label, X, method, numbers, own=False):
    """The estimate of removing rows one at a time, or of giving each the other labels.

    Parameters
    ----------
    whole : WholePipeline
    rows : ndarray of int
    label : bool
        Whether they are relabelled.
    X : array-like
        Raw test rows.
    method : str
    numbers : int
        In the answer.
    own : bool, default=False
        Whether each row is asked about itself.
    """
    problem = whole.answers.problem
    if not label:
        ways, fits = whole.planned(rows, None if own else X, method)
        routes = Counter(ways.tolist())
        again = np.flatnonzero(np.isin(ways, (REFITTED, TOGETHER)))
        timed = (edited_rows.without(problem, whole.y, rows[[i]]) for i in again)
    else:
        each = len(rows) * (len(problem.labels.classes) - 1)
        routes = {REFITTED: each} if whole.supervised else {UNMOVED: each}
        fits, codes = routes.get(REFITTED, 0), problem.labels.codes_of(problem.y[rows])
        timed = (
            edited_rows.relabelled(problem, whole.y, row, int(code == 0))
            for row, code in zip(rows, codes, strict=True)
        )
    return _timed(whole, routes, fits, timed, X, method, numbers)


def of_edits(whole, edits, X, method, numbers):
    """The estimate of any edits, a list of EditedRows; see :func:`of_rows`."""
    ways = whole.routes(edits, X)[0]
    again = (edits[i] for i in np.flatnonzero(ways == REFITTED))
    fits = np.count_nonzero(ways == REFITTED)
    return _timed(whole, Counter(ways.tolist()), fits, again, X, method, numbers)


def _timed(whole, routes, fits, edits, X, method, numbers):
    routes, fits, cells = {way: n for way, n in routes.items() if n}, int(fits), 0
    seconds = whole.again(method, 1e-3).seconds(edits, X, fits, method)
    if fits:
        cells = whole.training_X.shape[0] * whole.training_X.shape[1]
    return Estimate(routes, fits, float(seconds), 8 * (numbers + cells))
