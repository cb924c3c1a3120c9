"""Every method against true refits: relative L2, Pearson, Spearman and slope of all changes.

python benchmarks/accuracy.py
"""

import time

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skinfluence import Influence


def refit(C):
    """scikit-learn's most exact solver."""
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=500)


def losses(proba, y):
    """Log loss of each row."""
    return -np.log(np.maximum(proba[np.arange(len(y)), y], 1e-300))


def compare(name, X, y, C, rows):
    """Change of every row's loss when each of some rows is removed."""
    base = refit(C).fit(X, y)
    inf = Influence(base, X, y)
    before = losses(base.predict_proba(X), y)
    start = time.perf_counter()
    truth = np.array(
        [
            losses(refit(C).fit(np.delete(X, i, 0), np.delete(y, i)).predict_proba(X), y) - before
            for i in rows
        ]
    ).T
    per_refit = (time.perf_counter() - start) / len(rows)
    for method in ("influence", "one-step", "auto", "exact"):
        start = time.perf_counter()
        found = inf.removal_effect(X, y, indices=rows, method=method)
        seconds = time.perf_counter() - start
        error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
        # Refits in float64 do not rank what is far below the largest change.
        ranked = np.abs(truth) > 1e-10 * np.abs(truth).max()
        slope = (found * truth).sum() / (found * found).sum()
        print(
            f"{name:14s} C={C:<6g} {method:9s} relative L2 {error:.1e}  Pearson "
            f"{pearsonr(found.ravel(), truth.ravel())[0]:.5f}  Spearman "
            f"{spearmanr(found[ranked], truth[ranked])[0]:.5f}  slope {slope:.4f}  "
            f"{seconds / (per_refit * len(rows)):.3f} of the refits' time",
            flush=True,
        )


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    rows = rng.choice(len(y), 100, replace=False)
    for C in (1e-2, 1.0, 100.0):
        compare("breast cancer", X, y, C, rows)
    X, y = load_digits(return_X_y=True)
    X, y = X[:400] / 16, y[:400]
    rows = rng.choice(len(y), 25, replace=False)
    for C in (0.1, 1.0, 100.0):
        compare("digits", X, y, C, rows)
