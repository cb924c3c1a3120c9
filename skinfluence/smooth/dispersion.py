"""The unit of residuals: their dispersion about a fit, and about the fit without each row."""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence._utils.calls import level_outside
from skinfluence._utils.memory import row_blocks
from skinfluence._utils.naming import rows_have
from skinfluence._utils.weights import weigh
from skinfluence.losses import SquaredError, Tweedie
from skinfluence.smooth.one_step import steps


@dataclass(frozen=True, eq=False)
class Dispersion:
    """Of the residuals of a fit, by what its leverages leave of their degrees of freedom.

    Parameters
    ----------
    fit : Deletions
        Residuals, leverages and what is left of them.
    """

    fit: object

    @cached_property
    def _mean(self):
        """What the targets are compared with, in the user's outputs."""
        eta = self.fit.objective.loss.expand(self.fit.eta)
        return eta if self.fit.is_squared else self.fit.loss.mean(eta)

    @cached_property
    def value(self):
        """``phi``, 1 where it is known."""
        known = isinstance(self.fit.loss, Tweedie) and self.fit.loss.power == 1
        if known or not isinstance(self.fit.loss, (SquaredError, Tweedie)):
            return 1.0
        objective = self.fit.objective
        sure = self.fit.without_cancellation or not objective.penalty.any()
        lost = 0.0 if sure else self.fit.rounding
        self._check_free(np.array([self._free]), objective.weights > 0, lost)
        squares = self.fit.residuals**2 / self.fit.information
        # Rounding of the targets and of what the model makes of them.
        y = objective.loss.bare(objective.y).reshape(len(squares), -1)
        terms = np.abs(y) + np.abs(self._mean)
        terms = weigh(objective.weights[:, None], terms**2) / self.fit.information
        if squares.sum() <= (200.0 * np.finfo(float).eps) ** 2 * terms.sum():
            raise ValueError(
                "The dispersion must be positive: it is the unit of these diagnostics. Got residuals "
                "that are zero to round-off, of a model that goes through every target. Is the "
                "target constant, or a copy of a feature? leverage, removal_effect and loo_* need "
                "no dispersion."
            )
        return float(squares.sum() / self._free)

    @property
    def _free(self):
        """Degrees of freedom of the residuals."""
        weighted = self.fit.objective.weights > 0
        if self.fit.without_cancellation:
            return float(np.einsum("ikk->", self.fit.complements[weighted]))
        return np.count_nonzero(weighted) * len(self.fit.directions) - self.fit.edf

    def _check_free(self, free, rows, lost=0.0):
        """Refuse degrees of freedom that are none, or no more than a thousand times what is lost."""
        if not (free > np.maximum(1e-8 * self.fit.edf, 1e3 * lost)).all():
            raise ValueError(
                "The dispersion needs more rows than effective degrees of freedom. Got "
                f"{np.count_nonzero(rows)} rows of positive weight, {self.fit.edf:.4g} degrees of freedom "
                f"and {free.min():.1e} left for the residuals. Drop columns or penalise more."
            )

    @cached_property
    def without_each(self):
        """``phi`` without each row for squared error, of the fit for others: (n_samples,).

        NaN for rows of leverage 1.
        """
        phi = self.value
        if not self.fit.is_squared:
            return np.full(self.fit.n_samples, phi)
        objective = self.fit.objective
        if objective.hold != "C" and objective.penalty.any():
            raise ValueError(
                "The dispersion without a row is known in closed form where the penalty stays. Got "
                "hold='lambda'; use Influence(..., hold='C')."
            )
        w, k = objective.weights, len(self.fit.directions)
        left = self.fit.kept[:, 0]
        moved = w[:, None] * objective.gradients / left[:, None]
        gone = (moved * objective.gradients).sum(axis=1)
        q, drift = self._penalty_forms
        # 2 Phi falls by w g^2 / (1 - w h); what is left without its penalty is the residual sum.
        whole = (w[:, None] * objective.gradients**2).sum()
        terms = np.stack([gone, 2.0 * (moved * drift).sum(axis=1), (moved**2).sum(axis=1) * q])
        residual = whole - terms.sum(axis=0)
        taken = k * w * q / left
        free = self._free - k * (w > 0) + taken
        lost = self.fit.rounding * taken
        if not self.fit.without_cancellation:
            # Errors of leverages are those of what they leave.
            lost = lost / left
        known = ~np.isnan(left)
        if objective.penalty.any() and not known.all():
            # Without a penalty there is no fit without the row, and its steps say so.
            warn_rows(
                ~known,
                "leverage 1 to the precision it has: the dispersion without it is not known (NaN). "
                "Penalise the model more, or drop the columns that one row decides.",
            )
        self._check_free(free[known], w > 0, lost[known])
        # A small difference of large terms: where a row has nearly all of the residuals, which are
        # few rows, and where hardly any are left, of more columns than rows.
        with np.errstate(invalid="ignore"):
            lost = residual < 1e-4 * (whole + np.abs(terms).sum(axis=0))
        for i in np.flatnonzero(lost):
            residual[i] = self._residual_sum_without(i)
        return residual / free

    def _residual_sum_without(self, row):
        """Weighted squared residuals of the other rows in the fit without one."""
        objective = self.fit.objective
        step = steps.parameter_steps(
            self.fit.factor, steps.removals(objective, np.array([row])), "one-step"
        )
        g = objective.gradients + objective.design.multiply(step[0].T)
        return float(
            np.delete(objective.weights, row) @ (np.delete(g, row, axis=0) ** 2).sum(axis=1)
        )

    @cached_property
    def _penalty_forms(self):
        """``J_i H^-1 R H^-1 J_i'`` of one output, and ``J_i H^-1 R theta``, of squared error."""
        objective = self.fit.objective
        if not objective.penalty.any():
            return np.zeros(self.fit.n_samples), np.zeros_like(objective.gradients)
        k, d = objective.theta.shape
        pull = self.fit.factor.solve((objective.penalty * objective.theta).reshape(-1, 1))
        drift = objective.design.multiply(pull.reshape(k, d).T)
        q = np.empty(self.fit.n_samples)
        first = np.eye(k)[0]
        for block in row_blocks(self.fit.n_samples, 32 * k * d):
            part = objective.design.take(block)
            V = self.fit.factor.solve_rows(part, np.broadcast_to(first, (part.n_samples, k)))
            q[block] = np.einsum("id,d->i", V[:, 0] ** 2, objective.penalty)
        return q, drift


def warn_rows(chosen, what):
    """Say which rows have what, once for all of them."""
    rows = np.flatnonzero(chosen)
    warnings.warn(f"{rows_have(rows)} {what}", UserWarning, stacklevel=level_outside())
