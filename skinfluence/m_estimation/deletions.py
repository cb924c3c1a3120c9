"""Diagnostics of a user's loss: scales that need no more than the loss itself."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skinfluence._utils.memory import row_blocks
from skinfluence.m_estimation.answers import MAnswers
from skinfluence.smooth.deletions import deletions_of
from skinfluence.solvers import SingularHessianError


@dataclass(frozen=True, eq=False)
class MDeletions:
    """Leverages, standard errors and deletion steps of a user's loss.

    A loss says nothing of a scale. Steps are measured by the sandwich covariance of M-estimators
    (Huber 1967), ``A^-1 (sum_i w_i^2 g_i g_i') A^-1``, which needs none.
    """

    answers: MAnswers
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

    @cached_property
    def _covariance(self):
        problem, inverse = self.answers.problem, self.answers.inverse
        scores = problem.weights[:, None] * problem.gradients
        return inverse @ (scores.T @ scores) @ inverse

    @property
    def standard_errors(self):
        return np.sqrt(np.diagonal(self._covariance))[None]

    @property
    def deleted_dispersion(self):
        return np.ones(self.n_samples)

    def steps(self, method, tol):
        """Changes of the parameters without each row: ``(block, (b, 1, n_params))``."""
        rows = np.arange(self.n_samples)
        for block, steps in self.answers.row_steps(rows, None, method, tol):
            yield block, steps[:, None]

    def sizes(self, method, tol):
        """``d_i' C^-1 d_i`` of each row's removal, with the sandwich covariance."""
        try:
            L = np.linalg.cholesky(self._covariance)
        except np.linalg.LinAlgError as error:
            raise SingularHessianError(
                "Cook's distance of an MEstimator needs gradients of the rows that span all "
                f"parameters. Got {self.n_samples} rows and {len(self._covariance)} parameters, "
                "and a singular covariance; use dfbetas, or fewer parameters."
            ) from error
        out = np.empty(self.n_samples)
        for block, steps in self.steps(method, tol):
            out[block] = (np.linalg.solve(L, steps[:, 0].T) ** 2).sum(axis=0)
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


@deletions_of.register
def _(answers: MAnswers):
    return MDeletions(answers)
