"""What one-row edits do to the row's own decision value, certified to second order.

Derivations are in ``doc/certificate.md``, "The row's own value".
"""

from dataclasses import dataclass

import numpy as np

from skinfluence import certificate
from skinfluence.smooth import steps
from skinfluence.smooth.accuracy import shrink


@dataclass(frozen=True, eq=False)
class OwnValues:
    """Changes of own decision values.

    Attributes
    ----------
    change : ndarray of shape (m,)
    bound : ndarray of shape (m,)
        On the error of each change.
    round_off : ndarray of shape (m,)
        What of the bound is round-off.
    """

    change: np.ndarray
    bound: np.ndarray
    round_off: np.ndarray

    def within(self, tol):
        """Whether each change is certified to ``tol`` or to round-off."""
        return certificate.within(self.bound, np.abs(self.change), tol, self.round_off)


class OneRowEdits:
    """One-row edits of one output that hold C, and what all their bounds need.

    Parameters
    ----------
    accuracy : Accuracy
        Of an objective with one output.
    edits : RowEdits of m rows

    Attributes
    ----------
    h, g, D : ndarray of shape (m,)
        Leverage of each row, and the gradient and curvature that its edit adds there.
    alpha, grown : ndarray of shape (m,)
        The step is ``alpha H^-1 x``, and ``P^-1 x = grown H^-1 x``.
    length, size : ndarray of shape (m,)
        ``|x|`` in the norm of ``P^-1`` and the size of the step in that of P.
    growth, kappa, slack, noise : ndarray of shape (m,)
        ``P^-1 <= growth H^-1``; the largest row in the norm of ``P^-1``; relative error of solves;
        rounding of the edited gradient, as a distance.
    floor, round_off : ndarray of shape (m,)
        Of own decision values.
    idle : ndarray of bool, shape (m,)
        Edits that change nothing.
    """

    def __init__(self, accuracy, edits):
        factor, objective = accuracy.factor, accuracy.objective
        self.objective, self.rows = objective, edits.rows
        self.M = objective.loss.self_concordance
        self.weight, self.y = edits.weight, edits.y
        h = steps.row_leverages(factor, edits)
        left = steps.complements(factor, edits, h)[:, 0, 0]
        self.h, self.g, self.D = h[:, 0, 0], edits.gradient[:, 0], edits.hessian[:, 0, 0]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.grown = 1.0 / left
            self.alpha = -self.g * self.grown
            self.length = np.sqrt(np.maximum(self.h * self.grown, 0.0))
            self.size = np.abs(self.g) * self.length
            leverage = np.maximum(-self.D * self.h, 0.0)
            kept = (1.0 - leverage * (1.0 + accuracy.solve_error)) * shrink(edits.shift, objective)
            self.growth = np.where(kept > 0, 1.0 / kept, np.inf)
            self.slack = (2.0 * accuracy.solve_error + factor.leverage_error) * self.growth
            largest = np.maximum(accuracy.row_sizes.max(initial=0.0), self.h)
            self.kappa = np.sqrt(largest * self.growth)
            rounding = accuracy.rounding(edits.design, edits.gradient, edits.hessian, self.h)
            # As in RowBatch, in the norm of P.
            self.noise = accuracy.floor * (np.sqrt(self.growth) - 1.0)
            self.noise += rounding * np.sqrt(self.growth)
            inflation = np.sqrt(1.0 + np.maximum(self.D * self.h, 0.0))
            self.floor = self.length * (self.noise + accuracy.floor * inflation)
            self.round_off = self.length * accuracy.round_off * inflation
        self.idle = (self.g == 0) & (self.D == 0)

    def __len__(self):
        return len(self.rows)

    def take(self, chosen):
        """Some of the edits."""
        some = object.__new__(OneRowEdits)
        for name, value in vars(self).items():
            setattr(some, name, value[chosen] if isinstance(value, np.ndarray) else value)
        return some

    @property
    def eta(self):
        """Decision values of the rows, (m, 1)."""
        return self.objective.eta[self.rows]

    @property
    def are_bounded(self):
        """Whether something bounds the Hessian from below after each edit."""
        return np.isfinite(self.kappa) & np.isfinite(self.alpha)


def own_values(own, sums):
    """Newton steps of own decision values, corrected to second order, with bounds.

    Parameters
    ----------
    own : OneRowEdits
        That hold C.
    sums : PairSums
        Of their factor.

    Returns
    -------
    found : OwnValues
    """
    loss, M, rows, h, alpha = own.objective.loss, own.M, own.rows, own.h, own.alpha
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The row itself, as it is after the edit.
        W = own.weight * loss.hessian(own.eta, own.y)[:, 0, 0]
        T = own.weight * loss.third(own.eta, own.y)
        cubes = sums.cubes[rows] + T * h**3
        fourth = alpha**2 * np.sqrt(sums.quarts[rows] + np.abs(W) * h**4)
        r = M * np.abs(alpha) * np.maximum(sums.largest[rows], np.where(W > 0, h, 0.0))
        second = 0.5 * own.grown * alpha**2
        change = alpha * h - second * cubes
        left = certificate.remainder_average(M, r) * fourth + own.slack * own.size + own.noise
        E = certificate.gradient_bound(M, own.kappa, left, r)
        bound = certificate.own_value_bound(M, own.kappa, E, r, np.abs(own.g), fourth, own.size)
        bound += second * sums.cubes_error[rows] + own.floor
        bound += own.slack * (np.abs(alpha * h) + second * np.abs(cubes))
    return answered(own, change, bound)


def answered(own, change, bound):
    """The changes with their bounds: nothing where nothing is edited, ``inf`` where none is known."""
    change, bound = np.where(own.idle, 0.0, change), np.where(own.idle, 0.0, bound)
    return OwnValues(change, np.where(np.isnan(bound), np.inf, bound), own.round_off)
