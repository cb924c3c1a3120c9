"""Leave-one-out of a lasso for all rows: CPU seconds in fits, and what holding the support would miss.

python benchmarks/l1.py
"""

import time

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Lasso
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import Influence


def planted(n, d, k, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    beta = np.zeros(d)
    beta[:k] = rng.standard_normal(k)
    return X, X @ beta + 2.0 * rng.standard_normal(n)


def products():
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(PolynomialFeatures(3, include_bias=False).fit_transform(X))
    return X, y


CASES = {
    "random": (planted(5000, 500, 30), 0.05),
    "random, many": (planted(5000, 500, 200), 0.02),
    "random, wide": (planted(300, 3000, 20), 0.3),
    "diabetes, products": (products(), 1.0),
}


def seconds(call, repeats=3):
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def main():
    print(f"{'':>20} {'n x d':>12} {'k':>4} {'moved':>6} {'fits':>6} {'one step off':>12}")
    for name, ((X, y), alpha) in CASES.items():
        model = Lasso(alpha=alpha, max_iter=10_000).fit(X, y)
        fit = seconds(lambda X=X, y=y, model=model: Lasso(**model.get_params()).fit(X, y))
        Influence(model, X, y).loo_predict()
        loo = seconds(lambda X=X, y=y, model=model: Influence(model, X, y).loo_predict())
        inf = Influence(model, X, y)
        support, before = inf.answers.support, inf.answers.eta
        coef = support.without_each(np.arange(len(y)), checked=True)[:, : X.shape[1]]
        moved = ((coef != 0) != (support.b != 0)).any(axis=1).mean()
        exact = inf.loo_predict() - before
        held = inf.loo_predict(method="one-step") - before
        off = np.linalg.norm(held - exact) / np.linalg.norm(exact)
        size = f"{X.shape[0]} x {X.shape[1]}"
        print(
            f"{name:>20} {size:>12} {len(support.active):4d} {moved:6.0%} {loo / fit:6.1f} {off:12.1e}"
        )


if __name__ == "__main__":
    main()
