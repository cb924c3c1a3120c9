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

from skinfluence.inspection import FoundDisplay, ValuesDisplay
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

fig, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
ValuesDisplay.from_values(found, marked=wrong, ax=axes[0])

# %%
# Are the rows of least value the wrong ones? The leave-one-out loss of each row's own label asks for no clean
# test rows and one fit. What values are for is another question.

own = -np.log(model.loo_predict_proba()[np.arange(120), given])
FoundDisplay.from_values(found, wrong, others={"by leave-one-out loss": own}, ax=axes[1])
plt.show()
