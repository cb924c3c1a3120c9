"""Exact leave-one-out of hinge SVMs: in libsvm fits, and against retraining every support vector.

Every time is CPU time of one process and is shown as a ratio to the fits of the same run. MNIST is
read through ``data.load_mnist``; without it ``--only table`` and ``--only digits`` still run.

    python benchmarks/svm_paths.py
    python benchmarks/svm_paths.py --only mnist-large
"""

import argparse
import resource
import time

import numpy as np
from data import load_mnist
from sklearn.datasets import load_digits, make_classification
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.svm import SVC

from skinfluence.active_set import HingeProblem, Paths, polish


def digits():
    """All digits, odd or even, each image twice with noise: 3,594 rows."""
    X, y = load_digits(return_X_y=True)
    noise = np.random.default_rng(0).normal(scale=0.05, size=(2 * len(X), X.shape[1]))
    return np.tile(X / 16.0, (2, 1)) + noise, np.tile(np.where(y % 2, 1, -1), 2)


def table():
    """Overlapping classes in ten columns."""
    X, y = make_classification(
        4000, 10, n_informative=6, n_redundant=2, flip_y=0.1, class_sep=0.3, random_state=0
    )
    return (X - X.mean(axis=0)) / X.std(axis=0), 2 * y - 1


def mnist(classes, n):
    """MNIST: two digits, or odd against even."""
    X, y, _, _ = load_mnist()
    if classes == "parity":
        return X[:n], np.where(y[:n] % 2, 1, -1)
    rows = np.flatnonzero(np.isin(y, classes))[:n]
    return X[rows], np.where(y[rows] == classes[1], 1, -1)


CASES = {
    "mnist": [
        ("MNIST 3v8, n=2000", lambda: mnist((3, 8), 2000), (1.0, 10.0)),
        ("MNIST 3v8, n=6000", lambda: mnist((3, 8), 6000), (1.0, 10.0)),
    ],
    "mnist-large": [("MNIST odd/even, n=20000", lambda: mnist("parity", 20000), (10.0,))],
    "digits": [("digits odd/even, n=3594", digits, (1.0, 10.0))],
    "table": [("overlapping table, n=4000, d=10", table, (0.1, 1.0, 10.0))],
}


def measure(name, X, y, C, n_refits=5):
    gamma = 1.0 / (X.shape[1] * X.var())

    def kernel(rows_a, rows_b):
        # rbf_kernel gives the diagonal exactly when both sides are one array
        same = rows_a is rows_b
        return rbf_kernel(X[rows_a], None if same else X[rows_b], gamma=gamma)

    timed = Stopwatch()
    model = SVC(C=C, gamma=gamma, cache_size=1000).fit(X, y)
    fit = timed()
    beta = np.zeros(len(y))
    beta[model.support_] = model.dual_coef_[0]
    problem = HingeProblem(kernel, y, C, free_bias=True, diagonal=np.ones(len(y)))
    solution = polish(problem, beta, model.intercept_[0])
    polished = timed()
    paths = Paths(solution)
    tableau = timed()
    moves = paths.remove(np.arange(len(y)))
    removed = timed()
    total = polished + tableau + removed
    n_support = np.count_nonzero(solution.beta)
    refits = []
    for i in moves.moving[:: len(moves.moving) // n_refits][:n_refits]:
        keep = np.arange(len(y)) != i
        timed()
        SVC(C=C, gamma=gamma, cache_size=1000).fit(X[keep], y[keep])
        refits.append(timed())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{name}, C={C:g}: {n_support} SVs ({np.sum(solution.role == 1)} margin), fit {fit:.2f} s, "
        f"exact {total / fit:.2f} fits (polish {polished / fit:.2f}, tableau {tableau / fit:.2f}, "
        f"paths {removed / fit:.2f}), {np.mean(refits) * n_support / total:.0f}x retraining, pivots "
        f"{moves.n_pivots[moves.moving].mean():.1f}/{moves.n_pivots.max()}, KKT "
        f"{np.nanmax(moves.kkt_residual):.0e}, {memory:.1f} GiB",
        flush=True,
    )


class Stopwatch:
    """CPU seconds since the last call."""

    def __init__(self):
        self.last = time.process_time()

    def __call__(self):
        now = time.process_time()
        elapsed, self.last = now - self.last, now
        return elapsed


def warm_up():
    """Compile, so that no case pays for it."""
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = np.where(X[:, 0] + X[:, 1] ** 2 > 0.5, 1, -1)
    Paths(polish(HingeProblem(linear_kernel(X), y, 1.0, free_bias=True))).remove(np.arange(40))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES, action="append")
    options = parser.parse_args()
    warm_up()
    for group in options.only or CASES:
        for name, load, costs in CASES[group]:
            X, y = load()
            for C in costs:
                measure(name, X, y, C)
