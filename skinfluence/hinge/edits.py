"""Edits of any points, as the engine's edits of each binary problem."""

import numpy as np
import scipy.sparse as sp

from skinfluence.active_set import NewRows
from skinfluence.hinge.losses import AT_MARGIN


def edit_moves(problem, output, rows, paths, points):
    """One edit of one binary problem.

    Parameters
    ----------
    problem : HingeObjective
    output : int
    rows : ndarray of int
        Training rows of the binary problem, sorted.
    paths : Paths
    points : Points

    Returns
    -------
    moves : CoefficientMoves or None
        None if the edit does not concern this problem.
    new : ndarray or CSR array of shape (n_new, n_features) or None
        The rows that it adds.
    """
    changed = np.flatnonzero(np.isin(points.rows, rows))
    mine = points.rows[changed]
    y = problem.loss.signs[problem.y[mine], output].copy()
    after = problem.weights[mine] + points.row_changes[changed]
    after[after < 1e-12 * problem.weights[mine]] = 0.0
    C = after * np.abs(problem.units(problem.y[mine])[:, output])
    kept, new = [], None
    if points.new is not None:
        signs = problem.loss.signs[points.new_y, output]
        bounds = points.new_weights * np.abs(problem.units(points.new_y)[:, output])
        gone = after == 0.0
        for k in np.flatnonzero(signs):
            # A row removed and given back with another label stays where it is.
            back = gone & equal_rows(problem.design.X[mine], points.new.X[[k]])
            if back.any():
                j = back.argmax()
                y[j], C[j], gone[j] = signs[k], bounds[k], False
            else:
                kept.append(k)
    if kept:
        new = points.new.X[kept]
        kernel = problem.design.kernel
        cross = problem.cross(problem.design.X[rows], new)
        added = NewRows(cross, kernel(new), signs[kept], bounds[kept])
    elif not len(mine):
        return None, None
    moves = paths.edit(np.searchsorted(rows, mine), y=y, C=C, new=added if kept else None)
    return moves, new


def equal_rows(X, x):
    """Which rows equal one row exactly."""
    if sp.issparse(X):
        return np.array([abs(X[[i]] - x).max() == 0.0 for i in range(X.shape[0])], dtype=bool)
    return (X == x).all(axis=1)


def influence_change(problem, output, one, points, new_eta, at):
    """First-order change of one decision function under an edit.

    Parameters
    ----------
    problem : HingeObjective
    output : int
    one : Conditional
        Of the hinge itself.
    points : Points
    new_eta : ndarray of shape (n_new, n_outputs) or None
        Decision values of the rows that the edit adds.
    at : ndarray or CSR array of shape (m, n_features)

    Returns
    -------
    change : ndarray of shape (m,)
    """
    change = np.zeros(at.shape[0])
    pushing = np.flatnonzero(one.push[points.rows])
    if len(pushing):
        mine = points.rows[pushing]
        weight = points.row_changes[pushing] * one.push[mine]
        change += one.cross(at, problem.design.X[mine]) @ weight
    if points.new is not None:
        push = new_push(problem, output, points.new_y, new_eta[:, output])
        change += one.cross(at, points.new.X) @ (points.new_weights * push)
    return change


def new_push(problem, output, codes, eta):
    """What one unit of weight of rows outside the fit would put on their coefficients."""
    short = problem.loss.signs[codes, output] * eta < 1.0 - AT_MARGIN
    return problem.units(codes)[:, output] * short
