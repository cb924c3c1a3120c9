"""A model for each of several targets, or labels; of least squares one objective whose outputs they are."""

from dataclasses import replace

import numpy as np
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor

from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.adapters.members import (
    TARGET_BY_TARGET,
    label_by_label,
    label_columns,
    refuse_opened,
    says_chances,
    side_by_side,
)
from skinfluence.inputs.same_fit import check_same_fit
from skinfluence.losses import SquaredError
from skinfluence.objective import Objective, objective_of, refuse_form


@refuse_form.register(MultiOutputRegressor)
@refuse_form.register(MultiOutputClassifier)
def _(model):
    refuse_opened(model, TARGET_BY_TARGET)


@objective_of.register
def _(model: MultiOutputRegressor, X, y, sample_weight=None):
    y = check_targets(X, y, len(model.estimators_))
    parts = [
        objective_of(one, X, target, sample_weight)
        for one, target in zip(model.estimators_, y.T, strict=True)
    ]
    first = parts[0]
    if len(parts) == 1:
        check_same_fit(model.estimators_[0], first)
        return first
    if not all(_is_squared(part) and np.array_equal(part.penalty, first.penalty) for part in parts):
        for one, part in zip(model.estimators_, parts, strict=True):
            check_same_fit(one, part)
        return side_by_side(parts, X, y, first.own_weights, f"{first.model_name} for each target")
    theta = np.vstack([part.theta for part in parts])
    return replace(first, loss=SquaredError(len(parts)), y=y, theta=theta)


@objective_of.register
def _(model: MultiOutputClassifier, X, y, sample_weight=None):
    y = label_columns(X, y, len(model.estimators_), TARGET_BY_TARGET)
    parts = []
    for one, own in zip(model.estimators_, y.T, strict=True):
        parts.append(objective_of(one, X, own, sample_weight))
        check_same_fit(one, parts[-1])
    weights = check_sample_weight(sample_weight, X.shape[0])
    return label_by_label(parts, says_chances(model), X, y, weights, TARGET_BY_TARGET)


def _is_squared(problem):
    return isinstance(problem, Objective) and isinstance(problem.loss, SquaredError)
