"""scikit-learn's kernel ridge regression, with influence methods."""

from sklearn import kernel_ridge

from skinfluence.mixin import InfluenceMixin

__all__ = ["KernelRidge"]


class KernelRidge(InfluenceMixin, kernel_ridge.KernelRidge):
    """scikit-learn's :class:`~sklearn.kernel_ridge.KernelRidge` with influence methods.

    Parameters are scikit-learn's. Effects are exact for every edit; a kernel model has no
    parameter vector, so that ``influence_up_params`` is refused.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.kernel_ridge import KernelRidge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = KernelRidge(kernel="rbf", alpha=0.1, gamma=3.0).fit(X, y)
    >>> model.loo_predict().shape
    (442,)
    >>> model.removal_effect(X[:3], y[:3]).shape
    (3, 442)
    """
