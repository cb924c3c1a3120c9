"""What all leave-one-out answers of the models beside the linear ones cost, in their own fits.

    python benchmarks/models.py [name ...]

CPU seconds of one thread, of the fit, a prediction of its rows and the answers in turn, medians of three, of
what takes less than .1 s of fifteen; and the largest difference from refits of a few rows, relative to the
largest change. The groups are ``closed``, ``calibrated``, ``folds``, ``stacks``, ``pairs``,
``processes``, ``logistic`` and ``tubes``.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsOneClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import SVR, LinearSVR

from skinfluence import Influence

SEED, REFITS, REPEATS, MANY, QUICK = 0, 4, 3, 15, 0.1


def digits():
    """1,797 pictures of 64 counts."""
    return load_digits(return_X_y=True)


def waves(n=1500, d=5):
    """A smooth function of one column, with noise."""
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((n, d))
    return X, np.sin(2 * X[:, 0]) + 0.3 * rng.standard_normal(n)


def wide(n=1500, d=200):
    """Two classes that ten of the columns tell apart."""
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((n, d))
    return X, (X[:, :10].sum(axis=1) + 2 * rng.standard_normal(n) > 0).astype(int)


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), y


def other_digits():
    """Digits that the classifier to be calibrated has not seen."""
    X, y = load_digits(return_X_y=True)
    return X[1::2], y[1::2]


def calibrated(method):
    X, y = load_digits(return_X_y=True)
    return CalibratedClassifierCV(
        FrozenEstimator(LinearDiscriminantAnalysis().fit(X[::2], y[::2])), method=method
    )


def lasso(C):
    return LogisticRegression(l1_ratio=1.0, C=C, solver="liblinear", tol=1e-7, max_iter=10_000)


SURE = LogisticRegression(solver="newton-cholesky", tol=1e-10)
GROUPS = {
    "closed": [
        (GaussianNB(), digits),
        (MultinomialNB(), digits),
        (ComplementNB(), digits),
        (BernoulliNB(binarize=8.0), digits),
        (LinearDiscriminantAnalysis(), wide),
        (QuadraticDiscriminantAnalysis(reg_param=0.1), digits),
        (NearestCentroid(priors="empirical"), digits),
        (KNeighborsClassifier(5), digits),
        (KNeighborsRegressor(5), waves),
    ],
    "calibrated": [
        (calibrated(one), other_digits) for one in ("sigmoid", "isotonic", "temperature")
    ],
    "folds": [
        (CalibratedClassifierCV(SURE), cancer),
        (CalibratedClassifierCV(SURE, ensemble=False), cancer),
        (CalibratedClassifierCV(), cancer),
        (CalibratedClassifierCV(GaussianNB(), method="isotonic"), cancer),
        (CalibratedClassifierCV(make_pipeline(StandardScaler(), SURE)), cancer),
    ],
    "stacks": [
        (StackingClassifier([("logistic", SURE), ("bayes", GaussianNB())], SURE), cancer),
        (
            StackingClassifier(
                [("scaled", make_pipeline(StandardScaler(), SURE)), ("k", KNeighborsClassifier())]
            ),
            cancer,
        ),
        (StackingRegressor([("ridge", Ridge()), ("k", KNeighborsRegressor())]), diabetes),
        (StackingRegressor([("ridge", Ridge()), ("k", KNeighborsRegressor())], Ridge()), diabetes),
        (
            StackingRegressor(
                [("machine", make_pipeline(StandardScaler(), SVR(C=100.0))), ("ridge", Ridge())]
            ),
            lambda: waves(120),
        ),
    ],
    "pairs": [(OneVsOneClassifier(RidgeClassifier()), digits)],
    "processes": [
        (GaussianProcessRegressor(RBF(2.0) + WhiteKernel(0.1), optimizer=None), waves),
        (GaussianProcessRegressor(RBF(2.0) + WhiteKernel(0.1), normalize_y=True), waves),
        (BayesianRidge(), waves),
    ],
    "logistic": [(lasso(1.0), cancer), (lasso(0.05), wide), (lasso(1.0), wide)],
    "tubes": [
        (SVR(C=100.0, epsilon=20.0, gamma=0.01), diabetes),
        (SVR(C=1.0, epsilon=0.3, gamma=0.2), lambda: waves(600)),
        (LinearSVR(C=1.0, epsilon=20.0, tol=1e-6, max_iter=100_000), diabetes),
    ],
}


def cpu(call):
    """What a call gives, and the median of its CPU seconds."""
    times = []
    while len(times) < REPEATS or (len(times) < MANY and np.median(times) < QUICK):
        start = time.process_time()
        found = call()
        times.append(time.process_time() - start)
    return found, float(np.median(times))


def own_values(model, X):
    for name in ("decision_function", "predict_joint_log_proba", "predict_proba", "predict"):
        if hasattr(model, name):
            return np.atleast_1d(getattr(model, name)(X)[0])
    raise AttributeError(name)


def error(model, X, y, found):
    """Largest difference from refits without a row, of the largest change of an own value."""
    kernel = {"kernel": model.kernel_, "optimizer": None} if hasattr(model, "kernel_") else {}
    off, moved = [0.0], [1e-300]
    for i in np.random.default_rng(SEED).choice(len(y), REFITS, replace=False):
        kept = np.arange(len(y)) != i
        refit = clone(model).set_params(**kernel).fit(X[kept], y[kept])
        off.append(np.abs(own_values(refit, X[[i]]) - found[i]).max())
        moved.append(np.abs(own_values(model, X[[i]]) - found[i]).max())
    return max(off) / max(moved)


def main(names):
    warnings.simplefilter("ignore")
    print(
        f"{'model':58s} {'rows x columns':>15s} {'fit, s':>8s} {'fits':>6s} {'with predict':>12s}  off by"
    )
    for name in names or GROUPS:
        for model, data in GROUPS[name]:
            X, y = data()
            # Sums of integers and what is compiled are ready before the clock runs.
            Influence(clone(model).fit(X, y), X, y).loo_decision_function(indices=[0])
            fitted, fit = cpu(lambda model=model, X=X, y=y: clone(model).fit(X, y))
            _, seen = cpu(lambda fitted=fitted, X=X: fitted.predict(X))
            found, asked = cpu(
                lambda fitted=fitted, X=X, y=y: Influence(fitted, X, y).loo_decision_function()
            )
            held = isinstance(model, BayesianRidge)
            off = "held" if held else f"{error(fitted, X, y, found):.0e}"
            size = f"{X.shape[0]} x {X.shape[1]}"
            print(
                f"{' '.join(str(model).split())[:58]:58s} {size:>15s} {fit:8.4f} {asked / fit:6.1f} "
                f"{asked / (fit + seen):12.1f} {off:>8s}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
