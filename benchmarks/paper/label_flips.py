"""Cadamuro, Gilad-Bachrach and Zhu (2016): the fewest labels whose change mends a prediction.

Labels of the nearest training rows of a test row are set wrong, twice as many as turn it. Which
training labels, changed, make it right again? `smallest_flip(by="relabel")` finds a set and a
refit confirms it. The paper finds wrong labels this way; here: is the set as small as what was
planted, and are its rows those that are wrong?

    python benchmarks/paper/label_flips.py [--quick]
"""

import numpy as np
from experiment import Experiment, axes
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.robustness import prediction, smallest_flip


def planted(X, y, x, label, model):
    """Rows whose labels are set wrong, nearest to ``x`` first, until the model gets it wrong."""
    near = np.argsort(((X - x) ** 2).sum(axis=1))
    near = near[y[near] == label]
    for k in range(1, 60):
        given = y.copy()
        given[near[:k]] = 1 - label
        if model.fit(X, given).predict([x])[0] != label:
            # Twice as many: one is not enough to mend it then.
            given[near[: 2 * k]] = 1 - label
            return near[: 2 * k], given
    return None, y


def main():
    experiment = Experiment(
        "label_flips", "Cadamuro et al. (2016), label flips", __doc__, tests=(12, 3)
    )
    digits = load_digits()
    three = np.isin(digits.target, (3, 8))
    data = {
        "breast cancer": load_breast_cancer(return_X_y=True),
        "digits 3, 8": (digits.data[three], (digits.target[three] == 8).astype(int)),
    }
    figure, (row,) = axes(len(data))
    for ax, (name, (X, y)) in zip(row, data.items(), strict=True):
        X = StandardScaler().fit_transform(X)
        n = 2 * len(y) // 3
        model = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-10, max_iter=200)
        model.fit(X[:n], y[:n])
        right = n + np.flatnonzero(model.predict(X[n:]) == y[n:])
        margins = np.abs(model.decision_function(X[right]))
        sizes, hits = [], []
        # Of middling margin: one label does not turn them.
        for t in right[np.argsort(margins)][len(right) // 4 :]:
            wrong, given = planted(X[:n], y[:n], X[t], y[t], model)
            if wrong is None:
                continue
            if len(sizes) == experiment.args.tests:
                break
            model.fit(X[:n], given)
            flip = smallest_flip(Influence(model, X[:n], given), prediction(X[t]), by="relabel")
            sizes.append((len(wrong), len(flip.rows), flip.lower_bound, flip.verified))
            hits.append(np.isin(flip.rows, wrong).mean())
        sizes = np.array(sizes)
        experiment.claim(
            f"{name}: labels planted, changed, proved too few (medians of {len(sizes)})",
            "small sets", "",
            f"{np.median(sizes[:, 0]):.0f}, {np.median(sizes[:, 1]):.0f}, fewer than "
            f"{np.median(sizes[:, 2]):.0f}; refits agree on {sizes[:, 3].sum()}",
            (sizes[:, 1] <= sizes[:, 0]).all() and sizes[:, 3].all(),
        )  # fmt: skip
        experiment.claim(
            f"{name}: of the changed labels, wrong ones; of all labels", "wrong labels are found",
            "", f"{np.mean(hits):.0%}, {sizes[:, 0].mean() / n:.0%}",
            np.mean(hits) > 5 * sizes[:, 0].mean() / n,
        )  # fmt: skip
        ax.scatter(sizes[:, 0], sizes[:, 1], alpha=0.7)
        ax.plot([0, sizes.max()], [0, sizes.max()], color="0.6", linewidth=1)
        ax.set(xlabel="labels set wrong", ylabel="labels changed back", title=name)
    experiment.save(figure)


if __name__ == "__main__":
    main()
