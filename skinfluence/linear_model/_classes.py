"""Thin subclasses: a mixin on the left, scikit-learn's estimator on the right."""

from sklearn import linear_model

from skinfluence.mixin import InfluenceMixin


class LogisticRegression(InfluenceMixin, linear_model.LogisticRegression):
    """scikit-learn's :class:`~sklearn.linear_model.LogisticRegression` with influence methods.

    Parameters are scikit-learn's. An L1 penalty is fitted but has no influence.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=500).fit(X, y)
    >>> clf.influence_up_loss(X[:2], y[:2]).shape
    (2, 150)
    >>> clf.loo_predict().shape
    (150,)
    """


class LogisticRegressionCV(InfluenceMixin, linear_model.LogisticRegressionCV):
    """scikit-learn's ``LogisticRegressionCV``; influence is that of the model at the chosen C."""

    def fit(self, X, y, sample_weight=None, **params):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X, y, sample_weight, **params
            As in scikit-learn.
        """
        linear_model.LogisticRegressionCV.fit(self, X, y, sample_weight=sample_weight, **params)
        return self._remember(X, y, sample_weight)


class LinearRegression(InfluenceMixin, linear_model.LinearRegression):
    """scikit-learn's ``LinearRegression``; removal effects are exact."""


class Ridge(InfluenceMixin, linear_model.Ridge):
    """scikit-learn's ``Ridge``; removal effects are exact."""


class RidgeCV(InfluenceMixin, linear_model.RidgeCV):
    """scikit-learn's ``RidgeCV``; influence is that of the model at the chosen alpha."""

    def fit(self, X, y, sample_weight=None, **params):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X, y, sample_weight, **params
            As in scikit-learn.
        """
        linear_model.RidgeCV.fit(self, X, y, sample_weight=sample_weight, **params)
        return self._remember(X, y, sample_weight)


class RidgeClassifier(InfluenceMixin, linear_model.RidgeClassifier):
    """scikit-learn's ``RidgeClassifier``; its loss is the squared error to targets -1 and 1."""


class RidgeClassifierCV(InfluenceMixin, linear_model.RidgeClassifierCV):
    """scikit-learn's ``RidgeClassifierCV``; influence is that of the model at the chosen alpha."""

    def fit(self, X, y, sample_weight=None, **params):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X, y, sample_weight, **params
            As in scikit-learn.
        """
        linear_model.RidgeClassifierCV.fit(self, X, y, sample_weight=sample_weight, **params)
        return self._remember(X, y, sample_weight)


class Lasso(InfluenceMixin, linear_model.Lasso):
    """scikit-learn's ``Lasso``; every edit is solved, its support followed."""


class ElasticNet(InfluenceMixin, linear_model.ElasticNet):
    """scikit-learn's ``ElasticNet``; every edit is solved, its support followed."""


class PoissonRegressor(InfluenceMixin, linear_model.PoissonRegressor):
    """scikit-learn's ``PoissonRegressor``; decision values are logarithms of the mean."""


class GammaRegressor(InfluenceMixin, linear_model.GammaRegressor):
    """scikit-learn's ``GammaRegressor``; decision values are logarithms of the mean."""


class TweedieRegressor(InfluenceMixin, linear_model.TweedieRegressor):
    """scikit-learn's ``TweedieRegressor``.

    With the log link answers are certified for powers from 1 to 2; for others the curvature of a
    row can be negative, so there are no bounds and effects are solved by Newton's method. The
    identity link is supported for power 0, the squared error.
    """
