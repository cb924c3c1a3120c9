"""
Rows in a dask array
====================

*The rows are in chunks, here or on other machines. Which of them would the model be better off
without?* Chunks are worked on where they are; only numbers of one per row come back.
"""

# %%
# Sixty thousand rows in twelve chunks, a tenth of whose labels are wrong in one of them.

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.distributed import fit

n, d, chunk = 60_000, 20, 5_000
rng = np.random.default_rng(0)
X = da.random.default_rng(0).standard_normal((n, d), chunks=(chunk, d)).persist()
truth = rng.standard_normal(d)
y = (np.asarray(X @ truth) + rng.logistic(size=n) > 0).astype(int)
source = np.arange(n) // chunk
flipped = (source == 7) & (rng.random(n) < 0.1)
y[flipped] = 1 - y[flipped]

# %%
# Newton's method on the chunks, then: each row's loss under the model without it, and what would
# become of a test set without each chunk.

model = fit(LogisticRegression(), X, y)
inf = Influence(model, X, y)
margin = np.where(y == 1, 1, -1) * inf.loo_decision_function(method="one-step")
loss = np.logaddexp(0, -margin)

Z = rng.standard_normal((2_000, d))
labels = (Z @ truth + rng.logistic(size=2_000) > 0).astype(int)
effect = inf.removal_effect(Z, labels, groups=source, method="one-step").mean(axis=0)

# %%
# Chunk 7 stands out: its rows surprise a model that has not seen them, and without it the test loss
# falls.

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
colours = np.where(np.arange(12) == 7, "C3", "C0")
left.bar(range(12), [loss[source == k].mean() for k in range(12)], color=colours)
left.set(xlabel="chunk", ylabel="mean leave-one-out loss")
right.bar(range(12), effect, color=colours)
right.axhline(0, color="0.4", linewidth=0.8)
right.set(xlabel="chunk", ylabel="test loss without it")
plt.show()
