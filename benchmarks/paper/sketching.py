"""Wojnowicz et al. (2016): Cook's distances of large sparse models, sketched and exact.

Logistic regression on the words of Enron spam. The sketch projects the weighted rows at random to
few dimensions and takes leverages from there; published: it ranks the influential rows well, where
the exact distance cannot be had. Here it can: all exact Cook's distances cost one factorisation.

    python benchmarks/paper/sketching.py --data DIR [--quick]
"""

import time

import numpy as np
from experiment import Experiment, axes, load_enron
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.diagnostics import cooks_distance

DIMENSIONS = (50, 200, 800)


def sketched(model, X, y, k, rng):
    """Cook's distances, up to a constant, from rows projected at random to ``k`` dimensions."""
    p = model.predict_proba(X)[:, 1]
    weight, residual = p * (1 - p), y - p
    # Signs at random, a few of them not 0, as sparse as the rows.
    signs = rng.choice([-1.0, 0.0, 1.0], (X.shape[1], k), p=[1 / 6, 2 / 3, 1 / 6]) * np.sqrt(3 / k)
    Z = np.column_stack([X @ signs, np.ones(len(y))])
    H = (Z * weight[:, None]).T @ Z + np.diag([1 / model.C] * k + [0.0])
    quadratic = np.einsum("ij,ij->i", Z, np.linalg.solve(H, Z.T).T)
    leverage = weight * quadratic
    return residual**2 * quadratic / (1 - np.minimum(leverage, 0.999)) ** 2


def main():
    experiment = Experiment(
        "sketching", "Wojnowicz et al. (2016), influence sketching", __doc__, rows=(4000, 1000)
    )
    texts, y = load_enron(experiment.args.data)
    rows = np.random.default_rng(0).permutation(len(y))[: experiment.args.rows]
    X = TfidfVectorizer(min_df=2).fit_transform([texts[i] for i in rows])
    y = y[rows]
    start = time.process_time()
    model = LogisticRegression(C=10.0, tol=1e-8, max_iter=2000).fit(X, y)
    fit = time.process_time() - start
    start = time.process_time()
    exact = cooks_distance(Influence(model, X, y))
    seconds = time.process_time() - start
    experiment.say(f"{X.shape[0]} x {X.shape[1]} sparse rows")
    best = set(np.argsort(-exact)[:50])
    figure, (axs,) = axes(len(DIMENSIONS))
    for ax, k in zip(axs, DIMENSIONS, strict=True):
        start = time.process_time()
        found = sketched(model, X, y, k, np.random.default_rng(k))
        spent = time.process_time() - start
        rho = stats.spearmanr(found, exact)[0]
        experiment.claim(
            f"sketch of {k} dimensions: Spearman with exact; of the top 50", "ranks well",
            f"{rho:.3f}; {len(best & set(np.argsort(-found)[:50]))}",
            f"exact in {seconds / spent:.1f} times its CPU time, {seconds / fit:.1f} fits", rho > 0.9,
        )  # fmt: skip
        ax.loglog(found, exact, ".", markersize=3)
        ax.set(xlabel="sketched", ylabel="exact Cook's distance", title=f"{k} dimensions")
    experiment.save(figure)


if __name__ == "__main__":
    main()
