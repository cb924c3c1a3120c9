"""
Leave-one-out in a minute
=========================

*How sure would the model be of each row, had it never seen it?* Asking by refits takes as many fits
as there are rows. Here it takes one fit and one factorisation, and the answer is the same.
"""

# %%
# A model of the breast cancer data, 569 rows. The only line that differs from scikit-learn is the
# import.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from skinfluence.linear_model import LogisticRegression

X, y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X)
model = LogisticRegression(C=10.0, solver="newton-cholesky", tol=1e-10).fit(X, y)

own = np.arange(len(y)), y
seen = model.predict_proba(X)[own]
unseen = model.loo_predict_proba()[own]

# %%
# Are these the probabilities that refits give? Forty fits, for the forty rows that differ most:

rows = np.argsort(seen - unseen)[-40:]
refits = [
    clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i)).predict_proba(X[[i]])[0, y[i]]
    for i in rows
]
print(f"largest difference from a refit: {np.abs(unseen[rows] - refits).max():.1e}")

# %%
# A row far below the diagonal was right only because the model had seen its label. The accuracy on
# the training rows counts it as a success; the leave-one-out score does not.

print(f"accuracy on the training rows: {model.score(X, y):.3f}")
print(f"accuracy left one out:         {model.loo_score():.3f}")

fig, ax = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.75", linewidth=1, zorder=0)
ax.axhline(0.5, color="0.75", linewidth=1, linestyle=":", zorder=0)
wrong = unseen < 0.5
ax.scatter(seen[~wrong], unseen[~wrong], s=14, label="right without itself")
ax.scatter(seen[wrong], unseen[wrong], s=22, color="C3", label="wrong without itself")
ax.scatter(
    seen[rows], refits, s=60, facecolors="none", edgecolors="k", linewidths=0.8, label="refit"
)
ax.set_xlabel("probability of its own label, seen")
ax.set_ylabel("probability of its own label, left out")
ax.legend(loc="upper left")
plt.show()
