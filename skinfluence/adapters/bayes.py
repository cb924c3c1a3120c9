"""Bayesian ridge and automatic relevance determination, their precisions held."""

from dataclasses import replace

import numpy as np
from sklearn.linear_model import ARDRegression, BayesianRidge

from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.adapters.linear import linear_objective
from skinfluence.losses import SquaredError
from skinfluence.objective import objective_of
from skinfluence.problem import Chosen


@objective_of.register
def _(model: BayesianRidge, X, y, sample_weight=None):
    found = _ridge(model, X, y, sample_weight, float(model.lambda_ / model.alpha_))
    chosen = (
        f"the precisions, alpha_ {float(model.alpha_):.6g} and lambda_ {float(model.lambda_):.6g}"
    )
    return replace(found, chosen=Chosen(chosen))


@objective_of.register
def _(model: ARDRegression, X, y, sample_weight=None):
    if sample_weight is not None and len(np.unique(sample_weight)) > 1:
        raise ValueError(
            "ARDRegression has no weights: sample_weight must be None. Got weights that differ; "
            "BayesianRidge has them."
        )
    precisions = np.asarray(model.lambda_, dtype=np.float64)
    kept = precisions < model.threshold_lambda
    if not kept.all():
        raise ValueError(
            "Every column must have a precision below threshold_lambda. Got "
            f"{int((~kept).sum())} of {len(kept)} columns above, which the fit left out. Ask about the same "
            "predictions on the others: kept = model.lambda_ < model.threshold_lambda; Z = X[:, kept] / "
            "np.sqrt(model.lambda_[kept]); Influence(Ridge(alpha=1 / model.alpha_).fit(Z, y), Z, y)."
        )
    found = _ridge(model, X, y, None, 0.0)
    penalty = found.penalty.copy()
    penalty[: len(precisions)] = precisions / float(model.alpha_)
    chosen = f"the precisions, alpha_ {float(model.alpha_):.6g} and {len(kept)} of lambda_"
    return replace(found, penalty=penalty, chosen=Chosen(chosen))


def _ridge(model, X, y, sample_weight, penalty):
    y = check_targets(X, y)
    weights = check_sample_weight(sample_weight, X.shape[0])
    return linear_objective(
        model,
        X,
        y,
        loss=SquaredError(),
        penalty=penalty,
        weights=weights,
        sample_weight=weights,
    )
