"""
A network's features, and the whole network
===========================================

*A small network has read some digits. Which training pictures is a prediction made of, if only what
stands on its features may move, and if all of it may?* Both are asked of the same network.
"""

# %%
# Threes and eights, and a network of two layers, trained to the optimum of its decayed loss.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from skinfluence import Influence
from skinfluence.neural import ModuleInfluence, TorchFeaturizer

X, y = load_digits(return_X_y=True)
chosen = np.isin(y, (3, 8))
X, y = X[chosen] / 16.0, (y[chosen] == 8).astype(int)
train, test = slice(0, 200), slice(200, None)
decay = 0.01

torch.manual_seed(0)
body = nn.Sequential(nn.Linear(64, 6), nn.Tanh())
net = nn.Sequential(body, nn.Linear(6, 2)).double()
rows, labels = torch.as_tensor(X[train]), torch.as_tensor(y[train])
steps = torch.optim.LBFGS(
    net.parameters(), max_iter=2000, tolerance_grad=1e-9, tolerance_change=0, history_size=30,
    line_search_fn="strong_wolfe",
)  # fmt: skip


def closure():
    steps.zero_grad()
    loss = nn.functional.cross_entropy(net(rows), labels)
    loss = loss + decay / 2 * sum((p**2).sum() for p in net.parameters())
    loss.backward()
    return loss


steps.step(closure)

# %%
# The test picture of the largest loss but ten. First the features: a logistic regression on them,
# where every answer is certified. Then the whole network, one Newton step of all its parameters.

features = TorchFeaturizer(body, dtype="float64")
head = make_pipeline(features, LogisticRegression(C=1 / (200 * decay), tol=1e-8))
head.fit(X[train].astype(np.float64), y[train])
with torch.no_grad():
    lost = nn.functional.cross_entropy(
        net(torch.as_tensor(X[test])), torch.as_tensor(y[test]), reduction="none"
    )
t = 200 + int(lost.argsort()[-10])
x, label = X[[t]], y[[t]]

on_features = Influence(head, X[train], y[train]).removal_effect(x, label)[0]
whole = ModuleInfluence(net, nn.CrossEntropyLoss(), X[train], y[train], weight_decay=decay)
in_full = whole.removal_effect(x, label)[0]

# %%
# Each dot is a training picture: the change of the test loss without it. What stands on the features
# can do little; what they are rests on few pictures, and the two do not tell the same ones. Right,
# the picture, and those that help and harm it most in full.

fig = plt.figure(figsize=(9, 3.8), layout="constrained")
grid = fig.add_gridspec(2, 4, width_ratios=[2.2, 1, 1, 1])
ax = fig.add_subplot(grid[:, 0])
ax.scatter(on_features, in_full, s=14, c=np.where(y[train] == label, "C0", "C3"))
ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
ax.set(xlabel="without the row, the features held", ylabel="without the row, all moves")
order = np.argsort(-in_full)
shown = [(x[0], "asked about"), *[(X[i], "helps") for i in order[:2]]]
shown += [(None, ""), *[(X[i], "harms") for i in order[::-1][:2]]]
for place, (picture, title) in enumerate(shown):
    small = fig.add_subplot(grid[place // 3, 1 + place % 3])
    small.axis("off")
    if picture is not None:
        small.imshow(picture.reshape(8, 8), cmap="gray_r")
        small.set_title(title, fontsize=9)
plt.show()
