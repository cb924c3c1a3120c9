"""Regression guard: CPU seconds of the hot paths over those of a matrix product in the same run.

    python benchmarks/hot_paths.py             # compare with hot_paths.json; exit code 1 beyond 15 %
    python benchmarks/hot_paths.py --update    # store what was measured

One thread, minima over interleaved repeats. Ratios move with the machine (its caches, its BLAS), so
the stored ones hold for the machine they were measured on: update them there before comparing.
"""

import argparse
import json
import platform
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skinfluence import Influence
from skinfluence.objective import objective_of
from skinfluence.solvers import CG, LiSSA

STORED = Path(__file__).with_name("hot_paths.json")
# Beyond this a ratio has changed.
ALLOWED = 0.15


def draw(n, d, n_classes, seed=0):
    """Overlapping classes in correlated columns."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + rng.standard_normal((n, 5)) @ rng.standard_normal((5, d))
    score = X @ rng.standard_normal((d, n_classes)) / np.sqrt(d) + 2.0 * rng.gumbel(
        size=(n, n_classes)
    )
    return X, score.argmax(axis=1)


def fitted(X, y, C=0.1):
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(X, y)


def all_pairs():
    """500 tests against 10,000 rows of 100 columns."""
    X, y = draw(10_500, 100, 2)
    inf = Influence(fitted(X[:10_000], y[:10_000]), X[:10_000], y[:10_000])
    return lambda: inf.influence_up_loss(X[10_000:], y[10_000:])


def one_step():
    """Leave-one-out of 10,000 rows of 100 columns, the factorisation included."""
    X, y = draw(10_000, 100, 2)
    model = fitted(X, y)
    return lambda: Influence(model, X, y).loo_decision_function(method="one-step")


def softmax_leverages():
    """One-step leave-one-out of 4,000 rows, 8 classes."""
    X, y = draw(4_000, 60, 8)
    model = fitted(X, y)
    return lambda: Influence(model, X, y).loo_decision_function(method="one-step")


def chord_pass():
    """Certified leave-one-out of 2,000 rows to 1e-6."""
    X, y = draw(2_000, 30, 2)
    inf = Influence(fitted(X, y, C=1.0), X, y)
    return lambda: inf.loo_decision_function(tol=1e-6)


def _softmax_problem():
    X, y = draw(12_000, 150, 6)
    objective = objective_of(fitted(X, y, C=1e-2), X, y)
    B = np.random.default_rng(0).standard_normal((objective.n_parameters, 10))
    return objective, B


def cg_one():
    """One right-hand side of a softmax, the preconditioner included."""
    objective, B = _softmax_problem()
    return lambda: CG().factor(objective).solve(B[:, :1])


def cg_ten():
    """Ten right-hand sides of a softmax, the preconditioner included."""
    objective, B = _softmax_problem()
    return lambda: CG().factor(objective).solve(B)


def lissa():
    """40,000 steps along rows of a softmax."""
    objective, B = _softmax_problem()
    factor = LiSSA(depth=5_000, repeats=8, random_state=0).factor(objective)
    return lambda: factor.repeated(B[:, :1])


def svm_path():
    """Exact removal of 40 support vectors from an RBF machine."""
    from skinfluence.svm import SVC

    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    # Of unit variance: what "scale" is, held, so that one path is followed for each row.
    model = SVC(C=1.0, gamma=1.0 / X.shape[1]).fit(X, y)
    options = dict(of="decision_function", method="exact", indices=model.support_[:40])
    return lambda: Influence(model, X, y).removal_effect(X[:50], **options)


PATHS = {
    call.__name__: call
    for call in (
        all_pairs, one_step, softmax_leverages, chord_pass, cg_one, cg_ten, lissa, svm_path
    )
}  # fmt: skip


def cpu(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(names, repeats):
    """Ratios of minima, each to the matrix products timed between its own repeats."""
    A = np.random.default_rng(0).standard_normal((1000, 1000))
    ratios = {}
    for name in names:
        call = PATHS[name]()
        call()  # compiles
        own, product = [], []
        for _ in range(repeats):
            own.append(cpu(call))
            product.append(min(cpu(lambda: A @ A) for _ in range(3)))
        ratios[name] = min(own) / min(product)
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], choices=[*PATHS, []])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        ratios = measure(options.names or list(PATHS), options.repeats)
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"ratios": {}}
    slower = []
    print(f"{'path':20}{'ratio':>10}{'stored':>10}{'change':>10}")
    for name, ratio in ratios.items():
        before = stored["ratios"].get(name)
        change = "" if before is None else f"{100 * (ratio / before - 1):+.0f} %"
        print(f"{name:20}{ratio:10.2f}{before or np.nan:10.2f}{change:>10}")
        if before is not None and ratio > (1 + ALLOWED) * before:
            slower.append(name)
    if options.update:
        stored["processor"] = platform.processor() or platform.machine()
        stored["ratios"].update({name: round(ratio, 3) for name, ratio in ratios.items()})
        STORED.write_text(json.dumps(stored, indent=2) + "\n")
    elif slower:
        sys.exit(f"Slower by more than {100 * ALLOWED:.0f} %: {', '.join(slower)}.")


if __name__ == "__main__":
    main()
