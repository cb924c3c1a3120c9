"""
A support vector machine without a row
======================================

*Which rows does a support vector machine rest on?* Rows outside the margin can go without a trace.
For the others the solution moves along straight lines as the row fades out, with a bend where
another row comes to the margin or leaves it; following them gives the refit exactly.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from skinfluence import Influence, edits
from skinfluence.svm import SVC

X, y = make_moons(60, noise=0.25, random_state=3)
model = SVC(C=2.0, gamma=1.0, tol=1e-10).fit(X, y)
inf = Influence(model, X, y)

# %%
# How much of a change is it, for the decision at the row itself? Zero for rows that are no support
# vectors.

own = model.decision_function(X)
change = np.abs(inf.loo_decision_function() - own)
strongest = int(change.argmax())
print(f"{(change < 1e-9).sum()} of {len(y)} rows can go without a trace")

# %%
# Left, the boundary with and without the row that matters most. Right, the decision value at that row
# while its weight falls from one to zero: straight pieces.

refit = SVC(C=2.0, gamma=1.0, tol=1e-10)
kept = np.arange(len(y)) != strongest
refit.fit(X[kept], y[kept])
grid = np.stack(np.meshgrid(np.linspace(-2, 3, 150), np.linspace(-1.6, 2.1, 150)), axis=-1)
flat = grid.reshape(-1, 2)
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.scatter(*X.T, c=np.where(y == 1, "C0", "C1"), s=10 + 150 * change / change.max())
left.scatter(*X[strongest], s=260, facecolors="none", edgecolors="k")
for one, style in ((model, "-"), (refit, "--")):
    values = one.decision_function(flat).reshape(150, 150)
    left.contour(*grid.transpose(2, 0, 1), values, levels=[0], colors="k", linestyles=style)
left.set_title("with (line) and without the circled row (dashes)", fontsize=10)
left.set(xticks=[], yticks=[])

weights = np.linspace(1, 0, 41)
steps = [edits.reweight(strongest, weight) for weight in weights]
moved = inf.effect(steps, X[[strongest]], of="decision_function").values[0]
right.plot(weights, own[strongest] + moved, "C2")
right.scatter([0], refit.decision_function(X[[strongest]]), color="k", zorder=3, label="refit")
right.invert_xaxis()
right.set(xlabel="weight of the row", ylabel="decision value at the row")
right.legend(frameon=False)
plt.show()
