"""What the diagnostics are made of: leverages, dispersions, and the fit without each row."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence._utils.naming import rows_have
from skinfluence._utils.weights import weigh
from skinfluence.answers import LOCAL, Answers
from skinfluence.losses import SquaredError, Tweedie
from skinfluence.smooth.dispersion import Dispersion, warn_rows
from skinfluence.smooth.one_step import steps
from skinfluence.smooth.optimum.row_space import refuse_turned

COEFFICIENTS = "Coefficients, and their standard errors,"
# What float64 may leave of an explicit inverse, relative to 1, for leverages to be made from it.
ROUGH = 1e-4


@dataclass(frozen=True, eq=False)
class Deletions:
    """The leverages, standard errors and deletion steps of an objective, each made once.

    Arrays over outputs are in the outputs that the user sees.
    """

    answers: Answers

    @property
    def factor(self):
        return self.answers.factor

    @property
    def objective(self):
        return self.answers.problem

    @property
    def loss(self):
        """The loss behind the coordinates in which a shift is taken out."""
        loss = self.objective.loss
        return getattr(loss, "loss", getattr(loss, "inner", loss))

    @property
    def eta(self):
        """Decision values of the rows, with their offsets."""
        eta, offset = self.objective.eta, self.objective.offset
        return eta if offset is None else eta + offset[:, None]

    @property
    def is_squared(self):
        return isinstance(self.loss, SquaredError)

    @property
    def n_samples(self):
        return self.objective.n_samples

    @cached_property
    def h(self):
        if not self.rounding > ROUGH:
            return self.factor.leverages()
        # Few digits are left of an explicit inverse, more of solves.
        edits = steps.removals(self.objective, np.arange(self.n_samples))
        return steps.row_leverages(self.factor, edits, "influence", np.finfo(float).eps / ROUGH)

    @cached_property
    def leverage(self):
        objective = self.objective
        return weigh(objective.weights, np.einsum("ikl,ilk->i", objective.hessians, self.h))

    @cached_property
    def edf(self):
        return float(self.leverage.sum())

    @cached_property
    def directions(self):
        """Row k: the coordinates of the core that make output k of the user, (n_outputs, K)."""
        return self.objective.loss.expand(np.eye(self.objective.loss.n_outputs)).T

    @cached_property
    def residuals(self):
        """``sqrt(w) e sqrt(E Lambda)``: minus the gradients, in the user's outputs."""
        gradients = self.objective.loss.expand(self.objective.gradients)
        return -weigh(np.sqrt(self.objective.weights)[:, None], gradients)

    @cached_property
    def information(self):
        """Variances of the gradients at ``phi = 1``, (n_samples, n_outputs)."""
        objective = self.objective
        if isinstance(self.loss, Tweedie):
            # The expected Hessian; the observed one depends on y.
            found = self.loss.mean((2.0 - self.loss.power) * self.eta)
            # Rows without weight have a residual of 0, whatever it is measured in.
            return np.where(objective.weights[:, None] > 0, found, 1.0)
        D = self.directions
        return np.einsum("ka,iab,kb->ik", D, objective.hessians, D)

    @cached_property
    def _known_complements(self):
        """``I - w_i Lambda_i h_i`` where the factor has it, or None."""
        return self.factor.complements(np.arange(self.n_samples), np.ones(self.n_samples))

    @property
    def without_cancellation(self):
        known = self._known_complements
        return known is not None and bool(np.isfinite(known).all())

    @cached_property
    def complements(self):
        """``I - w_i Lambda_i h_i`` of each row, (n_samples, K, K)."""
        objective, known = self.objective, self._known_complements
        taken = weigh(objective.weights[:, None, None], objective.hessians @ self.h)
        out = np.eye(objective.loss.n_outputs) - taken
        return out if known is None else np.where(np.isfinite(known), known, out)

    @cached_property
    def kept(self):
        """``1 - l`` of each of the user's outputs, NaN where it is 0 to the precision it has.

        Shape (n_samples, n_outputs).
        """
        objective, D, factor = self.objective, self.directions, self.factor
        H = np.where(objective.weights[:, None, None] > 0, objective.hessians, 0.0)
        own = np.einsum("ka,iab,kb->ik", D, H, D)
        left = np.einsum("ka,iab,ibc,kc->ik", D, self.complements, H, D, optimize=True)
        # A saturated output takes nothing: its curvature is no number any more.
        kept = np.divide(left, own, out=np.ones_like(left), where=own != 0)
        if factor.is_random:
            return kept
        known = max(steps.SINGULAR, 10.0 * factor.leverage_error)
        if not self.without_cancellation:
            known = max(known, 4.0 * self.rounding)
        return np.where(kept > known, kept, np.nan)

    @cached_property
    def scaled_residuals(self):
        """Pearson residuals over ``sqrt(1 - l)``, in the user's outputs."""
        residuals, alone = self.residuals, np.isnan(self.kept)
        with np.errstate(divide="ignore", invalid="ignore"):
            out = residuals / np.sqrt(self.information * self.kept)
        # The information of saturated outputs underflows.
        out[(residuals == 0) & ~alone] = 0.0
        alone, beyond = alone.any(axis=1), np.isinf(out).any(axis=1)
        if alone.any():
            warn_rows(
                alone,
                "leverage 1: the fit goes through its target whatever that is, so it has no "
                "studentised residual (NaN). Penalise the model, or drop the columns that one row "
                "decides.",
            )
        if beyond.any():
            warn_rows(
                beyond,
                "a Pearson residual beyond the numbers of float64 (inf): a probability of 0 for "
                "what came. Penalise the model, or correct the label.",
            )
        return out

    @property
    def rounding(self):
        """What float64 leaves of the factor, relative to 1."""
        return np.finfo(float).eps / (self.factor.rcond or 1.0)

    @cached_property
    def dispersion(self):
        """``phi``, 1 where it is known."""
        return Dispersion(self).value

    @cached_property
    def deleted_dispersion(self):
        """``phi`` without each row for squared error, of the fit for others: (n_samples,)."""
        return Dispersion(self).without_each

    @cached_property
    def fit_errors(self):
        """``sqrt(h_i)`` of each output, (n_samples, n_outputs)."""
        D = self.directions
        return np.sqrt(np.einsum("ka,iab,kb->ik", D, self.h, D))

    @cached_property
    def standard_errors(self):
        """``sqrt(diag(H^-1))`` in the user's outputs and units, (n_outputs, n_columns)."""
        refuse_turned(self.objective.design, COEFFICIENTS)
        k, d = self.objective.theta.shape
        D = self.directions
        out = np.empty((len(D), d))
        outputs = np.arange(k)
        for block in row_blocks(d, 16 * k * k * d):
            columns = np.arange(d)[block]
            unit = np.zeros((k, d, k, len(columns)))
            position = np.arange(len(columns))
            unit[outputs[:, None], columns, outputs[:, None], position] = 1.0
            S = self.factor.solve(unit.reshape(k * d, -1)).reshape(unit.shape)
            own = S[:, columns, :, position]
            out[:, block] = np.einsum("ka,cab,kb->kc", D, own, D)
        design = self.objective.design
        if design.intercept:
            out[:, -1] *= design.intercept**2
        if design.shift is not None:
            out[:, -1] = self._intercept_variances()
        return np.sqrt(out)

    def _intercept_variances(self):
        """Of the intercept of columns as they were given, a combination of the parameters."""
        design, D = self.objective.design, self.directions
        k, d = self.objective.theta.shape
        to_given = design.in_units(np.eye(d))[:, -1]
        directions = np.kron(np.eye(k), to_given[:, None])
        solved = directions.T @ self.factor.solve(directions)
        return np.einsum("ka,ab,kb->k", D, solved, D)

    def steps(self, method, tol):
        """Changes of the parameters without each row: ``(block, (b, n_outputs, n_columns))``."""
        for block, moved in self._removal_steps(method, tol):
            yield block, self._seen(moved)

    def score_steps(self, power):
        """``-H^-1 J_i' w_i C_i^-power g_i`` of each row, where ``C_i = I - w_i Lambda_i h_i``.

        ``power=0`` is the derivative in the weight, relative to it; ``power=1`` is minus one Newton
        step to the fit without the row, at the same penalty.

        Parameters
        ----------
        power : {0, 0.5, 1}

        Yields
        ------
        block : slice
        steps : ndarray of shape (b, n_outputs, n_columns)

        Raises
        ------
        ValueError
            For leverages that are estimates, and for rows of leverage 1.
        """
        factor, objective = self.factor, self.objective
        self.check_exact()
        refuse_turned(objective.design, COEFFICIENTS)
        scores = objective.weighted_gradients
        if power:
            self._refuse_alone()
            scores = self._divided(scores, power)
        for block in row_blocks(self.n_samples, 24 * objective.n_parameters):
            part = objective.design.take(block)
            yield block, self._seen(-factor.solve_rows(part, scores[block]))

    def group_steps(self, points, method, tol):
        """Changes of the parameters under edits, (n_edits, n_outputs, n_columns)."""
        self.check_exact()
        refuse_turned(self.objective.design, COEFFICIENTS)
        return self._seen(self.answers.solve_points(points, method, tol)[0])

    def inverse_hessian(self):
        """``H^-1`` of the parameters as the user sees them, both axes raveled as they are."""
        self.check_exact()
        refuse_turned(self.objective.design, COEFFICIENTS)
        k, d = self.objective.theta.shape
        once = self._seen(self.factor.solve(np.eye(k * d)).T.reshape(-1, k, d))
        once = once.reshape(k * d, -1)
        return self._seen(once.T.reshape(-1, k, d)).reshape(once.shape[1], -1)

    def _seen(self, steps):
        """Steps of the core's parameters (b, K, d), or changes of them, in the user's."""
        seen = self.objective.loss.expand(steps.transpose(0, 2, 1)).transpose(0, 2, 1)
        return self.objective.design.in_units(seen)

    def check_exact(self):
        """Refuse estimates of leverages and a damped Hessian."""
        factor = self.factor
        if factor.is_random or factor.curvature.damping:
            what = "random estimates" if factor.is_random else "a damped Hessian"
            raise ValueError(
                f"Standard errors need the Hessian of the fit. Got {what}, of the solver {factor.name}; "
                "use solver='auto' or 'exact'."
            )

    def _refuse_alone(self):
        alone = np.flatnonzero(np.isnan(self.kept).any(axis=1) & (self.objective.weights > 0))
        if len(alone):
            raise ValueError(
                "Residuals are divided by what the leverage of their row leaves of 1. "
                f"{rows_have(alone)} leverage 1. Use kind='hc0' or 'hc1', penalise the model, or drop "
                "the columns that one row decides."
            )

    def _divided(self, scores, power):
        """``C_i^-power s_i`` of each row."""
        C = self.complements
        if C.shape[-1] == 1:
            return scores / C[:, :, 0] ** power
        if power == 1:
            return np.linalg.solve(C, scores[:, :, None])[:, :, 0]
        # C = I - A S A^-1 with S symmetric and A the root of w Lambda, which may be singular: the
        # power series of the root in S needs no inverse of A.
        values, Q = np.linalg.eigh(self.objective.hessians)
        A = (Q * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ Q.transpose(0, 2, 1)
        A *= np.sqrt(self.objective.weights)[:, None, None]
        S = A @ self.h @ A
        values, Q = np.linalg.eigh(S)
        left = np.sqrt(1.0 - values)
        series = (Q / (left * (1.0 + left))[:, None, :]) @ Q.transpose(0, 2, 1)
        moved = A @ (series @ (A @ (self.h @ scores[:, :, None])))
        return scores + moved[:, :, 0]

    def sizes(self, method, tol):
        """``d_i' H d_i`` of each row's removal."""
        if method in LOCAL and self.objective.hold == "C":
            # The step is -H^-1 J_i' a_i: its size needs the leverages only.
            edits, lonely = self._removals(method)
            a = steps.step_coefficients(self.factor, edits, method, self.h)
            size = np.einsum("ia,iab,ib->i", a, self.h, a)
            size[lonely] = np.nan
            return size
        curvature = self.factor.curvature
        if self.objective.n_parameters <= self.n_samples:
            curvature = curvature.dense()
        size = np.empty(self.n_samples)
        for block, moved in self._removal_steps(method, tol):
            flat = moved.reshape(len(moved), -1).T
            size[block] = np.einsum("ij,ij->j", flat, curvature @ flat)
        return size

    def own_steps(self, method, tol):
        """Change of each row's own decision values without it, in the user's outputs."""
        own = self.answers.own_removals(method, tol) - self.answers.basis(method).eta
        _, lonely = self._removals(method)
        own[lonely] = np.nan
        return self.objective.loss.expand(own)

    def _removals(self, method):
        """One removal per row, and which of them leave no model, warned about."""
        return self.answers.row_edits(np.arange(self.n_samples), None, method)

    def _removal_steps(self, method, tol):
        """Changes of the parameters in the core's coordinates, NaN where there is no model."""
        return self.answers.row_steps(np.arange(self.n_samples), None, method, tol)
