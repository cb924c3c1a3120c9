"""Whether a model without a penalty has an optimum: not if rows of a class part, or counts of zero fall."""

import numpy as np
from scipy.sparse.csgraph import connected_components

from skinfluence.edits import NoOptimumError
from skinfluence.losses import OneVsRest

# Columns up to which it is looked for combinations that no row holds, and not for single ones only.
MOST_COLUMNS = 2000
# What is nothing beside rows of length 1.
NOTHING = 1e-11
# Entries of a linear program up to which it is asked whether some rows of a class part from the others.
MOST_ENTRIES = 4_000_000
# What a linear program is off by, and how far rows fall at least that do so.
LOST, SEEN = 1e-8, 1e-6
# Decision values from which a row pulls at next to nothing that float64 shows beside others.
SURE = 30.0


class SeparableError(NoOptimumError):
    """Without a penalty, separable classes have no optimum, nor have counts of zero that fall without end."""


def refuse_separable(objective):
    """Refuse a model without a penalty whose optimum is at infinity.

    Of classes, where all rows are on the right side of what parts some of them from the others. Of a count
    model, where the rows whose target is 0 fall along a direction in which no other row moves: by the rows
    themselves, wherever the parameters are.

    Parameters
    ----------
    objective : Objective

    Raises
    ------
    SeparableError
    """
    if not _is_free(objective):
        return
    if objective.labels is not None:
        _refuse_parted_classes(objective)
    elif objective.loss.needs_positive:
        _refuse_falling_zeros(objective)


def why_no_optimum(problem):
    """What may leave a model without a penalty no optimum, in words, the end of a warning about some rows.

    Parameters
    ----------
    problem : Problem
    """
    at_infinity = ""
    if problem.labels is not None:
        at_infinity = ", or the classes are separated"
    elif problem.loss.needs_positive:
        at_infinity = ", or rows whose target is 0 fall without end"
    return (
        f"a parameter is not determined{at_infinity}, so there is no optimum. Penalise the model, or drop "
        "the columns that one row decides."
    )


def refuse_unbounded(objective):
    """As :func:`refuse_separable`, where Newton's method does not end: of classes by the rows, too.

    Without a penalty there is no optimum either where a direction moves some rows to their side and no
    row to another one, as along a column that only rows of one class have. That takes a linear program.

    Parameters
    ----------
    objective : Objective

    Raises
    ------
    SeparableError
    """
    refuse_separable(objective)
    if _is_free(objective) and objective.labels is not None:
        for A, _ in _sides(objective):
            _refuse_way(objective, _falls(-A))


def refuse_unbounded_fit(objective):
    """As :func:`refuse_separable`, of a fit that may have stopped far out: of classes by the rows, too.

    Where it ended no row pulls, so that only rows that are sure of their class can go on for ever: Newton's
    method ends there at once, and says nothing. The directions are looked at in which no other row moves,
    and mostly there are none.

    Parameters
    ----------
    objective : Objective

    Raises
    ------
    SeparableError
    """
    refuse_separable(objective)
    if not _is_free(objective) or objective.labels is None:
        return
    # Two classes are no further apart than this times the largest value.
    apart = np.sqrt(2.0 * objective.loss.n_outputs)
    if not apart * np.abs(objective.eta).max(initial=0.0) > SURE:
        return
    for A, margins in _sides(objective):
        sure = margins > SURE
        if not sure.any():
            continue
        _, s, V = np.linalg.svd(np.linalg.qr(A[~sure], mode="r"), full_matrices=True)
        free = V[np.count_nonzero(s > NOTHING * s.max(initial=0.0)) :].T
        way = _falls(-A[sure] @ free, NOTHING * np.sqrt(len(A)))
        _refuse_way(objective, None if way is None else free @ way)


def _is_free(objective):
    """Whether nothing holds the parameters but the rows, of a loss that may fall without end."""
    return not (objective.penalty > 0).any() and bool(objective.loss.self_concordance)


def _refuse_way(objective, way):
    """Refuse a model whose rows go on for ever along a direction, (n_parameters,), if there is one."""
    if way is None:
        return
    d = objective.design.n_columns
    sizes = np.abs(way.reshape(-1, d)[:, : objective.design.n_features]).max(axis=0)
    raise SeparableError(
        "An unpenalised classifier must not separate its training classes, nor some rows of one "
        f"from all others. Got a direction, along {_columns_in(sizes)}, in which no row moves to another "
        "class and some move on to theirs, so its optimum is at infinity and influence is not "
        "defined. Fit with a finite C, or drop those columns."
    )


def _sides(objective):
    """What parameters, in columns of length 1, move each row towards its class; of each problem.

    One line for a row and each class that it is not of; of classes against the rest each output is a
    problem of its own. Nothing where there would be too many numbers.

    Yields
    ------
    A : ndarray of shape (n_lines, n_parameters)
    margins : ndarray of shape (n_lines,)
        How far each is on its side.
    """
    design, loss, rows = objective.design, objective.loss, np.flatnonzero(objective.weights > 0)
    codes, eta = objective.labels.codes_of(objective.y)[rows], objective.eta[rows]
    k, alone = loss.n_outputs, isinstance(loss, OneVsRest)
    lines = 1 if k == 1 or alone else k
    if not design.in_memory or len(rows) * lines * design.n_columns * lines > MOST_ENTRIES:
        return
    X = design.take(rows).dense_rows()
    sizes = np.linalg.norm(X, axis=0)
    X = X / np.where(sizes > 0, sizes, 1.0)
    if k == 1 or alone:
        for output in range(k):
            sign = np.where(codes == (output if alone else 1), 1.0, -1.0)
            yield sign[:, None] * X, sign * eta[:, output]
        return
    of_class = loss.expand(np.eye(k)).T
    away = [of_class[codes] - other for other in of_class]
    parts = [np.einsum("nk,nd->nkd", one, X).reshape(len(X), -1) for one in away]
    yield np.concatenate(parts), np.concatenate([(one * eta).sum(axis=1) for one in away])


def _columns_in(sizes):
    """Columns of a direction in words, from what it has of each."""
    columns = np.flatnonzero(sizes > SEEN * sizes.max(initial=0.0))
    names = ", ".join(map(str, columns[:5])) + (", ..." if len(columns) > 5 else "")
    return f"column {names}" if len(columns) == 1 else f"columns {names}"


def _refuse_parted_classes(objective):
    weighted = objective.weights > 0
    codes = objective.labels.codes_of(objective.y)[weighted]
    eta = objective.loss.expand(objective.eta[weighted])
    if _separates(eta, codes, isinstance(objective.loss, OneVsRest)):
        raise SeparableError(
            "An unpenalised classifier must not separate its training classes. Every training row "
            "is on the right side of this one (C=inf), or of what parts some classes from the others, "
            "so its optimum is at infinity and influence is not defined. Fit with a finite C."
        )


def _separates(eta, codes, one_vs_rest):
    """Whether every row is on its side: of a plane, of one of several, or of those that part some classes."""
    if eta.shape[1] == 1 or one_vs_rest:
        own = codes[:, None] == (np.arange(eta.shape[1]) if one_vs_rest else 1)
        return bool((np.where(own, eta, -eta) > 0).all(axis=0).any())
    parts = _parts(eta, codes)
    # Of classes that overlap the mean: what one plane does for all of them.
    members = (parts == np.arange(parts.max() + 1)[:, None]).astype(float)
    means = eta @ (members / members.sum(axis=1, keepdims=True)).T
    own = np.take_along_axis(means, parts[codes][:, None], axis=1)
    np.put_along_axis(means, parts[codes][:, None], -np.inf, axis=1)
    return bool(parts.max() and (own[:, 0] > means.max(axis=1)).all())


def _parts(eta, codes):
    """The part of each class, (k,): two with a row on the wrong side of the plane between them share one."""
    k = eta.shape[1]
    least = np.full((k, k), np.inf)
    for own in range(k):
        rows = eta[codes == own]
        least[own] = (rows[:, [own]] - rows).min(axis=0, initial=np.inf)
    return connected_components(np.minimum(least, least.T) <= 0)[1]


def _refuse_falling_zeros(objective):
    way = _way_of_falling_zeros(objective)
    if way is None:
        return
    where = _columns_in(np.abs(way[: objective.design.n_features]))
    raise SeparableError(
        "Rows with positive targets must hold all directions of an unpenalised count model. Got a "
        f"direction, along {where}, in which none of them moves and rows whose target is 0 "
        "fall: their mean is 0 at an optimum that is at infinity, so influence is not defined. Fit with "
        "alpha > 0, or drop those columns."
    )


def _way_of_falling_zeros(objective):
    """A direction in which rows of target 0 fall and no other row moves, (n_columns,); None if there is none.

    O(n p) where the first rows with positive targets determine all parameters, as they mostly do.
    """
    design, there = objective.design, objective.weights > 0
    falling = there & (objective.loss.bare(objective.y) == 0)
    if not falling.any():
        return None
    sizes = np.sqrt(design.squared_columns(there[:, None].astype(float))[:, 0])
    scale = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    held = np.flatnonzero(there & ~falling)
    free = _not_held(design, held, scale)
    if not free.shape[1]:
        return None
    free *= scale[:, None]
    Z = np.asarray(design.take(np.flatnonzero(falling)).multiply(free))
    combined = _falls(Z, NOTHING * np.sqrt(len(held) + len(Z)))
    return None if combined is None else free @ combined


def _not_held(design, rows, scale):
    """Directions in which none of some rows moves, in columns of length 1, (n_columns, q)."""
    p = design.n_columns
    if p > MOST_COLUMNS:
        ones = np.zeros((design.n_samples, 1))
        ones[rows] = 1.0
        return np.eye(p)[:, (design.squared_columns(ones)[:, 0] == 0) & (scale > 0)]
    R = np.zeros((0, p))
    parts = max(1, len(rows) // (4 * p))
    for part in range(parts):
        # Rows from everywhere: the first ones may be alike.
        some = design.take(rows[part::parts]).dense_rows() * scale
        R = np.linalg.qr(np.vstack([R, some]), mode="r")
        _, s, V = np.linalg.svd(R, full_matrices=True)
        known = np.count_nonzero(s > NOTHING * s.max(initial=0.0))
        if known == p:
            break
    else:
        return V[known:].T if len(rows) else np.eye(p)
    return np.zeros((p, 0))


def _falls(Z, nothing=0.0):
    """Weights of some directions in whose sum no row rises and one falls; None for none.

    Rows that are no longer than ``nothing`` move along none of them.
    """
    length = np.linalg.norm(Z, axis=1)
    Z = Z[length > nothing] / length[length > nothing, None]
    if not len(Z):
        return None
    for sign in (1.0, -1.0):
        if Z.shape[1] == 1 and (sign * Z <= LOST).all():
            return np.array([sign])
    if Z.shape[1] == 1:
        return None
    # For models that need it only: it takes a while to load.
    from scipy.optimize import linprog

    exact = {"primal_feasibility_tolerance": 1e-10}
    found = linprog(Z.sum(axis=0), A_ub=Z, b_ub=np.zeros(len(Z)), bounds=(-1, 1), options=exact)
    if found.x is None:
        return None
    moved = Z @ found.x
    return found.x if moved.min() < -SEEN and moved.max() <= LOST else None
