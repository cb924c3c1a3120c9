"""All rows of support vector machines whose gamma is the scale of the rows: cost, and who is solved alone.

python benchmarks/gamma.py            # the tables below
python benchmarks/gamma.py --only digits

CPU seconds for leaving out every row, with gamma held and moving, beside n fits of scikit-learn. How far
off answers are, against a machine solved at each row's own gamma: python -m benchmarks.pipeline_truth
--only "gamma of its own".
"""

import argparse
import os
import sys
import time
import warnings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.preprocessing import scale
from sklearn.svm import SVC, SVR

from skinfluence import Influence


def heavy(n):
    rng = np.random.default_rng(0)
    X = np.exp(1.2 * rng.standard_normal((n, 6)))
    return X, (np.log(X[:, :2]).sum(axis=1) + rng.standard_normal(n) > 0).astype(int)


def crossed(n):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 20))
    return X, (X[:, 0] * X[:, 1] + X[:, 2] + 0.5 * rng.standard_normal(n) > 0).astype(int)


def cases():
    """Name, model, X and y."""
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer, scaled", SVC(tol=1e-10), scale(X), y
    yield "breast cancer", SVC(tol=1e-10), X, y
    yield "breast cancer, scaled, cubic", SVC(tol=1e-8, kernel="poly", coef0=1.0), scale(X), y
    yield "breast cancer, scaled, C = 1000", SVC(tol=1e-6, C=1000.0), scale(X), y
    yield "breast cancer, scaled, balanced", SVC(tol=1e-10, class_weight="balanced"), scale(X), y
    yield "heavy tails", SVC(tol=1e-10), *heavy(400)
    X, y = load_digits(return_X_y=True)
    yield "digits, two classes", SVC(tol=1e-10), X[:500], (y[:500] > 4).astype(int)
    yield "digits, ten classes", SVC(tol=1e-10), X[:300], y[:300]
    yield "diabetes, SVR", SVR(C=100.0, epsilon=20.0, tol=1e-8), *load_diabetes(return_X_y=True)
    yield "crossed", SVC(tol=1e-8), *crossed(2000)


def measure(name, model, X, y):
    inf = Influence(model.fit(X, y), X, y)
    ask = inf.loo_decision_function if hasattr(model, "decision_function") else inf.loo_predict
    # What is loaded, and solved, once.
    ask(indices=[0, 1])
    alone, at = [], type(inf.answers.held).at_gamma
    type(inf.answers.held).at_gamma = lambda self, g: alone.append(g) or at(self, g)
    spent = []
    for options in ({"frozen": "accept", "method": "exact"}, {}):
        start = time.process_time()
        ask(**options)
        spent.append(time.process_time() - start)
    type(inf.answers.held).at_gamma = at
    start = time.process_time()
    for i in range(5):
        clone(model).fit(np.delete(X, i, axis=0), np.delete(y, i))
    fits = (time.process_time() - start) / 5 * len(y)
    cells = [name, str(len(y)), *(f"{one:.2f}" for one in (*spent, fits)), str(len(alone))]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="tables whose name has this in it")
    only = parser.parse_args().only
    print("| table | n | gamma held | gamma moving | n fits | solved alone |\n" + "|---" * 6 + "|")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases():
            if only in case[0]:
                print(measure(*case), flush=True)


if __name__ == "__main__":
    sys.exit(main())
