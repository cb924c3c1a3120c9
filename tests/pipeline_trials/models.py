"""The estimators at the end of drawn pipelines, by the names that the oracle knows."""

import numpy as np
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC, LinearSVC

# Share of each family among the trials.
FAMILIES = {
    "LogisticRegression": 36,
    "Ridge": 14,
    "PoissonRegressor": 10,
    "GammaRegressor": 7,
    "RidgeClassifier": 6,
    "LinearSVC": 8,
    "OneVsRestClassifier": 4,
    "SVC": 7,
    "LinearSVC hinge": 3,
    "KernelRidge": 5,
}
# Families in whose place stochastic gradients are drawn now and then, with the loss that they take.
STOCHASTIC = {
    "LogisticRegression": "log_loss",
    "LinearSVC": "squared_hinge",
    "Ridge": "squared_error",
}
CLASSIFIERS = {
    "SGDClassifier",
    "LogisticRegression",
    "RidgeClassifier",
    "LinearSVC",
    "OneVsRestClassifier",
    "SVC",
    "LinearSVC hinge",
}
# Kept small: the oracle's interior point and kernel matrices are cubic in long double.
KERNELS = ("SVC", "LinearSVC hinge", "KernelRidge")
NEWTON = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 500}


def positions(family):
    """Whether targets are classes."""
    return family in CLASSIFIERS


def draw_model(rng):
    """A family, the parameters that the oracle reads, and the estimator."""
    names, shares = list(FAMILIES), np.array(list(FAMILIES.values()), dtype=float)
    family = str(rng.choice(names, p=shares / shares.sum()))
    strength = float(10 ** rng.uniform(-1.5, 1.5))
    params = {}
    if family in CLASSIFIERS:
        params["C"] = 1.0 / strength
        params["class_weight"] = [None, None, "balanced", "balanced", {0: 2.0, 1: 0.5}][
            int(rng.integers(5))
        ]
    else:
        params["alpha"] = strength
    if family in ("PoissonRegressor", "GammaRegressor"):
        params["alpha"] = 0.1 * strength
    if family not in ("SVC", "KernelRidge"):
        params["fit_intercept"] = bool(rng.random() < 0.7)
    params["n_classes"] = 2
    if family in ("LogisticRegression", "RidgeClassifier", "LinearSVC", "OneVsRestClassifier"):
        params["n_classes"] = int(rng.choice([2, 2, 3]))
    if family == "OneVsRestClassifier":
        params["n_classes"] = 3
        if params["class_weight"] != "balanced":
            params["class_weight"] = None
    return family, params, _estimator(rng, family, params)


def stochastic(rng, family, params):
    """In one of four draws a model fitted by stochastic gradients in the place of its like, else None.

    Their penalty counts rows, so that they take no weights.
    """
    if family not in STOCHASTIC or rng.random() > 1 / 4:
        return None
    params = {key: params[key] for key in ("fit_intercept", "n_classes")}
    params |= {"alpha": float(10 ** rng.uniform(-2.5, 0.5)), "loss": STOCHASTIC[family]}
    kind = SGDRegressor if family == "Ridge" else SGDClassifier
    given = {key: value for key, value in params.items() if key != "n_classes"}
    last = kind(random_state=0, max_iter=300, tol=1e-6, **given)
    return kind.__name__, params, last


def _estimator(rng, family, params):
    own = {key: value for key, value in params.items() if key != "n_classes"}
    if family == "LogisticRegression":
        return LogisticRegression(**own, **NEWTON)
    if family == "OneVsRestClassifier":
        return OneVsRestClassifier(LogisticRegression(**own, **NEWTON))
    if family == "RidgeClassifier":
        params["alpha"] = own["alpha"] = 1.0 / own.pop("C")
        return RidgeClassifier(**own)
    if family in ("LinearSVC", "LinearSVC hinge"):
        params["intercept_scaling"] = own["intercept_scaling"] = float(rng.choice([1.0, 3.0]))
        hinge = family == "LinearSVC hinge"
        params["loss"] = own["loss"] = "hinge" if hinge else "squared_hinge"
        return LinearSVC(dual=hinge, tol=1e-10, max_iter=2 * 10**4, random_state=0, **own)
    if family == "SVC":
        params["kernel"] = str(rng.choice(["rbf", "rbf", "poly"]))
        params["degree"], params["coef0"] = 2, 1.0
        # libsvm may never end at less: its kernel is in single precision.
        some = {"degree": 2, "coef0": 1.0, "tol": 1e-6, "max_iter": 10**5}
        return SVC(kernel=params["kernel"], **some, **own)
    if family == "KernelRidge":
        params["kernel"], params["gamma"] = str(rng.choice(["rbf", "laplacian"])), 0.3
        return KernelRidge(kernel=params["kernel"], gamma=0.3, **own)
    if family == "Ridge":
        return Ridge(**own)
    kind = PoissonRegressor if family == "PoissonRegressor" else GammaRegressor
    return kind(**own, **NEWTON)


def targets(rng, family, params, signal):
    """Targets that follow a signal, or positions of classes."""
    n = len(signal)
    noisy = signal + rng.standard_normal(n)
    if family in CLASSIFIERS:
        k = params["n_classes"]
        cuts = np.quantile(noisy, [0.65] if k == 2 else [0.5, 0.8])
        return np.searchsorted(cuts, noisy).astype(int)
    if family == "PoissonRegressor":
        return rng.poisson(np.exp(np.clip(0.5 * signal, -3, 2))).astype(float)
    if family == "GammaRegressor":
        return np.exp(np.clip(0.4 * signal, -3, 3)) * rng.gamma(3.0, 1 / 3.0, n) + 1e-3
    return noisy
