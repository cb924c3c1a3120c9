"""The price of an audit in fits: CPU time beside cross_val_predict with five folds, in one run each.

    python benchmarks/audit_price.py                       # what ships with scikit-learn, and made-up tables
    python benchmarks/audit_price.py --scaler --balanced   # the same models behind a scaler, weighted
    python benchmarks/audit_price.py --data DIR --sets adult enron   # see benchmarks/data.py for the folder

CPU time of the process and not time on the wall, so that a busy machine changes little. ``effects``
says what effects on the others add. At most 3 on dense tables and 10 on texts is what we aim at.
"""

import argparse
import gc
import time
import warnings

import data
import noise
import numpy as np
from sklearn.datasets import load_wine, make_classification
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit
from skinfluence.linear_model import LogisticRegression


def made_up(n, p, classes):
    X, y = make_classification(
        n, p, n_informative=min(p, 20), n_classes=classes, flip_y=0.1, random_state=0
    )
    return X, y, None


SETS = {
    **noise.SETS,
    "wine": lambda args, rng: (*load_wine(return_X_y=True), None),
    "2000x50x2": lambda args, rng: made_up(2000, 50, 2),
    "10000x100x2": lambda args, rng: made_up(10_000, 100, 2),
    "5000x100x10": lambda args, rng: made_up(5000, 100, 10),
}
USUAL = ["breast-cancer", "digits", "2000x50x2", "10000x100x2", "5000x100x10"]


def cpu(work, repeats):
    """The least CPU time of some runs, and what came out."""
    best = np.inf
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        out = work()
        best = min(best, time.process_time() - start)
    return best, out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data.add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=USUAL, choices=SETS)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--C", type=float, default=1.0)
    parser.add_argument("--scaler", action="store_true", help="behind a StandardScaler")
    parser.add_argument("--balanced", action="store_true", help="with balanced class weights")
    parser.set_defaults(seed=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"{'set':>14} {'n':>7} {'p':>7} {'K':>3} {'5 folds':>9} {'audit':>9} {'ratio':>6} {'no effects':>11}"
    )
    for name in args.sets:
        show(name, args)


def show(name, args):
    """One line: the price of an audit in five-fold cross-validations."""
    X, y, _ = SETS[name](args, np.random.default_rng(0))
    model = LogisticRegression(C=args.C, solver="newton-cg", tol=1e-6, max_iter=1000)
    if args.balanced:
        model.set_params(class_weight="balanced")
    if args.scaler:
        model = make_pipeline(StandardScaler(), model)
    folds, _ = cpu(
        lambda: cross_val_predict(model, X, y, cv=5, method="predict_proba"), args.repeats
    )
    fitted = model.fit(X, y)
    # Kernels are compiled before anything is timed.
    audit(fitted, X, y)
    whole, _ = cpu(lambda: audit(fitted, X, y), args.repeats)
    bare, _ = cpu(lambda: audit(fitted, X, y, effects=False), args.repeats)
    print(
        f"{name:>14} {X.shape[0]:>7} {X.shape[1]:>7} {len(np.unique(y)):>3} {folds:>8.2f}s "
        f"{whole:>8.2f}s {whole / folds:>6.2f} {bare / folds:>11.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
