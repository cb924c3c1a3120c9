"""What leave-one-out of whole pipelines costs and how exact it is, by kind of step.

    python benchmarks/pipeline_routes.py --data DIR                  # see benchmarks/data.py for the folder
    python benchmarks/pipeline_routes.py --data DIR --rows 30000 --sets scaler "holes, categories"

Some rows of a sample of ``--check`` are compared with refits of the whole pipeline by scikit-learn:
relative L2 of the changes of own decision values. Times are CPU of this process: of one fit; of all rows
with the transformers held; of all rows, whole; and of n refits, that fit n times.
"""

import argparse
import time
import warnings

import data
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import _safe_indexing

from skinfluence import Influence
from skinfluence.pipeline import OverBudgetError

NUMBERS, CATEGORIES = [0, 4, 10, 11, 12], [1, 3, 5, 6, 7, 8, 9, 13]


def adult(args, n, holes):
    """The table as it comes, of a tenth of three columns of numbers nothing."""
    import pandas as pd

    path = data.folder(args.data, "adult") / "adult.data.xz"
    table = pd.read_csv(path, header=None, skipinitialspace=True)
    rng = np.random.default_rng(0)
    table = table.iloc[rng.permutation(len(table))[:n]].reset_index(drop=True)
    y = (table[14] == ">50K").to_numpy().astype(int)
    table = table.drop(columns=14)
    if holes:
        for j in NUMBERS[:3]:
            table[j] = table[j].astype(float).mask(rng.random(n) < 0.1)
    return table, y


def last(solver="newton-cholesky"):
    return LogisticRegression(C=0.1, solver=solver, tol=1e-12, max_iter=500)


def numbers(args, n):
    X, y = adult(args, n, False)
    return X[NUMBERS], y, make_pipeline(StandardScaler(), last())


def machine(args, n):
    X, y = adult(args, n, False)
    return X[NUMBERS], y, make_pipeline(StandardScaler(), SVC(tol=1e-6))


def columns(args, n, holes=True, **params):
    X, y = adult(args, n, holes)
    filled = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False, **params)
    return (
        X,
        y,
        make_pipeline(make_column_transformer((filled, NUMBERS), (words, CATEGORIES)), last()),
    )


def texts(args, n, vectoriser):
    mails, y = [], []
    for part in (1, 2, 3, 4, 5, 6):
        if len(y) < n:
            some, spam = data.load_enron(args.data, part)
            mails, y = mails + some, [*y, *spam]
    rows = np.random.default_rng(0).permutation(len(y))[:n]
    return [mails[i] for i in rows], np.array(y)[rows], make_pipeline(vectoriser, last("newton-cg"))


def beside_numbers(args, n):
    mails, y, _ = texts(args, n, TfidfVectorizer())
    X = pd.DataFrame({"body": mails})
    X["size"], X["lines"] = X["body"].str.len(), X["body"].str.count("\n")
    words = TfidfVectorizer(min_df=2), "body"
    steps = make_column_transformer(words, (StandardScaler(), ["size", "lines"]))
    return X, y, make_pipeline(steps, last("newton-cg"))


SETS = {
    "scaler": numbers,
    "holes, categories": columns,
    "categories": lambda args, n: columns(args, n, holes=False),
    "rare together": lambda args, n: columns(args, n, min_frequency=20),
    "counts": lambda args, n: texts(args, n, CountVectorizer(min_df=2)),
    "tf-idf": lambda args, n: texts(args, n, TfidfVectorizer(min_df=2)),
    "tf-idf, numbers": beside_numbers,
    "scaler, machine": machine,
}


def cpu(work):
    start = time.process_time()
    out = work()
    return time.process_time() - start, out


def refits(model, X, y, rows):
    out = []
    for i in rows:
        kept = np.delete(np.arange(len(y)), i)
        again = clone(model).fit(_safe_indexing(X, kept), y[kept])
        out.append(again.decision_function(_safe_indexing(X, [i]))[0])
    return np.array(out)


def check(name, args):
    """One line: how exact, of a sample."""
    X, y, model = SETS[name](args, args.check)
    model.fit(X, y)
    rows = np.arange(0, args.check, max(1, args.check // args.refits))
    truth, before = refits(model, X, y, rows), model.decision_function(_safe_indexing(X, rows))
    inf = Influence(model, X, y)
    found = {way: inf.loo_decision_function(indices=rows, method=way) for way in ("exact", "auto")}
    held = inf.loo_decision_function(indices=rows, method="exact", frozen="accept")
    size = np.linalg.norm(truth - before)
    errors = [np.linalg.norm(one - truth) / size for one in (*found.values(), held)]
    print(
        f"{name:>18} n={args.check}: relative L2 of {len(rows)} refits: exact {errors[0]:.1e}, "
        f"auto {errors[1]:.1e}, held {errors[2]:.2f}",
        flush=True,
    )


def price(name, args):
    """One line: what it costs, of many rows."""
    X, y, model = SETS[name](args, args.rows)
    fit, _ = cpu(lambda: clone(model).fit(X, y))
    model.fit(X, y)
    few = min(args.rows, 200)
    for frozen in (None, "accept"):
        # Kernels are compiled before anything is timed.
        Influence(model, X, y).loo_decision_function(
            indices=np.arange(few), frozen=frozen, budget=1e9
        )
    held, _ = cpu(lambda: Influence(model, X, y).loo_decision_function(frozen="accept"))
    inf = Influence(model, X, y)
    counted = inf.estimate("removal_effect", X[:1]).routes
    try:
        whole, _ = cpu(lambda: inf.loo_decision_function(budget=args.budget))
        said = f"whole {whole:.1f} s ({whole / held:.1f} times held)"
    except OverBudgetError as error:
        said = f"whole over budget: {str(error)[60:180]}"
    print(
        f"{name:>18} n={args.rows}, {inf.objective.design.n_features} columns: fit {fit:.2f} s, "
        f"held {held:.1f} s, {said}, {args.rows} refits {args.rows * fit:.0f} s; {counted}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data.add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--check", type=int, default=300)
    parser.add_argument("--refits", type=int, default=100)
    parser.add_argument("--budget", type=float, default=60.0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in args.sets:
        if args.check:
            check(name, args)
        if args.rows:
            price(name, args)


if __name__ == "__main__":
    main()
