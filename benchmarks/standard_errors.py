"""Standard errors beside statsmodels, pyfixest, refits without clusters and bootstrapped refits.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/standard_errors.py [PART] [--bootstraps 10000]

with PART one of statsmodels, clusters, bootstraps; all of them without it.

statsmodels and pyfixest are compared where they are installed. CPU seconds of this process, on one thread of
BLAS and one of OpenMP: scikit-learn's losses of counts run on it, and where other work runs beside them
its threads spin. Ours is the better of two calls, after one that compiles and loads.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import scale

from skinfluence import Influence, metrics
from skinfluence.inference import bootstrap, covariance, standard_error

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}


def cpu(call):
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def ours(call):
    call()
    return min((cpu(call) for _ in range(2)), key=lambda one: one[1])


def rows(n, d, kind, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    eta = X @ rng.standard_normal(d) / np.sqrt(d)
    y = {
        "gaussian": lambda: eta + rng.standard_normal(n) * (1 + np.abs(X[:, 0])),
        "binomial": lambda: (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(np.exp(0.5 * eta)).astype(float),
    }[kind]()
    return X, y, rng.integers(0, 200, n)


MODELS = {
    "gaussian": linear_model.LinearRegression(),
    "binomial": linear_model.LogisticRegression(C=np.inf, **NEWTON),
    "poisson": linear_model.PoissonRegressor(alpha=0.0, **NEWTON),
}


def against_statsmodels():
    try:
        import statsmodels.api as sm
    except ImportError:
        print("statsmodels is not installed: no comparison with it.")
        return
    print("fit and covariance against statsmodels, 10,000 x 20, 200 clusters")
    families = {"binomial": sm.families.Binomial(), "poisson": sm.families.Poisson()}
    for name, model in MODELS.items():
        X, y, groups = rows(10000, 20, name)
        Z = sm.add_constant(X, prepend=False)
        for kind in ("hc0", "hc3", "cr1") if name == "gaussian" else ("hc0", "cr1"):

            def here(model=model, kind=kind, X=X, y=y, groups=groups):
                influence = Influence(clone(model).fit(X, y), X, y)
                return covariance(influence, kind, groups=groups if kind == "cr1" else None)

            def there(name=name, kind=kind, Z=Z, y=y, groups=groups):
                options = {"cov_type": kind.upper()}
                if kind == "cr1":
                    options = {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
                if name == "gaussian":
                    return sm.OLS(y, Z).fit(**options).cov_params()
                return sm.GLM(y, Z, family=families[name]).fit(tol=1e-13, **options).cov_params()

            found, own = ours(here)
            expected, other = ours(there)
            told(f"{name} {kind}", found, expected, own, other)


def against_deleted_clusters():
    print("CR3 against refits without each of 200 clusters, 10,000 x 20")
    for name, model in MODELS.items():
        X, y, groups = rows(10000, 20, name)
        fitted = clone(model).fit(X, y)

        def here(fitted=fitted, X=X, y=y, groups=groups):
            return covariance(Influence(fitted, X, y), "cr3", groups=groups, method="exact")

        def there(fitted=fitted, X=X, y=y, groups=groups):
            def parameters(one):
                return np.append(one.coef_, one.intercept_)

            d = [
                parameters(clone(fitted).fit(X[groups != g], y[groups != g])) - parameters(fitted)
                for g in range(200)
            ]
            return 199 / 200 * np.transpose(d) @ d

        found, own = ours(here)
        expected, other = cpu(there)
        told(name, found, expected, own, other)
    try:
        import pandas as pd
        import pyfixest
    except ImportError:
        print("pyfixest is not installed: no comparison with it.")
        return
    X, y, groups = rows(10000, 20, "gaussian")
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(20)]).assign(y=y, g=groups)
    formula = "y ~ " + " + ".join(frame.columns[:20])

    def there():
        fit = pyfixest.feols(formula, frame, vcov={"CRV3": "g"})
        last = [*range(1, 21), 0]
        return np.asarray(fit._vcov)[np.ix_(last, last)] / (200 / 199 * 9999 / 9979) * 199 / 200

    def here():
        fitted = linear_model.LinearRegression().fit(X, y)
        return covariance(Influence(fitted, X, y), "cr3", groups=groups)

    found, own = ours(here)
    expected, other = ours(there)
    told("pyfixest, fit included", found, expected, own, other)


def told(name, found, expected, own, other):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    print(
        f"  {name:24} relative difference {error:.1e}, CPU {own:.3f} s and {other:.2f} s: "
        f"{other / own:.1f} times less"
    )


def against_bootstraps(draws):
    print(f"the AUROC's error against {draws} bootstrapped refits, rows and test points drawn")
    X, y = datasets.load_breast_cancer(return_X_y=True)
    X = scale(X[:, :6])
    for seed, n in ((0, 300), (1, 200), (2, 100)):
        train, test = np.split(np.random.default_rng(seed).permutation(len(y)), [n])
        model = linear_model.LogisticRegression(solver="newton-cholesky").fit(X[train], y[train])

        def refits(model=model, train=train, test=test):
            rng, found = np.random.default_rng(7), []
            for _ in range(draws):
                some, points = rng.choice(train, len(train)), rng.choice(test, len(test))
                eta = clone(model).fit(X[some], y[some]).decision_function(X[points])
                found.append(roc_auc_score(y[points], eta))
            return np.std(found, ddof=1)

        def deleted(model=model, train=train, test=test):
            influence = Influence(model, X[train], y[train])
            return standard_error(influence, metrics.auroc(0), X[test], y[test])

        def drawn(method, model=model, train=train, test=test):
            influence = Influence(model, X[train], y[train])
            options = {"n_resamples": 2000, "method": method, "random_state": 0}
            return bootstrap(influence, metrics.auroc(0), X[test], y[test], **options).std(ddof=1)

        expected, other = cpu(refits)
        for name, call in (
            ("standard_error", deleted),
            ("bootstrap of 2,000", lambda drawn=drawn: drawn("influence")),
            ("the same, exact", lambda drawn=drawn: drawn("exact")),
        ):
            found, own = ours(call)
            print(
                f"  {n} rows, {name:18} {found:.5f}, refits {expected:.5f} ({found / expected - 1:+.1%}), "
                f"CPU {own:.2f} s and {other:.0f} s ({own / other:.2%})"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {
        "statsmodels": against_statsmodels,
        "clusters": against_deleted_clusters,
        "bootstraps": lambda: against_bootstraps(args.bootstraps),
    }
    parser.add_argument("part", nargs="?", choices=[*parts, "all"], default="all")
    parser.add_argument("--bootstraps", type=int, default=10000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name, part in parts.items():
        if args.part in (name, "all"):
            part()


if __name__ == "__main__":
    main()
