"""Kernel ridge regression."""

import numpy as np
from sklearn.kernel_ridge import KernelRidge

from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.objective import objective_of


@objective_of.register
def _(model: KernelRidge, X, y, sample_weight=None):
    from skinfluence.kernel import KernelDesign, kernel_of
    from skinfluence.kernel import answers as _answers  # noqa: F401  registers the answers
    from skinfluence.kernel.problem import KernelProblem

    y = check_targets(X, y)
    alpha = np.ravel(model.alpha)
    if len(alpha) != 1:
        raise ValueError(f"alpha must be one number. Got one per target, {len(alpha)}.")
    if not alpha[0] > 0:
        raise ValueError(
            f"alpha must be positive: without a penalty no row is missed. Got {alpha[0]:g}. Fit "
            "with a small alpha; answers are exact down to 1e-8 and below."
        )
    dual_coef = np.asarray(model.dual_coef_, dtype=np.float64)
    if dual_coef.shape != y.shape:
        raise ValueError(
            f"X and y must be the rows given to fit. Got {len(y)}, and a model fitted on "
            f"{len(dual_coef)} rows with dual_coef_ of shape {dual_coef.shape}."
        )
    kernel = kernel_of(
        model.kernel,
        X.shape[1],
        gamma=model.gamma,
        degree=model.degree,
        coef0=model.coef0,
        params=model.kernel_params,
    )
    weights = check_sample_weight(sample_weight, X.shape[0])
    return KernelProblem(KernelDesign(X, kernel), y, weights, float(alpha[0]), dual_coef)
