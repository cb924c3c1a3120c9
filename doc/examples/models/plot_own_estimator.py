"""
Your own estimator
==================

*I wrote a scikit-learn estimator. How does it learn to answer?* By one function that says which
objective it minimises. A check then compares all its answers with refits.
"""

# %%
# A regression whose loss is squared near zero and absolute far away, ``log cosh``.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import validate_data

from skinfluence import Influence, objective_of
from skinfluence.adapters import linear_objective
from skinfluence.losses import SingleOutputLoss
from skinfluence.utils.validation import check_sample_weight, check_targets


class LogCosh(SingleOutputLoss):
    self_concordance = 2.0  # the third derivative is at most twice the second

    def _value(self, eta, y):
        r = np.abs(eta - y)
        return r + np.log1p(np.exp(-2 * r)) - np.log(2)

    def _first(self, eta, y):
        return np.tanh(eta - y)

    def _second(self, eta, y):
        return 1 - np.tanh(eta - y) ** 2


class RobustRegressor(RegressorMixin, BaseEstimator):
    def __init__(self, alpha=1.0, fit_intercept=True):
        self.alpha, self.fit_intercept = alpha, fit_intercept

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        w = check_sample_weight(sample_weight, len(y))
        Z, loss = np.column_stack([X, np.full(len(y), float(self.fit_intercept))]), LogCosh()

        def value(theta):
            eta, penalised = (Z @ theta)[:, None], self.alpha * np.append(theta[:-1], 0)
            slope = Z.T @ (w * loss.gradient(eta, y)[:, 0]) + penalised
            return w @ loss.value(eta, y) + penalised @ theta / 2, slope

        theta = minimize(value, np.zeros(Z.shape[1]), jac=True, options={"gtol": 1e-9}).x
        self.coef_, self.intercept_ = theta[:-1], theta[-1]
        return self

    def predict(self, X):
        return validate_data(self, X, reset=False) @ self.coef_ + self.intercept_


# %%
# This is all it takes:


@objective_of.register
def _(model: RobustRegressor, X, y, sample_weight=None):
    w = check_sample_weight(sample_weight, X.shape[0])
    y = check_targets(X, y)
    return linear_objective(
        model, X, y, loss=LogCosh(), penalty=model.alpha, weights=w, sample_weight=w
    )


# %%
# Forty rows with three outliers: what each row does to the slope, beside least squares.

rng = np.random.default_rng(1)
X = np.sort(rng.uniform(-2, 2, (40, 1)), axis=0)
y = 1.5 * X[:, 0] + 0.5 * rng.standard_normal(40)
y[[3, 30, 36]] += [9.0, -8.0, -9.0]

from skinfluence.linear_model import Ridge  # noqa: E402

fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for ax, model in zip(axes, (Ridge(alpha=1.0), RobustRegressor()), strict=True):
    inf = Influence(model.fit(X, y), X, y)
    pull = np.abs(inf.influence_up_params()[:, 0, 0])
    ax.scatter(X[:, 0], y, s=8 + 250 * pull / 25, alpha=0.7, color="C0")
    ax.plot(X[:, 0], model.predict(X), color="k")
    ax.set_title(f"{type(model).__name__}: slope {model.coef_[0]:.2f}", fontsize=10)
    ax.set_xlabel("x (size: pull of the row on the slope)")
axes[0].set_ylabel("y")
plt.show()
