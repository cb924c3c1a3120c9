"""Linear models fitted by stochastic gradient descent, with smooth losses.

The fit ends near the optimum of an objective, rarely at it: ``Influence(..., polish=True)`` goes
there first. The penalty is ``alpha * n_samples``: it counts rows and not their weights.
"""

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight

from skinfluence._utils.validation import check_rows, check_sample_weight, check_targets
from skinfluence.adapters.linear import class_labels, linear_objective
from skinfluence.adapters.multiclass import class_loss
from skinfluence.losses import Binomial, SquaredError, SquaredHinge
from skinfluence.objective import Labels, objective_of

CLASSIFIER_LOSSES = {
    "log_loss": Binomial(),
    "squared_hinge": SquaredHinge(),
    "squared_error": SquaredError(),
}


@objective_of.register
def _(model: SGDClassifier, X, y, sample_weight=None):
    loss = _loss_of(model, CLASSIFIER_LOSSES, "skinfluence.svm.LinearSVC for the hinge")
    y = column_or_1d(y)
    check_rows(X, y)
    classes = model.classes_
    loss, targets = class_loss(loss, len(classes))
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    codes = Labels(classes, targets, np.ones(len(classes))).codes(y)
    class_weight = compute_class_weight(model.class_weight, classes=classes, y=classes[codes])
    return _objective(
        model,
        X,
        targets[codes],
        loss,
        sample_weight * class_weight[codes],
        sample_weight=sample_weight,
        labels=class_labels(model, classes, targets, class_weight, "rows"),
    )


@objective_of.register
def _(model: SGDRegressor, X, y, sample_weight=None):
    loss = _loss_of(model, {"squared_error": SquaredError()}, "MEstimator for a robust loss")
    y = check_targets(X, y)
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    return _objective(model, X, y, loss, sample_weight, sample_weight=sample_weight)


def _objective(model, X, y, loss, weights, **more):
    if (weights != weights[0]).any():
        raise ValueError(
            "Weights of a fit by stochastic gradient descent must all be the same: its penalty "
            "counts rows, so a row that goes would take another share of it than its weight. Got "
            "sample weights or class weights that differ. Fit LogisticRegression with "
            "C = 1 / (alpha * n_samples), or Ridge with alpha * n_samples: the same objective, "
            "solved to the optimum."
        )
    return linear_objective(
        model,
        X,
        y,
        loss=loss,
        penalty=_strength(model) * X.shape[0],
        weights=weights,
        natural_hold="lambda",
        **more,
    )


def _loss_of(model, known, remedy):
    if model.loss not in known:
        raise ValueError(
            f"The loss of {type(model).__name__} must be smooth: one of {', '.join(known)}. Got "
            f"{model.loss!r}. Fit with one of them, or {remedy}."
        )
    if model.early_stopping:
        raise ValueError(
            "A fit by stochastic gradient descent must use all its rows. Got early_stopping=True, "
            "which holds some out. Fit with early_stopping=False."
        )
    return known[model.loss]


def _strength(model):
    share = {"l1": 1.0, "elasticnet": model.l1_ratio}.get(model.penalty, 0.0)
    if model.penalty is not None and share > 0:
        raise ValueError(
            f"The penalty must be L2. Got an L1 share of {share}. Fit Lasso or ElasticNet, or "
            "LogisticRegression with that l1_ratio, where columns that come and go are followed."
        )
    return float(model.alpha) if model.penalty is not None else 0.0
