"""What a question about a whole pipeline costs, beforehand."""

from collections import Counter

import numpy as np

from skinfluence.quantity import Estimate
from skinfluence.statistics import edited_rows
from skinfluence.statistics.removals import REFITTED, UNMOVED


def held(n_edits, way, numbers):
    """The estimate of a question for which nothing is fitted again."""
    return Estimate({way: n_edits}, 0, 0.0, 8 * numbers)


def in_folds(n_edits, fits, seconds, numbers):
    """The estimate of a question about a model in folds, whose models are fitted again."""
    return Estimate({UNMOVED: n_edits}, fits, float(seconds), 8 * numbers)


def of_rows(whole, rows, label, X, method, numbers):
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
    """
    problem = whole.answers.problem
    if not label:
        removals = whole.removals(rows, X)
        routes = dict(Counter(removals.routes.tolist()))
        timed = (edited_rows.without(problem, whole.y, rows[[i]]) for i in removals.again)
    else:
        each = len(rows) * (len(problem.labels.classes) - 1)
        routes = {REFITTED: each} if whole.supervised else {UNMOVED: each}
        own = problem.labels.codes_of(problem.y[rows])
        timed = (
            edited_rows.relabelled(problem, whole.y, row, int(code == 0))
            for row, code in zip(rows, own, strict=True)
        )
    return _timed(whole, routes, timed, X, method, numbers)


def of_edits(whole, edits, X, method, numbers):
    """The estimate of any edits, a list of EditedRows; see :func:`of_rows`."""
    ways = whole.routes(edits, X)[0]
    again = (edits[i] for i in np.flatnonzero(ways == REFITTED))
    return _timed(whole, dict(Counter(ways.tolist())), again, X, method, numbers)


def _timed(whole, routes, edits, X, method, numbers):
    routes = {way: n for way, n in routes.items() if n}
    fits, cells = routes.get(REFITTED, 0), 0
    seconds = whole.again(method, 1e-3).seconds(edits, X, fits, method)
    if fits:
        cells = whole.training_X.shape[0] * whole.training_X.shape[1]
    return Estimate(routes, fits, float(seconds), 8 * (numbers + cells))
