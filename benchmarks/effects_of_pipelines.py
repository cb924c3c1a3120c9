"""What dropping a row does to the others behind a scaler or balanced class weights, beside refits of it all.

    python benchmarks/effects_of_pipelines.py

Small tables, with effects=True. Truth is Newton's method in numpy: without the row and, in that and before
it, without each other row, the scaler and the class weights learned again each time; of three classes
scikit-learn's newton-cholesky. A line for each table and model: the share of rows with a number, how many
were looked at, of how many of these the sign is wrong or the error larger than estimated, and over all of
them the relative L2 error, slope and Spearman correlation.
"""

import argparse
import warnings

import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit


def heavy_tails(rng):
    X = rng.standard_t(1.5, (60, 3))
    return X, (X[:, 0] - X[:, 1] + rng.standard_normal(60) > 1).astype(int)


def few_rows(rng):
    X = rng.standard_t(2, (26, 3))
    return X, (X[:, 0] - X[:, 1] + rng.standard_normal(26) > 0).astype(int)


def breast_cancer(rng):
    X, y = load_breast_cancer(return_X_y=True)
    rows, wrong = rng.permutation(len(y))[:90], rng.permutation(90)[:8]
    y = y[rows].copy()
    y[wrong] = 1 - y[wrong]
    return X[rows, :6], y


def wine(rng):
    X, y = load_wine(return_X_y=True)
    rows = rng.permutation(len(y))[:80]
    return X[rows][:, [0, 1, 6, 9]], (y[rows] == 1).astype(int)


def patients(rng):
    X, y = load_diabetes(return_X_y=True)
    rows = rng.permutation(len(y))[:80]
    return np.exp(20 * X[rows, :4]), (y[rows] > 200).astype(int)


def three_wines(rng):
    X, y = load_wine(return_X_y=True)
    rows = rng.permutation(len(y))[:60]
    y, wrong = y[rows].copy(), rng.permutation(60)[:6]
    y[wrong] = (y[wrong] + 1) % 3
    return X[rows][:, [0, 1, 6, 9]], y


def wild_targets(rng):
    X, y = load_diabetes(return_X_y=True)
    rows = rng.permutation(len(y))[:80]
    return np.exp(10 * X[rows, :5]), y[rows] + 30 * rng.standard_t(1.5, 80)


TABLES = (heavy_tails, few_rows, breast_cancer, wine, patients, three_wines, wild_targets)
MODELS = ((True, None), (True, "balanced"), (False, "balanced"))


def of_sklearn(C, balanced, scaled):
    model = LogisticRegression(
        C=C, class_weight=balanced, solver="newton-cholesky", tol=1e-10, max_iter=1000
    )
    return make_pipeline(StandardScaler(), model) if scaled else model


def fitted(X, y, weights, C, scaled):
    """Decision values of the optimum, as a function of rows."""
    mean, spread = (X.mean(axis=0), X.std(axis=0)) if scaled else (0.0, 1.0)
    rows = np.column_stack([(X - mean) / spread, np.ones(len(X))])
    penalty, sign, beta = np.append(np.ones(X.shape[1]), 0.0), 2 * y - 1, np.zeros(X.shape[1] + 1)

    def objective(beta):
        losses = np.logaddexp(0.0, -sign * (rows @ beta))
        return C * (weights @ losses) + 0.5 * penalty @ beta**2

    for _ in range(100):
        chance = 1.0 / (1.0 + np.exp(-rows @ beta))
        gradient = C * rows.T @ (weights * (chance - y)) + penalty * beta
        curved = weights * chance * (1.0 - chance)
        step = np.linalg.solve(C * (rows.T * curved) @ rows + np.diag(penalty), gradient)
        length, value = 1.0, objective(beta)
        while objective(beta - length * step) > value + 1e-12 * value and length > 1e-8:
            length /= 2.0
        beta = beta - length * step
        if np.abs(step).max() < 1e-13 * (1.0 + np.abs(beta).max()):
            break
    return lambda X: np.column_stack([(X - mean) / spread, np.ones(len(X))]) @ beta


def class_weights(y, balanced):
    if not balanced:
        return np.ones(len(y))
    counts = np.bincount(y)
    return (len(y) / (len(counts) * counts))[y]


def loss_of_one(X, y, rest, row, C, scaled, balanced):
    """Of a row, by the fit on the rest."""
    if y.dtype.kind == "f":
        mean, spread = X[rest].mean(axis=0), X[rest].std(axis=0)
        Z, centre = (X[rest] - mean) / spread, y[rest].mean()
        A = Z.T @ Z + np.eye(Z.shape[1]) / C
        slope = np.linalg.solve(A, Z.T @ (y[rest] - centre))
        return 0.5 * (centre + (X[row] - mean) / spread @ slope - y[row]) ** 2
    if y.max() > 1:
        model = of_sklearn(C, balanced, scaled).fit(X[rest], y[rest])
        return -model.predict_log_proba(X[[row]])[0, y[row]]
    weights = class_weights(y[rest], balanced)
    eta = fitted(X[rest], y[rest], weights, C, scaled)(X[[row]])[0]
    return np.logaddexp(0.0, -(2 * y[row] - 1) * eta)


def left_out_losses(X, y, C, scaled, balanced):
    losses, every = np.empty(len(y)), np.arange(len(y))
    for row in every:
        losses[row] = loss_of_one(X, y, every != row, row, C, scaled, balanced)
    return losses


def compared(X, y, C, scaled, balanced, every):
    """Effects shown, true ones and errors of every so many rows, (3, m); the share with a number."""
    model = of_sklearn(C, balanced, scaled)
    if y.dtype.kind == "f":
        model = make_pipeline(StandardScaler(), Ridge(alpha=1 / C))
    table = audit(model.fit(X, y), X, y, effects=True).table.sort_values("row")
    shown, error = table["effect_of_dropping"].to_numpy(), table["effect_error"].to_numpy()
    share = class_weights(y, balanced) / class_weights(y, balanced).sum()
    before, truth = left_out_losses(X, y, C, scaled, balanced), []
    looked = np.flatnonzero(np.isfinite(shown))[::every]
    for row in looked:
        rest = np.delete(np.arange(len(y)), row)
        change = left_out_losses(X[rest], y[rest], C, scaled, balanced) - before[rest]
        truth.append(share[rest] @ change)
    return np.array([shown[looked], truth, error[looked]]), np.isfinite(shown).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--C", type=float, default=1.0)
    parser.add_argument("--every", type=int, default=4, help="one row in so many is looked at")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    total = np.zeros(3, dtype=int)
    print(f"{'table':14} {'model':18} {'shown':>5} looked wrong beyond  rel L2  slope  Spearman")
    for make in TABLES:
        for scaled, balanced in MODELS if make is not wild_targets else MODELS[:1]:
            parts, shares = [], []
            for seed in range(args.first, args.first + args.seeds):
                X, y = make(np.random.RandomState(seed))
                part, share = compared(X, y, args.C, scaled, balanced, args.every)
                parts.append(part)
                shares.append(share)
            shown, truth, error = np.concatenate(parts, axis=1)
            wrong, off = np.sign(shown) != np.sign(truth), np.abs(shown - truth)
            total += [len(shown), wrong.sum(), (off > error).sum()]
            words = " ".join(["scaler"] * scaled + ["balanced"] * bool(balanced))
            print(
                f"{make.__name__:14} {words:18} {np.mean(shares):5.2f} {len(shown):6} {wrong.sum():5} "
                f"{(off > error).sum():6} {np.linalg.norm(off) / np.linalg.norm(truth):7.3f} "
                f"{shown @ truth / (truth @ truth):6.3f} {spearmanr(shown, truth)[0]:9.4f}",
                flush=True,
            )
    print("looked at {}, sign wrong {}, beyond their error {}".format(*total))


if __name__ == "__main__":
    main()
