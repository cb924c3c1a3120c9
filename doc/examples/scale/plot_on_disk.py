"""
Rows on disk
============

*The training set does not fit into memory. Can each row still be left out?* Rows are read a block at
a time; the questions, and the numbers, are the same.
"""

# %%
# Two hundred thousand rows in a file, here of 64 MB.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.distributed import fit

folder = tempfile.TemporaryDirectory()
n, d = 200_000, 40
rng = np.random.default_rng(0)
X = np.lib.format.open_memmap(Path(folder.name) / "X.npy", "w+", np.float64, (n, d))
for start in range(0, n, 20_000):
    X[start : start + 20_000] = rng.standard_normal((20_000, d))
y = (4 * X[:, 0] - 2 * X[:, 1] + rng.logistic(size=n) > 0).astype(int)
wrong = rng.choice(n, 2_000, replace=False)
y[wrong] = 1 - y[wrong]

# %%
# Newton's method, a pass over the file for each step; then each row's own log odds without it.

model = fit(LogisticRegression(C=1.0), X, y)
inf = Influence(model, X, y)
unseen = inf.loo_decision_function(method="one-step")

# %%
# Rows by their margin under the model without them: those on the far left are the planted errors.

margin = np.where(y == 1, unseen, -unseen)
edges = np.linspace(-16, 16, 65)
fig, ax = plt.subplots(figsize=(7.2, 4), layout="constrained")
is_wrong = np.zeros(n, dtype=bool)
is_wrong[wrong] = True
ax.hist(margin[~is_wrong], edges, color="0.75", label="label as drawn")
ax.hist(margin[is_wrong], edges, color="C3", label="label turned around")
ax.set(xlabel="margin of the own label, left out", ylabel="rows", yscale="log")
ax.legend(frameon=False)
plt.show()
del X, inf
folder.cleanup()
