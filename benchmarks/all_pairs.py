"""Time influence_up_loss against the two matrix products it needs, and the import.

    python benchmarks/all_pairs.py [--repeats 9] [--threads 2]

Ratios are taken inside one run, between minima over interleaved repeats.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from skinfluence import Influence
from skinfluence.linear_model import LogisticRegression as OurLogisticRegression


def make_problem(n_train, n_test, n_features, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_train + n_test, n_features))
    y = (X @ rng.standard_normal(n_features) + 3 * rng.standard_normal(len(X)) > 0).astype(int)
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def all_pairs(n_train, n_test, n_features, repeats):
    """Times of the question, of its factorisation and of the two products, (name, times)."""
    X, y, X_test, y_test = make_problem(n_train, n_test, n_features)
    model = LogisticRegression(tol=1e-8).fit(X, y)
    ours = OurLogisticRegression(tol=1e-8).fit(X, y)
    inf = Influence(model, X, y)
    p = n_features + 1
    inverse = np.linalg.inv(inf.answers.factor.curvature.dense())
    rows = np.column_stack([X, np.ones(n_train)])
    tests = np.column_stack([X_test, np.ones(n_test)])

    def products():
        # H^-1 with the test gradients (p x p x n_test), then with the training gradients.
        return (tests @ inverse) @ rows.T

    calls = {
        "two products": products,
        "influence_up_loss, factored": lambda: inf.influence_up_loss(X_test, y_test),
        "factorisation": lambda: Influence(model, X, y),
        "influence_up_loss, estimator": lambda: ours.influence_up_loss(X_test, y_test),
    }
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    flops = 2.0 * n_test * p * p + 2.0 * n_test * p * n_train
    return times, flops


def import_times(repeats):
    times = {"sklearn.linear_model": [], "skinfluence": [], "skinfluence.linear_model": []}
    for _ in range(repeats):
        for module in times:
            code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
            out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
            times[module].append(float(out.stdout))
    return times


def show(title, times, reference, bars):
    print(f"\n{title}")
    print(f"{'':32}{'min ms':>10}{'median ms':>12}{'ratio of min':>14}{'of median':>11}{'bar':>7}")
    for name, seconds in times.items():
        low, middle = np.min(seconds), np.median(seconds)
        ratios = low / np.min(times[reference]), middle / np.median(times[reference])
        bar = f"{bars[name]:.1f}" if name in bars else ""
        print(
            f"{name:32}{1e3 * low:10.1f}{1e3 * middle:12.1f}"
            f"{ratios[0]:14.2f}{ratios[1]:11.2f}{bar:>7}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    with threadpool_limits(options.threads):
        times, flops = all_pairs(options.train, options.test, options.features, options.repeats)
    title = f"{options.test} tests x {options.train} rows x {options.features} features"
    show(title, times, "two products", {"influence_up_loss, factored": 3.0})
    floor = min(times["two products"])
    whole = min(times["influence_up_loss, estimator"])
    parts = min(times["influence_up_loss, factored"]) + min(times["factorisation"])
    print(
        f"products: {flops / floor / 1e9:.1f} Gflop/s; estimator / (question + factor): {whole / parts:.2f}"
    )
    imports = import_times(options.repeats)
    bars = {"skinfluence": 1.5, "skinfluence.linear_model": 1.5}
    show("import", imports, "sklearn.linear_model", bars)


if __name__ == "__main__":
    main()
