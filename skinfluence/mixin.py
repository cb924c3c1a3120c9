"""The bridge between estimators and the core: keep the training data, delegate the questions."""

import copy
import inspect

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence._utils.fingerprint import fingerprint, is_in_memory
from skinfluence._utils.locks import Locked
from skinfluence._utils.validation import refuse_masked
from skinfluence.answers.checks import warn_of
from skinfluence.blocks import is_large
from skinfluence.influence import Influence, influence_of_fit

__all__ = ["InfluenceMixin"]

NAMES = ("X", "y", "sample_weight")
# What estimators with influence methods hold besides their parameters and what they learned.
OURS = ("_training_data", "_fitted_params")


class TrainingData(Locked):
    """The data of a fit, how they were then, and the one Influence that was made of them.

    Pickles and copies hold the data, never the Influence.

    Parameters
    ----------
    X, y, sample_weight
        As given to ``fit``; references, not copies.
    """

    def __init__(self, X, y, sample_weight=None):
        super().__init__()
        self.values = (X, y, sample_weight)
        self._at_fit = [_print_of(value) for value in self.values]
        self._gone = []
        self._influence, self._model = None, None

    def with_weight(self, sample_weight):
        """The same rows, weighted."""
        self.values = (*self.values[:2], sample_weight)
        self._at_fit[2] = _print_of(sample_weight)
        return self

    def changed(self):
        """Names of those that are other than at the fit, as far as that can be read."""
        both = zip(NAMES, self.values, self._at_fit, strict=True)
        return self._gone or [
            name for name, value, then in both if then is not None and _print_of(value) != then
        ]

    def influence_of(self, estimator):
        """The Influence of a fitted estimator on these data: the one kept, if it still holds.

        Raises
        ------
        ValueError
            If the data are not those of the fit.
        """
        with self._lock:
            changed = self.changed()
            if changed:
                self._influence = None
                raise ValueError(
                    f"The training data must be those of the fit. Got another {' and '.join(changed)}: "
                    "changed in place since, or overwritten by the fit. Fit again on data that stay as "
                    "they are, or use skinfluence.Influence(estimator, X, y) with those of the fit."
                )
            held = {name: value for name, value in vars(estimator).items() if name not in OURS}
            model = fingerprint(held, skip=(TrainingData,))
            if self._influence is not None and model == self._model:
                warn_of(self._influence.data.concern)
                return self._influence
            self._influence = None
            # A copy without these data: nothing is held in a circle, and the next fit of the
            # estimator does not reach a question that is still being answered.
            alone = copy.copy(estimator)
            for name in OURS:
                vars(alone).pop(name, None)
            influence = influence_of_fit(alone, *self.values)
            if model is not None and None not in self._at_fit:
                self._influence, self._model = influence, model
            return influence

    def __getstate__(self):
        return {"values": self.values, "_gone": self.changed()}

    def __setstate__(self, state):
        self.__init__(*state["values"])
        self._gone = state["_gone"]


def _asks(method):
    """Give a method that delegates the signature and the documentation of the one it asks."""

    def documented(delegate):
        delegate.__doc__ = method.__doc__
        delegate.__signature__ = inspect.signature(method)
        return delegate

    return documented


class InfluenceMixin:
    """Adds the influence methods to a scikit-learn estimator, left of it in the bases.

    ``fit`` keeps references to the training data, which pickles therefore hold too. The first
    question makes an :class:`~skinfluence.Influence`, which is kept with its factorisation, as large
    as that of the Hessian, until the next fit; :meth:`forget_training_data` drops both. It is made
    anew where the fitted attributes have changed. Data that have changed since the fit are refused:
    at the fit and at every question all of their bytes are hashed. Rows that are read when they are
    asked for (dask, zarr, large memory maps) and arrays on a device are not, so that nothing is kept
    of them and their changes go unnoticed.

    Examples
    --------
    >>> from sklearn import linear_model
    >>> from skinfluence.mixin import InfluenceMixin
    >>> class MyRidge(InfluenceMixin, linear_model.Ridge):
    ...     pass
    ...
    >>> X, y = [[0.0], [1.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 4.0]
    >>> MyRidge().fit(X, y).loo_predict().round(2)
    array([-0.06,  0.78,  1.97,  1.67])
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
        refuse_masked(X=X, y=y, sample_weight=sample_weight)
        # Before the fit, which may overwrite them.
        data = TrainingData(X, y, sample_weight)
        super().fit(spared(self, X), y, sample_weight=sample_weight)
        return self._hold(data)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Influence works on numpy arrays and scipy matrices only.
        tags.array_api_support = False
        return tags

    def _hold(self, data):
        self._training_data = data
        self._fitted_params = {name: _own(value) for name, value in self.get_params().items()}
        return self

    def forget_training_data(self):
        """Drop the training data and what is kept; influence methods then need a refit."""
        self.__dict__.pop("_training_data", None)
        return self

    def __influence__(self):
        """The Influence of the fitted estimator on its training data: what all questions are put to."""
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
        return self._training_data.influence_of(self)

    @_asks(Influence.influence_up_params)
    def influence_up_params(self, **options):
        return self.__influence__().influence_up_params(**options)

    @_asks(Influence.influence_up_loss)
    def influence_up_loss(self, X, y, **options):
        return self.__influence__().influence_up_loss(X, y, **options)

    @_asks(Influence.influence_pert)
    def influence_pert(self, X, y, **options):
        return self.__influence__().influence_pert(X, y, **options)

    @_asks(Influence.self_influence)
    def self_influence(self):
        return self.__influence__().self_influence()

    @_asks(Influence.removal_effect)
    def removal_effect(self, X, y=None, **options):
        return self.__influence__().removal_effect(X, y, **options)

    @_asks(Influence.relabel_effect)
    def relabel_effect(self, X, y=None, **options):
        return self.__influence__().relabel_effect(X, y, **options)

    @_asks(Influence.loo_decision_function)
    def loo_decision_function(self, **options):
        return self.__influence__().loo_decision_function(**options)

    @available_if(lambda self: hasattr(self, "predict_proba"))
    @_asks(Influence.loo_predict_proba)
    def loo_predict_proba(self, **options):
        return self.__influence__().loo_predict_proba(**options)

    @_asks(Influence.loo_predict)
    def loo_predict(self, **options):
        return self.__influence__().loo_predict(**options)

    @_asks(Influence.loo_score)
    def loo_score(self, scoring=None, **options):
        return self.__influence__().loo_score(scoring, **options)


def remember(estimator, X, y, sample_weight):
    """Give an estimator the data of a fit elsewhere, which has not overwritten them."""
    return estimator._hold(TrainingData(X, y, sample_weight))


def _print_of(data):
    """The fingerprint of data that lie in memory, None for others."""
    lazy = isinstance(data, np.memmap) and is_large(data)
    return fingerprint(data) if is_in_memory(data) and not lazy else None


def spared(estimator, X):
    """X, or a copy that the fit may overwrite, which takes what ``copy_X=True`` takes."""
    try:
        params = estimator.get_params()
    except TypeError:
        # A class where an instance belongs: the fit refuses it, in scikit-learn's words.
        return X
    overwrites = any(
        value is False and name.rpartition("__")[2] in ("copy", "copy_X")
        for name, value in params.items()
    )
    if not overwrites or not hasattr(X, "copy"):
        return X
    return np.array(X, order="K") if isinstance(X, np.ndarray) else X.copy()


def _own(value):
    """A parameter that changes of its contents do not reach."""
    return copy.deepcopy(value) if isinstance(value, np.ndarray | dict) else value


def _is_same(value, fitted):
    """Whether a parameter is as it was; NaN, which pickles copy, is the same as NaN."""
    if value is fitted or np.array_equal(value, fitted):
        return True
    both = isinstance(value, float) and isinstance(fitted, float)
    return both and bool(np.isnan(value) and np.isnan(fitted))
