"""
Drop a hospital
===============

*Data come from many places. What would the model be without one of them?* A group is removed as a
whole: the sum of what its rows do one at a time is something else.
"""

# %%
# Twelve hospitals measure the same, but one has its unit wrong and one has seen few patients.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.metrics import log_loss

from skinfluence import Influence
from skinfluence.linear_model import LogisticRegression

rng = np.random.default_rng(0)
sizes = np.array([90, 80, 70, 60, 60, 50, 50, 40, 40, 30, 20, 6])
hospital = np.repeat([f"H{k:02d}" for k in range(1, 13)], sizes)
X = (
    rng.standard_normal((len(hospital), 5))
    + 0.3 * rng.standard_normal((12, 5))[np.repeat(np.arange(12), sizes)]
)
y = (X @ [1.5, -1.0, 0.5, 0.0, 0.0] + rng.logistic(size=len(X)) > 0).astype(int)
X[hospital == "H04", 0] *= -1.0
X_test = rng.standard_normal((500, 5))
y_test = (X_test @ [1.5, -1.0, 0.5, 0.0, 0.0] + rng.logistic(size=500) > 0).astype(int)

# %%
# The change of the mean test loss without each hospital: one call. Beside it, refits, and the sum of
# the changes without each row.

model = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, y)
inf = Influence(model, X, y)
together = inf.removal_effect(X_test, y_test, groups=hospital).mean(axis=0)
one_by_one = inf.removal_effect(X_test, y_test).mean(axis=0)
names = np.unique(hospital)
summed = np.array([one_by_one[hospital == name].sum() for name in names])
before = log_loss(y_test, model.predict_proba(X_test))
refits = []
for name in names:
    kept = hospital != name
    refit = clone(model).fit(X[kept], y[kept])
    refits.append(log_loss(y_test, refit.predict_proba(X_test)) - before)
print(f"largest difference from a refit: {np.abs(together - refits).max():.1e}")

# %%
# The loss falls without H04: look at what it sent.

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
place = np.arange(len(names))
ax.bar(place, together, color=np.where(together < 0, "C3", "C0"), label="without the hospital")
ax.scatter(place, refits, marker="o", facecolors="none", edgecolors="k", label="refit", zorder=3)
ax.scatter(place, summed, marker="x", color="0.4", label="sum over its rows", zorder=3)
ax.axhline(0, color="0.4", linewidth=0.8)
ax.set_xticks(place, names)
ax.set_ylabel("change of the mean test loss")
ax.legend(frameon=False)
plt.show()
