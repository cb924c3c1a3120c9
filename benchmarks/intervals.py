"""Prediction intervals beside MAPIE and refits: agreement, CPU, coverage.

    python benchmarks/intervals.py [--rows 2000] [--columns 50] [--samples 200]

MAPIE (pip install MAPIE) is compared where it is installed. CPU seconds of this process, one thread
(OPENBLAS_NUM_THREADS=1); ours is the better of two calls, after one that compiles and loads.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge

from skinfluence.conformal import (
    FullConformalClassifier,
    FullConformalRegressor,
    JackknifePlusClassifier,
    JackknifePlusRegressor,
)

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12}


def cpu(call):
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def ours(call):
    call()
    return min((cpu(call) for _ in range(2)), key=lambda one: one[1])


def line(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X @ rng.standard_normal(d) + rng.standard_normal(n)


def against_mapie(n, d):
    try:
        from mapie.regression import CrossConformalRegressor
    except ImportError:
        print("MAPIE is not installed: no comparison with it.")
        return
    X, y = line(n + 500, d)
    X, y, X_test = X[:n], y[:n], X[n:]
    print(f"jackknife+ against MAPIE, {n} x {d}, 500 points, coverage 0.9")
    for name, estimator in {
        "Ridge": linear_model.Ridge(1.0),
        "LinearRegression": linear_model.LinearRegression(),
    }.items():
        for kind in ("plus", "minmax"):

            def here(estimator=estimator, kind=kind):
                model = JackknifePlusRegressor(estimator, kind=kind).fit(X, y)
                return model.predict_interval(X_test, 0.9)

            def there(estimator=estimator, kind=kind):
                model = CrossConformalRegressor(estimator, confidence_level=0.9, method=kind, cv=-1)
                model.fit_conformalize(X, y)
                return model.predict_interval(X_test)[1][:, :, 0]

            found, own = ours(here)
            expected, other = cpu(there)
            error = np.abs(found - expected).max()
            print(
                f"  {name:17}{kind:7} largest difference {error:.1e}, CPU {own:.3f} s and "
                f"{other:.2f} s: {other / own:.0f} times less"
            )


def against_refits():
    print("full conformal against refits")
    X, y = line(1000, 20)
    X_test, y_test = line(1000, 20, seed=1)
    for name, estimator in {
        "Ridge 1000 x 20": linear_model.Ridge(1.0, solver="cholesky"),
        "KernelRidge 1000 x 20": KernelRidge(alpha=1.0, kernel="rbf", gamma=0.02),
    }.items():

        def refit(t, estimator=estimator):
            Z, z = np.vstack([X, X_test[[t]]]), np.append(y, y_test[t])
            left = np.abs(z - clone(estimator).fit(Z, z).predict(Z))
            return (left >= left[-1]).mean()

        for points in (300, 1000):
            found, own = ours(
                lambda points=points, estimator=estimator: (
                    FullConformalRegressor(estimator)
                    .fit(X, y)
                    .p_values(X_test[:points], y_test[:points])
                )
            )
            expected, other = cpu(lambda refit=refit: [refit(t) for t in range(10)])
            told(f"{name}, {points} points", found[:10], expected, own, other * points / 10)
    X, y = datasets.make_classification(200, 10, flip_y=0.1, random_state=0)
    X_test = np.random.default_rng(0).standard_normal((500, 10))
    for points in (500, 250):
        estimator = linear_model.LogisticRegression(**NEWTON)
        found, own = ours(
            lambda points=points, estimator=estimator: (
                FullConformalClassifier(estimator).fit(X, y).p_values(X_test[:points])
            )
        )

        def refit(t, k, estimator=estimator):
            Z, z = np.vstack([X, X_test[[t]]]), np.append(y, k)
            p = clone(estimator).fit(Z, z).predict_proba(Z)[np.arange(len(z)), z]
            return (p <= p[-1] + 1e-9).mean()

        expected, other = cpu(
            lambda refit=refit: [[refit(t, k) for k in (0, 1)] for t in range(50)]
        )
        name = f"LogisticRegression 200 x 10, {points} points"
        told(name, found[:50], expected, own, other * points / 50)


def told(name, found, expected, own, other):
    error = np.abs(found - np.asarray(expected)).max()
    print(
        f"  {name:38} largest difference {error:.1e}, CPU {own:.3f} s and {other:.1f} s: "
        f"{other / own:.0f} times less"
    )


def populations(rng, n):
    X = rng.standard_normal((n, 8))
    yield "line", X, X @ np.arange(8.0) + rng.standard_normal(n)
    yield "growing noise", X, np.exp(0.5 * X[:, 0]) * (1 + rng.standard_normal(n))
    patients, progression = datasets.load_diabetes(return_X_y=True)
    rows = rng.choice(len(patients), n, replace=False)
    yield "patients", patients[rows], progression[rows]


def coverage(samples):
    print(
        f"coverage asked for 0.9: share of targets held, {samples} samples of 100 rows and 100 points"
    )
    held = {}
    rng = np.random.default_rng(0)
    for _ in range(samples):
        for population, X, y in populations(rng, 200):
            label = (y > np.median(y)).astype(int)
            for name, model in {
                "jackknife+": JackknifePlusRegressor(),
                "minmax": JackknifePlusRegressor(kind="minmax"),
                "full": FullConformalRegressor(),
            }.items():
                low, high = model.fit(X[:100], y[:100]).predict_interval(X[100:], 0.9).T
                share = np.mean((low <= y[100:]) & (y[100:] <= high))
                held.setdefault((population, name), []).append(share)
            for name, model in {
                "jackknife+ sets": JackknifePlusClassifier(),
                "full sets": FullConformalClassifier(),
            }.items():
                inside = model.fit(X[:100], label[:100]).predict_set(X[100:], 0.9)
                share = inside[np.arange(100), label[100:]].mean()
                held.setdefault((population, name), []).append(share)
    for (population, name), shares in held.items():
        error = np.std(shares) / np.sqrt(len(shares))
        print(f"  {population:15}{name:17}{np.mean(shares):.3f} +- {error:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--samples", type=int, default=200)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    against_mapie(args.rows, args.columns)
    against_refits()
    coverage(args.samples)


if __name__ == "__main__":
    main()
