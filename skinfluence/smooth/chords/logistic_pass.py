"""What a pass of remainders over the rows says of many one-row edits, in single precision.

One compiled loop serves every loss whose derivatives are a logistic's: its sums, and what the edited
row adds to them. Derivations are in ``doc/certificate.md``, "Chords in single precision".
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from skinfluence.losses import Binomial, SmoothHinge, Tweedie

# Changes of a curvature, relative to it, that are bounded by their largest; larger ones row by row.
BENT = 0.25
# Relative rounding of a remainder in single precision, and of sums of squares.
REMAINDER, SUMS = 4e-6, 1e-4


class LogisticRows:
    """The rows of an objective as rows of a logistic loss.

    Parameters
    ----------
    objective : Objective
        With one output, of a loss that :meth:`serves`.
    sizes : ndarray of shape (n_samples,)
        ``|x_j|^2`` in the norm of the inverse of the Hessian.

    Attributes
    ----------
    scale : float
        ``l(eta)`` is a logistic loss of ``scale eta``, in size.
    edf : float
        ``sum_j w_j l''_j |x_j|^2``.
    mass : ndarray of float32, shape (n_samples,)
        Weights times the curvature of the logistic loss: ``w l''`` is ``|scale|`` times that.
    """

    def __init__(self, objective, sizes):
        eta, loss = objective.eta[:, 0], objective.loss
        second = objective.weighted_hessians[:, 0, 0]
        self.scale = 1.0
        if isinstance(loss, Tweedie):
            # An exponential is a logistic far out.
            self.scale = 1.0 if loss.power == 1 else -1.0
            p, s, mass = np.zeros(len(eta)), np.ones(len(eta)), second
        else:
            if isinstance(loss, SmoothHinge):
                eta, self.scale = (eta - objective.y) / loss.temperature, 1.0 / loss.temperature
            p, s = expit(eta), expit(-eta)
            mass = objective.weights * p * s
        self._terms = [one.astype(np.float32) for one in (p, s, mass, sizes)]
        self.mass = self._terms[2]
        self.edf = float(second @ sizes)

    def take(self, rows):
        """Some of the rows; :attr:`edf` stays that of all."""
        some = object.__new__(type(self))
        some.scale, some.edf = self.scale, self.edf
        some._terms = [one[rows] for one in self._terms]
        some.mass = some._terms[2]
        return some

    @staticmethod
    def serves(objective):
        """Whether the loss has its remainders in single precision."""
        loss = objective.loss
        if isinstance(loss, Tweedie):
            return loss.power in (1, 2)
        return isinstance(loss, Binomial | SmoothHinge)

    def remainders(self, delta, Z, rho, sums, rows=slice(None)):
        """Fill ``rho`` with weighted remainders of some rows and add to the sums of each edit.

        See :func:`~skinfluence._compiled.pairs.logistic_remainders`; the sign is that of the loss.
        """
        from skinfluence._compiled.pairs import logistic_remainders

        terms = [one[rows] for one in self._terms]
        logistic_remainders(delta, Z, *terms, np.float32(self.scale), np.float32(BENT), rho, sums)

    @property
    def sign(self):
        """What remainders are multiplied by."""
        return -1.0 if self.scale < 0 else 1.0


@dataclass(frozen=True, eq=False)
class Passed:
    """Sums over all rows as they are after each of m edits.

    Attributes
    ----------
    rest : ndarray of shape (m,)
        Weighted remainder of the edited row itself.
    r : ndarray of shape (m,)
        Largest change of a log-curvature.
    G : ndarray of shape (m,)
        ``(sum_j w_j rho_j^2 / l''_j)^1/2``.
    bent, carried : ndarray of shape (m,)
        ``sum_j w_j l''_j (q_j - 1)^2 z_j^2`` and ``sum_j w_j l''_j q_j^2 z_j^2``.
    turned : ndarray of shape (m,)
        ``sum_j w_j l''_j (q_j - 1)^2 |x_j|^2``, of the other rows.
    kept, changed : ndarray of shape (m,)
        At least so much of P the Hessian at the iterate is, and by at most so much it differs.
    """

    rest: np.ndarray
    r: np.ndarray
    G: np.ndarray
    bent: np.ndarray
    carried: np.ndarray
    turned: np.ndarray
    kept: np.ndarray
    changed: np.ndarray

    @classmethod
    def of(cls, rows, own, moved, sums, lost):
        """The sums of :meth:`LogisticRows.remainders`, with what the edited rows add.

        Parameters
        ----------
        rows : LogisticRows
        own : OneRowEdits of m rows
        moved : ndarray of shape (m,)
            Changes of the rows' own decision values.
        sums : ndarray of shape (7, m)
        lost : ndarray of shape (m,)
            What rounding may move row j by, over ``|x_j|``.
        """
        # Of the logistic loss in its own units: l'' is its curvature times the scale.
        scale = abs(rows.scale)
        r, G = sums[0], np.sqrt(sums[1] / scale)
        bent, carried, turned, fell, rose = sums[2:] * scale
        loss, eta, weight = own.objective.loss, own.eta, own.weight
        second = loss.hessian(eta, own.y)[:, 0, 0]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rest = loss.remainder(eta, own.y, moved[:, None])[:, 0]
            q = loss.hessian(eta + moved[:, None], own.y)[:, 0, 0] / second
            there = weight > 0
            own_z = np.where(there, weight * second * own.length**2, 0.0)
            q = np.where(there, q, 1.0)
            G = np.sqrt(G**2 + np.where(there, weight * rest**2 / second, 0.0))
            bent = bent + own_z * (q - 1.0) ** 2
            carried = carried + own_z * q**2
            r = np.where(there, np.maximum(r, np.abs(moved) * own.M), r)
            # Rows beyond BENT are added up in the norm of P, with what their rounding can be.
            unsure = own.M * lost * own.kappa * rows.edf
            fell, rose = (
                own.growth * (one * (1.0 + SUMS) + unsure)
                + own_z * np.maximum(side * (q - 1.0) - BENT, 0.0)
                for one, side in ((fell, -1.0), (rose, 1.0))
            )
            # Of their squares what the moves and the ratios of curvatures lose is lost.
            unsure = (own.M * lost * own.kappa + REMAINDER) * np.exp(r) * np.sqrt(rows.edf)
            bend = own.growth * ((1.0 + SUMS) * np.sqrt(turned) + unsure) ** 2
            bend = np.sqrt(bend + own_z * (q - 1.0) ** 2)
            kept = np.maximum(np.maximum(1.0 - BENT - fell, 1.0 - bend), np.exp(-r))
            changed = np.minimum(np.minimum(np.expm1(r), BENT + np.maximum(fell, rose)), bend)
            rest = np.where(there, weight * rest, 0.0)
        return cls(rest, r, G, bent, carried, turned, kept, changed)
