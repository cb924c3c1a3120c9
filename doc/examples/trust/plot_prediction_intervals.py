"""
Prediction intervals from one fit
=================================

*Between which values will the target of a new patient lie?* Jackknife+ asks the models without each
row; full conformal prediction asks the model with the new patient in it, under every target it
could have. Both come from one fit, and their promise needs no model to be right.
"""

# %%
# Kernel ridge regression of disease progression on two features, 200 patients; 242 others are new.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import scale

from skinfluence.conformal import FullConformalRegressor, JackknifePlusRegressor
from skinfluence.inspection import IntervalsDisplay

X, y = load_diabetes(return_X_y=True, as_frame=True)
X, y = scale(X[["bmi", "s5"]]), y.to_numpy(float)
train, test = np.split(np.random.default_rng(0).permutation(len(y)), [200])
centre = y[train].mean()
estimator = KernelRidge(alpha=2.0, kernel="rbf", gamma=0.2)

# %%
# How often do intervals of each method hold the target, and how wide are they?

models = {
    "jackknife+": JackknifePlusRegressor(estimator),
    "minmax": JackknifePlusRegressor(estimator, kind="minmax"),
    "full conformal": FullConformalRegressor(estimator),
}
coverages = np.linspace(0.5, 0.95, 10)
fig, axes = plt.subplots(1, 2, figsize=(9.0, 4.0), layout="constrained")
axes[0].plot([0.5, 0.95], [0.5, 0.95], color="0.75", linewidth=1, zorder=0)
for name, model in models.items():
    model.fit(X[train], y[train] - centre)
    held, width = [], []
    for coverage in coverages:
        low, high = model.predict_interval(X[test], coverage).T + centre
        held.append(np.mean((low <= y[test]) & (y[test] <= high)))
        width.append(np.median(high - low))
    print(f"{name:15} asked for 90 %: held {held[8]:.1%}, median width {width[8]:.0f}")
    axes[0].plot(coverages, held, marker="o", markersize=4, label=name)
axes[0].set_xlabel("coverage asked for")
axes[0].set_ylabel("share of the new targets held")
axes[0].legend()

# %%
# The intervals of 40 new patients, in the order of their predictions.

model = models["full conformal"]
IntervalsDisplay.from_estimator(model, X[test[:40]], y[test[:40]] - centre, ax=axes[1])
axes[1].set_ylabel("disease progression, about its mean")
axes[1].set_title("full conformal", fontsize="medium")
plt.show()
