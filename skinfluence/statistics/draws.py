"""Steps that are not a function of the rows: a seed does not make two fits the same draw."""

from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, KernelPCA, TruncatedSVD
from sklearn.feature_selection import SelectorMixin, mutual_info_classif, mutual_info_regression
from sklearn.kernel_approximation import RBFSampler, SkewedChi2Sampler
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
)
from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from skinfluence._utils._compat import IterativeImputer, pca_solver
from skinfluence.statistics.leaves import fitted_leaves

# Draws that do not look at the rows: the same seed gives the same draw for n - 1 of them.
BLIND = (RBFSampler, SkewedChi2Sampler, GaussianRandomProjection, SparseRandomProjection)
SHUFFLING = ("sag", "saga", "liblinear")


def draw_in(transformers, n_samples):
    """The first step that draws over the rows, in words, or None.

    Parameters
    ----------
    transformers : list of (str, transformer)
        Fitted.
    n_samples : int
    """
    for name, step in fitted_leaves(transformers):
        reason = _draws(step, n_samples)
        if reason is not None:
            return f"{name} ({type(step).__name__}) {reason}"
    return None


def _draws(step, n_samples):
    """Why a transformer is not a function of the rows alone, or None."""
    if isinstance(step, BLIND):
        automatic = getattr(step, "n_components", None) == "auto"
        return "takes its size from the number of rows" if automatic else None
    if isinstance(step, PCA | TruncatedSVD | KernelPCA):
        # ARPACK starts from a draw, and goes on until nothing is left of it.
        return "has a randomised decomposition" if _solver(step) == "randomized" else None
    if isinstance(step, QuantileTransformer | KBinsDiscretizer):
        limit = step.subsample
        return "draws a sample of the rows" if limit is not None and n_samples > limit else None
    if isinstance(step, IterativeImputer):
        quiet = step.imputation_order != "random" and not step.sample_posterior
        if quiet and step.n_nearest_features is None:
            return None if step.estimator is None else _inner(step.estimator)
        return "draws while it is fitted"
    score = getattr(step, "score_func", None)
    if getattr(score, "func", score) in (mutual_info_classif, mutual_info_regression):
        return "scores with draws"
    if isinstance(step, SelectorMixin) and hasattr(step, "estimator"):
        return _inner(step.estimator)
    if not isinstance(step, BaseEstimator):
        return None
    if "random_state" in step.get_params(deep=False):
        return "draws while it is fitted"
    return None


def _inner(estimator):
    """Of the model that a selector or an imputer asks."""
    if not hasattr(estimator, "get_params") or "random_state" not in estimator.get_params():
        return None
    if isinstance(estimator, LogisticRegression | LogisticRegressionCV | Ridge | RidgeClassifier):
        shuffles = estimator.solver in SHUFFLING
    elif isinstance(estimator, Lasso | ElasticNet):
        shuffles = estimator.selection == "random"
    else:
        shuffles = True
    return f"asks a {type(estimator).__name__}, which draws" if shuffles else None


def _solver(step):
    if isinstance(step, PCA):
        return pca_solver(step)
    return step.algorithm if isinstance(step, TruncatedSVD) else step.eigen_solver
