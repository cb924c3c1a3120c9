"""Rows whose removal moves a model far: the others without each of them, and without each two."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence._utils.weights import weigh
from skinfluence.problem import weight_of_kinds
from skinfluence.smooth.batches.few_rows import optima_without
from skinfluence.solvers import SingularHessianError
from skinfluence.solvers.class_dual import ClassDualFactor
from skinfluence.solvers.dual import DualFactor
from skinfluence.solvers.primal import PrimalFactor

# So many rows at most and usually, whose pairs grow with the square; of too few nothing is learned.
MOST_ROWS, USUAL_ROWS, FEWEST_ROWS = 32, 8, 2
# What they may usually cost, in products of all rows with a vector for each output: a fit takes hundreds of
# these, one at a time, which is several times as slow.
PRODUCTS = 2300
# What more than the usual number may cost: products, and numbers in one of all pairs of them.
MOST_PRODUCTS, PAIRED = 16_000, 2e8
# Of the longest step, how short a step is still told from none.
LEAST_SIZE = 1e-4


@dataclass(frozen=True, eq=False)
class Without:
    """Leave-one-out losses of the others without each of some rows.

    Attributes
    ----------
    change : ndarray of shape (m,)
        Of the mean loss of the others, without each of these rows: of each other of these rows by
        the model without both, of all the rest by a Newton step from the model without the one.
    steps_off : ndarray of shape (m, m)
        By how much a Newton step would be off, for each other of these rows, in the place of the model
        without both, in its part of the mean.
    longer : ndarray of shape (m, n_samples)
        Lengths of the Newton steps without a further row, in the norm of the Hessian that is there.
    rows, share_in_mean : ndarray
        As given.
    shares : ndarray of shape (n_samples, m)
        Change of the loss of each of these rows, in its part of the mean, when any row is dropped: by a
        Newton step from the model that has not seen it.
    """

    change: np.ndarray
    steps_off: np.ndarray
    longer: np.ndarray
    shares: np.ndarray
    rows: np.ndarray
    share_in_mean: np.ndarray

    def error(self, length):
        """How far ``change`` may be off for the Newton steps of all the rest: an estimate.

        Parameters
        ----------
        length : ndarray of shape (n_samples,)
            Of the Newton step without each row, by the model of all.

        Notes
        -----
        What a step misses grows with the square of its length or faster: as much of that as the weaker half
        of these rows shows is taken for each of the rest, whose signs differ.
        """
        size = self.share_in_mean * np.maximum(self.longer, length) ** 2
        rest = size.copy()
        rest[:, self.rows] = 0.0
        half = np.argsort(length[self.rows], kind="stable")[: max(len(self.rows) // 2, 2)]
        shown = np.maximum(size[:, self.rows[half]], np.finfo(float).tiny)
        rate = (np.abs(self.steps_off[:, half]) / shown).max(axis=1)
        return rate * np.sqrt((rest**2).sum(axis=1))


def strongest(factor, length, thorough=False):
    """The rows to follow: those of the longest Newton steps.

    Parameters
    ----------
    factor : Factor
        At the optimum, whose penalty is held.
    length : ndarray of shape (n_samples,)
        Of the Newton step without each row, in the norm of the Hessian; 0 for rows not to follow.
    thorough : bool, default=False
        As many as help, and the usual number whatever it costs.

    Returns
    -------
    rows : ndarray of int
        Sorted; none where models without a row have no factor of this kind, or cost too much.
    """
    count = USUAL_ROWS
    direct = type(factor) in (PrimalFactor, DualFactor, ClassDualFactor)
    if not direct or factor.curvature.damping:
        count = 0
    elif thorough:
        count = max(count, min(MOST_ROWS, _affordable(factor)))
    else:
        count = min(count, int(PRODUCTS / _products_of_one(factor)))
    if count < FEWEST_ROWS:
        return np.empty(0, dtype=int)
    rows = np.sort(np.argsort(-length, kind="stable")[:count])
    return rows[length[rows] > 0]


def _affordable(factor):
    """How many rows may be followed beyond the usual number."""
    of_all = factor.objective.n_samples * factor.objective.n_parameters
    return int(min(MOST_PRODUCTS / _products_of_one(factor), np.sqrt(2.0 * PAIRED / of_all)))


def _products_of_one(factor):
    """What a factor and its leverages cost, in products of all rows with a vector for each output."""
    objective = factor.objective
    n, (k, d) = objective.n_samples, objective.theta.shape
    if type(factor) is ClassDualFactor:
        return 2 * n + 2 * n**2 / d
    if type(factor) is DualFactor:
        return 2 * n * k + (n * k) ** 2 / d
    return d * (k + 1) + k**2 * d**2 / n


def in_small_kinds(objective):
    """Rows whose class, where each must keep weight, has no more than two: without one, one is alone."""
    if not objective.needs_all_classes:
        return np.zeros(objective.n_samples, dtype=bool)
    kinds = objective.kinds(objective.y)
    there = (objective.weights > 0).astype(float)
    n_kinds = int(kinds.max(initial=-1)) + 1
    few = weight_of_kinds(kinds, there, n_kinds) <= 2
    return np.append(few, False)[kinds] if n_kinds else np.zeros(len(kinds), dtype=bool)


def without_each(factor, rows, removal, alone, share_in_mean):
    """What the models without some rows say of all the others.

    Parameters
    ----------
    factor : Factor
        As in :func:`strongest`.
    rows : ndarray of int, shape (m,)
        From :func:`strongest`.
    removal : ndarray of shape (n_samples, n_outputs)
        Of which ``H^-1 J_i' removal_i`` is the Newton step without row i.
    alone : ndarray of shape (n_samples, n_outputs)
        Leave-one-out decision values of all rows, by a Newton step.
    share_in_mean : ndarray of shape (n_samples,)
        Of the loss of each row.

    Returns
    -------
    without : Without or None
        None where a model was not found.
    """
    try:
        found = _judged(factor, rows, removal, alone, share_in_mean)
    except SingularHessianError:
        return None
    parts = found.change, found.steps_off, found.longer, found.shares
    return found if all(np.isfinite(part).all() for part in parts) else None


def _judged(factor, rows, removal, alone, share_in_mean):
    """As :func:`without_each`, with NaN where a model was not found."""
    objective, m = factor.objective, len(rows)
    loss, y, design = objective.loss, objective.y, objective.design
    steps = factor.solve_rows(design.take(rows), removal[rows])
    sizes = np.sqrt(
        np.maximum(np.einsum("mk,mk->m", removal[rows], _own(design, rows, steps)), 0.0)
    )
    # What the weakest one does to the strongest is a difference between two models.
    size = max(sizes.min(), LEAST_SIZE * sizes.max())
    alone_out = [rows[[a]] for a in range(m)]
    single = optima_without(factor, alone_out, objective.theta + steps, np.full(m, size))
    first, second = np.tril_indices(m, -1)
    both = optima_without(
        factor,
        [rows[[a, b]] for a, b in zip(first, second, strict=True)],
        single[first] + single[second] - objective.theta,
        np.full(len(first), size),
    )
    # losses[a, b]: of row b, by the model without a and b.
    losses = np.empty((m, m))
    losses[np.arange(m), np.arange(m)] = loss.value(_own(design, rows, single), y[rows])
    losses[first, second] = loss.value(_own(design, rows[second], both), y[rows[second]])
    losses[second, first] = loss.value(_own(design, rows[first], both), y[rows[first]])
    own, rest = np.diagonal(losses), share_in_mean.copy()
    rest[rows] = 0.0
    before = loss.value(alone, y)
    pairs = share_in_mean[rows] * (losses - own)
    change, steps_off = pairs.sum(axis=1), np.empty((m, m))
    longer, shares = np.empty((m, len(y))), np.empty((len(y), m))
    for a, row in enumerate(rows):
        there = _Model(factor, row, single[a])
        after = loss.value(there.eta + applied(there.leverages, there.removal), y)
        change[a] += rest @ (after - before)
        steps_off[a] = share_in_mean[rows] * (losses[a] - after[rows])
        steps_off[a, a] = 0.0
        longer[a] = there.lengths
        moved = there.eta[row] + np.einsum("nab,nb->na", there.across, there.removal)
        shares[:, a] = loss.value(moved, np.broadcast_to(y[row], y.shape)) - own[a]
        shares[row, a] = 0.0
    shares *= share_in_mean[rows]
    return Without(change, steps_off, longer, shares, rows, share_in_mean)


class _Model:
    """The model without a row, under its own Hessian."""

    def __init__(self, factor, row, theta):
        before = factor.objective
        k, d = before.theta.shape
        weights = before.weights.copy()
        weights[row] = 0.0
        here = replace(before, theta=theta, weights=weights, sample_weight=None)
        own = type(factor)(here)
        self.eta, self.leverages = here.eta, own.leverages()
        curved = weigh(weights[:, None, None], here.hessians @ self.leverages)
        self.removal = applied(
            np.linalg.inv(np.eye(k) - curved), weigh(weights[:, None], here.gradients)
        )
        squares = np.einsum("na,nab,nb->n", self.removal, self.leverages, self.removal)
        self.lengths = np.sqrt(np.maximum(squares, 0.0))
        unit = own.solve_rows(before.design.take(np.full(k, row)), np.eye(k))
        # J_row H^-1 J_i' of every row i.
        across = before.design.multiply(np.ascontiguousarray(unit.reshape(k * k, d).T))
        self.across = across.reshape(before.n_samples, k, k)


def _own(design, rows, theta):
    """``J_i theta_i`` of some rows, each under parameters of its own, (m, n_outputs)."""
    return np.einsum("md,mkd->mk", design.take(rows).dense_rows(), theta)


def applied(matrices, vectors):
    """Matrix times vector, row by row."""
    return (matrices @ vectors[..., None])[..., 0]
