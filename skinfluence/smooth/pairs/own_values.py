"""What one-row edits do to the row's own decision value, certified to second order.

Derivations are in ``doc/certificate.md``, "The row's own value".
"""

from dataclasses import dataclass

import numpy as np

from skinfluence import certificate
from skinfluence._utils.weights import weigh
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.accuracy import inflation as inflated
from skinfluence.smooth.optimum.accuracy import shrink


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

    @classmethod
    def of(cls, parts):
        """Those of several edits one after the other."""
        names = ("change", "bound", "round_off")
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))

    def replace(self, which, others):
        """Take over those of other answers to some of the edits that have smaller bounds."""
        better = others.bound < self.bound[which]
        which = which[better]
        self.change[which], self.bound[which] = others.change[better], others.bound[better]

    def within(self, tol):
        """Whether each change is certified to ``tol`` or to round-off."""
        return certificate.within(self.bound, np.abs(self.change), tol, self.round_off)


class OneRowEdits:
    """One-row edits of one output and one shift, and what all their bounds need.

    Parameters
    ----------
    at : Whitened
        Of an objective with one output, at the shift of the edits.
    edits : RowEdits of m rows

    Attributes
    ----------
    h, g, D : ndarray of shape (m,)
        Leverage of each row, and the gradient and curvature that its edit adds there.
    alpha, grown : ndarray of shape (m,)
        The step is ``alpha H_s^-1 x`` and the drift of the penalty; ``P^-1 x = grown H_s^-1 x``.
    drift : ndarray of shape (m,)
        What the drift does to the row's own decision value.
    length, size : ndarray of shape (m,)
        ``|x|`` in the norm of ``P^-1`` and the size of the step in that of P.
    growth, shrink, kappa, slack, noise : ndarray of shape (m,)
        ``P^-1 <= growth H^-1``; ``H_s >= shrink H``; the largest row in the norm of ``P^-1``;
        relative error of solves; rounding of the edited gradient, as a distance.
    floor, round_off : ndarray of shape (m,)
        Of own decision values.
    idle : ndarray of bool, shape (m,)
        Edits that change nothing.
    """

    # Whether every step is along the row that is edited, but for one drift of all.
    are_along_rows = True
    # The share of a tolerance that is left for errors of the problem that is solved.
    part_of_errors = 1.0

    def __init__(self, at, edits):
        accuracy, factor, objective = at.accuracy, at.accuracy.factor, at.objective
        self.at, self.objective, self.rows = at, objective, edits.rows
        self.M = objective.loss.self_concordance
        self.weight, self.y = edits.weight, edits.y
        h = steps.row_leverages(factor, edits)
        left = steps.complements(factor, edits, h)[:, 0, 0]
        self.h, self.g, self.D = h[:, 0, 0], edits.gradient[:, 0], edits.hessian[:, 0, 0]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.grown = 1.0 / left
            self.drift = np.zeros(len(left)) if at.drift is None else at.drifts[edits.rows]
            self.alpha = -(self.g + self.D * self.drift) * self.grown
            self.length = np.sqrt(np.maximum(self.h * self.grown, 0.0))
            self.size = np.abs(self.g) * self.length
            if at.drift is not None:
                square = self.alpha * (self.alpha * self.h + 2.0 * self.drift)
                square += at.drift @ at.drift + self.D * self.moved**2
                self.size = np.sqrt(np.maximum(square, 0.0))
            leverage = np.maximum(-self.D * self.h, 0.0)
            self.shrink = shrink(edits.shift, objective)
            solve_error = accuracy.solve_error_at(edits.one_shift)
            kept = (1.0 - leverage * (1.0 + solve_error)) * self.shrink
            self.growth = np.where(kept > 0, 1.0 / kept, np.inf)
            self.slack = (2.0 * solve_error + factor.leverage_error) * self.growth
            largest = np.maximum(accuracy.row_sizes.max(initial=0.0), self.h)
            self.kappa = np.sqrt(largest * self.growth)
            rounding = accuracy.rounding(edits.design, edits.gradient, edits.hessian, self.h)
            # As in RowBatch, in the norm of P.
            self.noise = accuracy.floor * (np.sqrt(self.growth) - 1.0)
            self.noise += rounding * np.sqrt(self.growth)
            inflation = np.sqrt(inflated(np.maximum(self.D * self.h, 0.0), edits.shift, objective))
            self.floor = self.length * (self.noise + accuracy.floor * inflation)
            self.round_off = self.length * accuracy.round_off * inflation
        self.added = np.ones(len(left))
        # A row of zeros moves nothing, whatever it weighs.
        still = ((self.g == 0) & (self.D == 0)) | (self.h == 0)
        self.idle = still & (at.drift is None)

    def __len__(self):
        return len(self.rows)

    def take(self, chosen):
        """Some of the edits."""
        some = object.__new__(type(self))
        vars(some).update(
            {
                name: value[chosen] if isinstance(value, np.ndarray) else value
                for name, value in vars(self).items()
            }
        )
        return some

    @property
    def a(self):
        """The rows in the coordinates of ``at``, (m, n_parameters)."""
        return self.at.rows[self.rows]

    def begin(self, a):
        """The whole steps, in these coordinates."""
        step = self.alpha[:, None] * a
        return step if self.at.drift is None else step + self.at.drift

    def directions(self, a):
        """``P^-1 x`` over its length; of a row of zeros nothing."""
        there = self.length > 0
        share = np.divide(self.grown, self.length, out=np.zeros(len(there)), where=there)
        return share[:, None] * a

    def as_direction(self):
        """What directions are multiplied by to give the whole steps but for the drift; or None."""
        return self.alpha * self.length / self.grown

    def solved(self, a, S):
        """``-P^-1`` of the gradient that is left with the remainders ``S``."""
        b = self.g[:, None] * a + S
        if self.at.drift is not None:
            b -= self.at.drift
        along = np.einsum("bd,bd->b", a, b) * self.D * self.grown
        return along[:, None] * a - b

    def remaining(self, a, v):
        """The remainders whose chord ``v`` is: what :meth:`solved` makes it of."""
        b = -v - (self.D * np.einsum("bd,bd->b", a, v) + self.g)[:, None] * a
        return b if self.at.drift is None else b + self.at.drift

    def norm(self, v, a):
        """``|v|_P`` of each line."""
        square = np.einsum("bd,bd->b", v, v) + self.D * np.einsum("bd,bd->b", a, v) ** 2
        return np.sqrt(np.maximum(square, 0.0))

    def beyond_rows(self, w):
        """What a step leaves of the gradient beyond the rows and the penalty of the fit."""
        return 0.0 if self.at.drift is None else -self.at.drift

    def hessian_beyond_rows(self):
        """What an edit adds to the Hessian but for its row, (m, p, p), or nothing."""
        return 0.0

    def settle(self, r, error):
        """Keep what follows from where the edits' optima are.

        Parameters
        ----------
        r : ndarray of shape (m,)
            ``M`` times the largest change of a decision value under the whole step.
        error : ndarray of shape (m,)
            How far the optimum is from there at most, in the norm of P.
        """

    def may_be_within(self, tol):
        """Which edits are worth solving for their own values to ``tol``, a mask."""
        return np.ones(len(self), dtype=bool)

    def are_near(self, tol):
        """Which edits are worth solving for their parameters to ``tol``, a mask."""
        return np.ones(len(self), dtype=bool)

    def moved_errors(self, error, size):
        """Bounds on the errors of steps and their sizes, with all that moves beside the edits' rows.

        Parameters
        ----------
        error, size : ndarray of shape (m,)
            In the norm of P, of the problem that is solved.
        """
        return error, size

    @property
    def moved(self):
        """What the step does to the row's own decision value, (m,)."""
        return self.alpha * self.h + self.drift

    @property
    def eta(self):
        """Decision values of the rows, (m, 1)."""
        return self.objective.eta[self.rows]

    @property
    def are_bounded(self):
        """Whether something bounds the Hessian from below after each edit."""
        return np.isfinite(self.kappa) & np.isfinite(self.alpha)


def own_values(own, sums=None):
    """Newton steps of own decision values, corrected to second order, with bounds.

    Parameters
    ----------
    own : OneRowEdits
    sums : PairSums, TallSums or LeverageSums, default=None
        Those over all pairs of rows; the first when None.

    Returns
    -------
    found : OwnValues
    """
    sums = own.at.pairs_of(own.rows) if sums is None else sums
    loss, M, rows, h, alpha = own.objective.loss, own.M, own.rows, own.h, own.alpha
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # The row itself, as it is after the edit.
        W = weigh(own.weight, loss.hessian(own.eta, own.y)[:, 0, 0])
        T = weigh(own.weight, loss.third(own.eta, own.y))
        moved = own.moved
        # sum_j T_j K_ij delta_j^2, and roots of sum_j W_j K_ij^4 and sum_j W_j delta_j^4.
        cubes = alpha**2 * sums.cubes[rows] + T * h * moved**2
        across = sums.quarts[rows]
        along, far = np.abs(alpha) * across**0.25, np.abs(alpha) * sums.largest[rows]
        if own.at.drift is not None:
            drift = _Drift(own)
            cubes += drift.cubes
            along, far = along + drift.fourth, far + drift.largest
        across = own.grown**2 * np.sqrt(across + np.abs(W) * h**4)
        fourth = np.sqrt(along**4 + np.abs(W) * moved**4)
        r = M * np.maximum(far, np.where(W > 0, np.abs(moved), 0.0))
        second = 0.5 * own.grown
        change = moved - second * cubes
        left = certificate.remainder_average(M, r) * fourth + own.slack * own.size + own.noise
        E = certificate.gradient_bound(M, own.kappa, left, r)
        bound = certificate.own_value_bound(M, own.kappa, E, r, fourth, across, own.length)
        bound += second * alpha**2 * sums.cubes_error[rows] + own.floor
        bound += own.slack * (np.abs(moved) + second * np.abs(cubes) + own.length * own.size)
    return answered(own, change, bound)


def own_quadratic(own):
    """Own decision values of a quadratic loss, of which the Newton step is the whole change.

    Parameters
    ----------
    own : OneRowEdits

    Returns
    -------
    found : OwnValues
    """
    a = own.a
    with np.errstate(invalid="ignore", over="ignore"):
        change = np.einsum("bd,bd->b", a, own.begin(a))
        error = own.slack * own.size + own.noise
        own.settle(np.zeros(len(own)), error)
        return answered(own, change, own.length * error + own.floor)


class _Drift:
    """What the drift of the penalty adds to the sums over the rows ``j != i``."""

    def __init__(self, own):
        objective, at = own.objective, own.at
        third = weigh(objective.weights, objective.loss.third(objective.eta, objective.y))
        second = objective.weighted_hessians[:, 0, 0]
        drifts, rows, h, alpha, e = at.drifts, own.rows, own.h, own.alpha, own.drift
        a = at.rows[rows]
        T = third[rows]
        squares = np.einsum("id,id->i", a @ ((at.rows.T * (third * drifts)) @ at.rows), a)
        linear = a @ (at.rows.T @ (third * drifts**2))
        # Without the row itself.
        self.cubes = 2.0 * alpha * (squares - T * e * h**2) + (linear - T * e**2 * h)
        self.fourth = float(second @ drifts**4) ** 0.25
        self.largest = float(np.abs(drifts[objective.weights > 0]).max(initial=0.0))


def answered(own, change, bound):
    """The changes with their bounds: nothing where nothing is edited, ``inf`` where none is known."""
    change, bound = np.where(own.idle, 0.0, change), np.where(own.idle, 0.0, bound)
    return OwnValues(change, np.where(np.isnan(bound), np.inf, bound), own.round_off)
