"""Shapley values beside pyDVL: the error that a second of CPU buys, and agreement.

    python benchmarks/values.py [--rows 60] [--draws 400] [--permutations 100]

pyDVL (pip install pyDVL) is asked for permutation sampling without truncation, with scikit-learn's fits.
CPU seconds of this process, one thread
(OPENBLAS_NUM_THREADS=1). The utility is minus the mean squared error, of no row that of predicting 0.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.linear_model import Ridge

from skinfluence import Influence
from skinfluence.values import shapley


def cpu(call):
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def rows(n, d=10, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 200, d))
    y = X @ rng.standard_normal(d) + rng.standard_normal(n + 200)
    return X[:n], y[:n], X[n:], y[n:]


def permutations(model, X, y, X_test, y_test, n, seed):
    """Marginals of every row in random orders, by refits: what permutation sampling averages."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(n):
        order, found = rng.permutation(len(y)), np.empty(len(y))
        before = -0.5 * np.mean(y_test**2)
        for k, i in enumerate(order):
            some = order[: k + 1]
            model.fit(X[some], y[some])
            now = -0.5 * np.mean((y_test - model.predict(X_test)) ** 2)
            found[i], before = now - before, now
        out.append(found)
    return np.mean(out, axis=0), np.std(out, axis=0, ddof=1) / np.sqrt(n)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--permutations", type=int, default=100)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    X, y, X_test, y_test = rows(args.rows)
    influence = Influence(Ridge(alpha=1.0).fit(X, y), X, y)
    shapley(influence, X_test, y_test, n_draws=2)
    found, own = cpu(lambda: shapley(influence, X_test, y_test, n_draws=args.draws, random_state=0))
    (mean, error), other = cpu(
        lambda: permutations(Ridge(alpha=1.0), X, y, X_test, y_test, args.permutations, 0)
    )
    z = (found.values - mean) / np.hypot(found.standard_error, error)
    print(f"ours, {args.draws} sets: CPU {own:.2f} s, mean error {found.standard_error.mean():.1e}")
    print(
        f"permutations by refits, {args.permutations}: CPU {other:.2f} s, mean error {error.mean():.1e}; "
        f"difference in its own errors {np.sqrt(np.mean(z**2)):.2f}"
    )
    # Errors fall with the root of the time.
    ratio = other * np.mean(error**2) / (own * np.mean(found.standard_error**2))
    print(f"CPU for the same error: {ratio:.1f} times less")
    against_pydvl(X, y, X_test, y_test, args)


def against_pydvl(X, y, X_test, y_test, args):
    try:
        from pydvl.valuation import (
            Dataset,
            MinUpdates,
            ModelUtility,
            PermutationSampler,
            ShapleyValuation,
            SupervisedScorer,
        )
    except ImportError:
        print("pyDVL is not installed: no comparison with it.")
        return
    train, test = Dataset(X, y), Dataset(X_test, y_test)
    scorer = SupervisedScorer("neg_mean_squared_error", test, default=-float(np.mean(y_test**2)))
    utility = ModelUtility(Ridge(alpha=1.0), scorer)

    def there():
        valuation = ShapleyValuation(
            utility, PermutationSampler(seed=0), MinUpdates(args.permutations), progress=False
        )
        valuation.fit(train)
        return valuation.values().sort(key="index")

    result, other = cpu(there)
    print(
        f"pyDVL, {args.permutations} updates: CPU {other:.2f} s, mean error {0.5 * result.stderr.mean():.1e}"
    )


if __name__ == "__main__":
    main()
