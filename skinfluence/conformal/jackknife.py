"""Jackknife+, jackknife-minmax and CV+: every model without a row, or a group, is asked."""

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
    is_classifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.validation import check_is_fitted

from skinfluence._utils.rows import groups_of
from skinfluence.conformal.left_out import ModelsWithout
from skinfluence.conformal.ranks import check_coverage, smallest, upper_rank
from skinfluence.conformal.scores import check_conformity, scores_of
from skinfluence.influence import influence_of_fit

KINDS = ("plus", "minmax")


class _Conformal(MetaEstimatorMixin, BaseEstimator):
    """What conformal predictors share: a fitted estimator and its Influence."""

    _default = None

    def _fit(self, X, y):
        estimator = self._default() if self.estimator is None else clone(self.estimator)
        wanted = isinstance(self, ClassifierMixin)
        if is_classifier(estimator) != wanted:
            raise TypeError(
                f"{type(self).__name__} needs a {'classifier' if wanted else 'regressor'}. Got "
                f"{type(estimator).__name__}."
            )
        y = column_or_1d(y, warn=True) if getattr(y, "ndim", 1) == 2 else y
        self.estimator_ = estimator.fit(X, y)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        influence = influence_of_fit(self.estimator_, X, y, None)
        n = influence.objective.n_samples
        if n < 2:
            raise ValueError(
                f"At least two rows are needed, one to be left without the other. Got n_samples = {n}."
            )
        return influence

    def predict(self, X):
        """Predictions of the model of all rows.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)

        Returns
        -------
        y : ndarray of shape (n_test,)
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inside = get_tags(self._default() if self.estimator is None else self.estimator)
        tags.input_tags = inside.input_tags
        tags.array_api_support = False
        return tags


class JackknifePlusRegressor(RegressorMixin, _Conformal):
    """Prediction intervals from the models without each row, by jackknife+, minmax or CV+.

    Parameters
    ----------
    estimator : regressor, default=None
        One that :class:`~skinfluence.Influence` knows: ridge, least squares, kernel ridge, GLMs.
        ``Ridge()`` when None.
    kind : {"plus", "minmax"}, default="plus"
        ``"plus"``: for each row the prediction without it, less and more its own residual; the
        interval is between order statistics of these. ``"minmax"``: from the least to the largest
        of the predictions, widened by a quantile of the residuals.
    method, tol
        How models without a row are found, as in :meth:`~skinfluence.Influence.removal_effect`;
        exact for squared error whatever they are.

    Attributes
    ----------
    estimator_ : regressor
        Fitted on all rows.
    residuals_ : ndarray of shape (n_train,)
        Absolute leave-one-out residuals.

    Notes
    -----
    If the rows and the new point are exchangeable, ``"plus"`` covers with a probability of at least
    ``1 - 2 (1 - coverage)``, in practice about ``coverage``, and ``"minmax"`` of at least
    ``coverage``. Memory is n_train x n_features and a block of points, never n_test x n_train.

    References
    ----------
    .. [1] R. F. Barber, E. J. Candes, A. Ramdas and R. J. Tibshirani, "Predictive Inference with
       the Jackknife+", Annals of Statistics 49(1), 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.conformal import JackknifePlusRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = JackknifePlusRegressor().fit(X[:300], y[:300])
    >>> ends = model.predict_interval(X[300:], coverage=0.9)
    >>> ends.shape
    (142, 2)
    >>> round(float(((ends[:, 0] <= y[300:]) & (y[300:] <= ends[:, 1])).mean()), 2)
    0.94
    """

    _default = Ridge

    def __init__(self, estimator=None, *, kind="plus", method="auto", tol=1e-3):
        self.estimator = estimator
        self.kind = kind
        self.method = method
        self.tol = tol

    def fit(self, X, y, groups=None):
        """Fit the estimator once, and find what it would be without each row or group.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
        y : array-like of shape (n_train,)
        groups : array-like of shape (n_train,), default=None
            Rows that are left out together, CV+: folds, or clusters.

        Returns
        -------
        self : JackknifePlusRegressor
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind must be 'plus' or 'minmax'. Got {self.kind!r} instead.")
        influence = self._fit(X, y)
        self._left_out = ModelsWithout(
            influence, _positions(influence, groups), self.method, self.tol
        )
        own = influence.objective.loss.mean(self._left_out.own)[:, 0]
        self.residuals_ = np.abs(np.asarray(influence.data.y, dtype=float) - own)
        return self

    def predict_interval(self, X, coverage=0.9):
        """Ends of the prediction interval of each point.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        coverage : float, default=0.9

        Returns
        -------
        ends : ndarray of shape (n_test, 2)
            Infinite where there are fewer rows than the coverage needs.
        """
        check_is_fitted(self)
        n, coverage = len(self.residuals_), check_coverage(coverage)
        rank = upper_rank(coverage, n)
        mean = self._left_out.influence.objective.loss.mean
        parts = []
        for _, eta in self._left_out.at(X):
            predicted = mean(eta)[:, :, 0]
            if self.kind == "minmax":
                width = smallest(self.residuals_, rank)
                ends = (predicted.min(axis=1) - width, predicted.max(axis=1) + width)
            else:
                # Of groups, each row's own.
                own = predicted[:, self._left_out.position]
                ends = (
                    smallest(own - self.residuals_, n + 1 - rank),
                    smallest(own + self.residuals_, rank),
                )
            parts.append(np.stack(ends, axis=1))
        return np.concatenate(parts)


class JackknifePlusClassifier(ClassifierMixin, _Conformal):
    """Prediction sets from the models without each row.

    A label stays in the set of a point unless, under the models without each row, it conforms less
    than that row does to the model that has not seen it, for nearly all rows.

    Parameters
    ----------
    estimator : classifier, default=None
        One that :class:`~skinfluence.Influence` knows. ``LogisticRegression()`` when None.
    conformity : {"log_odds", "margin"}, default="log_odds"
        How a label conforms: the log odds of its probability, which order labels as
        probabilities do, or its decision value less the largest other.
    method, tol
        As in :class:`JackknifePlusRegressor`.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all rows.
    classes_ : ndarray of shape (n_classes,)
    scores_ : ndarray of shape (n_train,)
        Of each row's own label, left out.

    Notes
    -----
    If the rows and the new point are exchangeable, the set holds the label with a probability of at
    least ``1 - 2 (1 - coverage)``, in practice about ``coverage``. Sets may be empty: of points
    that conform under no label.

    References
    ----------
    .. [1] Y. Romano, M. Sesia and E. J. Candes, "Classification with Valid and Adaptive Coverage",
       NeurIPS 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.conformal import JackknifePlusClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = JackknifePlusClassifier().fit(X[::2, :2], y[::2])
    >>> model.predict_set(X[1:2, :2]).tolist()
    [[True, False, False]]
    """

    _default = LogisticRegression

    def __init__(self, estimator=None, *, conformity="log_odds", method="auto", tol=1e-3):
        self.estimator = estimator
        self.conformity = conformity
        self.method = method
        self.tol = tol

    def fit(self, X, y, groups=None):
        """Fit the estimator once, and find what it would be without each row or group.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
        y : array-like of shape (n_train,)
        groups : array-like of shape (n_train,), default=None
            Rows that are left out together.

        Returns
        -------
        self : JackknifePlusClassifier
        """
        check_conformity(self.conformity)
        influence = self._fit(X, y)
        self.classes_ = influence.objective.labels.classes
        self._left_out = ModelsWithout(
            influence, _positions(influence, groups), self.method, self.tol
        )
        every = scores_of(self._left_out.own, self.conformity)
        codes = influence.objective.labels.codes(influence.data.y)
        self.scores_ = every[np.arange(len(codes)), codes]
        return self

    def p_values(self, X):
        """How well each label conforms: a label is in the set where this is above 1 - coverage.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_test, n_classes)
            ``(1 + #{i : the score without row i is no less than its own}) / (n + 1)``.
        """
        check_is_fitted(self)
        n, parts = len(self.scores_), []
        for _, eta in self._left_out.at(X):
            new = scores_of(eta, self.conformity)[:, self._left_out.position]
            parts.append((new >= self.scores_[:, None]).sum(axis=1))
        return (1.0 + np.concatenate(parts)) / (n + 1)

    def predict_set(self, X, coverage=0.9):
        """Which labels are in the set of each point.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        coverage : float, default=0.9

        Returns
        -------
        sets : ndarray of bool, shape (n_test, n_classes)
            Columns in the order of ``classes_``.
        """
        return in_set(self.p_values(X), coverage, len(self.scores_))


def in_set(p_values, coverage, n):
    """Whether p-values, multiples of ``1 / (n + 1)``, are above ``1 - coverage``."""
    counted = np.rint(p_values * (n + 1))
    return counted > n + 1 - upper_rank(check_coverage(coverage), n)


def _positions(influence, groups):
    if groups is None:
        return None
    names, position = groups_of(groups, influence.objective.n_samples, influence.data.inputs.labels)
    if len(names) < 2:
        raise ValueError(f"groups must name at least two groups. Got {names.tolist()}.")
    return position
