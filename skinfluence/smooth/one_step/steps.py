"""Steps of the parameters that answer edits at one row: to first order, or one Newton step by Woodbury.

Arrays in, arrays out; nothing here evaluates a model at test points.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.naming import rows_have
from skinfluence._utils.weights import weigh
from skinfluence.design import Design
from skinfluence.smooth.one_step import without_row
from skinfluence.smooth.one_step.fills import Fills
from skinfluence.solvers.base import Factor
from skinfluence.solvers.class_dual import ClassDualFactor
from skinfluence.solvers.dual import DualFactor
from skinfluence.solvers.primal import PrimalFactor

# Refinements of an edited solve: at most so many, until so little is changed, relative to the solution.
MAX_REFINEMENTS, REFINED = 5, 1e-11

# One minus a leverage times the reciprocal condition of the Hessian: below this an explicit inverse
# leaves fewer than nine digits of it. Rows that keep more than so much of 1 are fine at any rate.
MANY_DIGITS, ROUGH = 1e9 * np.finfo(float).eps, 1e6
# Of a stripe of rows whose matrices stay in the cache.
STRIPE_BYTES = 2**22
# Factors that know what is left of 1 where a row has nearly all of a direction.
DUALS = (DualFactor, ClassDualFactor)
# Curvature times reach of rows that reach far in some direction: leverages are at most 1.
FAR = 1e3
# What rounding may make of one minus a leverage of 1.
ALONE = 1e-13
# What is left of 1 below which a leverage is 1.
SINGULAR = 1e-11
# And below which it is asked of a factor made for it, if it takes one.
CANCELLED = 1e-4


@dataclass(frozen=True, eq=False)
class RowEdits:
    """Many edits, each at one row: ``b_i = J_i' c_i`` and ``dH_i = J_i' D_i J_i``.

    Parameters
    ----------
    design : Design of m rows
    gradient : ndarray of shape (m, n_outputs)
        ``c_i``, the change of the weighted gradient.
    hessian : ndarray of shape (m, n_outputs, n_outputs)
        ``D_i``, the change of the weighted Hessian.
    shift : ndarray of shape (m,)
        The change of the total weight.
    rows : ndarray of int, shape (m,)
        The training row of each edit.
    y : ndarray of shape (m, ...)
        The loss's y of the row after the edit.
    weight : ndarray of shape (m,)
        Weight of the row after the edit.
    ratio : ndarray of shape (m, n_columns), default=None
        What each entry of the penalty is multiplied by; None for nothing.
    fills : Fills, default=None
        By how much each edit moves what stands in missing cells; only with a ratio.
    """

    design: Design
    gradient: np.ndarray
    hessian: np.ndarray
    shift: np.ndarray
    rows: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    ratio: np.ndarray | None = None
    fills: Fills | None = None

    @property
    def one_shift(self):
        """The shift as one number where it is the same for all, else the array."""
        first = float(self.shift[0]) if len(self.shift) else 0.0
        return first if (self.shift == first).all() else self.shift

    @property
    def move_fills(self):
        """Whether what stands in some missing cells moves."""
        return self.fills is not None and bool(self.fills.holes.any())

    def take(self, chosen):
        """Some of the edits."""
        return RowEdits(
            self.design.take(chosen),
            self.gradient[chosen],
            self.hessian[chosen],
            self.shift[chosen],
            self.rows[chosen],
            self.y[chosen],
            self.weight[chosen],
            None if self.ratio is None else self.ratio[chosen],
            None if self.fills is None else self.fills.take(chosen),
        )

    def undone(self, chosen, objective):
        """The same edits but for some, a mask, which change nothing."""
        if not chosen.any():
            return self
        rows = self.rows[chosen]
        gradient, hessian, shift = self.gradient.copy(), self.hessian.copy(), self.shift.copy()
        y, weight = np.array(self.y), self.weight.copy()
        gradient[chosen], hessian[chosen], shift[chosen] = 0.0, 0.0, 0.0
        y[chosen], weight[chosen] = objective.y[rows], objective.weights[rows]
        ratio = self.ratio
        if ratio is not None:
            ratio = np.where(chosen[:, None], 1.0, ratio)
        fills = self.fills and self.fills.undone(chosen)
        return RowEdits(self.design, gradient, hessian, shift, self.rows, y, weight, ratio, fills)


def row_edits(objective, rows, y, weight):
    """Giving each of ``rows``, on its own, the target ``y`` and the weight ``weight``."""
    eta, old = objective.eta[rows], objective.weights[rows]
    gradient = -weigh(old[:, None], objective.gradients[rows])
    hessian = weigh(-old[:, None, None], objective.hessians_at(rows))
    if (weight != 0.0).any():
        gradient += weigh(weight[:, None], objective.loss.gradient(eta, y))
        hessian += weigh(weight[:, None, None], objective.loss.hessian(eta, y))
    return RowEdits(
        objective.design.take(rows),
        gradient,
        hessian,
        weight - old,
        rows,
        y,
        weight,
    )


def removals(objective, rows):
    """Removing each of ``rows`` on its own."""
    return row_edits(objective, rows, objective.y[rows], np.zeros(len(rows)))


def relabels(objective, rows, label):
    """Giving each of ``rows``, on its own, the label at position ``label`` of the classes."""
    labels = objective.labels
    y = labels.relabelled(label, objective.y[rows])
    same = (objective.y[rows] == y).reshape(len(rows), -1).all(axis=1)
    relabelled = objective.sample_weight[rows] * labels.class_weight[label]
    return row_edits(objective, rows, y, np.where(same, objective.weights[rows], relabelled))


def row_leverages(factor, edits, method="one-step", digits=MANY_DIGITS):
    """``h_i`` of each edit's row at its own shift, shape (m, n_outputs, n_outputs).

    Those of an explicit inverse are asked of solves where one minus them would have too few ``digits``,
    as multiples of float64's.
    """
    held = method == "influence" or factor.objective.hold == "C"
    shift = 0.0 if held else edits.one_shift
    h = _known_leverages(factor, edits, shift)
    if type(factor) is not PrimalFactor or not factor.rcond < ROUGH * digits:
        return h
    # Those of an explicit inverse: what is one minus them has fewer digits than by a solve.
    if h.shape[1] == 1:
        left = 1.0 + (edits.hessian * h)[:, 0, 0]
    else:
        left = _least_left(edits.hessian, h, lambda left: left * factor.rcond < digits)
    near = np.flatnonzero(left * factor.rcond < digits)
    if len(near):
        h = h.copy()
        one = shift if np.ndim(shift) == 0 else shift[near]
        h[near] = factor.leverages_by_solves(edits.design.take(near), one)
    return h


def _least_left(hessian, h, is_small):
    """Smallest eigenvalue of each ``I + D_i h_i``, from below where that is not small."""
    left = np.empty(len(h))
    for block in row_blocks(len(h), h[:1].nbytes, STRIPE_BYTES):
        # No eigenvalue of a product is below minus its norm: most rows need none.
        taken = hessian[block] @ h[block]
        left[block] = 1.0 - np.sqrt(np.einsum("iab,iab->i", taken, taken))
        some = np.flatnonzero(is_small(left[block]))
        if len(some):
            left[block][some] = 1.0 + np.linalg.eigvals(taken[some]).real.min(axis=1)
    return left


def _known_leverages(factor, edits, shift):
    n = factor.objective.n_samples
    # The dual has a short cut for all training rows at once: one inverse instead of n solves.
    if len(edits.rows) == n and np.array_equal(edits.rows, np.arange(n)):
        return factor.leverages(None, shift)
    if np.ndim(shift) == 0:
        known = factor.shifted(shift).kept_leverages
        if known is not None:
            return known[edits.rows]
    return factor.leverages(edits.design, shift)


def step_coefficients(factor, edits, method, leverages=None, say=True):
    """The ``a_i`` of ``dtheta_i = -(H + shift R0)^-1 (J_i' a_i + shift R0 theta)``.

    Parameters
    ----------
    factor : Factor
    edits : RowEdits
    method : {"influence", "one-step"}
    leverages : ndarray of shape (m, K, K), default=None
        ``h_i`` at the shift of each edit, if they are known.
    say : bool, default=True
        Ask the Hessian without them about rows of leverage 1, and warn of those that have NaN all
        the same.

    Returns
    -------
    a : ndarray of shape (m, n_outputs)

    Notes
    -----
    ``"influence"``: ``a = c``, with the Hessian unshifted. ``"one-step"`` (Woodbury):
    ``a = (I + D h)^-1 (c - shift D J_i z)`` with ``z = (H + shift R0)^-1 R0 theta``.
    """
    if method == "influence":
        return edits.gradient
    h = row_leverages(factor, edits) if leverages is None else leverages
    right = edits.gradient
    Z = penalty_steps(factor, edits, method)
    if Z is not None:
        at_row = at_rows(edits.design, Z)
        right = right - edits.shift[:, None] * (edits.hessian @ at_row[..., None])[..., 0]
    A = complements(factor, edits, h)
    a = _solve_complements(A, right)
    some = _far_reaching(factor, edits, h)
    if len(some):
        _refine(factor, edits, some, A, right, a)
    left = np.flatnonzero(np.isnan(a).any(axis=1)) if say else ()
    if len(left):
        a[left] = without_row.coefficients(factor, edits.take(left))
        _say_undetermined(edits.rows[np.isnan(a).any(axis=1)])
    return a


def _far_reaching(factor, edits, h):
    """Edits of several outputs whose leverage lacks digits that a step needs, an array of int.

    What it lacks where a row reaches far the curvature lets into directions in which it reaches less.
    """
    if h.shape[1] == 1 or type(factor) not in (PrimalFactor, *DUALS):
        return np.arange(0)
    # Of a saturated row the leverage may be infinite, and the curvature nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = (np.einsum("iab,iab->i", one, one) for one in (edits.hessian, h))
        some = np.flatnonzero(factor.rcond < MANY_DIGITS * np.sqrt(np.prod(list(sizes), axis=0)))
        reach = (np.abs(edits.hessian[some]) @ np.abs(h[some])).max(axis=(1, 2))
        # Of rows that reach no farther than others the dual form knows what is left of 1.
        least = FAR if type(factor) in DUALS else 0.0
        return some[(factor.rcond < MANY_DIGITS * reach) & (reach > least)]


def _refine(factor, edits, some, A, right, a):
    """Refine coefficients of several outputs by solves: with ``d = H^-1 J'a``, ``a = right - D J d``."""
    some = some[np.isfinite(a[some]).all(axis=1) & a[some].any(axis=1)]
    edits = edits.take(some)
    shift = 0.0 if factor.objective.hold == "C" else edits.one_shift
    for _ in range(MAX_REFINEMENTS):
        eta = at_rows(edits.design, factor.solve_rows(edits.design, a[some], shift))
        left = right[some] - (edits.hessian @ eta[..., None])[..., 0] - a[some]
        change = np.linalg.solve(A[some], left[..., None])[..., 0]
        a[some] += change
        if (np.abs(change).max(axis=1) <= REFINED * np.abs(a[some]).max(axis=1)).all():
            break


def complements(factor, edits, h):
    """``I + D_i h_i`` of each edit, singular where an edit leaves a parameter undetermined.

    What is one minus a leverage comes from the factor where that knows it without cancellation.
    """
    out = edits.hessian @ h
    out[:, np.arange(h.shape[1]), np.arange(h.shape[1])] += 1.0
    if type(factor).complements is Factor.complements:
        return out
    # With a penalty that is held, weights that differ shift nothing.
    shift = 0.0 if factor.objective.hold == "C" else edits.one_shift
    if np.ndim(shift) == 0:
        _complements_at(factor.shifted(shift), edits, np.arange(len(out)), out)
        return out
    # A factorisation for each weight: of those only whose rows lose digits.
    lost = np.einsum("ikk->ik", out).min(axis=1, initial=1.0) < CANCELLED
    for value in np.unique(shift[lost]):
        some = np.flatnonzero(lost & (shift == value))
        _complements_at(factor.shifted(float(value)), edits, some, out)
    return out


def _complements_at(factor, edits, some, out):
    """Write what a factor knows of some edits' complements to their place."""
    objective, rows, taken = factor.objective, edits.rows[some], edits.hessian[some]
    curvature = weigh(objective.weights[rows][:, None, None], objective.hessians[rows])
    # Edits that take a share of the curvature of their row and leave its direction.
    with np.errstate(divide="ignore", invalid="ignore"):
        share = -taken[:, 0, 0] / curvature[:, 0, 0]
        curvature = share[:, None, None] * curvature
        straight = np.abs(taken + curvature) <= 4 * np.finfo(float).eps * np.abs(curvature)
    fair = np.flatnonzero(straight.all(axis=(1, 2)) & (share > 0) & (share <= 1))
    known = factor.complements(rows[fair], share[fair]) if len(fair) else None
    if known is not None:
        finite = np.isfinite(known).all(axis=(1, 2))
        out[some[fair[finite]]] = known[finite]


def _solve_complements(A, right):
    """Solve each small system; NaN where it is singular to round-off."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if A.shape[1] == 1:
            out = right / A[:, 0]
        else:
            try:
                out = np.linalg.solve(A, right[..., None])[..., 0]
            except np.linalg.LinAlgError:
                out = (np.linalg.pinv(A) @ right[..., None])[..., 0]
                out[np.linalg.cond(A) > 1e14] = np.inf
    # Relative to 1: these are one minus a leverage.
    size, given = np.abs(out).max(axis=1, initial=0.0), np.abs(right).max(axis=1, initial=0.0)
    out[~(size <= given / SINGULAR)] = np.nan
    return out


def _say_undetermined(rows):
    if len(rows):
        warnings.warn(
            f"{rows_have(rows)} leverage 1: a parameter is determined by that row alone, "
            "and there is none without it, so its answers are NaN. Penalise the model, or drop the "
            "columns that one row decides.",
            UserWarning,
            stacklevel=level_outside(),
        )


def penalty_steps(factor, edits, method):
    """``z = (H + shift R0)^-1 R0 theta``, what one unit of weight does through its penalty.

    Returns
    -------
    Z : ndarray of shape (m, n_outputs, n_columns) or None
        None where edits carry no penalty.
    """
    objective = factor.objective
    if objective.hold == "C" or not edits.shift.any():
        return None
    k, d = objective.theta.shape
    q = (objective.unit_penalty * objective.theta).reshape(-1, 1)
    shift = 0.0 if method == "influence" else edits.one_shift
    if np.ndim(shift) == 0:
        one = factor.solve(q, shift).reshape(k, d)
        return np.broadcast_to(one, (len(edits.shift), k, d))
    distinct, position = np.unique(shift, return_inverse=True)
    each = factor.solve(np.repeat(q, len(distinct), axis=1), distinct)
    return each.T.reshape(-1, k, d)[position]


def at_rows(design, Z):
    """``J_i z_i`` of each row, shape (m, n_outputs)."""
    if Z.strides[0] == 0:
        return design.multiply(Z[0].T)
    return np.einsum("id,ikd->ik", design.dense_rows(), Z)


def parameter_steps(factor, edits, method, leverages=None):
    """``dtheta`` of each edit, shape (m, n_outputs, n_columns): one solve per edit."""
    return steps_from(factor, edits, method, step_coefficients(factor, edits, method, leverages))


def steps_from(factor, edits, method, a):
    """``dtheta`` of each edit from its coefficients ``a_i`` (see :func:`step_coefficients`)."""
    shift = 0.0 if method == "influence" else edits.one_shift
    steps = -factor.solve_rows(edits.design, a, shift)
    Z = penalty_steps(factor, edits, method)
    return steps if Z is None else steps - edits.shift[:, None, None] * Z


def own_eta_steps(factor, edits, method, leverages=None):
    """Change of the decision values of each edit's own row, shape (m, n_outputs).

    Needs the leverages only, if they are not known: no solve per row.
    """
    h = row_leverages(factor, edits, method) if leverages is None else leverages
    a = step_coefficients(factor, edits, method, h)
    steps = -(h @ a[..., None])[..., 0]
    Z = penalty_steps(factor, edits, method)
    if Z is not None:
        steps = steps - edits.shift[:, None] * at_rows(edits.design, Z)
    some = _far_reaching(factor, edits, h)
    if len(some):
        few = edits.take(some)
        steps[some] = at_rows(few.design, steps_from(factor, few, method, a[some]))
    return steps
