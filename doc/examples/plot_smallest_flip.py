"""
How many rows hold this up?
===========================

*The model says that a feature speaks for benign. Would it still, without a few of the patients?* The
fewest rows whose removal turns a coefficient round, next to what first-order effects promise.
"""

# %%
# A logistic regression on the breast cancer data, 569 rows.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skinfluence import Influence, robustness

data = load_breast_cancer()
X, y = scale(data.data[:, :10]), data.target
model = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, y)
inf = Influence(model, X, y)

columns = [4, 5, 6, 7, 8, 9]
flips = {j: robustness.smallest_flip(inf, robustness.coef(j)) for j in columns}
print(f"{data.feature_names[6]}: {flips[6]}")

# %%
# What does removing rows one by one do to it? First-order effects add up to less than the refits show,
# as the rows that are left pull harder each time; and the rows that matter next are other ones.

j = 6
steps = inf.influence_up_params()[:, 0, j] / len(y)
side = np.sign(model.coef_[0, j])
order = np.argsort(-side * steps)
path, linear = [], model.coef_[0, j] - np.append(0.0, np.cumsum(steps[order]))
for k in range(36):
    left = np.setdiff1d(np.arange(len(y)), order[:k])
    path.append(clone(model).fit(X[left], y[left]).coef_[0, j])

fig, (ax, bars) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
ax.axhline(0.0, color="0.75", linewidth=1)
ax.plot(linear[:36], "--", color="0.5", label="first order")
ax.plot(path, ".-", color="C0", label="refits, the rows by first order")
ax.plot(
    len(flips[j].rows), flips[j].after, "o", color="C3", label="the set that was found, a refit"
)
ax.set(xlabel="rows removed", ylabel=f"coefficient of {data.feature_names[j]}")
ax.legend()

# %%
# The fewer rows, the less a sign is worth.

columns.sort(key=lambda i: len(flips[i].rows))
bars.barh(range(6), [len(flips[i].rows) for i in columns], color="C0", height=0.6)
bars.set_yticks(range(6), data.feature_names[columns])
bars.set(xlabel="rows, of 569, that hold its sign up")
plt.show()
