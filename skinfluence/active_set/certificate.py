"""Whether edited coefficients are optimal, on all rows and from the coefficients alone."""

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.active_set.problem import AT_LIMIT, violation

# With more rows on the margin than this, one of them is inside its box.
_FEW = 8


def certify(base, changes, found, accepted):
    """Largest violation of the optimality conditions of each edit, over all its rows.

    Where no row ends on the margin, the bias is moved to the middle of its interval first, in
    place.

    Parameters
    ----------
    base : Base
    changes : Changes
    found : Found
    accepted : float
        Violation from which rows outside the tableau are named.

    Returns
    -------
    worst : ndarray of shape (n_edits,)
        In units of the decision value; infinite for paths that did not end.
    outside : ndarray of int
        Rows outside the tableau that are violated.
    missed : ndarray of bool, shape (n_edits,)
        Edits that violate them.

    Notes
    -----
    One product of the kernel between all rows and the columns that change, with the changes.
    """
    from skinfluence._compiled.violations import worst_violations

    problem = base.truth
    used = np.flatnonzero((found.delta_beta != 0).any(axis=0))
    columns = found.columns[used]
    steps = np.ascontiguousarray(found.delta_beta[:, used].T)
    flat = np.flatnonzero((found.n_margin <= _FEW) & found.ended) if problem.free_bias else []
    if len(flat):
        _centre(base, changes, found, columns, steps, flat)
    place = np.full(problem.n, -1)
    place[columns] = np.arange(len(columns))
    inside = np.zeros(problem.n, dtype=bool)
    inside[found.columns] = True
    near, scale = _near(problem.C, base), np.maximum(problem.scale, 1.0)
    worst = np.where(found.ended, 0.0, np.inf)
    missed = np.zeros(len(worst), dtype=bool)
    is_outside = np.zeros(problem.n, dtype=bool)
    for rows, F in _decisions(base, changes, found, columns, steps):
        own = _changed(base, changes, found, rows, F, scale)
        with np.errstate(invalid="ignore"):
            # NaN, of coefficients that a singular system left, stays: it is no certificate.
            np.maximum.at(worst, own[0], own[1])
        part = slice(rows[0], rows[-1] + 1)
        worst_violations(
            F, steps, place[part], inside[part], problem.lo[part], problem.hi[part],
            problem.target[part], base.true_beta[part], near[part], scale[part],
            accepted, worst, missed, is_outside[part],
        )  # fmt: skip
    if changes.n_new:
        worst[0] = max(worst[0], _joined(base, changes, found, columns, steps))
    return worst, np.flatnonzero(is_outside), missed & found.ended


def _decisions(base, changes, found, columns, steps):
    """Blocks of rows and their decision values after each edit, (n_block, n_edits)."""
    problem = base.truth
    steps = np.where(found.ended, steps, 0.0)
    for part in row_blocks(problem.n, 8 * (len(columns) + 2 * steps.shape[1] + 1)):
        rows = np.arange(part.start, part.stop)
        F = problem.block(rows, columns) @ steps
        F += base.true_f[part][:, None]
        F += np.where(found.ended, found.delta_bias, 0.0)
        if changes.n_new:
            F += (changes.new.cross[part] @ found.new_beta[0])[:, None]
        yield rows, F


def _changed(base, changes, found, rows, F, scale):
    """Violations of the changed rows themselves; their entries of ``F`` become infinite."""
    entries = np.flatnonzero((changes.rows >= rows[0]) & (changes.rows <= rows[-1]))
    changed, edits = changes.rows[entries], changes.edit_of[entries]
    lo, hi, target = changes.box[:, entries]
    beta = base.true_beta[changed] + found.delta_beta[edits, base.places(changed)]
    values = F[changed - rows[0], edits]
    F[changed - rows[0], edits] = np.inf
    return edits, _violation(values - target, beta, lo, hi, _near(hi - lo, base), scale[changed])


def _joined(base, changes, found, columns, steps):
    """Largest violation of rows that the edit adds."""
    new, beta = changes.new, found.new_beta[0]
    f = new.cross.T @ base.true_beta + base.true_bias + found.delta_bias[0]
    f += new.cross[columns].T @ steps[:, 0] + new.among @ beta
    bound = new.y * new.C
    lo, hi = np.minimum(bound, 0.0), np.maximum(bound, 0.0)
    scale = np.diag(new.among) + base.truth.free_bias * np.mean(base.truth.diagonal)
    scale = np.maximum(scale, 1.0)
    return _violation(f - new.target, beta, lo, hi, _near(new.C, base), scale).max(initial=0.0)


def _near(C, base):
    """Distance from a limit that counts as at it, for rows of these bounds."""
    return AT_LIMIT * np.minimum(C, np.abs(base.true_beta).max())


def _violation(slack, beta, lo, hi, near, scale):
    """Of optimality and, times the kernel at the row, of the box: in units of the decision value."""
    beyond = scale * np.maximum(np.maximum(lo - beta, beta - hi) - near, 0.0)
    # Near a limit but not at it: going there is worth this much of the slack.
    short = scale * np.maximum(np.minimum(beta - lo, hi - beta), 0.0)
    left = np.minimum(violation(slack, beta - lo, hi - beta), short)
    return np.maximum(
        np.maximum(violation(slack, beta - lo - near, hi - beta - near), left), beyond
    )


def _centre(base, changes, found, columns, steps, flat):
    """Move the bias to the middle of its interval where no coefficient is inside its box."""
    problem = base.truth
    flat = flat[~_has_inside(base, changes, found, flat)]
    if not len(flat):
        return
    changes = changes.subset(flat)
    chosen = np.zeros(len(found.edits), dtype=bool)
    chosen[flat] = True
    part = found.take(chosen)
    low, high = np.full(len(flat), -np.inf), np.full(len(flat), np.inf)
    beta = base.true_beta[:, None].repeat(len(flat), axis=1)
    beta[columns] += steps[:, flat]
    lo, hi, target = (
        side[:, None].repeat(len(flat), axis=1) for side in (problem.lo, problem.hi, problem.target)
    )
    lo[changes.rows, changes.edit_of] = changes.box[0]
    hi[changes.rows, changes.edit_of] = changes.box[1]
    target[changes.rows, changes.edit_of] = changes.box[2]
    near = _near(hi - lo, base)
    for rows, F in _decisions(base, changes, part, columns, steps[:, flat]):
        needed = target[rows] - F
        can_rise = beta[rows] < (hi - near)[rows]
        can_fall = beta[rows] > (lo + near)[rows]
        low = np.maximum(low, np.where(can_rise, needed, -np.inf).max(axis=0))
        high = np.minimum(high, np.where(can_fall, needed, np.inf).min(axis=0))
    if changes.n_new:
        new, beta = changes.new, part.new_beta[0]
        f = new.cross.T @ base.true_beta + base.true_bias + part.delta_bias[0]
        f += new.cross[columns].T @ steps[:, flat[0]] + new.among @ beta
        size = np.abs(beta)
        near = _near(new.C, base)
        below, above = size < new.C - near, size > near
        can_rise = np.where(new.y > 0, below, above)
        can_fall = np.where(new.y > 0, above, below)
        low = np.maximum(low, np.where(can_rise, new.target - f, -np.inf).max())
        high = np.minimum(high, np.where(can_fall, new.target - f, np.inf).min())
    shift = 0.5 * (low + high)
    found.delta_bias[flat] += np.where(np.isfinite(shift), shift, 0.0)


def _has_inside(base, changes, found, edits):
    problem, columns = base.truth, found.columns
    beta = base.true_beta[columns] + found.delta_beta[edits]
    near = _near(problem.C[columns], base)
    inside = (beta > problem.lo[columns] + near) & (beta < problem.hi[columns] - near)
    place = np.full(problem.n, -1)
    place[columns] = np.arange(len(columns))
    changes = changes.subset(edits)
    at = changes.edit_of, place[changes.rows]
    lo, hi, _ = changes.box
    near = _near(hi - lo, base)
    inside[at] = (beta[at] > lo + near) & (beta[at] < hi - near)
    size = np.abs(found.new_beta[edits])
    if changes.n_new:
        near = _near(changes.new.C, base)
        joined = (size > near) & (size < changes.new.C - near)
        return inside.any(axis=1) | joined.any(axis=1)
    return inside.any(axis=1)
