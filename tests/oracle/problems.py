"""The problems of scikit-learn's linear estimators, from their names and parameters."""

import numpy as np

from tests.oracle import losses
from tests.oracle.problem import Problem

LD = np.longdouble


def class_weights(class_weight, classes, codes, sample_weight=None):
    """Weight of each class; ``"balanced"`` counts ``sample_weight`` if it is given."""
    k = len(classes)
    if class_weight is None:
        return np.ones(k, dtype=LD)
    if isinstance(class_weight, str):
        s = np.ones(len(codes), dtype=LD) if sample_weight is None else sample_weight
        counts = np.array([s[codes == c].sum() for c in range(k)], dtype=LD)
        return s.sum() / (k * counts)
    return np.array([LD(class_weight.get(one, 1)) for one in classes])


def _contrasts(k):
    """Orthonormal coordinates of outputs that sum to zero, (k, k - 1)."""
    out = np.zeros((k, k - 1), dtype=LD)
    for j in range(1, k):
        out[:j, j - 1], out[j, j - 1] = 1, -j
    return out / np.sqrt((out**2).sum(axis=0))


def problem_of(name, params, X, y, sample_weight=None, hold="auto", classes=None):
    """The problem of an estimator.

    Parameters
    ----------
    name : name of scikit-learn's class
    params : dict, what differs from the defaults included
    X : (n, d)
    y : class positions of a classifier, or targets
    sample_weight : (n,) or None
    hold : {"auto", "C", "lambda"}
    classes : labels of a classifier, for class weights given by label
    """
    X = np.asarray(X, dtype=LD)
    n = len(X)
    s = np.ones(n, dtype=LD) if sample_weight is None else np.asarray(sample_weight, dtype=LD)
    make = _MAKERS[name]
    return make(params, X, np.asarray(y), s, hold, classes)


def _linear(
    X,
    loss,
    y,
    s,
    penalty,
    params,
    hold,
    natural="C",
    factor_of=None,
    basis=None,
    intercept=1.0,
    penalised=False,
    kinds=None,
    encode=np.asarray,
):
    y = encode(y)
    n, d = X.shape
    fit_intercept = params.get("fit_intercept", True)
    diagonal = np.full(d + bool(fit_intercept), LD(penalty))
    if fit_intercept:
        X = np.column_stack([X, np.full(n, LD(intercept))])
        if not penalised:
            diagonal[-1] = 0
    factor_of = factor_of or (lambda targets: np.ones(len(targets), dtype=LD))
    basis = np.eye(loss.n_outputs, dtype=LD) if basis is None else basis
    free = not penalty or (fit_intercept and not penalised)
    return Problem(
        X=X,
        loss=loss,
        y=y,
        weights=s * factor_of(y),
        sample_weight=s,
        penalty=diagonal,
        basis=basis,
        hold=natural if hold == "auto" else hold,
        intercept=intercept if fit_intercept else 0.0,
        factor_of=factor_of,
        kinds=kinds if free else None,
        encode=encode,
    )


def _strength(C):
    return LD(0) if np.isinf(C) else 1 / LD(C)


def _logistic(params, X, y, s, hold, classes):
    k = len(classes)
    cw = class_weights(params.get("class_weight"), classes, y, s)
    liblinear = params.get("solver") == "liblinear"
    return _linear(
        X,
        losses.Logistic() if k == 2 else losses.Softmax(k),
        y,
        s,
        _strength(params.get("C", 1.0)),
        params,
        hold,
        factor_of=lambda codes: cw[codes],
        basis=None if k == 2 else _contrasts(k),
        intercept=params.get("intercept_scaling", 1.0) if liblinear else 1.0,
        penalised=liblinear,
        kinds=(k, lambda codes: codes),
    )


def _ridge(params, X, y, s, hold, classes):
    return _linear(X, losses.Squared(), y, s, LD(params.get("alpha", 1.0)), params, hold)


def _least_squares(params, X, y, s, hold, classes):
    return _linear(X, losses.Squared(), y, s, LD(0), params, hold)


def _ridge_classifier(params, X, y, s, hold, classes):
    k = len(classes)
    cw = class_weights(params.get("class_weight"), classes, y)
    targets = np.array([-1, 1], dtype=LD) if k == 2 else 2 * np.eye(k, dtype=LD) - 1

    def factor_of(t):
        return cw[(t > 0).astype(int) if k == 2 else t.argmax(axis=1)]

    loss = losses.Squared(1 if k == 2 else k)
    alpha = LD(params.get("alpha", 1.0))
    return _linear(
        X, loss, y, s, alpha, params, hold, factor_of=factor_of, encode=lambda c: targets[c]
    )


def _glm(power):
    def make(params, X, y, s, hold, classes):
        p = params.get("power", 0) if power is None else power
        link = params.get("link", "auto")
        identity = power is None and (link == "identity" or (link == "auto" and p <= 0))
        loss = losses.Squared() if identity else losses.Tweedie(p)
        alpha = LD(params.get("alpha", 1.0)) * s.sum()
        # Counts that are all zero have their optimum at minus infinity.
        zeros = not identity and p < 2
        kinds = (1, lambda t: np.where(t > 0, 0, -1)) if zeros else None
        if not params.get("fit_intercept", True) and alpha > 0:
            kinds = None
        return _linear(X, loss, y, s, alpha, params, hold, "lambda", kinds=kinds)

    return make


def _linear_svc(params, X, y, s, hold, classes):
    k = len(classes)
    cw = class_weights(params.get("class_weight"), classes, y, s)
    kind = params.get("loss", "squared_hinge")
    loss = (
        losses.SquaredHinge()
        if kind == "squared_hinge"
        else losses.SmoothHinge(params.get("temperature", 0.001))
    )
    options = {"intercept": params.get("intercept_scaling", 1.0), "penalised": True}
    strength = _strength(params.get("C", 1.0))
    if k == 2:
        signs = np.array([-1, 1], dtype=LD)
        return _linear(
            X,
            loss,
            y,
            s,
            strength,
            params,
            hold,
            factor_of=lambda t: cw[(t > 0).astype(int)],
            encode=lambda c: signs[c],
            **options,
        )
    # In the problem "class k or not" only the rows of class k have its weight.
    factors = np.ones((k, k), dtype=LD) / cw[:, None]
    np.fill_diagonal(factors, 1)
    loss = losses.OneVsRest(loss, factors)
    return _linear(X, loss, y, s, strength, params, hold, factor_of=lambda c: cw[c], **options)


def _one_vs_rest(params, X, y, s, hold, classes):
    k = len(classes)
    own, factors = np.ones(k, dtype=LD), np.ones((k, k), dtype=LD)
    if params.get("class_weight") is not None and k == 2:
        own = class_weights(params["class_weight"], classes, y, s)
    elif params.get("class_weight") == "balanced":
        # In the problem of a class both sides have half of the weight.
        sides = [class_weights("balanced", [0, 1], (y == c).astype(int), s) for c in range(k)]
        own = np.array([side[1] for side in sides])
        factors = np.array([side[0] for side in sides])[None] / own[:, None]
        np.fill_diagonal(factors, 1)
    loss = losses.Logistic() if k == 2 else losses.OneVsRest(losses.Logistic(), factors)
    strength = _strength(params.get("C", 1.0))
    return _linear(
        X,
        loss,
        y,
        s,
        strength,
        params,
        hold,
        factor_of=lambda codes: own[codes],
        kinds=(k, lambda codes: codes),
    )


def _sgd_classifier(params, X, y, s, hold, classes):
    k = len(classes)
    name = params.get("loss", "log_loss")
    strength = LD(params.get("alpha", 1e-4)) * len(X)
    if name == "log_loss":
        loss, low = losses.Logistic(), 0
    else:
        loss, low = losses.SquaredHinge(), -1
    coding = np.array([low, 1], dtype=LD) if k == 2 else np.arange(k)
    if k > 2:
        loss = losses.OneVsRest(loss, np.ones((k, k)))

    def kind_of(t):
        return (t > 0).astype(int) if k == 2 else t

    return _linear(
        X,
        loss,
        y,
        s,
        strength,
        params,
        hold,
        "lambda",
        encode=lambda c: coding[c],
        kinds=(k, kind_of),
    )


def _sgd_regressor(params, X, y, s, hold, classes):
    strength = LD(params.get("alpha", 1e-4)) * len(X)
    return _linear(X, losses.Squared(), y, s, strength, params, hold, "lambda")


_MAKERS = {
    "LogisticRegression": _logistic,
    "Ridge": _ridge,
    "LinearRegression": _least_squares,
    "RidgeClassifier": _ridge_classifier,
    "PoissonRegressor": _glm(1),
    "GammaRegressor": _glm(2),
    "TweedieRegressor": _glm(None),
    "LinearSVC": _linear_svc,
    "OneVsRestClassifier": _one_vs_rest,
    "SGDClassifier": _sgd_classifier,
    "SGDRegressor": _sgd_regressor,
}
