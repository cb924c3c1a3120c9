"""The picture of the home page and of the README: what three questions look like.

python doc/home_picture.py      # writes doc/_static/home.png
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import Influence
from skinfluence.cleaning import audit
from skinfluence.conformal import JackknifePlusRegressor
from skinfluence.datasets import flip_labels

BLUE, ORANGE, GREY = "#1f5fa8", "#d9661f", "0.6"


def note(ax, text):
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize=9)


def without_a_row(ax):
    X, y = load_breast_cancer(return_X_y=True)
    tight = LogisticRegression(solver="newton-cholesky", tol=1e-10)
    model = make_pipeline(StandardScaler(), tight).fit(X, y)
    inf = Influence(model, X, y)
    before = model.decision_function(X)
    found = inf.loo_decision_function() - before
    largest = np.argsort(-np.abs(found))[:40]
    refits = []
    for i in largest:
        kept = np.arange(len(y)) != i
        refit = clone(model).fit(X[kept], y[kept])
        refits.append(refit.decision_function(X[[i]])[0] - before[i])
    end = 1.1 * np.abs(found).max()
    ax.plot([-end, end], [-end, end], color=GREY, linewidth=1, zorder=1)
    ax.scatter(refits, found[largest], s=22, color=BLUE, zorder=2)
    ax.set(xlabel="the pipeline fitted again without the row", ylabel="said from one fit")
    ax.set_title("Without that row", fontsize=11)
    ax.text(
        0.04,
        0.96,
        "change of the log odds,\n40 rows of 569",
        transform=ax.transAxes,
        va="top",
        fontsize=9,
    )


def wrong_labels(ax):
    X, truth = load_breast_cancer(return_X_y=True)
    y, flipped = flip_labels(truth, share=0.08, random_state=0)[:2]
    planted = np.zeros(len(y), dtype=bool)
    planted[flipped] = True
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(X, y)
    found = audit(model, X, y, effects=False)
    hits = planted[found.table["row"]]
    looked = np.arange(1, 151)
    ax.plot(looked, np.minimum(looked, planted.sum()), "k:", linewidth=1, label="perfect")
    ax.plot(looked, np.cumsum(hits)[:150], color=ORANGE, linewidth=2, label="audit")
    ax.plot(looked, looked * planted.mean(), color=GREY, linewidth=1, label="in any order")
    ax.set(xlabel="rows looked at", ylabel=f"wrong labels found, of {planted.sum()}")
    ax.set_title("Which labels are wrong", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="center right")


def bands(ax):
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(-3, 3, 80))
    y = np.sin(1.5 * x) * x + 0.5 * rng.standard_normal(80) * (1 + np.abs(x) / 2)
    model = make_pipeline(PolynomialFeatures(7, include_bias=False), StandardScaler())
    X, grid = model.fit_transform(x[:, None]), np.linspace(-3, 3, 200)
    band = JackknifePlusRegressor(Ridge(alpha=0.1)).fit(X, y)
    ends = band.predict_interval(model.transform(grid[:, None]), coverage=0.9)
    ax.fill_between(grid, *ends.T, color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(grid, ends.mean(axis=1), color=BLUE, linewidth=1.5)
    ax.scatter(x, y, s=12, color="0.2")
    ax.set(xlabel="x", ylabel="y")
    ax.set_title("How sure a prediction is", fontsize=11)
    note(ax, "jackknife+, 90 %")


def main():
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained", dpi=120)
    for draw, ax in zip((without_a_row, wrong_labels, bands), axes, strict=True):
        draw(ax)
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(Path(__file__).parent / "_static" / "home.png")


if __name__ == "__main__":
    main()
