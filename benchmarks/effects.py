"""What dropping a row does to the others, as audits say, beside brute force: refits of scikit-learn.

    python benchmarks/effects.py                       # what ships with scikit-learn, and made-up tables
    python benchmarks/effects.py --data DIR adult      # see benchmarks/data.py for the folder

Truth is a refit without the row and, in it and before it, a refit without each other row. A line for each
table and penalty, of rows that look most wrong and of rows at random: how many have a number, of how many of
these the sign is wrong, by what share of the effect they are off (median, largest), how many by more than
their estimated error, and the largest effect without a number, in mean losses. The last line sums them up.
"""

import argparse
import warnings

import data
import numpy as np
from noise import adult
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_moons,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence.cleaning import audit


def breast_cancer_means(args, rng):
    X, y = load_breast_cancer(return_X_y=True)
    return X[:, :10], flipped(y, 0.05, rng)


def iris(args, rng):
    X, y = load_iris(return_X_y=True)
    return X, y


def wine_of_two(args, rng):
    X, y = load_wine(return_X_y=True)
    return X, flipped((y == 1).astype(int), 0.05, rng)


def patients(args, rng):
    X, y = load_diabetes(return_X_y=True)
    return X, (y > np.median(y)).astype(int)


def three_or_eight(args, rng):
    X, y = load_digits(return_X_y=True)
    rows = np.flatnonzero(np.isin(y, (3, 8)))
    return X[rows] / 16.0, flipped((y[rows] == 8).astype(int), 0.05, rng)


def moons(args, rng):
    X, y = make_moons(250, noise=0.3, random_state=args.seed)
    return PolynomialFeatures(3, include_bias=False).fit_transform(X), y


def rare(args, rng):
    X = rng.standard_t(3, (300, 6))
    return X, (X[:, 0] + X[:, 1] + rng.standard_t(2, 300) > 5).astype(int)


def targets(args, rng):
    X, y = load_diabetes(return_X_y=True)
    return X, y + 60 * rng.standard_t(1.5, len(y))


def adults(args, rng):
    args.rows = 600
    X, y, _ = adult(args, rng)
    return X, y


def flipped(y, share, rng):
    return np.where(rng.uniform(size=len(y)) < share, 1 - y, y)


SETS = {
    "breast-means": breast_cancer_means,
    "iris": iris,
    "wine-of-two": wine_of_two,
    "patients": patients,
    "3-or-8": three_or_eight,
    "moons": moons,
    "rare": rare,
    "targets": targets,
}


def left_out_losses(model, X, y):
    """By a refit of scikit-learn without each row."""
    losses, every = np.empty(len(y)), np.arange(len(y))
    for row in every:
        fitted = clone(model).fit(X[every != row], y[every != row])
        if not hasattr(fitted, "classes_"):
            losses[row] = 0.5 * (fitted.predict(X[[row]])[0] - y[row]) ** 2
            continue
        eta = fitted.decision_function(X[[row]])[0]
        eta = np.append(0.0, eta) if len(fitted.classes_) == 2 else eta
        losses[row] = logsumexp(eta) - eta[np.searchsorted(fitted.classes_, y[row])]
    return losses


def judged(model, X, y, n_rows, rng):
    """Effects, errors and truth of some rows, and the mean loss."""
    found = audit(clone(model).fit(X, y), X, y, effects=True)
    table = found.table.set_index("row")
    before = left_out_losses(model, X, y)
    top = found.table["row"].to_numpy()[:n_rows]
    rows = np.unique(np.r_[top, rng.choice(len(y), n_rows, replace=False)])
    truth = np.empty(len(rows))
    for at, row in enumerate(rows):
        rest = np.delete(np.arange(len(y)), row)
        truth[at] = (left_out_losses(model, X[rest], y[rest]) - before[rest]).sum() / len(y)
    columns = table.loc[rows, ["effect_of_dropping", "effect_error"]].to_numpy().T
    return *columns, truth, before.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data.add_data_option(parser)
    parser.add_argument("sets", nargs="*", default=[], choices=[[], *SETS, "adult"])
    parser.add_argument("--rows", type=int, default=3, help="at the top, and as many at random")
    parser.add_argument("--most", type=int, default=120, help="rows of a table")
    parser.add_argument("--C", type=float, nargs="+", default=[0.1, 1.0, 10.0, 100.0])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    total = np.zeros(4, dtype=int)
    n_rows = args.rows
    for name in args.sets or SETS:
        rng = np.random.default_rng(args.seed)
        X, y = {**SETS, "adult": adults}[name](args, rng)
        some = np.sort(rng.permutation(len(y))[: args.most])
        X, y = StandardScaler().fit_transform(X[some]), y[some]
        for C in args.C:
            model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000)
            model = Ridge(alpha=1 / C) if name == "targets" else model
            effect, error, truth, mean = judged(model, X, y, n_rows, rng)
            shown = np.isfinite(effect)
            wrong = int((np.sign(effect) != np.sign(truth))[shown].sum())
            off = np.abs(effect - truth)[shown]
            beyond = int((off > error[shown]).sum())
            share = off / np.abs(truth[shown])
            total += [len(truth), shown.sum(), wrong, beyond]
            hidden = np.abs(truth[~shown]).max(initial=0.0) / mean
            said = f"{np.median(share):6.1%} {share.max():6.1%}" if len(share) else f"{'':13}"
            print(
                f"{name:>14} C={C:<6g} mean loss {mean:8.3g} | shown {shown.sum():2d} of {len(truth):2d}, "
                f"sign wrong {wrong}, off by {said}, beyond the error {beyond} | "
                f"not shown: at most {hidden:.2%}",
                flush=True,
            )
    print("rows {}, shown {}, sign wrong {}, beyond their error {}".format(*total))


if __name__ == "__main__":
    main()
