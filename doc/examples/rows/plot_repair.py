"""
Repair labels in rounds
=======================

*How many labels must a person check?* Labels are checked ten at a time: the most suspicious ones, by an
audit that is updated with what was found. Here the truth answers in place of the person; one label in
eight of 569 is wrong.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import LabelCleaner, audit
from skinfluence.datasets import load_demo
from skinfluence.linear_model import LogisticRegression

demo = load_demo("breast-cancer", flip_share=0.125, random_state=0)
X = StandardScaler().fit_transform(demo.X)
model = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-8)


def repaired(order_of):
    """Wrong labels that are left, and accuracy of leave-one-out predictions, after each round."""
    found = audit(model.fit(X, demo.y), X, demo.y, effects=False)
    wrong, accuracy = [], []
    for _ in range(11):
        wrong.append((found.y != demo.y_true).sum())
        accuracy.append((found.loo_prediction == demo.y_true).mean())
        rows = order_of(found)[:10]
        found = found.update(rows, demo.y_true[rows])
    return np.array(wrong), np.array(accuracy)


rng = np.random.RandomState(1)
by_audit = repaired(lambda found: found.table["row"].to_numpy())
by_chance = repaired(lambda found: rng.permutation(np.flatnonzero(~found.checked)))

# %%
# Nobody checks anything: a cleaner that follows the suggestions, inside a fit.

cleaned, labels = LabelCleaner(model).fit_resample(X, demo.y)
print(f"{len(labels)} rows stay of {len(demo.y)}")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
checked = 10 * np.arange(11)
for ax, k, label in ((left, 0, "wrong labels left"), (right, 1, "accuracy, each row left out")):
    ax.plot(checked, by_audit[k], marker="o", label="most suspicious first")
    ax.plot(checked, by_chance[k], marker="o", color="0.6", label="in random order")
    ax.set(xlabel="labels checked", ylabel=label)
left.set_ylim(bottom=0)
left.legend(loc="lower left")
plt.show()
