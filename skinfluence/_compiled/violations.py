"""How far rows are from their optimality conditions after many edits."""

import numpy as np

from skinfluence._compiled.cached import REORDERED, compiled


@compiled(nogil=True, **REORDERED)
def worst_violations(
    F, steps, place, inside, lo, hi, target, beta, near, scale, accepted, worst, missed, is_outside
):
    """Violations of optimality of a block of rows in many edited problems.

    Parameters
    ----------
    F : ndarray of shape (n_block, n_edits)
        Decision values after each edit; infinite where the edit changes the row itself.
    steps : ndarray of shape (n_columns, n_edits)
        Changes of coefficients.
    place : ndarray of int, shape (n_block,)
        Row of ``steps`` or -1.
    inside : ndarray of bool, shape (n_block,)
        Rows that the paths have watched.
    lo, hi, target, beta, near : ndarrays of shape (n_block,)
        Boxes, targets, coefficients before the edit, and the distance that counts as at the limit.
    scale : ndarray of shape (n_block,)
        Size of the kernel: what a coefficient outside its box is worth in decision values.
    accepted : float
    worst, missed : ndarrays of shape (n_edits,)
        Largest violation, and whether rows that were not watched exceed ``accepted``; updated.
    is_outside : ndarray of bool, shape (n_block,)
        Rows that do; updated.
    """
    for r in range(len(F)):
        if lo[r] >= hi[r]:
            continue
        p = place[r]
        any_above = False
        for e in range(F.shape[1]):
            slack = F[r, e] - target[r]
            coef = beta[r] if p < 0 else beta[r] + steps[p, e]
            v = abs(slack)
            # Near a limit but not at it: going there is worth this much of the slack.
            if coef <= lo[r] + near[r]:
                v = max(-slack, min(v, scale[r] * max(coef - lo[r], 0.0)))
            elif coef >= hi[r] - near[r]:
                v = max(slack, min(v, scale[r] * max(hi[r] - coef, 0.0)))
            v = max(v, scale[r] * max(lo[r] - near[r] - coef, coef - hi[r] - near[r]))
            v = 0.0 if slack == np.inf else v
            worst[e] = max(worst[e], v)
            if v > accepted and not inside[r]:
                missed[e] = True
                any_above = True
        is_outside[r] |= any_above
