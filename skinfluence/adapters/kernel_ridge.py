"""Kernel ridge regression."""

import numpy as np
from sklearn.kernel_ridge import KernelRidge

from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.adapters.members import side_by_side
from skinfluence.objective import objective_of


@objective_of.register
def _(model: KernelRidge, X, y, sample_weight=None):
    from skinfluence.kernel import KernelDesign, kernel_of
    from skinfluence.kernel import answers as _answers  # noqa: F401  registers the answers
    from skinfluence.kernel.problem import KernelProblem

    dual_coef = np.asarray(model.dual_coef_, dtype=np.float64)
    # A fit on one column as an array of two dimensions is one on its numbers.
    dual_coef = dual_coef[:, 0] if dual_coef.shape[1:] == (1,) else dual_coef
    y = check_targets(X, y, dual_coef.shape[1] if dual_coef.ndim == 2 else None)
    alpha = np.ravel(model.alpha)
    if not (alpha > 0).all():
        raise ValueError(
            f"alpha must be positive: without a penalty no row is missed. Got {alpha.min():g}. Fit "
            "with a small alpha; answers are exact down to 1e-8 and below."
        )
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
    weights, design = check_sample_weight(sample_weight, X.shape[0]), KernelDesign(X, kernel)
    single = model.X_fit_.dtype == np.float32
    if y.ndim == 1:
        return KernelProblem(design, y, weights, float(alpha[0]), dual_coef, single=single)
    alpha = np.broadcast_to(alpha, y.shape[1])
    columns = zip(y.T, alpha, dual_coef.T, strict=True)
    return side_by_side(
        [
            KernelProblem(design, one, weights, float(a), dual, single=single)
            for one, a, dual in columns
        ],
        X,
        y,
        weights,
        KernelProblem.model_name,
    )
