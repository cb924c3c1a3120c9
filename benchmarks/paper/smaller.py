"""Smaller claims of Koh and Liang (2017), one number each, on data that ship with scikit-learn.

Section 4.1: LiSSA with a single repeat still finds the most influential rows. Equation 3: finite
changes of a row (another value, another label), by first order, against fits on the changed rows.
Section 2.3: influence is the product of two things, so a row without a loss has none.

    python benchmarks/paper/smaller.py [--quick]
"""

import numpy as np
from experiment import Experiment, agreement, axes, scatter, words
from lissa import scores, test_gradient
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, edits
from skinfluence.solvers import LiSSA

DECAY = 0.01


def fitted(X, y):
    model = LogisticRegression(C=1 / (len(y) * DECAY), fit_intercept=False, tol=1e-12)
    return model.set_params(solver="newton-cholesky", max_iter=200).fit(X, y)


def loss(model, x, label):
    return -float(model.predict_log_proba(x)[0, label[0]])


def main():
    experiment = Experiment(
        "smaller", "Smaller claims", __doc__, rows=(600, 300), edits=(40, 10), repeats=(10, 3)
    )
    args = experiment.args
    X, y = load_digits(return_X_y=True)
    X, rng = X / 16.0, np.random.default_rng(0)
    order = rng.permutation(len(y))
    X, y = X[order], y[order]
    A, b = X[: args.rows], y[: args.rows]
    model = fitted(A, b)
    losses = -model.predict_log_proba(X[args.rows :])[np.arange(len(y) - args.rows), y[args.rows :]]
    t = args.rows + int(np.argsort(losses)[-20])
    x, label, n = X[[t]], y[[t]], len(b)

    inf = Influence(model, A, b)
    exact = inf.influence_up_loss(x, label)[0]
    walks = LiSSA(scale=25, depth=5000, repeats=args.repeats, batch_size=1, random_state=0)
    gradient = test_gradient(inf.objective, x[0], label[0])
    alone = walks.factor(inf.objective).repeated(gradient).X[:, :, 0].T
    best = set(np.argsort(-np.abs(exact))[:10])
    hits = [
        len(best & set(np.argsort(-np.abs(found))[:10])) for found in scores(inf.objective, alone)
    ]
    experiment.claim(
        "of the ten most influential rows, found by one repeat of LiSSA", "most influential found",
        f"{np.mean(hits):.1f} (least {min(hits)})", holds=min(hits) >= 6,
    )  # fmt: skip

    before = loss(model, x, label)
    rows = np.argsort(-np.abs(exact))[: args.edits]
    figure, (axs,) = axes(2)
    for ax, kind in zip(axs, ("replace", "relabel"), strict=True):
        changes, truth = [], []
        for i in rows:
            Z, z = A.copy(), b.copy()
            if kind == "replace":
                Z[i] = np.clip(Z[i] + 0.3 * rng.standard_normal(64), 0, 1)
                changes.append(edits.replace(i, Z[i]))
            else:
                z[i] = (z[i] + 1 + rng.integers(9)) % 10
                changes.append(edits.relabel(i, z[i]))
            truth.append(loss(fitted(Z, z), x, label) - before)
        inf, truth = Influence(model, A, b), np.array(truth)
        first, certified = (
            inf.effect(changes, x, label, method=method).values[0]
            for method in ("influence", "auto")
        )
        there = agreement(first, truth)
        experiment.claim(
            f"eq. 3, {kind} {len(rows)} rows, against refits", "a prediction", words(there),
            words(agreement(certified, truth)), there["pearson"] > 0.9,
        )  # fmt: skip
        scatter(ax, first, truth, f"{kind}: first order")
    share = np.abs(exact)[np.argsort(model.predict_proba(A)[np.arange(n), b])]
    experiment.claim(
        "share of all influence that the tenth of the rows with the largest loss have",
        "rows of large loss matter", f"{share[: n // 10].sum() / share.sum():.0%}",
        holds=share[: n // 10].sum() > 0.1 * share.sum(),
    )  # fmt: skip
    experiment.save(figure)


if __name__ == "__main__":
    main()
