"""Choose C by leave-one-out against brute force, GridSearchCV and LogisticRegressionCV.

    python -m benchmarks.loo_search [--data DIR] [--only small a9a ridge table sparse] [--repeats 3]

On the small sets the truth is brute force: one refit per row and value, by scikit-learn. Times are
CPU and wall seconds, interleaved in one run, the smallest of the repeats; every method is run once
before on a few rows, so that nothing is compiled while the clock runs.
"""

import argparse
import time
import warnings

import numpy as np
import scipy.sparse as sp
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from benchmarks.data import add_data_option, load_a9a
from benchmarks.price import heavy_tails
from skinfluence.model_selection import LeaveOneOutSearch, loo_predict

GRID = np.logspace(-4, 4, 20)


def small_sets():
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", StandardScaler().fit_transform(X), y
    X, y = load_digits(return_X_y=True)
    chosen = (y == 3) | (y == 8)
    yield "digits 3v8", X[chosen] / 16.0, y[chosen]
    X, y = load_wine(return_X_y=True)
    yield "wine", StandardScaler().fit_transform(X), y


def searches():
    model = LogisticRegression()
    return {
        "LeaveOneOutSearch": lambda: LeaveOneOutSearch(model, {"C": GRID}),
        "GridSearchCV(cv=5)": lambda: GridSearchCV(
            model, {"C": GRID}, cv=5, scoring="neg_log_loss"
        ),
        "LogisticRegressionCV(cv=5)": lambda: LogisticRegressionCV(
            Cs=GRID, cv=5, scoring="neg_log_loss", l1_ratios=(0,), use_legacy_attributes=False
        ),
    }


def timed(makers, X, y, repeats):
    """Fitted searches, and their smallest (CPU, wall) seconds over interleaved repeats."""
    few = np.concatenate([np.flatnonzero(y == label)[:150] for label in np.unique(y)])
    for make in makers.values():
        make().fit(X[few], y[few])
    fitted, times = {}, {name: [] for name in makers}
    for _ in range(repeats):
        for name, make in makers.items():
            wall, cpu = time.perf_counter(), time.process_time()
            fitted[name] = make().fit(X, y)
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return fitted, {name: np.min(found, axis=0) for name, found in times.items()}


def chosen(search):
    return float(np.ravel(getattr(search, "C_", None) or search.best_params_["C"])[0])


def brute_force(X, y):
    """Mean log loss of every row from a tight refit without it, at each value."""
    refit = LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=500)
    losses = np.zeros((len(GRID), len(y)))
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        for k, C in enumerate(GRID):
            model = clone(refit).set_params(C=C).fit(X[kept], y[kept])
            eta = np.atleast_1d(model.decision_function(X[[i]])[0])
            eta = np.append(0.0, eta) if len(eta) == 1 else eta
            losses[k, i] = logsumexp(eta) - eta[np.searchsorted(model.classes_, y[i])]
    return losses.mean(axis=1)


def run_small(args):
    for name, X, y in small_sets():
        fitted, times = timed(searches(), X, y, args.repeats)
        start = time.process_time()
        truth = brute_force(X, y)
        brute = time.process_time() - start
        print(f"{name} {X.shape}: brute force {brute:.0f} CPU s, best C {GRID[truth.argmin()]:.3g}")
        ours = times["LeaveOneOutSearch"]
        for method, search in fitted.items():
            C = chosen(search)
            regret = truth[np.abs(np.log(GRID / C)).argmin()] - truth.min()
            cpu, wall = times[method]
            print(
                f"  {method:27s} C={C:<9.3g} loss above the best {regret:.1e} | {cpu:.3f} CPU s, "
                f"{wall:.3f} s | CPU ratio to ours {cpu / ours[0]:.2f}"
            )
        search = fitted["LeaveOneOutSearch"]
        error = abs(search.best_score_ + truth[search.best_index_])
        bound = search.cv_results_["score_bound"][search.best_index_]
        print(f"  best_score_ off by {error:.1e}, certified {bound:.1e}; n refits / ours: "
              f"{brute / ours[0]:.0f}")  # fmt: skip


def run_a9a(args):
    X, y = load_a9a(args.data)
    fitted, times = timed(searches(), X, y, args.repeats)
    ours = times["LeaveOneOutSearch"]
    search = fitted["LeaveOneOutSearch"]
    scores = -search.cv_results_["mean_test_score"]
    print(f"a9a {X.shape}: leave-one-out log loss by C: "
          + " ".join(f"{C:.3g}:{loss:.6f}" for C, loss in zip(GRID, scores, strict=True)))  # fmt: skip
    for method, other in fitted.items():
        C = chosen(other)
        cpu, wall = times[method]
        print(
            f"  {method:27s} C={C:<9.3g} leave-one-out loss "
            f"{scores[np.abs(np.log(GRID / C)).argmin()]:.6f} | {cpu:.2f} CPU s, {wall:.2f} s | "
            f"CPU ratio to ours {cpu / ours[0]:.2f}, wall {wall / ours[1]:.2f}"
        )
    best = clone(search.best_estimator_).set_params(tol=1e-8, max_iter=1000)
    start = time.perf_counter()
    exact = loo_predict(best, X, y, response_method="loss", tol=1e-3).mean()
    print(
        f"  best_score_ against all rows certified at 1e-3 ({time.perf_counter() - start:.1f} s): "
        f"off by {abs(exact + search.best_score_):.1e}, certified "
        f"{search.cv_results_['score_bound'][search.best_index_]:.1e}"
    )


def run_ridge(args):
    X, y = load_diabetes(return_X_y=True)
    makers = {
        "LeaveOneOutSearch": lambda: LeaveOneOutSearch(Ridge(), {"alpha": GRID}),
        "GridSearchCV(cv=5)": lambda: GridSearchCV(Ridge(), {"alpha": GRID}, cv=5),
        "RidgeCV (leave-one-out)": lambda: RidgeCV(alphas=GRID),
    }
    rng = np.random.default_rng(0)
    for name, features in (("diabetes", X), ("wide", rng.standard_normal((len(X), 2000)))):
        fitted, times = timed(makers, features, y, args.repeats)
        print(f"ridge, {name} {features.shape}")
        for method, search in fitted.items():
            alpha = getattr(search, "alpha_", None) or search.best_params_["alpha"]
            ratio = times[method][0] / times["LeaveOneOutSearch"][0]
            print(
                f"  {method:27s} alpha={alpha:<9.3g} {times[method][0]:.3f} CPU s | CPU ratio to "
                f"ours {ratio:.2f}"
            )


def run_table(args):
    """A table like the spam one: what the search costs in its own one-step version and in others."""
    _beside_one_step("heavy tails", *heavy_tails(3220, 57), args)


def run_sparse(args):
    """Sparse rows of 15 numbers, many more than columns."""
    rng = np.random.default_rng(0)
    X = sp.random(
        34_824, 300, density=0.05, format="csr", random_state=0, data_rvs=rng.standard_normal
    )
    score = X @ rng.standard_normal(300)
    y = (score + rng.logistic(size=len(score)) > 0).astype(int)
    _beside_one_step("sparse rows", X, y, args)


def _beside_one_step(name, X, y, args):
    makers = searches()
    makers["one-step"] = lambda: LeaveOneOutSearch(
        LogisticRegression(), {"C": GRID}, method="one-step"
    )
    fitted, times = timed(makers, X, y, args.repeats)
    ours = times["LeaveOneOutSearch"]
    print(f"{name} {X.shape}, {len(GRID)} values of C")
    for method, search in fitted.items():
        cpu, wall = times[method]
        print(
            f"  {method:27s} C={chosen(search):<9.3g} {cpu:.2f} CPU s, {wall:.2f} s | ours in it, CPU "
            f"{ours[0] / cpu:.2f}"
        )
    search = fitted["LeaveOneOutSearch"]
    ways = search.cv_results_["score_method"].tolist()
    print(f"  certified {ways.count('auto')} of {len(ways)} candidates")


RUNS = {
    "small": run_small,
    "ridge": run_ridge,
    "a9a": run_a9a,
    "table": run_table,
    "sparse": run_sparse,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--repeats", type=int, default=3)
    add_data_option(parser)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in args.only:
        RUNS[name](args)


if __name__ == "__main__":
    main()
