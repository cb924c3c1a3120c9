"""True refits to compare with, and how far a number is from one."""

import numpy as np
from sklearn import linear_model
from sklearn.base import clone
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils.class_weight import compute_class_weight

from skinfluence.curvature import Curvature
from skinfluence.objective import objective_of
from tests.registries import MEAN_FORM, fit


def polish(objective, steps=2):
    """Newton steps of the objective with its dense Hessian: from a good fit to round-off."""
    for _ in range(steps):
        H = Curvature(objective).dense()
        step = np.linalg.solve(H, objective.gradient())
        objective = objective.at(objective.theta - step.reshape(objective.theta.shape))
    return objective


def parameters_of(objective):
    """Parameters in the user's outputs and units, (n_outputs, n_features + fit_intercept)."""
    theta = objective.loss.expand(objective.theta.T).T
    if objective.design.intercept:
        theta = np.column_stack([theta[:, :-1], theta[:, -1] * objective.design.intercept])
    return theta


def class_factor(estimator, y, sample_weight=None):
    """The factor of each row's class in the weights, at its fitted value."""
    class_weight = getattr(estimator, "class_weight", None)
    if class_weight is None:
        return np.ones(len(y)), None
    classes = np.unique(y)
    # RidgeClassifier counts rows for "balanced", LogisticRegression their weights.
    counted = sample_weight if isinstance(estimator, linear_model.LogisticRegression) else None
    values = compute_class_weight(class_weight, classes=classes, y=y, sample_weight=counted)
    return values[np.searchsorted(classes, y)], dict(zip(classes.tolist(), values, strict=True))


def refit(estimator, X, y, sample_weight, class_weight=None, total=None, hold="lambda"):
    """The estimator on other data, to round-off: an :class:`Objective`.

    ``class_weight`` freezes "balanced" at its fitted value. With ``total``, the weight of the data
    before the change, the penalty is held as ``hold`` says; without, as the estimator does.
    """
    new = clone(estimator)
    if class_weight is not None:
        new.set_params(class_weight=class_weight)
    if total is not None:
        factor = np.array([class_weight[label] for label in y.tolist()]) if class_weight else 1.0
        ratio = (factor * sample_weight).sum() / total
        model = new.estimator if isinstance(new, OneVsRestClassifier) else new
        if isinstance(model, MEAN_FORM):
            model.set_params(alpha=model.alpha / (ratio if hold == "C" else 1.0))
        elif hold == "C":
            pass
        elif hasattr(model, "C"):
            model.set_params(C=model.C / ratio)
        elif hasattr(model, "alpha"):
            model.set_params(alpha=model.alpha * ratio)
    fit(new, X, y, sample_weight)
    fitted = objective_of(new, X, y, sample_weight)
    polished = polish(fitted)
    # Polishing removes the solver's round-off; it must not move the fit to another objective.
    scale = np.abs(parameters_of(polished)).max()
    moved = np.abs(parameters_of(polished) - sklearn_parameters(new)).max()
    assert moved <= 1e-5 * scale, f"polishing moved the fit by {moved / scale:.1e}"
    return polished


def sklearn_parameters(model):
    """``[coef_, intercept_]`` of a fitted linear model, softmax intercepts summing to zero."""
    if isinstance(model, OneVsRestClassifier):
        return np.vstack([sklearn_parameters(one) for one in model.estimators_])
    coef = np.atleast_2d(model.coef_)
    if len(coef) > 1 and isinstance(model, linear_model.LogisticRegression):
        coef = coef - coef.mean(axis=0)
    if not model.fit_intercept:
        return coef
    intercept = np.ravel(model.intercept_) + np.zeros(len(coef))
    if len(coef) > 1 and isinstance(model, linear_model.LogisticRegression):
        intercept = intercept - intercept.mean()
    return np.column_stack([coef, intercept])


def set_parameters(model, objective):
    """Make a fitted linear model that of an objective."""
    theta = parameters_of(objective)
    features = objective.design.n_features
    models = model.estimators_ if isinstance(model, OneVsRestClassifier) else [model]
    for one, own in zip(models, np.split(theta, len(models)), strict=True):
        flat = np.ndim(one.coef_) == 1
        one.coef_ = own[0, :features] if flat else own[:, :features]
        if objective.design.intercept:
            one.intercept_ = own[0, -1] if flat else own[:, -1]


def relative_error(found, expected):
    """Largest error relative to the largest expected entry."""
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


def relative_l2(found, expected):
    return np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)
