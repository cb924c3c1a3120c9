"""
Ridge regression on disk
========================

*How strongly should a ridge regression be penalised whose rows do not fit into memory?* Every row is
left out, exactly, in one pass over the file for each penalty: no folds, no fits without a row.
"""

# %%
# A hundred thousand rows of weak signals in a file of single precision; the last quarter is kept
# apart, to see whether what leaving rows out says comes true.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge

from skinfluence import Influence
from skinfluence.distributed import fit

folder = tempfile.TemporaryDirectory()
n, d = 100_000, 150
rng = np.random.default_rng(0)
X = np.lib.format.open_memmap(Path(folder.name) / "X.npy", "w+", np.float32, (n, d))
for start in range(0, n, 20_000):
    X[start : start + 20_000] = rng.standard_normal((20_000, d), dtype=np.float32)
y = X @ rng.normal(0, 0.03, d).astype(np.float32) + rng.normal(0, 10, n)
rows, fresh = slice(0, 75_000), slice(75_000, n)

# %%
# For each penalty a fit, the predictions of all rows by the models without them, and those of the
# rows kept apart. As shares of the variance that are explained.


def explained(y, predicted):
    return 1 - np.mean((y - predicted) ** 2) / np.var(y)


alphas = np.logspace(4, 6.5, 4)
found = []
for alpha in alphas:
    model = fit(Ridge(alpha=alpha), X[rows], y[rows])
    unseen = Influence(model, X[rows], y[rows]).loo_predict(method="one-step")
    found.append(
        [
            explained(y[rows], X[rows] @ model.coef_ + model.intercept_),
            explained(y[rows], unseen),
            explained(y[fresh], X[fresh] @ model.coef_ + model.intercept_),
        ]
    )
best = alphas[np.argmax(np.array(found)[:, 1])]
print(f"the penalty that leaving rows out asks for: {best:.1e}")

# %%
# Rows that the model has seen always ask for a smaller penalty. Left out, they ask for what new rows
# need.

fig, ax = plt.subplots(figsize=(7.2, 4), layout="constrained")
lines = {"rows seen": "o-", "each row left out": "o-", "rows kept apart": "x:"}
for values, (name, line) in zip(np.array(found).T, lines.items(), strict=True):
    ax.semilogx(alphas, 1000 * values, line, label=name, markersize=9, markerfacecolor="none")
ax.axvline(best, color="0.8", zorder=0)
ax.set(xlabel="alpha", ylabel="variance explained, in thousandths")
ax.legend(frameon=False)
plt.show()
del X
folder.cleanup()
