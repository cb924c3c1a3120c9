"""Fig. 4 of Koh and Liang (2017): what influences a test fish, by pixels and by a network's features.

(a) An SVM with an RBF kernel on pixels, fitted with the hinge and smoothed for its influence
(temperature 0.001), (b) logistic regression on the features of a network; weight decay 0.001, dog
against fish. In the paper the influence on the SVM falls with the distance in pixels and that on
the network does not; dogs help to classify a fish. The paper shows one test fish; here all that the
SVM gets right with a loss, as medians and ranges of Spearman correlations.

A row beyond the margin of the SVM has no influence at any distance, and a row on it next to none by
the smoothed formula, which holds the margin, though removing it has some (``exact``: the path of
the hinge SVM itself). So the rows are also taken apart by where they lie.

Differences from the paper: 224 px, so gamma is larger by (299 / 224)^2 for the same kernel; other
breeds; features of EfficientNet-Lite0 and of nsfwjs' Inception v3, as the ImageNet Inception
weights are in no package.

    python benchmarks/paper/fig4.py --data DIR
"""

import argparse
import time

import dogfish
import numpy as np
from data import folder
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from skinfluence import Influence

DECAY, TEMPERATURE = 1e-3, 1e-3
GAMMA = 0.05 / 1800 * (299 / 224) ** 2


def squared_distances(A, X):
    squares = [np.einsum("ij,ij->i", rows, rows, dtype=float) for rows in (A, X)]
    return np.maximum(squares[0][:, None] + squares[1] - 2.0 * (A @ X.T), 0.0)


def kernel_features(squares, squares_test):
    """Rows whose products are the RBF kernel of the training rows, and the test rows among them."""
    kernel, kernel_test = np.exp(-GAMMA * squares), np.exp(-GAMMA * squares_test)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > 1e-10 * values[-1]
    basis = vectors[:, kept] / np.sqrt(values[kept])
    return kernel @ basis, kernel_test @ basis


def spearman(influence, distance, rows):
    """Median and range over the test points of Spearman's correlation of |influence| and distance."""
    found = [
        stats.spearmanr(np.abs(i[rows]), d[rows])[0]
        for i, d in zip(influence, distance, strict=True)
    ]
    return f"{np.median(found):5.2f} ({np.min(found):.2f} .. {np.max(found):.2f})"


def mean_by_distance(influence, distance):
    """Mean |influence| of the rows in each tenth by distance over that of the nearest, (10,)."""
    tenth = np.argsort(np.argsort(distance, axis=1), axis=1) * 10 // distance.shape[1]
    means = np.array(
        [[np.abs(i[t == k]).mean() for k in range(10)] for i, t in zip(influence, tenth)]
    )
    return np.round(np.median(means / means[:, :1], axis=0), 2).tolist()


def report(name, influence, distance, kinds):
    for kind, rows in kinds.items():
        print(f"  {name}, {kind} ({rows.sum()}): {spearman(influence, distance, rows)}")
    print(f"  {name}, mean by tenths of distance: {mean_by_distance(influence, distance)}")


def helpful_dogs(influence, y):
    """Dogs among the ten that help a fish most, and the share of the dogs that help."""
    # Removing a row that helps raises the decision value of a fish, towards dog.
    best = (y[np.argsort(-influence, axis=1)[:, :10]] == 1).sum(axis=1)
    share = float((influence[:, y == 1] > 0).mean())
    print(
        f"  dogs among the ten most helpful {best.mean():.1f} ({best.min()} .. {best.max()}), of "
        f"all dogs {share:.0%} help"
    )


def svm_on_pixels(X, y, X_test, y_test):
    """Prints its part; returns the test fish that have a loss, and distances to the rows."""
    squares, squares_test = squared_distances(X, X), squared_distances(X_test, X)
    F, F_test = kernel_features(squares, squares_test)
    model = LinearSVC(C=1 / (len(y) * DECAY), loss="hinge", fit_intercept=False, tol=1e-6)
    model.set_params(max_iter=20_000).fit(F, y)
    margin, margin_test = (
        np.where(label == 1, 1, -1) * model.decision_function(A)
        for A, label in ((F, y), (F_test, y_test))
    )
    fish = np.flatnonzero((y_test == 0) & (margin_test > 0) & (margin_test < 1))
    distance = np.sqrt(squares_test[fish])
    on = np.abs(margin - 1.0) < 1e-4
    short = (margin < 1) & ~on
    kinds = {
        "all rows": np.ones(len(y), dtype=bool),
        "fish": y == 0,
        "dogs": y == 1,
        "short of the margin": short,
        "short of it, fish": short & (y == 0),
        "short of it, dogs": short & (y == 1),
        "on the margin": on,
        "support vectors": short | on,
    }
    beyond = ~(short | on)
    print(
        f"RBF SVM on pixels: accuracy {(margin_test > 0).mean():.3f}, {len(fish)} test fish; mean "
        f"distance of the rows short of the margin {distance[:, short].mean():.0f}, on it "
        f"{distance[:, on].mean():.0f}, beyond it {distance[:, beyond].mean():.0f}"
    )
    influence = Influence(model, F, y)
    smooth = influence.influence_up_loss(F_test[fish], y_test[fish], smoothing=TEMPERATURE)
    # Minus: of removing, in the loss of a fish, which rises with its decision value.
    report("influence", -smooth / len(y), distance, kinds)
    exact = influence.removal_effect(F_test[fish], of="decision_function", method="exact")
    report("removal", exact, distance, kinds)
    helpful_dogs(exact, y)
    return fish, distance


def head_on_features(name, file, data, rows, y, y_test, fish, distance):
    X = np.load(folder(data, "dogfish") / file)["X"].astype(float)
    F, F_test = X[rows[0]], X[rows[1]]
    model = LogisticRegression(C=1 / (len(y) * DECAY), tol=1e-8, max_iter=5000).fit(F, y)
    print(f"{name}: accuracy {model.score(F_test, y_test):.3f}")
    kinds = {"all rows": np.ones(len(y), dtype=bool), "fish": y == 0, "dogs": y == 1}
    influence = Influence(model, F, y).removal_effect(
        F_test[fish], of="decision_function", method="influence"
    )
    report("influence", influence, distance, kinds)
    helpful_dogs(influence, y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dogfish.add_picture_options(parser)
    args = parser.parse_args()
    X, y, X_test, y_test, *rows = dogfish.load_pictures(args)
    start = time.process_time()
    X, X_test = (2.0 * a.reshape(len(a), -1) - 1.0 for a in (X, X_test))
    fish, distance = svm_on_pixels(X, y, X_test, y_test)
    for name, file in (
        ("EfficientNet-Lite0", "efficientnet_lite0.npz"),
        ("Inception v3 (nsfwjs)", "inception_v3_nsfwjs.npz"),
    ):
        head_on_features(name, file, args.data, rows, y, y_test, fish, distance)
    print(f"{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
