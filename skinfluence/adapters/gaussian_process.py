"""Gaussian process regression, its kernel held."""

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor

from skinfluence._utils._compat import target_spread
from skinfluence._utils.validation import check_sample_weight, check_targets
from skinfluence.objective import objective_of
from skinfluence.problem import Chosen

# Rows by which the noise of a kernel is looked for.
SEEN = 64
# What kernel values of the same rows may differ by, of the largest.
SAME = 1e-10


@objective_of.register
def _(model: GaussianProcessRegressor, X, y, sample_weight=None):
    from skinfluence.kernel import KernelDesign
    from skinfluence.kernel.gaussian_process import Covariance, GaussianProcessProblem

    y = check_targets(X, y)
    kernel = model.kernel_
    if sample_weight is not None and len(np.unique(sample_weight)) > 1:
        raise ValueError(
            "GaussianProcessRegressor has no weights: sample_weight must be None. Got weights that differ; "
            "KernelRidge has them."
        )
    if not kernel.requires_vector_input:
        raise ValueError(
            f"The kernel must be one of rows of numbers. Got {kernel!r}, which takes other things; pass its "
            "values to KernelRidge(kernel='precomputed')."
        )
    alpha = np.unique(model.alpha)
    if len(alpha) > 1:
        raise ValueError(
            "alpha must be one number, the noise of rows that are added too. Got one per row. Fit "
            "KernelRidge(alpha=1.0, kernel=model.kernel_) with sample_weight=1 / alpha: the same mean, where "
            "the kernel has no noise of its own."
        )
    if X.shape != np.shape(model.X_train_) or not _same(X, model.X_train_):
        raise ValueError(
            "X, y and sample_weight must be those of the fit, the rows in the same order. Got others: X is "
            "not what the model keeps of its rows. Pass what was given to fit."
        )
    noise = float(alpha[0]) + _white(kernel, X[:SEEN])
    if not noise > 0:
        raise ValueError(
            f"The noise must be positive: without it no row is missed. Got alpha={alpha[0]:g} and a kernel "
            "without WhiteKernel. Fit with alpha=1e-8 or more."
        )
    scale = target_spread(model)
    return GaussianProcessProblem(
        KernelDesign(X, Covariance(kernel)),
        y,
        check_sample_weight(None, X.shape[0]),
        noise,
        float(alpha[0]),
        np.ravel(model.alpha_) * scale,
        bool(model.normalize_y),
        chosen=_chosen(model),
    )


def _same(X, Z):
    return np.abs(X - Z).max(initial=0.0) <= SAME * max(np.abs(X).max(initial=0.0), 1e-300)


def _white(kernel, X):
    """The noise that a kernel adds where a row meets itself."""
    both = kernel(X, X)
    more = kernel(X) - both
    own = more.diagonal()
    size = np.abs(both).max() + np.abs(own).max()
    off = np.abs(more - np.diag(own)).max()
    if off > SAME * size or np.ptp(own) > SAME * size:
        raise ValueError(
            "The noise of a kernel must be the same for all rows. Got a kernel that adds another to each, "
            "such as WhiteKernel times a kernel that is not stationary. Add it as a term: kernel + "
            "WhiteKernel()."
        )
    return max(float(own.mean()), 0.0) if own.max() > SAME**1.5 * size else 0.0


def _chosen(model):
    """What ``fit`` optimised; None where nothing was."""
    if model.optimizer is None or not model.kernel_.n_dims:
        return None
    given = clone(model).set_params(kernel=model.kernel_, optimizer=None)
    return Chosen(f"the parameters of the kernel, {model.kernel_}", given=given)
