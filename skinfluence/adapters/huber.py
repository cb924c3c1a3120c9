"""Huber regression with its scale."""

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import HuberRegressor

from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.design.dense import DenseDesign
from skinfluence.objective import objective_of


@objective_of.register
def _(model: HuberRegressor, X, y, sample_weight=None):
    from skinfluence.row_losses import answers as _answers  # noqa: F401  registers the answers
    from skinfluence.row_losses.huber import HuberLoss, HuberProblem, HuberRows

    if sp.issparse(X):
        raise ValueError(
            "The rows of a HuberRegressor must be dense here. Got a sparse matrix; fit and ask with "
            "X.toarray()."
        )
    y = check_targets(X, y)
    weights = check_sample_weight(sample_weight, X.shape[0])
    intercept = [float(model.intercept_)] if model.fit_intercept else []
    theta = np.concatenate(
        [np.asarray(model.coef_, dtype=np.float64), intercept, [float(model.scale_)]]
    )
    penalty = np.zeros(len(theta))
    penalty[: X.shape[1]] = 2.0 * float(model.alpha)
    return HuberProblem(
        row_loss=HuberRows(float(model.epsilon), model.fit_intercept),
        loss=HuberLoss(float(model.epsilon)),
        design=DenseDesign(X, 0.0),
        y=y,
        weights=weights,
        sample_weight=weights,
        penalty=penalty,
        theta=theta,
    )
