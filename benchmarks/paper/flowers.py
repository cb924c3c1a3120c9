"""Genuine ImageNet Inception v3 features with a head of five classes, on pictures of flowers.

The head of the paper's Fig. 4 and 5 (weight decay 0.001) on the network that the paper used: what
removing training pictures does to the test picture of largest loss, against fits without them; the
accuracy by leaving out each picture, against five folds and pictures never seen; and wrong labels,
planted in a tenth of the rows and looked for.

    python benchmarks/paper/flowers.py --data DIR
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data import ORIGINALS, add_data_option, folder

from skinfluence import Influence

DECAY = 1e-3
ORIGINALS["flowers_inception"] = "TensorFlow's flower_photos, through Inception v3 (2015-12-05)"


def head(n, **options):
    return LogisticRegression(C=1 / (n * DECAY), max_iter=10_000, **{"tol": 1e-8, **options})


def own_loss(probability, y):
    return -np.log(probability[np.arange(len(y)), y])


def loss_without(model, i, X, y, x, label):
    """Loss of a test picture after a fit without row i, C as it was."""
    refit = head(len(y), warm_start=True)
    refit.classes_, refit.coef_ = model.classes_, model.coef_.copy()
    refit.intercept_ = model.intercept_.copy()
    refit.fit(np.delete(X, i, axis=0), np.delete(y, i))
    return own_loss(refit.predict_proba(x), label)[0]


def removals(model, influence, X, y, X_test, y_test, n_refits):
    losses = own_loss(model.predict_proba(X_test), y_test)
    t = [int(np.argmax(losses))]
    effects = {}
    for method in ("influence", "one-step"):
        effects[method] = influence.removal_effect(X_test[t], y_test[t], method=method)[0]
    rows = np.argsort(-np.abs(effects["one-step"]))[:n_refits]
    effects = {method: found[rows] for method, found in effects.items()}
    effects["exact"] = influence.removal_effect(X_test[t], y_test[t], method="exact", indices=rows)[
        0
    ]
    truth = [loss_without(model, i, X, y, X_test[t], y_test[t]) for i in rows] - losses[t]
    for method, found in effects.items():
        print(
            f"removal, {method}: Pearson {pearsonr(found, truth)[0]:.4f}, Spearman "
            f"{spearmanr(found, truth)[0]:.3f}, slope {found @ truth / (found @ found):.2f}, "
            f"relative L2 {np.linalg.norm(found - truth) / np.linalg.norm(truth):.1e} "
            f"({n_refits} refits)",
            flush=True,
        )


def planted(X, y, seed):
    """Share of the wrong labels among the first 10 % and 20 % by each score."""
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(y), len(y) // 10, replace=False)
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + rng.integers(1, 5, len(wrong))) % 5
    model = head(len(y)).fit(X, noisy)
    influence = Influence(model, X, noisy)
    folds = cross_val_predict(head(len(y), tol=1e-4), X, noisy, method="predict_proba")
    scores = {
        "left out": own_loss(influence.loo_predict_proba(method="one-step"), noisy),
        "five folds": own_loss(folds, noisy),
        "self-influence": influence.self_influence(),
        "training loss": own_loss(model.predict_proba(X), noisy),
    }
    for name, score in scores.items():
        order = np.argsort(-score)
        found = [np.isin(wrong, order[: len(y) * k // 10]).mean() for k in (1, 2)]
        print(f"wrong labels by {name}: {found[0]:.0%} in the first tenth, {found[1]:.0%} in two")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--refits", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.process_time()
    data = np.load(folder(args.data, "flowers_inception") / "inception_v3_pool3.npz")
    X, y = data["X"].astype(float), data["y"].astype(int)
    order = np.random.default_rng(args.seed).permutation(len(y))
    train, test = order[: args.train], order[args.train :]
    X, y, X_test, y_test = X[train], y[train], X[test], y[test]
    model = head(len(y)).fit(X, y)
    influence = Influence(model, X, y)
    removals(model, influence, X, y, X_test, y_test, args.refits)
    folds = cross_val_predict(head(len(y), tol=1e-4), X, y)
    left_out = influence.loo_predict_proba(method="one-step").argmax(axis=1)
    print(
        f"accuracy: left out {np.mean(left_out == y):.3f}, five folds {np.mean(folds == y):.3f}, "
        f"unseen {model.score(X_test, y_test):.3f}"
    )
    planted(X, y, args.seed)
    print(f"{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
