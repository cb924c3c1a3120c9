"""Fig. 4 of Koh and Liang (2017): what influences a test fish, by pixels and by a network's features.

(a) An SVM with an RBF kernel on pixels (smooth hinge, temperature 0.001), (b) logistic regression on
the features of a network; weight decay 0.001, dog against fish. In the paper the influence on the RBF
SVM falls with the distance in pixels and that on the network does not; dogs help to classify a fish.
Influence is that on the decision value: the loss of a fish beyond the margin has no slope.

Differences from the paper: 224 px, so gamma is larger by (299 / 224)^2 for the same kernel; features
of EfficientNet-Lite0 and of nsfwjs' Inception v3, as the ImageNet Inception weights are in no package.

    python benchmarks/paper/fig4.py --data DIR
"""

import argparse
import time

import dogfish
import numpy as np
from data import folder
from scipy import stats
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.svm import LinearSVC

DECAY = 1e-3


def kernel_features(X, X_test, gamma):
    """Rows whose products are the RBF kernel of the training rows, and the test rows among them."""

    def kernel(A):
        squares = (A**2).sum(axis=1)[:, None] + (X**2).sum(axis=1) - 2.0 * (A @ X.T)
        return np.exp(-gamma * np.maximum(squares, 0.0))

    values, vectors = np.linalg.eigh(kernel(X))
    kept = values > 1e-10 * values[-1]
    basis = vectors[:, kept] / np.sqrt(values[kept])
    return kernel(X) @ basis, kernel(X_test) @ basis


def network_features(data, name, rows, test_rows):
    X = np.load(folder(data, "dogfish") / name)["X"].astype(float)
    return X[rows], X[test_rows]


def rank_correlations(influence, distance, rows):
    """Spearman of |influence| and distance over some rows, for each test point."""
    return [
        stats.spearmanr(np.abs(i[rows]), d[rows])[0]
        for i, d in zip(influence, distance, strict=True)
    ]


def mean_by_distance(influence, distance):
    """Mean |influence| of the rows in each tenth by distance over that of the nearest, (10,)."""
    tenth = np.argsort(np.argsort(distance, axis=1), axis=1) * 10 // distance.shape[1]
    means = np.array(
        [[np.abs(i[t == k]).mean() for k in range(10)] for i, t in zip(influence, tenth)]
    )
    return np.median(means / means[:, :1], axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dogfish.add_picture_options(parser)
    parser.add_argument("--fish", type=int, default=20, help="test fish that (a) gets right")
    args = parser.parse_args()

    X, y, X_test, y_test, rows, test_rows = dogfish.load_pictures(args)
    n = len(y)
    X, X_test = (2.0 * a.reshape(len(a), -1) - 1.0 for a in (X, X_test))
    gamma = 0.05 / 1800 * (299 / 224) ** 2
    start = time.process_time()
    models = {"RBF SVM on pixels": kernel_features(X, X_test, gamma)}
    for name, file in (
        ("EfficientNet-Lite0", "efficientnet_lite0.npz"),
        ("Inception v3 (nsfwjs)", "inception_v3_nsfwjs.npz"),
    ):
        models[name] = network_features(args.data, file, rows, test_rows)
    fish = None
    for name, (F, F_test) in models.items():
        if fish is None:
            svm = {"loss": "smooth_hinge", "temperature": 0.001, "fit_intercept": False}
            model = LinearSVC(C=1 / (n * DECAY), **svm)
        else:
            model = LogisticRegression(C=1 / (n * DECAY), tol=1e-10, max_iter=5000)
        model.fit(F, y)
        right = model.predict(F_test) == y_test
        if fish is None:
            fish = np.flatnonzero((y_test == 0) & right)[: args.fish]
            distance = np.array([np.linalg.norm(X - X_test[t], axis=1) for t in fish])
        inf = Influence(model, F, y)
        # Removing a row that helps raises the decision value of a fish, towards dog.
        influence = inf.removal_effect(F_test[fish], of="decision_function", method="influence")
        g = np.abs(inf.objective.gradients[:, 0])
        # Of the hinge: rows beyond the margin have no influence, near or far, those on it any.
        paying = g > 0.99 if "SVM" in name else np.ones(n, dtype=bool)
        ranks, ranks_paying = (
            rank_correlations(influence, distance, rows) for rows in (g >= 0, paying)
        )
        best = np.argsort(-influence, axis=1)[:, :10]
        dogs = (y[best] == 1).sum(axis=1)
        helpful = [float((i[y == 1] > 0).mean()) for i in influence]
        tenths = mean_by_distance(influence, distance)
        print(
            f"{name}: accuracy {right.mean():.3f}; Spearman of |influence| and pixel distance "
            f"{np.median(ranks):.2f} ({np.min(ranks):.2f} .. {np.max(ranks):.2f} over {len(fish)} fish), "
            f"{np.median(ranks_paying):.2f} over the {paying.sum()} rows with the full slope of the loss; "
            f"mean |influence| by tenths of distance {np.round(tenths, 2).tolist()}; "
            f"dogs among the ten most helpful {dogs.mean():.1f} ({dogs.min()} .. {dogs.max()}); dogs "
            f"that help {np.mean(helpful):.0%}; {time.process_time() - start:.0f} CPU s",
            flush=True,
        )


if __name__ == "__main__":
    main()
