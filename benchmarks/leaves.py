"""What it means to hold the structure of trees: leave-one-out with their leaves as fitted, against refits.

    python benchmarks/leaves.py

Ridge on the leaves of 20 trees, the first 200 rows of the diabetes data. R2 of the fit on its own rows, of
leave-one-out with the leaves of all rows, and of leave-one-out with trees and all fitted again; how far the
changes of a row's own prediction are off, of their size.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import warnings

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor, RandomTreesEmbedding
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skinfluence import Influence

ROWS, TREES = 200, 20


class Leaves(TransformerMixin, BaseEstimator):
    """The leaf of each tree that a row ends in."""

    def __init__(self, trees):
        self.trees = trees

    def fit(self, X, y):
        self.fitted_ = clone(self.trees).fit(X, y)
        return self

    def transform(self, X):
        return self.fitted_.apply(X).reshape(len(X), -1)


def on_leaves(trees):
    ridge = Ridge(20.0, solver="sparse_cg", tol=1e-10)
    return make_pipeline(Leaves(trees), OneHotEncoder(handle_unknown="ignore"), ridge)


MODELS = {
    "leaves of a forest": on_leaves(
        RandomForestRegressor(TREES, min_samples_leaf=5, random_state=0)
    ),
    "leaves of boosting": on_leaves(
        GradientBoostingRegressor(n_estimators=TREES, max_depth=3, random_state=0)
    ),
    "leaves that no target chose": make_pipeline(
        RandomTreesEmbedding(TREES, max_depth=4, random_state=0),
        Ridge(20.0, solver="sparse_cg", tol=1e-10),
    ),
}


def main():
    warnings.simplefilter("ignore")
    X, y = (one[:ROWS] for one in load_diabetes(return_X_y=True))
    print(f"{'':28s} {'seen':>6s} {'held':>6s} {'refits':>6s} {'off by':>6s}")
    for name, model in MODELS.items():
        fitted = clone(model).fit(X, y)
        seen = fitted.predict(X)
        held = Influence(fitted, X, y, frozen="accept").loo_predict()
        true = np.empty(ROWS)
        for i in range(ROWS):
            kept = np.arange(ROWS) != i
            true[i] = clone(model).fit(X[kept], y[kept]).predict(X[[i]])[0]
        scores = [r2_score(y, one) for one in (seen, held, true)]
        off = np.linalg.norm(held - true) / np.linalg.norm(true - seen)
        print(
            f"{name:28s} {scores[0]:6.2f} {scores[1]:6.2f} {scores[2]:6.2f} {off:6.2f}", flush=True
        )


if __name__ == "__main__":
    main()
