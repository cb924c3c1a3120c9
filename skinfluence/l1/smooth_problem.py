"""The fitted problem of a smooth loss with an L1 penalty: logistic regression with few coefficients."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.design import Design, design_of
from skinfluence.l1.problem import PenalisedProblem
from skinfluence.losses import Loss
from skinfluence.objective import Labels
from skinfluence.problem import Chosen


@dataclass(frozen=True, eq=False)
class SmoothL1Problem(PenalisedProblem):
    """``sum_i w_i l(z_i'b, y_i) + sum_j l1_j |b_j| + l2_j b_j^2 / 2`` at fitted parameters.

    Parameters
    ----------
    loss : SingleOutputLoss
    design : Design
        The intercept is its last column.
    y, weights, sample_weight : ndarray of shape (n_samples,)
    l1, l2 : ndarray of shape (n_columns,)
        Zero for an intercept that is not penalised.
    theta : ndarray of shape (n_columns,)
        As fitted.
    labels : Labels
    hold : {"C", "lambda"}
        Whether edits keep the penalties, or those over the total weight.
    chosen : Chosen, default=None
        As in :class:`~skinfluence.problem.Problem`.
    """

    loss: Loss
    design: Design
    y: np.ndarray
    weights: np.ndarray
    sample_weight: np.ndarray
    l1: np.ndarray
    l2: np.ndarray
    theta: np.ndarray
    labels: Labels
    hold: str = "C"
    chosen: Chosen | None = None

    model_name = "a classifier with an L1 penalty"
    needs_all_classes = True
    without_a_class = "a fit knows no such class"

    def kinds(self, y):
        return self.labels.codes_of(y)

    def on(self, X, rows, carried):
        if rows.ratio is not None:
            return None
        design = design_of(X, self.design.intercept)
        penalties = {}
        for name, before in self.weighing(rows.weights.sum()).items():
            penalties[name] = np.full(design.n_columns, before[0])
            if design.intercept:
                penalties[name][-1] = before[-1]
        return replace(
            self,
            design=design,
            y=rows.y,
            weights=rows.weights,
            sample_weight=rows.sample_weight,
            theta=carried(self.theta[None], design)[0],
            **penalties,
        )

    def value(self, theta):
        """The objective at some parameters."""
        eta = self.design.multiply(theta[:, None])
        penalty = self.l1 @ np.abs(theta) + 0.5 * self.l2 @ theta**2
        return float(self.weights @ self.loss.value(eta, self.y) + penalty)
