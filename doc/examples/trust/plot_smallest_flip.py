"""
How many rows hold this up?
===========================

*The model says that a feature speaks for benign. Would it still, without a few of the patients?* The
fewest rows whose removal turns a coefficient round, next to what first-order effects promise.
"""

# %%
# A logistic regression on the breast cancer data, 569 rows.

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skinfluence import Influence, robustness
from skinfluence.inspection import FlipDisplay

data = load_breast_cancer()
X, y = scale(data.data[:, :10]), data.target
model = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, y)
inf = Influence(model, X, y)

columns = [4, 5, 6, 7, 8, 9]
flips = {j: robustness.smallest_flip(inf, robustness.coef(j)) for j in columns}
print(f"{data.feature_names[6]}: {flips[6]}")

# %%
# What does removing its rows one by one do to it? First-order effects add up to less than solving shows, as
# the rows that are left pull harder each time.

j = 6
fig, (ax, bars) = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
name = f"coefficient of {data.feature_names[j]}"
FlipDisplay.from_influence(inf, robustness.coef(j), flips[j], quantity=name, ax=ax)

# %%
# The fewer rows, the less a sign is worth.

columns.sort(key=lambda i: len(flips[i].rows))
bars.barh(range(6), [len(flips[i].rows) for i in columns], color="C0", height=0.6)
bars.set_yticks(range(6), data.feature_names[columns])
bars.set(xlabel="rows, of 569, that hold its sign up")
plt.show()
