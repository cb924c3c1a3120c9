"""
Find planted label errors
=========================

*Which labels are wrong?* Every row is judged by the model that has not seen it. To see how well
that works we plant the errors ourselves: 5 % of 1,797 pictures of digits get another label, and an
audit, which does not know which, ranks the rows.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np

from skinfluence.cleaning import audit
from skinfluence.datasets import load_demo
from skinfluence.linear_model import LogisticRegression

demo = load_demo("digits", flip_share=0.05)
model = LogisticRegression(C=0.01, solver="newton-cholesky", tol=1e-8).fit(demo.X, demo.y)
found = audit(model, demo.X, demo.y)
print(found)

# %%
# The most suspicious rows first, each with what to do about it:

found.table[["row", "given", "suggested", "error_proba", "loo_loss", "action"]].head()

# %%
# How deep must one look? The curve counts the planted errors among the first rows of the ranking; a
# perfect ranking would follow the dotted line. Right of it, the twelve most suspicious rows, with the
# label they carry and the one suggested.

planted = demo.flipped
hits = planted[found.table["row"]]
fig = plt.figure(figsize=(9, 4.2), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=(1.1, 1))
ax = left.subplots()
looked = np.arange(1, 301)
ax.plot(looked, np.cumsum(hits)[:300], label="audit")
ax.plot(looked, np.minimum(looked, planted.sum()), "k:", linewidth=1, label="perfect")
ax.plot(looked, looked * planted.mean(), color="0.6", linewidth=1, label="in random order")
ax.set_xlabel("rows looked at")
ax.set_ylabel(f"planted errors found, of {planted.sum()}")
ax.legend()

for ax, (_, row) in zip(right.subplots(3, 4).ravel(), found.table.head(12).iterrows(), strict=True):
    ax.imshow(np.asarray(demo.X)[row["row"]].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{row['given']}, or {row['suggested']}?", fontsize=9)
    ax.axis("off")
plt.show()
