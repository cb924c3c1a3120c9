"""Huber regression with its scale: scikit-learn's loss of a row, in closed form.

With the residual r, the scale s and ``u = r / s`` a row has the loss ``s + s H(u)``, where ``H(u) = u^2``
up to epsilon and ``2 epsilon |u| - epsilon^2`` beyond. It is convex in coefficients and scale together;
where ``|u|`` is epsilon its second derivative jumps.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skinfluence.row_losses import huber_scale
from skinfluence.row_losses.huber_bound import distance
from skinfluence.row_losses.newton import factored
from skinfluence.row_losses.problem import MProblem
from skinfluence.row_losses.rows import RowLoss
from skinfluence.solvers import SingularHessianError

# Distance from zero over spread at which squares have lost half of the digits and more.
LOST = 1e6
# Share of itself that a step of Newton's method takes from the scale at most: at zero the loss ends.
LARGEST_FALL = 0.9
# Times epsilon that are tried for one at which there is an optimum.
LARGER = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


class HuberRows(RowLoss):
    """Values and derivatives of the losses of rows, in ``(coef, intercept, scale)``.

    Parameters
    ----------
    epsilon : float
    intercept : bool
        Whether there is one among the parameters.
    """

    broadcasts = True

    def __init__(self, epsilon, intercept):
        self.epsilon, self.intercept = epsilon, intercept

    def columns(self, X):
        """Rows with the column of the intercept, if there is one."""
        return np.column_stack([X, np.ones(len(X))]) if self.intercept else X

    def decide(self, params, X):
        """Decision values of rows, shape (n_rows,)."""
        eta = X @ params[: X.shape[1]]
        return eta + params[-2] if self.intercept else eta

    def _parts(self, params, X, y):
        """``u`` of each row, and whether it is within epsilon."""
        # Beyond the edge of where the loss is defined nothing is a number.
        scale = params[-1] if params[-1] > 0 else np.nan
        u = (y - self.decide(params, X)) / scale
        return u, np.abs(u) <= self.epsilon

    def values(self, params, X, y):
        if not params[-1] > 0:
            return np.full(len(X), np.inf)
        u, near = self._parts(params, X, y)
        far = 2.0 * self.epsilon * np.abs(u) - self.epsilon**2
        return params[-1] * (1.0 + np.where(near, u**2, far))

    def _slopes(self, params, X, y):
        """Derivatives in the decision value and in the scale."""
        u, near = self._parts(params, X, y)
        u = np.where(near, u, self.epsilon * np.sign(u))
        return -2.0 * u, 1.0 - u**2

    def gradients(self, params, X, y):
        slope, own = self._slopes(params, X, y)
        return np.column_stack([slope[:, None] * self.columns(X), own])

    def gradient(self, params, X, y, weights):
        slope, own = self._slopes(params, X, y)
        slope = weights * slope
        middle = [slope.sum()] if self.intercept else []
        return np.concatenate([slope @ X, middle, [weights @ own]])

    def _roots(self, params, X, y):
        """Rows whose products with themselves are the Hessians, (n_rows, n_params)."""
        u, near = self._parts(params, X, y)
        size = np.where(near, np.sqrt(2.0 / params[-1]), 0.0)
        return size[:, None] * np.column_stack([self.columns(X), u])

    def hessian(self, params, X, y, weights):
        u, near = self._parts(params, X, y)
        # The others do not curve.
        Z = np.column_stack([self.columns(X[near]), u[near]])
        return (2.0 / params[-1] * weights[near, None] * Z).T @ Z

    def hessian_product(self, params, X, y, weights, direction):
        Z = self._roots(params, X, y)
        return Z.T @ (weights * (Z @ direction))

    def row_hessians(self, params, X, y):
        Z = self._roots(params, X, y)
        return Z[:, :, None] * Z[:, None, :]

    def input_gradients(self, params, X, y, S):
        d = X.shape[1]
        u, near = self._parts(params, X, y)
        slope = -2.0 * np.where(near, u, self.epsilon * np.sign(u))
        # Of g's: the row itself, and through u, of which x takes -coef / scale.
        through = (
            np.where(near, 2.0 / params[-1], 0.0)
            * (self.columns(X) @ S[:-1] + np.outer(u, S[-1])).T
        )
        return slope[:, None] * S.T[:, None, :d] + through[:, :, None] * params[:d]


class HuberLoss:
    """What the rest of the package sees of a row: its decision value, and the scale of the model.

    Parameters
    ----------
    epsilon : float
    """

    n_outputs = 2

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def value(self, eta, y):
        """The loss of each row."""
        scale = eta[..., 1]
        u = np.abs(y - eta[..., 0]) / scale
        far = 2.0 * self.epsilon * u - self.epsilon**2
        return scale * (1.0 + np.where(u <= self.epsilon, u**2, far))

    def expand(self, eta):
        """The decision values without the scale."""
        return eta[..., :1]

    def mean(self, eta):
        """What the regression predicts."""
        return eta[..., :1]

    def check_y(self, y):
        """Any finite number may be a target."""
        return y

    def predict_proba(self, eta):
        raise AttributeError("A regression has no probabilities. Ask with of='predict'.")


class HuberProblem(MProblem):
    """A Huber regression and its training data; ``theta`` is ``(coef, intercept, scale)``."""

    model_name = "a Huber regression"
    has_decisions = has_distance = True
    remedy = (
        "fit with a larger epsilon: the rows that the regression passes through take its scale to zero "
        "where too few others lie beyond epsilon"
    )

    @cached_property
    def distance(self):
        return distance(self)

    @property
    def is_determined(self):
        if not self.theta[-1] > huber_scale.floor(self):
            return False
        try:
            factored(self.hessian())
        except SingularHessianError:
            return False
        return True

    def longest(self, step):
        return min(1.0, -LARGEST_FALL * self.theta[-1] / step[-1]) if step[-1] < 0 else 1.0

    def by_another_way(self):
        return huber_scale.by_scales(self)

    def refuse_singular(self, error):
        """Name columns so far from zero that their squares leave no digits."""
        columns, middles, spreads = self.design.far_columns()
        with np.errstate(divide="ignore"):
            far = np.abs(middles) / spreads
        if not (far > LOST).any():
            return
        worst, times = columns[np.argmax(far)], far.max()
        how = f"{times:.0e} times its spread" if np.isfinite(times) else "constant and far"
        raise SingularHessianError(
            f"The Hessian at the fit must be positive definite. Column {worst} is {how} from zero, and its "
            "squares leave no digits to what tells rows apart. Centre the columns: "
            "make_pipeline(StandardScaler(), HuberRegressor())."
        ) from error

    def without_minimum(self):
        below, place = huber_scale.bracketed(self)
        if below is not None:
            return SingularHessianError(
                "The Hessian must be positive definite at the optimum. Got a Huber regression whose rows "
                f"within epsilon of its scale, about {place.scale:.1e}, do not decide its parameters: fit "
                "with a larger epsilon or alpha, or drop columns that depend on each other."
            )
        X, y, _ = self.weighted
        rest = np.abs(y - self.row_loss.columns(X) @ place.coef)
        through = np.count_nonzero(rest <= self.row_loss.epsilon * place.scale)
        return SingularHessianError(
            "A Huber regression must have an optimum with a scale above zero. Got one that passes through "
            f"{through} of {len(y)} rows, which take its scale to zero: {self._what_helps()}."
        )

    def _what_helps(self):
        for times in LARGER:
            epsilon = float(f"{times * self.row_loss.epsilon:.2g}")
            other = replace(self, row_loss=HuberRows(epsilon, self.row_loss.intercept))
            found = huber_scale.by_scales(other)
            if found is not None and found.converged:
                return f"fit with a larger epsilon, {epsilon:g} or so"
        return (
            "no larger epsilon helps. Fit fewer columns or a larger alpha, or LinearRegression or Ridge, "
            "which have no scale"
        )

    def outputs(self, theta, X, y):
        """Decision values and the scale, (n_rows, 2)."""
        eta = self.row_loss.decide(theta, X)
        return np.column_stack([eta, np.full(len(eta), theta[-1])])
