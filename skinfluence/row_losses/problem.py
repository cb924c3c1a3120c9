"""The fitted problem: a user's loss x rows x penalty x weights at the parameters ``theta``.

``Phi(theta) = sum_i w_i loss(theta, x_i, y_i) + 1/2 sum_k l2_k theta_k^2``
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skinfluence.design.dense import DenseDesign
from skinfluence.losses.base import decided
from skinfluence.objective import Labels, resolve_hold
from skinfluence.problem import Chosen, Problem
from skinfluence.row_losses.rows import ReadOnly, RowLoss
from skinfluence.solvers import SingularHessianError

NO_OUTPUTS = (
    "This MEstimator has a loss but no decision values. Pass decision=function(params, X), or ask "
    "about the loss."
)


class RowOutputs:
    """What the rest of the package sees of a row: its decision values, and then its loss.

    The loss of a user is no function of decision values, so it travels with them as the last
    number of ``eta``.

    Parameters
    ----------
    decision : callable or None
    """

    # As of a Loss.
    needs_positive = False

    def __init__(self, decision):
        self.decision = decision

    def value(self, eta, y):
        """The loss of each row."""
        return eta[..., -1]

    def expand(self, eta):
        """The decision values without the loss."""
        if self.decision is None:
            raise ValueError(NO_OUTPUTS)
        return eta[..., :-1]

    def mean(self, eta):
        """What a regression predicts, one number per row."""
        found = self.expand(eta)
        if found.shape[-1] != 1:
            raise ValueError(
                "Leave-one-out predictions and scores are of one number per row. Got "
                f"{found.shape[-1]} from decision=; ask for loo_decision_function."
            )
        return found

    def decide(self, eta):
        """Position of the class that a classifier predicts."""
        return decided(self.expand(eta))

    def check_y(self, y):
        """Any finite number may be a target."""
        return y

    def predict_proba(self, eta):
        raise AttributeError(
            "An MEstimator has no probabilities. Ask with of=function(eta) of its decision values."
        )


@dataclass(frozen=True, eq=False)
class MProblem(Problem):
    """Loss, rows, penalty and weights at parameters.

    Parameters
    ----------
    row_loss : RowLoss
    loss : RowOutputs
    design : DenseDesign
        The rows, without an intercept column.
    y : ndarray of shape (n_samples,)
        In the user's own coding.
    weights, sample_weight : ndarray of shape (n_samples,)
    penalty : ndarray of shape (n_params,)
        The diagonal of ``R``.
    theta : ndarray of shape (n_params,)
    damping : float
        Added to the diagonal of the Hessian where it is inverted.
    labels : Labels, default=None
    hold : {"C", "lambda"}
        What an edit of the weights keeps: ``R`` or ``R / sum(w)``.
    chosen : Chosen, default=None
        As in :class:`~skinfluence.problem.Problem`.
    """

    row_loss: RowLoss
    loss: RowOutputs
    design: DenseDesign
    y: np.ndarray
    weights: np.ndarray
    sample_weight: np.ndarray
    penalty: np.ndarray
    theta: np.ndarray
    damping: float = 0.0
    labels: Labels | None = None
    hold: str = "C"
    chosen: Chosen | None = None

    model_name = "an MEstimator"
    # How far the parameters may be from an optimum: not known of a loss of which nothing is.
    distance, has_distance = None, False
    # Whether parameters where Newton's method ends can be an optimum's, beyond that nothing is left to gain.
    is_determined = True
    # What helps where there is no minimum.
    remedy = "add l2"

    @property
    def n_parameters(self):
        return len(self.theta)

    @property
    def has_decisions(self):
        """Whether more is known of a row than its loss."""
        return self.loss.decision is not None

    @property
    def unit_penalty(self):
        """What one unit of weight adds to ``R``; zero when C is held."""
        if self.hold == "C":
            return np.zeros_like(self.penalty)
        return self.penalty / self.total_weight

    @cached_property
    def weighted(self):
        """Rows of positive weight: a loss need not be finite at the others."""
        kept = self.weights > 0
        if kept.all():
            return self.design.X, self.y, self.weights
        return self.design.X[kept], self.y[kept], self.weights[kept]

    @cached_property
    def _terms(self):
        X, y, weights = self.weighted
        penalty = 0.5 * self.penalty * self.theta**2
        return np.append(weights * self.row_loss.values(self.theta, X, y), penalty)

    def value(self):
        """``Phi(theta)``."""
        return float(self._terms.sum())

    @property
    def size(self):
        """Sum of the absolute terms of ``Phi``: what its rounding is relative to."""
        return float(np.abs(self._terms).sum())

    def gradient(self):
        """Gradient of ``Phi``, shape (n_params,)."""
        return self.row_loss.gradient(self.theta, *self.weighted) + self.penalty * self.theta

    def hessian(self):
        """Hessian of ``Phi``, without damping, shape (n_params, n_params)."""
        return self.row_loss.hessian(self.theta, *self.weighted) + np.diag(self.penalty)

    def longest(self, step):
        """The share of a step that Newton's method tries first: what is left of where the loss is defined."""
        return 1.0

    def by_another_way(self):
        """Its minimum by another way, where Newton's method ended at none: a RowLossMinimum, or None."""
        return None

    def refuse_singular(self, error):
        """Say more of why the Hessian at the fit cannot be factored, where more is known."""

    def without_minimum(self):
        """The error for a problem after an edit of which Newton's method finds no minimum."""
        return SingularHessianError(
            "The edited objective must have a minimum near the fit. Got an edit after which Newton's "
            f"method finds none; {self.remedy}."
        )

    def rounding(self, solve):
        """The rounding of the gradient as a decrement, by a solve with the Hessian.

        Each row's gradient is rounded relative to itself and, through what the loss makes of the
        parameters, to ``H_i |theta|``; signs at random add these up as rounding does.
        """
        X, y, weights = self.weighted
        rng, p = np.random.default_rng(0), self.n_parameters
        rows, others = rng.choice((-1.0, 1.0), (2, len(weights))) * weights
        signs, pull = rng.choice((-1.0, 1.0), (2, p))
        rounded = self.row_loss.gradient(self.theta, X, y, rows)
        rounded += self.row_loss.hessian_product(self.theta, X, y, others, signs * self.theta)
        rounded += pull * self.penalty * self.theta
        return float(np.finfo(float).eps * np.sqrt(abs(rounded @ solve(rounded))))

    @cached_property
    def gradients(self):
        """Gradient of each row's loss, without weights, shape (n_samples, n_params)."""
        return self.row_loss.gradients(self.theta, self.design.X, self.y)

    def outputs(self, theta, X, y):
        """The ``eta`` of rows at other parameters, shape (n_rows, n_outputs + 1).

        The loss is NaN where y is None.
        """
        loss = np.full(len(X), np.nan) if y is None else self.row_loss.values(theta, X, y)
        if self.loss.decision is None:
            return loss[:, None]
        return np.column_stack([predictions(self.loss.decision, theta, X), loss])

    def at(self, theta):
        """The same problem at other parameters."""
        other = replace(self, theta=theta)
        other.__dict__["weighted"] = self.weighted
        return other

    def holding(self, hold):
        """The same problem with another meaning of edits; ``"auto"`` is ``"C"``."""
        return replace(self, hold=resolve_hold(hold, "C"))


def predictions(decision, params, X):
    """What a user's ``decision=`` says about rows, shape (n_rows,) or (n_rows, n_outputs)."""
    found = np.asarray(ReadOnly(decision, "decision")(params, X), dtype=float)
    if found.ndim not in (1, 2) or len(found) != len(X):
        raise ValueError(
            f"decision must return one number or one line per row, ({len(X)}, ...). Got an array of "
            f"shape {found.shape}."
        )
    return found
