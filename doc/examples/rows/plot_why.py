"""
Why this prediction?
====================

*A tumour is called malignant, but only just. On which other patients does that rest?* The rows without which
the decision would fall or rise, and the features through which they act, checked by refits.
"""

# %%

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.inspection import GalleryDisplay, explain

data = load_breast_cancer(as_frame=True)
X, y = data.data, data.target.map(dict(enumerate(data.target_names)))
model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-8)).fit(
    X, y
)

# %%
# The tumour nearest to the boundary. It is one of the training rows, and is benign.

row = abs(model.decision_function(X)).argmin()
why = explain(Influence(model, X, y), X.iloc[[row]], k=5)
print(f"predicted {why.prediction}, with probability {why.probability:.2f}")
strongest = why.rows.iloc[0]
print(f"row {strongest.row} acts through {', '.join(name for name, _ in strongest.through[:3])}")
why.rows[["row", "given", "side", "effect"]].round(3)

# %%
# Left, what the decision value is made of. Right, what it would be without each of ten patients; the one that
# pulls hardest against it is the tumour's own row.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
features = why.features.head(10)[::-1]
left.barh(features["feature"], features["contribution"], color="C0")
left.axvline(0, color="0.4", linewidth=0.8)
left.set_xlabel("part of the decision value")
rows = why.rows.sort_values("effect")
names = [f"row {r.row} ({r.given})" for r in rows.itertuples()]
right.barh(names, rows["effect"], color=["C3" if e < 0 else "C2" for e in rows["effect"]])
right.scatter(rows["refit"], names, facecolors="none", edgecolors="k", zorder=3, label="refit")
right.axvline(0, color="0.4", linewidth=0.8)
right.set_xlabel("change of the decision value without the row")
right.legend(frameon=False)
plt.show()

# %%
# The rows as what they are: a gallery of those without which the loss of this patient would rise and fall
# most. Marked are the cells that they act through, the stronger the more.

GalleryDisplay.from_influence(Influence(model, X, y), X.iloc[[row]], y.iloc[[row]], k=4)
plt.show()
