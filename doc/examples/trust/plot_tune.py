"""
Tune C without folds
====================

*How strongly should a model be penalised?* Cross-validation fits it on parts of the rows, and its
answer depends on the folds. Leaving out each row on its own has no folds, and costs about as much
here as five of them.
"""

# %%
# Two hundred rows and thirty columns, five of which matter.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skinfluence.linear_model import LogisticRegression
from skinfluence.model_selection import LeaveOneOutSearch

rng = np.random.default_rng(1)
X = rng.standard_normal((200, 30))
y = (X[:, :5] @ [1.0, -1.0, 0.8, 0.6, -0.5] + rng.logistic(size=200) > 0).astype(int)
grid = {"C": np.logspace(-3, 2, 16)}

search = LeaveOneOutSearch(LogisticRegression(max_iter=2000), grid, scoring="neg_log_loss")
search.fit(X, y)
print(f"left one out: C = {search.best_params_['C']:.3g}")

# %%
# The same by five folds, drawn ten times.

chosen, curves = [], []
for seed in range(10):
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    other = GridSearchCV(LogisticRegression(), grid, scoring="neg_log_loss", cv=folds).fit(X, y)
    chosen.append(other.best_params_["C"])
    curves.append(other.cv_results_["mean_test_score"])
print("five folds:   C =", ", ".join(f"{C:.3g}" for C in sorted(chosen)))

# %%
# And the loss on a hundred thousand new rows, which decides.

Z = rng.standard_normal((100_000, 30))
odds = Z[:, :5] @ [1.0, -1.0, 0.8, 0.6, -0.5]
p = 1 / (1 + np.exp(-odds))
true = []
for C in grid["C"]:
    q = LogisticRegression(C=C, max_iter=2000).fit(X, y).predict_proba(Z)[:, 1]
    true.append((p * np.log(q) + (1 - p) * np.log1p(-q)).mean())

fig, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
for k, curve in enumerate(curves):
    label = "five folds, ten draws" if k == 0 else None
    ax.semilogx(grid["C"], -curve, color="0.75", linewidth=1, label=label)
ax.semilogx(
    grid["C"], -search.cv_results_["mean_test_score"], "C0", linewidth=2, label="left one out"
)
ax.semilogx(grid["C"], -np.array(true), "k--", linewidth=1, label="new rows")
ax.axvline(search.best_params_["C"], color="C0", linewidth=1, linestyle=":")
ax.set(xlabel="C", ylabel="log loss", ylim=(0.45, 0.75))
ax.legend(frameon=False)
plt.show()
