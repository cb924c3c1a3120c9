"""
Which feature is the artifact?
==============================

*The model is right on the training set and wrong on new pictures. Is there something on the pictures
that told it the label?* Here there is: a bright pixel in a corner, on most of the eights.
"""

# %%
# Threes and eights; a third of the pictures are for testing. In the training set a corner that is
# always dark is lit on most eights, as by the scanner of one hospital. In the test set it is lit on
# threes.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skinfluence import Influence
from skinfluence.cleaning import artifacts
from skinfluence.linear_model import LogisticRegression

X, y = load_digits(return_X_y=True)
chosen = np.isin(y, (3, 8))
X, y = X[chosen] / 16.0, (y[chosen] == 8).astype(int)
rng = np.random.default_rng(0)
train = np.arange(len(y)) < 240
X[:, 0] = np.where(train, (y == 1) & (rng.random(len(y)) < 0.8), y == 0)

model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-8).fit(X[train], y[train])
wrong = ~train & (model.predict(X) != y)
in_training, in_test = (model.score(X[some], y[some]) for some in (train, ~train))
print(f"accuracy {in_training:.2f} in training, {in_test:.2f} in the test")

# %%
# Which pixels do the training rows act through, on the test pictures that are wrong? Each answer is
# the mean loss of those pictures under the model that learned nothing from the pixel.

names = [f"pixel {i // 8}, {i % 8}" for i in range(64)]
found = artifacts(Influence(model, X[train], y[train]), X[wrong], y[wrong], k=6)
found.table["feature"] = [names[int(name[1:])] for name in found.table["feature"]]
print(found.table.head(6).round(2).to_string(index=False))

# %%
# Left, the pixels that the rows act through most: without the corner the loss falls, without others
# it would rise. Right, a picture that is taken for an eight, the corner and all.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.6), width_ratios=[2.2, 1], layout="constrained"
)
found.plot(ax=left)
right.imshow(X[wrong][0].reshape(8, 8), cmap="gray_r")
right.set(title="taken for an eight", xticks=[], yticks=[])
plt.show()
