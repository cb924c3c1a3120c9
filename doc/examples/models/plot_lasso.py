"""
The lasso without a row
=======================

*Which columns does a lasso keep, and would it keep them without this row?* Holding the selection, as
one-step formulas do, misses what matters most. Here columns come and go with the row, and every
answer is that of a refit.
"""

# %%
# Diabetes, with all products of two columns, of which the lasso keeps a part.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import Influence
from skinfluence.linear_model import Lasso

X, y = load_diabetes(return_X_y=True)
X = StandardScaler().fit_transform(
    PolynomialFeatures(2, interaction_only=True, include_bias=False).fit_transform(X)
)
model = Lasso(alpha=1.5, tol=1e-10, max_iter=10**5).fit(X, y)
inf = Influence(model, X, y)
print(f"{np.count_nonzero(model.coef_)} of {X.shape[1]} columns are kept")

# %%
# The change of each row's own prediction without it, beside as many refits.

before = model.predict(X)
exact = inf.loo_predict() - before
held = inf.loo_predict(method="one-step") - before
refits, kept = np.empty(len(y)), np.empty((len(y), X.shape[1]), dtype=bool)
for i in range(len(y)):
    there = np.arange(len(y)) != i
    refit = clone(model).fit(X[there], y[there])
    refits[i], kept[i] = refit.predict(X[[i]])[0] - before[i], refit.coef_ != 0
for name, found in (("selection held", held), ("followed", exact)):
    off = np.linalg.norm(found - refits) / np.linalg.norm(refits)
    print(f"{name}: off by {off:.1e}")

# %%
# Right: how often a column would go, or another one come, were a row left out.

chosen = model.coef_ != 0
changes = (kept != chosen).sum(axis=0)
shaky = np.flatnonzero(changes)
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
end = 1.1 * np.abs(refits).max()
left.plot([-end, end], [-end, end], color="0.75", linewidth=1, zorder=0)
left.scatter(refits, held, s=18, color="0.6", label="selection held")
left.scatter(refits, exact, s=18, color="C0", label="followed")
left.set(xlabel="refit without the row", ylabel="said from one fit")
left.legend(frameon=False)
right.bar(range(len(shaky)), changes[shaky], color=np.where(chosen[shaky], "C0", "C1"))
right.set_xticks(range(len(shaky)), shaky, fontsize=8)
right.set(xlabel="column (blue: kept, orange: not)", ylabel="rows without which that changes")
plt.show()
