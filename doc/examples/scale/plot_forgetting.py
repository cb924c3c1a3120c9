"""
Forgetting, with a receipt
==========================

*Forty people ask for their rows to be taken out of a deployed model, one after the other.* After each
request the model is the one that was never shown those rows: how nearly, the receipt says, and anyone
with the rows that are left can check it.
"""

# %%
# Rows keep their numbers through all requests.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skinfluence import Influence, unlearning

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
model = LogisticRegression(solver="newton-cholesky", tol=1e-15).fit(X, y)
requests = np.random.default_rng(0).permutation(len(y))[:40]

inf, promised, stale, away = Influence(model, X, y), [], [], []
for k, row in enumerate(requests, start=1):
    done = unlearning.forget(inf, row)
    inf = done.influence
    left = np.setdiff1d(np.arange(len(y)), requests[:k])
    refit = clone(model).fit(X[left], y[left])
    promised.append(done.receipt.distance)
    away.append(np.linalg.norm(done.estimator.coef_ - refit.coef_))
    stale.append(np.linalg.norm(model.coef_ - refit.coef_))

# %%
# The last receipt is verified with the rows that are left, and with nothing else.

kept = unlearning.retained(inf)
print(unlearning.verify(done.receipt, done.estimator, *kept).holds)
print(f"the model as deployed, from the retrained one: {stale[-1]:.2f}")
print(f"after {len(requests)} requests: {away[-1]:.0e}, and at most {promised[-1]:.0e}")

fig, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
requested = np.arange(1, len(requests) + 1)
ax.semilogy(requested, stale, color="0.5", label="nothing forgotten")
ax.semilogy(requested, promised, color="C3", label="what the receipt promises")
ax.semilogy(requested, away, ".", color="C0", label="forgotten, from a refit")
ax.set(xlabel="requests", ylabel="distance of the coefficients from retraining", ylim=(1e-15, 10))
ax.legend(loc="center right")
plt.show()
