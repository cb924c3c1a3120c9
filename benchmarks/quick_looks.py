"""What a first look at all rows costs behind an imputer: leave-one-out by each method, audits, searches.

    python benchmarks/quick_looks.py                        # breast cancer, digits, cells missing
    python benchmarks/quick_looks.py --data DIR             # Adult too, see benchmarks/data.py

CPU seconds of this process, the least of ``--repeats``, and how often steps were fitted. ``again`` is what
leave-one-out by one step would take if the steps were fitted again without each row, from what 20 rows take.
"""

import argparse
import time
import warnings

import data
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence
from skinfluence.cleaning import audit
from skinfluence.inputs.routes import whole_pipeline
from skinfluence.model_selection import LeaveOneOutSearch

AGAIN = 20


def holes(X, share):
    return np.where(np.random.default_rng(0).random(X.shape) < share, np.nan, X)


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return holes(X, 0.05), y, _pipeline()


def digits(n=600):
    X, y = load_digits(return_X_y=True)
    return holes(X[:n], 0.02), y[:n], _pipeline()


def _pipeline():
    last = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-10)
    return make_pipeline(SimpleImputer(), StandardScaler(), last)


def cpu(work, repeats):
    """The least seconds, and how often an imputer was fitted for it."""
    spent, fit, fits = [], SimpleImputer.fit, []
    SimpleImputer.fit = lambda *given: fits.append(0) or fit(*given)
    try:
        for _ in range(repeats):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
    finally:
        SimpleImputer.fit = fit
    return min(spent), len(fits) // repeats


def measure(name, X, y, model, repeats):
    model.fit(X, y)
    Influence(model, X, y).loo_decision_function()
    for method in ("one-step", "auto", "exact"):
        seconds, fits = cpu(
            lambda method=method: Influence(model, X, y).loo_decision_function(method=method),
            repeats,
        )
        print(f"{name:16s} {method:12s} {seconds:8.3f} s   {fits:4d} fits", flush=True)
    whole = whole_pipeline(Influence(model, X, y), "one-step")
    rows = np.arange(AGAIN)[:, None]
    seconds, _ = cpu(lambda: whole.group_values(rows, "one-step"), 1)
    print(f"{name:16s} {'again':12s} {seconds * len(y) / AGAIN:8.3f} s   {len(y):4d} fits")
    grid = {f"{model.steps[-1][0]}__C": [0.03, 0.1, 0.3]}
    for what, work in (
        ("audit", lambda: audit(model, X, y)),
        ("search of 3", lambda: LeaveOneOutSearch(model, grid).fit(X, y)),
    ):
        seconds, fits = cpu(work, repeats)
        print(f"{name:16s} {what:12s} {seconds:8.3f} s   {fits:4d} fits", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data.add_data_option(parser)
    parser.add_argument("--rows", type=int, default=3000, help="of Adult")
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    works = {"breast cancer": breast_cancer, "digits": digits}
    if given.data:
        from pipeline_routes import columns

        works["Adult"] = lambda: columns(given, given.rows)
    warnings.simplefilter("ignore")
    for name, make in works.items():
        measure(name, *make(), given.repeats)


if __name__ == "__main__":
    main()
