"""
Calibration without a row
=========================

*How much do the probabilities of a calibrated classifier rest on single rows?* The classifier, a forest
here, is held; what was learned from the calibration rows is a curve from its scores to probabilities, and
without each row there is another one. All of them are had at once, and are those of refits.
"""

# %%
# A forest, and rows that it has not seen, on which it is calibrated. One of these has a wrong label.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator

from skinfluence import Influence, edits

X, y = load_breast_cancer(return_X_y=True)
rng = np.random.default_rng(0)
order = rng.permutation(len(y))
fit, held, test = order[:200], order[200:320], order[320:]
forest = FrozenEstimator(RandomForestClassifier(100, random_state=0).fit(X[fit], y[fit]))
score = forest.predict_proba(X)[:, 1]
X_held, y_held = X[held], y[held].copy()
wrong = int(np.argmax(score[held]))
y_held[wrong] = 1 - y_held[wrong]
model = CalibratedClassifierCV(forest).fit(X_held, y_held)
inf = Influence(model, X_held, y_held)

# %%
# The mean loss of the test rows without each calibration row. It falls most without rows on which the
# forest is sure and the label says otherwise: the wrong one is among them.

effect = inf.removal_effect(X[test], y[test]).mean(axis=0)
for row in np.argsort(effect)[:3]:
    print(
        f"row {row}: score {score[held][row]:.2f}, label {y_held[row]}, effect {effect[row]:+.4f}"
    )
print(f"The wrong label is at row {wrong}")
right = inf.effect(edits.relabel(wrong, 1 - y_held[wrong]), X[test], y[test]).values.mean()
print(f"Mean loss of the test rows with its label turned: {right:+.4f}")
off = []
for row in np.argsort(effect)[:5]:
    left = np.delete(np.arange(len(held)), row)
    refit = clone(model).fit(X_held[left], y_held[left]).predict_proba(X[test])
    found = inf.removal_effect(X[test], of="predict_proba", indices=[row])[:, 0]
    off.append(np.abs(found - (refit - model.predict_proba(X[test]))).max())
print(f"Largest difference of a probability from refits: {max(off):.0e}")

# %%
# Left: the curve, and those without each row. Right: what each row does to the loss of the test rows.

at = X[order[np.argsort(score[order])][::4]]
curves = model.predict_proba(at)[:, 1] + inf.removal_effect(at, of="predict_proba")[:, :, 1].T
scores = forest.predict_proba(at)[:, 1]
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
left.plot(
    scores,
    curves.T,
    color="0.7",
    linewidth=0.7,
    label=["without each row"] + [None] * (len(held) - 1),
)
left.plot(scores, curves[wrong], color="C1", label="without the wrong label")
left.plot(scores, model.predict_proba(at)[:, 1], color="C0", label="of all rows")
left.set(xlabel="score of the forest", ylabel="calibrated probability")
left.legend(frameon=False)
others = np.arange(len(held)) != wrong
right.axhline(0.0, color="0.75", linewidth=1, zorder=0)
right.scatter(score[held][others], effect[others], s=18, color="C0")
right.scatter(score[held][wrong], effect[wrong], s=30, color="C1")
right.set(xlabel="score of the calibration row", ylabel="change of the test loss without it (nats)")
plt.show()
