"""Diagnostics of a user's loss: the definitions of all other models, with each row's Hessian."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.answers import Answers


@dataclass(frozen=True, eq=False)
class MDeletions:
    """Leverages, standard errors and deletion steps of a user's loss.

    The loss is taken as a negative log-likelihood, its scale included: the dispersion is 1.
    """

    answers: Answers
    dispersion = 1.0

    @property
    def n_samples(self):
        return self.answers.problem.n_samples

    @cached_property
    def leverage(self):
        """``w_i tr(A^-1 H_i)``; negative where a row's loss curves down."""
        problem, inverse = self.answers.problem, self.answers.inverse
        p = problem.n_parameters
        out = np.empty(problem.n_samples)
        for block in row_blocks(problem.n_samples, 16 * p * p):
            X, y = problem.design.X[block], problem.y[block]
            H = problem.row_loss.row_hessians(problem.theta, X, y)
            out[block] = np.einsum("ipq,qp->i", H, inverse)
        return problem.weights * out

    @cached_property
    def edf(self):
        return float(self.leverage.sum())

    @property
    def standard_errors(self):
        """``sqrt(diag(A^-1))``, (1, n_params)."""
        return np.sqrt(np.diagonal(self.answers.inverse))[None]

    @property
    def deleted_dispersion(self):
        return np.ones(self.n_samples)

    def steps(self, method, tol):
        """Changes of the parameters without each row: ``(block, (b, 1, n_params))``."""
        rows = np.arange(self.n_samples)
        for block, steps in self.answers.row_steps(rows, None, method, tol):
            yield block, steps[:, None]

    def score_steps(self, power):
        """As for linear models; rows whose Hessian has any rank have no root of a leverage."""
        self.check_exact()
        if power == 0.5:
            raise ValueError(
                "kind='hc2' needs rows whose Hessians are of decision values. Got an MEstimator; use "
                "'hc0', 'hc1', 'hc3' or 'jackknife'."
            )
        answers = self.answers.holding("C")
        rows = np.arange(self.n_samples)
        if power:
            for block, steps in answers.row_steps(rows, None, "one-step", 1e-3):
                yield block, -steps[:, None]
            return
        scale = answers.problem.weights / self.n_samples
        for block in row_blocks(self.n_samples, 24 * answers.problem.n_parameters):
            yield block, scale[block, None, None] * answers.up_params(rows[block])

    def check_exact(self):
        """Refuse a damped Hessian."""
        if self.answers.problem.damping:
            raise ValueError(
                "Standard errors need the Hessian of the fit. Got damping="
                f"{self.answers.problem.damping:g}; fit with damping=0."
            )

    def group_steps(self, points, method, tol):
        """Changes of the parameters under edits, (n_edits, 1, n_params)."""
        return self.answers.points_steps(points, method, tol)[0][:, None]

    def inverse_hessian(self):
        """``A^-1``."""
        return self.answers.inverse

    def sizes(self, method, tol):
        """``d_i' A d_i`` of each row's removal."""
        problem = self.answers.problem
        A = problem.hessian() + problem.damping * np.eye(problem.n_parameters)
        out = np.empty(self.n_samples)
        for block, steps in self.steps(method, tol):
            out[block] = np.einsum("bip,pq,biq->b", steps, A, steps, optimize=True)
        return out

    def _refuse(self, *ignored):
        raise ValueError(
            "An MEstimator has a loss per row, no residuals and no fitted values with a scale. Ask "
            "for leverage, cooks_distance, dfbetas, or loo_loss."
        )

    own_steps = _refuse
    fit_errors = property(_refuse)
    scaled_residuals = property(_refuse)
    is_squared = property(_refuse)
