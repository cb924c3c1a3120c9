"""Edits of whole pipelines that are solved with the factor of the model before them."""

import numpy as np
import scipy.sparse as sp

from skinfluence.smooth.optimum.old_factor import WithColumns, by_chords, serves
from skinfluence.statistics.refitting import is_sorted, problem_on


def near_after(factor, edits, moved, noise):
    """The optima after some edits by the old factor, all together: its solves are of many columns.

    In the old columns: those that are not there any more are zeros, whose parameters the penalty takes to 0;
    those that were not there stand behind them, of which the old factor knows the penalty only.

    Parameters
    ----------
    factor : Factor
        At the optimum before.
    edits : list of EditedRows
    moved : list of tuple
        What :meth:`Refits.after` returns.
    noise : float
        What rounding leaves of the fit, as a distance.

    Returns
    -------
    found : list of (Objective, X_out) or None
        With the rows asked about; None where the old factor is no help.
    """
    extra = 0
    if factor.objective.design.shift is None:
        new = (0 if one[2] is None else np.count_nonzero(one[2] < 0) for one in moved)
        extra = max(new, default=0)
    starts = [_near_start(factor, *one, extra) for one in zip(edits, moved, strict=True)]
    there = [k for k, one in enumerate(starts) if one is not None]
    problems, out = [starts[k][0] for k in there], [None] * len(edits)
    if not there:
        return out

    def gradients(which, theta):
        return np.stack(
            [problems[k].at(one).gradient() for k, one in zip(which, theta, strict=True)]
        )

    wider = WithColumns(factor, extra, factor.objective.penalty[0]) if extra else factor
    solved = by_chords(wider, np.stack([one.theta for one in problems]), gradients, noise)
    for k, problem, theta in zip(there, problems, solved, strict=True):
        out[k] = None if theta is None else (problem.at(theta), starts[k][1])
    return out


def _near_start(factor, rows, moved, extra=0):
    """The problem after an edit in the old columns, and the rows asked about; None where there is none."""
    objective = factor.objective
    X, X_out, columns = moved
    old = objective.design
    shifted = old.shift is not None and objective.penalty[-1] > 0
    if not serves(factor) or old.turned or shifted:
        return None
    width, there = old.n_features + extra, None
    if columns is None and extra:
        return None
    if columns is not None and not (len(columns) == width and is_sorted(columns)):
        enter = np.flatnonzero(columns < 0)
        if len(enter) > extra:
            return None
        columns = columns.copy()
        columns[enter] = old.n_features + np.arange(len(enter))
        X, X_out = (_spread(one, columns, width) for one in (X, X_out))
    if X.shape[1] != width or sp.issparse(X) != old.is_sparse:
        return None
    if extra:
        there = np.where(np.arange(width) < old.n_features, np.arange(width), -1)
    problem, aligned = problem_on(objective, rows, old.like(X), there)
    return None if aligned else (problem, X_out)


def _spread(X, columns, width):
    """Columns where they were, zeros between."""
    if not sp.issparse(X):
        out = np.zeros((X.shape[0], width))
        out[:, columns] = X
        return out
    X = sp.csr_array(X)
    order = np.argsort(columns)
    if not (order == np.arange(len(order))).all():
        X, columns = sp.csr_array(X[:, order]), columns[order]
    return sp.csr_array((X.data, columns[X.indices], X.indptr), shape=(X.shape[0], width))
