"""
What is each row worth?
=======================

*Of what a model is worth, how much is due to each of its rows?* Shapley values share it out, by what
a row changes in models of other rows, of any number of them. Each sampled set of rows is fitted
once; what every row changes in it are edits of that fit.
"""

# %%
# A logistic regression of 120 rows of breast cancer, 12 of them with the wrong label.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skinfluence.linear_model import LogisticRegression
from skinfluence.values import shapley

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
rng = np.random.default_rng(0)
train, test = np.split(rng.permutation(len(y)), [120])
given = y[train].copy()
wrong = np.zeros(120, dtype=bool)
wrong[rng.choice(120, 12, replace=False)] = True
given[wrong] = 1 - given[wrong]
model = LogisticRegression(C=0.1).fit(X[train], given)

# %%
# Values in units of the mean test loss; 100 sets, and an error for each value.

found = shapley(model, X[test], y[test], n_draws=100, random_state=0)
print(f"all rows: {found.full - found.empty:.3f}, their values: {found.values.sum():.3f}")
print(f"wrong labels of negative value: {np.sum(found.values[wrong] < 0)} of 12")

order = np.argsort(found.values)
place = np.arange(120)
fig, ax = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
ax.axhline(0.0, color="0.75", linewidth=1)
for chosen, colour, label in ((~wrong, "C0", "right label"), (wrong, "C3", "wrong label")):
    shown = chosen[order]
    ax.errorbar(
        place[shown],
        found.values[order][shown],
        2 * found.standard_error[order][shown],
        fmt="o",
        markersize=3.5,
        linewidth=1,
        color=colour,
        label=label,
    )
ax.set_xlabel("rows, by their value")
ax.set_ylabel("value, with two standard errors")
ax.legend(loc="upper left")
plt.show()
