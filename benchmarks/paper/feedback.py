"""Min et al. (2025): which human preferences steered a reward model wrong?

A Bradley-Terry model is a logistic regression on differences of features without an intercept: the
probability that one answer is preferred. Some of the labellers prefer the longer answer whatever it
says; influence on a few clean comparisons has to tell their labels. Published, on language models:
area under the curve 0.8 for a bias to length; gradients are compressed, by one permutation and one
projection, so that large data fit. Here answers are drawn: 60 features, of which one is length.

    python benchmarks/paper/feedback.py [--quick]
"""

import numpy as np
from experiment import Experiment, axes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from skinfluence import Influence

FEATURES, DIMENSIONS = 60, 16


def drawn(n, rng, biased=0.0):
    """Differences of two answers, what is preferred, and whose labels went by length alone."""
    D = rng.standard_normal((n, FEATURES))
    quality = np.r_[0.0, np.linspace(1.0, 0.1, FEATURES - 1)] / 2.0
    y = (rng.random(n) < 1 / (1 + np.exp(-D @ quality))).astype(int)
    is_biased = rng.random(n) < biased
    longer = (D[:, 0] > 0).astype(int)
    wrong = is_biased & (longer != y)
    return D, np.where(is_biased, longer, y), wrong


def compressed(D, rng):
    """A permutation with signs, then sums of what falls together: one pass over the features."""
    place, sign = rng.permutation(D.shape[1]) % DIMENSIONS, rng.choice([-1.0, 1.0], D.shape[1])
    S = np.zeros((D.shape[1], DIMENSIONS))
    S[np.arange(D.shape[1]), place] = sign
    return D @ S


def gradients(model, D, y):
    return (model.predict_proba(D)[:, 1] - y)[:, None] * D


def main():
    experiment = Experiment(
        "feedback", "Min et al. (2025), human feedback", __doc__, rows=(3000, 800), seeds=(10, 3)
    )
    args = experiment.args
    areas = []
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        D, y, wrong = drawn(args.rows, rng, 0.2)
        clean, labels, _ = drawn(500, rng)
        # The clean comparisons are such where the shorter answer is the better one.
        shorter = (clean[:, 0] > 0) != labels
        clean, labels = clean[shorter], labels[shorter]
        model = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10).fit(D, y)
        inf = Influence(model, D, y)
        harm = -inf.removal_effect(clean, labels).mean(axis=0)
        g, g_clean = gradients(model, D, y), gradients(model, clean, labels)
        H = (D * np.prod(model.predict_proba(D), axis=1)[:, None]).T @ D + np.eye(FEATURES)
        small = compressed(np.vstack([np.linalg.solve(H, g_clean.T).T, g]), rng)
        harm_small = -(small[len(labels) :] @ small[: len(labels)].mean(axis=0))
        scores = (harm, harm_small, np.abs(model.predict_proba(D)[:, 1] - y))
        areas.append([roc_auc_score(wrong, one) for one in scores])
    exact, small, loss = np.mean(areas, axis=0)
    experiment.claim(
        f"area under the curve, labels by length, {args.seeds} draws", "0.8 (language models)",
        f"compressed to {DIMENSIONS} of {FEATURES}: {small:.2f}",
        f"certified edits {exact:.2f}; training loss alone {loss:.2f}", exact > max(small, loss),
    )  # fmt: skip
    figure, (row,) = axes(1)
    for score, name in zip(scores, ("edits", "compressed", "training loss"), strict=True):
        row[0].plot(*roc_curve(wrong, score)[:2], label=name)
    row[0].set(xlabel="right labels taken for wrong", ylabel="wrong ones found")
    row[0].legend(frameon=False)
    experiment.save(figure)


if __name__ == "__main__":
    main()
