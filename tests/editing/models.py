"""Estimators with the rows that the model after an edit is tried on."""

import autograd.numpy as anp
import numpy as np
from sklearn import linear_model
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import SVR, LinearSVR

from skinfluence import edits
from skinfluence import linear_model as ours
from skinfluence import svm as our_svm
from skinfluence.kernel_ridge import KernelRidge as OurKernelRidge
from skinfluence.m_estimation import MEstimator
from tests.versions import l1_logistic

NEWTON = {"solver": "newton-cholesky", "tol": 1e-13, "max_iter": 500}
Xc, yc = load_breast_cancer(return_X_y=True)
Xc, yc = Xc[:150, :6] / Xc[:, :6].std(axis=0), np.array(["bad", "good"])[yc[:150]]
Xz = scale(Xc)
Xi, yi = load_iris(return_X_y=True)
Xd, yd = load_diabetes(return_X_y=True)
Xd, yd = 10.0 * Xd[:120], yd[:120]
counts = np.round(yd / 20)


def huber(params, x, y):
    return anp.sqrt(1.0 + (y - x @ params[:-1] - params[-1]) ** 2) - 1.0


def plane(params, X):
    return X @ params[:-1] + params[-1]


def lasso(**parameters):
    """An elastic net, by default a lasso, whose descent ends where nothing moves any more."""
    parameters = {"l1_ratio": 1.0, **parameters}
    return linear_model.ElasticNet(tol=1e-14, max_iter=10**6, **parameters)


def tube(**parameters):
    """A support vector regression with the squared loss, to the optimum."""
    loss = "squared_epsilon_insensitive"
    return LinearSVR(loss=loss, epsilon=0.2, dual=False, tol=1e-12, max_iter=10**5, **parameters)


def few(**parameters):
    """A logistic regression with an L1 penalty, to the optimum."""
    return l1_logistic(solver="saga", C=0.3, tol=1e-13, max_iter=10**6, **parameters)


def process(**parameters):
    """A Gaussian process whose kernel is given."""
    kernel = 100.0**2 * RBF(3.0) + WhiteKernel(50.0**2)
    return GaussianProcessRegressor(kernel, optimizer=None, **parameters)


MODELS = {
    "logistic": (linear_model.LogisticRegression(**NEWTON), Xc, yc),
    "logistic-balanced": (
        linear_model.LogisticRegression(class_weight="balanced", **NEWTON),
        Xc,
        yc,
    ),
    "softmax": (linear_model.LogisticRegression(**NEWTON), Xi, yi),
    "softmax-ours": (ours.LogisticRegression(**NEWTON), Xi, yi),
    "liblinear": (
        linear_model.LogisticRegression(
            solver="liblinear", tol=1e-13, max_iter=5000, intercept_scaling=3.0
        ),
        Xc,
        yc,
    ),
    "ridge": (linear_model.Ridge(alpha=0.3, solver="cholesky"), Xd, yd),
    "no-intercept": (linear_model.Ridge(alpha=0.3, solver="cholesky", fit_intercept=False), Xd, yd),
    "least-squares": (linear_model.LinearRegression(), Xd, yd),
    "ridge-cv": (linear_model.RidgeCV(alphas=[0.1]), Xd, yd),
    "ridge-classifier": (linear_model.RidgeClassifier(solver="cholesky"), Xi, yi),
    "ridge-classifier-balanced": (
        linear_model.RidgeClassifier(class_weight="balanced", solver="cholesky"),
        Xi,
        yi,
    ),
    "poisson": (linear_model.PoissonRegressor(alpha=0.1, **NEWTON), Xd, counts),
    "gamma": (linear_model.GammaRegressor(alpha=0.1, **NEWTON), Xd, yd),
    "tweedie": (linear_model.TweedieRegressor(power=1.5, alpha=0.1, **NEWTON), Xd, counts),
    "one-vs-rest": (OneVsRestClassifier(linear_model.LogisticRegression(**NEWTON)), Xi, yi),
    "one-vs-rest-balanced": (
        OneVsRestClassifier(linear_model.LogisticRegression(class_weight="balanced", **NEWTON)),
        Xi,
        yi,
    ),
    "kernel-ridge": (KernelRidge(kernel="rbf", alpha=0.1, gamma=0.3), Xd, yd),
    "kernel-ridge-ours": (OurKernelRidge(kernel="poly", alpha=0.1, degree=2), Xd, yd),
    "svc": (our_svm.SVC(C=3.0, gamma=0.5), Xi, yi),
    "svc-scale": (our_svm.SVC(C=3.0), Xi, yi),
    "svc-balanced": (our_svm.SVC(C=2.0, gamma=0.1, class_weight="balanced"), Xc, yc),
    "linear-hinge": (our_svm.LinearSVC(loss="hinge"), Xc, yc),
    "linear-hinge-balanced": (our_svm.LinearSVC(loss="hinge", class_weight="balanced"), Xi, yi),
    "squared-hinge": (our_svm.LinearSVC(), Xi, yi),
    "smooth-hinge": (our_svm.LinearSVC(loss="smooth_hinge", temperature=0.3), Xc, yc),
    "m-estimator": (
        MEstimator(huber, n_params=Xd.shape[1] + 1, l2=0.1, decision=plane),
        Xd,
        yd / 50,
    ),
    "svr": (SVR(C=50.0, gamma=0.2, tol=1e-11), Xd, yd),
    "svr-scale": (SVR(C=50.0, tol=1e-11), Xd, yd),
    "linear-svr": (
        LinearSVR(C=0.5, epsilon=0.2, intercept_scaling=2.0, tol=1e-11, max_iter=10**5),
        Xd,
        yd / 50,
    ),
    "squared-tube": (tube(C=0.5, intercept_scaling=2.0), Xd, yd / 50),
    "lasso": (lasso(alpha=3.0), Xd, yd),
    "elastic-net": (lasso(alpha=1.0, l1_ratio=0.7), Xd, yd),
    "lasso-no-intercept": (lasso(alpha=3.0, fit_intercept=False), Xd, yd - 150.0),
    "positive-lasso": (lasso(alpha=1.0, positive=True), Xd, yd),
    "l1-logistic": (few(share=1.0), Xz, yc),
    "elastic-logistic": (few(share=0.5), Xz, yc),
    "gaussian-nb": (GaussianNB(), Xi, yi),
    "multinomial-nb": (MultinomialNB(), Xi, yi),
    "bernoulli-nb": (BernoulliNB(binarize=3.0), Xi, yi),
    "complement-nb": (ComplementNB(), Xi, yi),
    "lda": (LinearDiscriminantAnalysis(), Xi, yi),
    "qda": (QuadraticDiscriminantAnalysis(), Xi, yi),
    "centroids": (NearestCentroid(), Xi, yi),
    "neighbours": (KNeighborsClassifier(7, weights="distance", algorithm="brute"), Xc, yc),
    "neighbour-regression": (KNeighborsRegressor(algorithm="brute"), Xd, yd),
    "gaussian-process": (process(), Xd, yd),
    "gaussian-process-about-the-mean": (process(normalize_y=True), Xd, yd),
    "target-line": (
        TransformedTargetRegressor(
            linear_model.Ridge(solver="cholesky"), transformer=StandardScaler()
        ),
        Xd,
        yd,
    ),
    "scaler-squared-tube": (make_pipeline(StandardScaler(), tube()), Xd, yd / 50),
    "scaler-svr": (make_pipeline(StandardScaler(), SVR(C=50.0, tol=1e-11)), Xd, yd),
    "scaler-lasso": (make_pipeline(StandardScaler(), lasso(alpha=3.0)), Xd, yd),
    "scaler-l1-logistic": (make_pipeline(StandardScaler(), few(share=1.0)), Xc, yc),
    "scaler-lda": (make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), Xi, yi),
    "scaler-neighbours": (
        make_pipeline(StandardScaler(), KNeighborsClassifier(7, algorithm="brute")),
        Xc,
        yc,
    ),
    "scaler-gaussian-process": (make_pipeline(StandardScaler(), process()), Xd, yd),
    "scaler-logistic": (
        make_pipeline(StandardScaler(), linear_model.LogisticRegression(**NEWTON)),
        Xc,
        yc,
    ),
    "scaler-ridge": (
        make_pipeline(StandardScaler(), linear_model.Ridge(solver="cholesky")),
        Xd,
        yd,
    ),
    "scaler-svc": (make_pipeline(StandardScaler(), our_svm.SVC()), Xi, yi),
    "scaler-kernel-ridge": (
        make_pipeline(StandardScaler(), KernelRidge(kernel="rbf", alpha=0.1)),
        Xd,
        yd,
    ),
    "target-line-scaler": (
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), linear_model.Ridge(solver="cholesky")),
            transformer=StandardScaler(),
        ),
        Xd,
        yd,
    ),
}


def with_row(A, row, value):
    out = A.copy()
    out[row] = value
    return out


def edits_of(X, y):
    """Edits by name, each with the rows and targets that a refit gets."""
    other = next(label for label in np.unique(y) if label != y[5])
    return {
        "remove": (edits.remove([3, 77]), np.delete(X, [3, 77], 0), np.delete(y, [3, 77])),
        "relabel": (edits.relabel(5, other), X, with_row(y, 5, other)),
        "replace": (edits.replace(7, 1.3 * X[7]), with_row(X, 7, 1.3 * X[7]), y),
        "several": (
            edits.add(0.7 * X[9], y[9]) + edits.remove(0) + edits.replace(8, X[8] + 0.1, other),
            np.vstack([with_row(X, 8, X[8] + 0.1)[1:], 0.7 * X[9]]),
            np.append(with_row(y, 8, other)[1:], y[9]),
        ),
    }


# Where a fit of scikit-learn ends before the optimum: liblinear where its objective gains nothing to
# twelve digits, libsvm where its gradient is that of its own rounding.
SHARES = {
    "liblinear": 1e-6,
    "squared-tube": 1e-6,
    "scaler-squared-tube": 1e-6,
    "linear-svr": 1e-6,
    "svr": 1e-6,
    "svr-scale": 1e-6,
    "scaler-svr": 1e-6,
}


def outputs(model, X):
    for name in ("decision_function", "predict_joint_log_proba", "predict_proba", "predict"):
        if hasattr(model, name):
            return getattr(model, name)(X)
    return None
