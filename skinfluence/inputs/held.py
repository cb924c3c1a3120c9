"""Fitted estimators whose outputs are the features of what stands behind them."""

from sklearn.base import BaseEstimator, TransformerMixin


class Held(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """A step that is what a fitted estimator says of rows; it learns nothing, and is its own clone.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    """

    def __init__(self, estimator):
        self.estimator = estimator

    def __sklearn_clone__(self):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def fit(self, X, y=None):
        """Nothing to fit."""
        return self
