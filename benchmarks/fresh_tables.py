"""Tables on which no rule of the audit was chosen, or half of them: see ``noise.py`` and doc/audit.rst.

``CHOSEN_ON`` are those that the rule of when to refrain from suggestions was chosen on, ``JUDGED_ON`` those
it was judged on afterwards, once, ``LATER`` those that the rule after it was judged on, ``WIDE`` have more
columns than rows. Many are tables that no plane follows. At most 600 rows each.
"""

import numpy as np
from sklearn.datasets import (
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
    make_circles,
    make_classification,
    make_gaussian_quantiles,
    make_moons,
)
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

ROWS = 600


def _shipped(load):
    def table(args, rng):
        X, y = load(return_X_y=True)
        return StandardScaler().fit_transform(X), y, None

    return table


def _made(n_classes, n_clusters, separation, weights=None, width=10, informative=6, rows=ROWS):
    def table(args, rng):
        X, y = make_classification(
            rows, width, n_informative=informative, n_redundant=2, n_classes=n_classes,
            n_clusters_per_class=n_clusters, class_sep=separation, weights=weights, flip_y=0,
            random_state=args.seed,
        )  # fmt: skip
        return StandardScaler().fit_transform(X), y, None

    return table


def _moons(args, rng):
    X, y = make_moons(ROWS, noise=0.25, random_state=args.seed)
    return StandardScaler().fit_transform(X), y, None


def _circles(args, rng):
    """A ring in a ring and three columns that say nothing: a plane knows next to nothing of them."""
    X, y = make_circles(ROWS, noise=0.15, factor=0.5, random_state=args.seed)
    return (
        StandardScaler().fit_transform(np.c_[X, X[:, :1] ** 2, rng.normal(size=(ROWS, 3))]),
        y,
        None,
    )


def _quantiles(n_classes, width):
    """Shells around the middle."""

    def table(args, rng):
        X, y = make_gaussian_quantiles(
            n_samples=ROWS, n_features=width, n_classes=n_classes, random_state=args.seed
        )
        return StandardScaler().fit_transform(np.c_[X, np.abs(X[:, :1])]), y, None

    return table


def _blobs(n_centers, n_classes, spread):
    """Round clusters, several of a class where there are fewer classes than centres."""

    def table(args, rng):
        X, y = make_blobs(
            ROWS,
            5,
            centers=n_centers,
            cluster_std=spread,
            random_state=args.seed,
            center_box=(-6, 6),
        )
        return StandardScaler().fit_transform(X), y % n_classes, None

    return table


def _digits(classes_of):
    """Pictures of digits in coarser classes, which no plane separates."""

    def table(args, rng):
        X, y = load_digits(return_X_y=True)
        rows = rng.permutation(len(y))[:ROWS]
        return X[rows] / 16.0, classes_of(y[rows]), None

    return table


def _wide(n_classes, rows, width, separation):
    """Round classes in some of many columns, of a spread that leaves the penalty something to choose."""

    def table(args, rng):
        X, y = make_classification(
            rows, width, n_informative=20 + 5 * (n_classes > 3), n_redundant=10, n_classes=n_classes,
            n_clusters_per_class=1, class_sep=separation, flip_y=0, random_state=args.seed,
        )  # fmt: skip
        return StandardScaler().fit_transform(X) / np.sqrt(width / 20), y, None

    return table


def _digit_pairs(args, rng):
    """Products of pixels, and two digits to a class."""
    X, y = load_digits(return_X_y=True)
    rows = rng.permutation(len(y))[:400]
    return PolynomialFeatures(2, include_bias=False).fit_transform(X[rows] / 16), y[rows] // 2, None


def _exclusive(args, rng):
    """The sign of a product of two columns, beside three that add to it."""
    X = rng.normal(size=(ROWS, 8))
    y = (X[:, 0] * X[:, 1] + 0.8 * X[:, 2:5].sum(axis=1) + 0.2 * rng.normal(size=ROWS) > 0).astype(
        int
    )
    return X, y, None


CHOSEN_ON = {
    "wine": _shipped(load_wine),
    "clusters-2": _made(2, 2, 1.0),
    "clusters-5": _made(5, 2, 1.2, informative=8),
    "rare-1-in-8": _made(2, 2, 1.2, weights=[0.88, 0.12]),
    "raw-moons": _moons,
    "shells-3": _quantiles(3, 4),
    "blobs-3-of-9": _blobs(9, 3, 1.5),
    "even-digits": _digits(lambda y: y % 2),
}
JUDGED_ON = {
    "iris": _shipped(load_iris),
    "clusters-3": _made(3, 2, 1.0, width=15),
    "clusters-10": _made(10, 1, 1.5, width=20, informative=10),
    "rare-1-in-12": _made(3, 1, 1.0, weights=[0.6, 0.32, 0.08]),
    "circles": _circles,
    "shells-2": _quantiles(2, 5),
    "blobs-2-of-8": _blobs(8, 2, 1.2),
    "digits-by-three": _digits(lambda y: y % 3),
    "product": _exclusive,
}
# Looked at once, after the rule of what is suggested was settled on all of the above.
LATER = {
    "clusters-4": _made(4, 2, 1.1, width=12, informative=7),
    "clusters-6": _made(6, 1, 1.0, width=14, informative=8),
    "clusters-8": _made(8, 1, 1.3, width=16, informative=9),
    "rare-1-in-10-of-4": _made(4, 1, 1.1, weights=[0.5, 0.25, 0.15, 0.1], informative=7),
    "shells-4": _quantiles(4, 3),
    "blobs-5-of-5": _blobs(5, 5, 2.0),
    "blobs-4-of-12": _blobs(12, 4, 1.5),
    "digits-low-or-high": _digits(lambda y: (y > 4).astype(int)),
}
# More columns than rows, so that no row around can tell.
WIDE = {
    "wide-2": _wide(2, 300, 400, 1.2),
    "wide-3": _wide(3, 400, 600, 1.5),
    "wide-5": _wide(5, 600, 800, 2.0),
    "digit-pairs": _digit_pairs,
}
