"""
Which pixels of a training picture matter?
==========================================

*A training picture pulls a test picture to a class. Through which of its pixels?* The derivative of
the test loss in every pixel of every training picture (Koh and Liang 2017, eq. 5) is one product more
than the influence itself.
"""

# %%
# Threes and eights, a logistic regression, and the test picture it is least sure of.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skinfluence import Influence
from skinfluence.linear_model import LogisticRegression

X, y = load_digits(return_X_y=True)
chosen = np.isin(y, [3, 8])
X, y = X[chosen] / 16.0, y[chosen]
train, test = np.arange(len(y)) < 250, np.arange(len(y)) >= 250
model = LogisticRegression(C=1.0).fit(X[train], y[train])
sure = model.predict_proba(X[test])[np.arange(test.sum()), (y[test] == 8).astype(int)]
at = np.flatnonzero(test)[sure.argmin()]
print(f"a {y[at]}, taken for one with probability {sure.min():.2f}")

# %%
# The training pictures that harm it most, and what moving each of their pixels would do.

inf = Influence(model, X[train], y[train])
harmful = inf.top(X[[at]], y[[at]], k=4).harmful[0]
slopes = inf.influence_pert(X[[at]], y[[at]], indices=harmful)[0]

fig, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
largest = np.abs(slopes).max()
axes[0, 0].imshow(X[at].reshape(8, 8), cmap="gray_r")
axes[0, 0].set_title(f"test: {y[at]}", fontsize=10)
axes[1, 0].axis("off")
for row, slope, (above, below) in zip(harmful, slopes, axes.T[1:], strict=True):
    above.imshow(X[row].reshape(8, 8), cmap="gray_r")
    above.set_title(f"training: {y[row]}", fontsize=10)
    picture = below.imshow(slope.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
for ax in axes.ravel():
    ax.set(xticks=[], yticks=[])
bar = fig.colorbar(picture, ax=axes[1, 0], location="left", fraction=0.4)
bar.set_label("red: darker raises\nthe test loss", fontsize=9)
plt.show()
