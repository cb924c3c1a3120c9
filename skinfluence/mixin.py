"""The bridge between estimators and the core: keep the training data, delegate the questions."""

import inspect

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence.influence import Influence

__all__ = ["InfluenceMixin"]


def _asks(method):
    """Give a method that delegates the signature and the documentation of the one it asks."""

    def documented(delegate):
        delegate.__doc__ = method.__doc__
        delegate.__signature__ = inspect.signature(method)
        return delegate

    return documented


class InfluenceMixin:
    """Adds the influence methods to a scikit-learn estimator, left of it in the bases.

    ``fit`` keeps references to the training data, which pickles therefore hold too;
    :meth:`forget_training_data` drops them. Each question factors the objective anew: to ask
    several, make one :class:`~skinfluence.Influence`.
    """

    def fit(self, X, y, sample_weight=None):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : estimator
        """
        super().fit(X, y, sample_weight=sample_weight)
        return self._remember(X, y, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Influence works on numpy arrays and scipy matrices only.
        tags.array_api_support = False
        return tags

    def _remember(self, X, y, sample_weight):
        self._training_data = (X, y, sample_weight)
        self._fitted_params = self.get_params()
        return self

    def forget_training_data(self):
        """Drop the references to the training data; influence methods then need a refit."""
        self.__dict__.pop("_training_data", None)
        return self

    def _influence(self):
        check_is_fitted(self)
        if "_training_data" not in self.__dict__:
            raise ValueError(
                "The estimator must hold its training data. They were forgotten; fit again, or use "
                "skinfluence.Influence(estimator, X, y)."
            )
        for name, value in self.get_params().items():
            fitted = self._fitted_params.get(name)
            if not _is_same(value, fitted):
                raise ValueError(
                    f"The parameters must be those of the fit. Got {name}={value!r}, fitted with "
                    f"{name}={fitted!r}; fit again."
                )
        return Influence(self, *self._training_data)

    @_asks(Influence.influence_up_params)
    def influence_up_params(self, **options):
        return self._influence().influence_up_params(**options)

    @_asks(Influence.influence_up_loss)
    def influence_up_loss(self, X, y, **options):
        return self._influence().influence_up_loss(X, y, **options)

    @_asks(Influence.influence_pert)
    def influence_pert(self, X, y, **options):
        return self._influence().influence_pert(X, y, **options)

    @_asks(Influence.self_influence)
    def self_influence(self):
        return self._influence().self_influence()

    @_asks(Influence.removal_effect)
    def removal_effect(self, X, y=None, **options):
        return self._influence().removal_effect(X, y, **options)

    @_asks(Influence.relabel_effect)
    def relabel_effect(self, X, y=None, **options):
        return self._influence().relabel_effect(X, y, **options)

    @_asks(Influence.loo_decision_function)
    def loo_decision_function(self, **options):
        return self._influence().loo_decision_function(**options)

    @available_if(lambda self: hasattr(self, "predict_proba"))
    @_asks(Influence.loo_predict_proba)
    def loo_predict_proba(self, **options):
        return self._influence().loo_predict_proba(**options)

    @_asks(Influence.loo_predict)
    def loo_predict(self, **options):
        return self._influence().loo_predict(**options)

    @_asks(Influence.loo_score)
    def loo_score(self, scoring=None, **options):
        return self._influence().loo_score(scoring, **options)


def _is_same(value, fitted):
    """Whether a parameter is as it was; NaN, which pickles copy, is the same as NaN."""
    if value is fitted or np.array_equal(value, fitted):
        return True
    both = isinstance(value, float) and isinstance(fitted, float)
    return both and bool(np.isnan(value) and np.isnan(fitted))
