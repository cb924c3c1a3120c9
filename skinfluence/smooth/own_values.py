"""What one-row edits do to the row's own decision value, certified from sums over pairs of rows.

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


def own_values(accuracy, edits, sums):
    """Newton steps of own decision values, corrected to second order, with bounds.

    Parameters
    ----------
    accuracy : Accuracy
        Of an objective with one output that holds C.
    edits : RowEdits
    sums : PairSums
        Of its factor.
    """
    factor, objective = accuracy.factor, accuracy.objective
    loss, M, rows = objective.loss, objective.loss.self_concordance, edits.rows
    h = steps.row_leverages(factor, edits)
    left = steps.complements(factor, edits, h)[:, 0, 0]
    h, g, D = h[:, 0, 0], edits.gradient[:, 0], edits.hessian[:, 0, 0]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        grown = 1.0 / left
        alpha = -g * grown
        own = alpha * h
        length = np.sqrt(np.maximum(h * grown, 0.0))
        size = np.abs(g) * length
        # The row itself, as it is after the edit.
        eta, y = objective.eta[rows], edits.y
        W = edits.weight * loss.hessian(eta, y)[:, 0, 0]
        T = edits.weight * loss.third(eta, y)
        cubes = sums.cubes[rows] + T * h**3
        fourth = alpha**2 * np.sqrt(sums.quarts[rows] + np.abs(W) * h**4)
        r = M * np.abs(alpha) * np.maximum(sums.largest[rows], np.where(W > 0, h, 0.0))
        change = own - 0.5 * grown * alpha**2 * cubes

        leverage = np.maximum(-D * h, 0.0)
        shrunk = (1.0 - leverage * (1.0 + accuracy.solve_error)) * shrink(edits.shift, objective)
        growth = np.where(shrunk > 0, 1.0 / shrunk, np.inf)
        slack = 2.0 * accuracy.solve_error * growth
        slack = slack + factor.leverage_error * growth
        kappa = np.sqrt(np.maximum(accuracy.row_sizes.max(initial=0.0), h) * growth)
        rounding = accuracy.rounding(
            edits.design, edits.gradient, edits.hessian, accuracy.sizes(h[:, None, None])
        )
        # As in RowBatch, in the norm of P.
        noise = accuracy.floor * (np.sqrt(growth) - 1.0) + rounding * np.sqrt(growth)
        E = certificate.gradient_bound(
            M, kappa, certificate.remainder_average(M, r) * fourth + slack * size + noise, r
        )
        bound = certificate.own_value_bound(M, kappa, E, r, np.abs(g), fourth, size)
        bound += 0.5 * grown * alpha**2 * sums.cubes_error[rows]
        bound += slack * (np.abs(own) + np.abs(change - own))
        inflation = np.sqrt(1.0 + np.maximum(D * h, 0.0))
        bound += length * (noise + accuracy.floor * inflation)
        round_off = length * accuracy.round_off * inflation
    idle = (g == 0) & (D == 0)
    change, bound = np.where(idle, 0.0, change), np.where(idle, 0.0, bound)
    return OwnValues(change, np.where(np.isnan(bound), np.inf, bound), round_off)
