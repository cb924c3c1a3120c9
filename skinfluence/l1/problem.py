"""The fitted problem of a squared error with an L1 penalty."""

from dataclasses import dataclass, field, replace

import numpy as np

from skinfluence.design import Design, design_of
from skinfluence.losses import Loss, SquaredError
from skinfluence.objective import resolve_hold
from skinfluence.problem import Chosen, Problem


class PenalisedProblem(Problem):
    """With penalties ``l1`` and ``l2``, and ``hold`` for what edits keep of them."""

    natural_hold = "C"

    def holding(self, hold):
        hold = resolve_hold(hold, self.natural_hold)
        return self if hold == self.hold else replace(self, hold=hold)

    def share(self, weight):
        """What the penalties are multiplied by at another total weight."""
        return weight / self.total_weight if self.hold == "lambda" else np.ones_like(weight)

    def weighing(self, total):
        """The penalties at another total weight, by name."""
        share = float(self.share(np.asarray(total)))
        return {"l1": share * self.l1, "l2": share * self.l2}


@dataclass(frozen=True, eq=False)
class L1Problem(PenalisedProblem):
    """``sum_i w_i (y_i - x_i'b - c)^2 / 2 + l1 |b|_1 + l2 |b|^2 / 2`` at fitted parameters.

    Parameters
    ----------
    design : Design
        With an intercept, which is not penalised, or without.
    y, weights : ndarray of shape (n_samples,)
    l1, l2 : float
    positive : bool
        Whether coefficients may not be negative.
    theta : ndarray of shape (n_columns,)
        As fitted, the intercept last.
    leaves : float
        What the fit's own rule to stop may leave of the objective; infinite where it did not end.
    hold : {"C", "lambda"}
        Whether edits keep the penalties, or those over the total weight.
    chosen : Chosen, default=None
        As in :class:`~skinfluence.problem.Problem`.
    """

    design: Design
    y: np.ndarray
    weights: np.ndarray
    l1: float
    l2: float
    positive: bool
    theta: np.ndarray
    leaves: float = np.inf
    hold: str = "lambda"
    loss: Loss = field(default_factory=SquaredError)
    labels: None = None
    chosen: Chosen | None = None

    model_name = "a model with an L1 penalty"
    natural_hold = "lambda"

    @property
    def sample_weight(self):
        """The weights: there are no class weights."""
        return self.weights

    def on(self, X, rows, carried):
        design = design_of(X, self.design.intercept)
        return replace(
            self,
            design=design,
            y=rows.y,
            weights=rows.weights,
            theta=carried(self.theta[None], design)[0],
            leaves=np.inf,
            **self.weighing(rows.weights.sum()),
        )

    def value(self, theta):
        """The objective at some parameters."""
        residual = self.y - self.design.multiply(theta[:, None])[:, 0]
        b = theta[: self.design.n_features]
        return float(
            0.5 * self.weights @ residual**2 + self.l1 * np.abs(b).sum() + 0.5 * self.l2 * b @ b
        )
