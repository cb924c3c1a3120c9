"""Regressions of several targets by a model each: one objective whose outputs they are."""

from dataclasses import replace

import numpy as np
from sklearn.multioutput import MultiOutputRegressor

from skinfluence._utils.validation import check_targets
from skinfluence.adapters.members import side_by_side
from skinfluence.inputs.same_fit import check_same_fit
from skinfluence.inputs.wrappers import opened
from skinfluence.losses import SquaredError
from skinfluence.objective import Objective, objective_of, refuse_form

ONE_BY_ONE = "Ask about one target at a time: Influence(model.estimators_[k], X, y[:, k])."


@refuse_form.register
def _(model: MultiOutputRegressor):
    if any(opened(one) is not None for one in model.estimators_):
        raise TypeError(
            "The models of a MultiOutputRegressor must share their features. Got pipelines or searches "
            f"inside it. {ONE_BY_ONE}"
        )


@objective_of.register
def _(model: MultiOutputRegressor, X, y, sample_weight=None):
    y = check_targets(X, y, len(model.estimators_))
    parts = [
        objective_of(one, X, target, sample_weight)
        for one, target in zip(model.estimators_, y.T, strict=True)
    ]
    first = parts[0]
    if not all(_is_squared(part) and np.array_equal(part.penalty, first.penalty) for part in parts):
        for one, part in zip(model.estimators_, parts, strict=True):
            check_same_fit(one, part)
        return side_by_side(parts, X, y, first.own_weights, f"{first.model_name} for each target")
    theta = np.vstack([part.theta for part in parts])
    return replace(first, loss=SquaredError(len(parts)), y=y, theta=theta)


def _is_squared(problem):
    return isinstance(problem, Objective) and isinstance(problem.loss, SquaredError)
