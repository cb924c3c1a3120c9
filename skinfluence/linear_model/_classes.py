"""Thin subclasses: a mixin on the left, scikit-learn's estimator on the right."""

from sklearn import linear_model

from skinfluence.mixin import InfluenceMixin, remember


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
    """scikit-learn's ``LogisticRegressionCV``; influence is that of the model at the chosen C.

    Examples
    --------
    >>> import warnings
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.linear_model import LogisticRegressionCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = LogisticRegressionCV(Cs=[0.1, 1.0], cv=3, solver="newton-cholesky")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", FutureWarning)
    ...     model = model.fit(scale(X), y)
    >>> model.self_influence().shape
    (569,)
    """

    def fit(self, X, y, sample_weight=None, **params):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X, y, sample_weight, **params
            As in scikit-learn.
        """
        linear_model.LogisticRegressionCV.fit(self, X, y, sample_weight=sample_weight, **params)
        return remember(self, X, y, sample_weight)


class LinearRegression(InfluenceMixin, linear_model.LinearRegression):
    """scikit-learn's ``LinearRegression``; removal effects are exact.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LinearRegression().fit(X, y)
    >>> f"R2 {model.score(X, y):.3f} of rows seen, {model.loo_score():.3f} of rows not seen"
    'R2 0.518 of rows seen, 0.494 of rows not seen'
    """


class Ridge(InfluenceMixin, linear_model.Ridge):
    """scikit-learn's ``Ridge``; removal effects are exact.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> left_out = Ridge(alpha=0.1).fit(X, y).loo_predict(indices=[0])
    >>> bool(np.isclose(left_out, Ridge(alpha=0.1).fit(X[1:], y[1:]).predict(X[:1]))[0])
    True
    """


class RidgeCV(InfluenceMixin, linear_model.RidgeCV):
    """scikit-learn's ``RidgeCV``; influence is that of the model at the chosen alpha.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import RidgeCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RidgeCV(alphas=(0.01, 0.1, 1.0)).fit(X, y)
    >>> model.alpha_, model.removal_effect(X[:2], y[:2], frozen="accept").shape
    (0.01, (2, 442))
    """

    def fit(self, X, y, sample_weight=None, **params):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X, y, sample_weight, **params
            As in scikit-learn.
        """
        linear_model.RidgeCV.fit(self, X, y, sample_weight=sample_weight, **params)
        return remember(self, X, y, sample_weight)


class RidgeClassifier(InfluenceMixin, linear_model.RidgeClassifier):
    """scikit-learn's ``RidgeClassifier``; its loss is the squared error to targets -1 and 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import RidgeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RidgeClassifier().fit(X, y)
    >>> model.loo_predict().shape, round(float(model.loo_score()), 3)
    ((150,), 0.827)
    """


class RidgeClassifierCV(InfluenceMixin, linear_model.RidgeClassifierCV):
    """scikit-learn's ``RidgeClassifierCV``; influence is that of the model at the chosen alpha.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.linear_model import RidgeClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RidgeClassifierCV(alphas=(0.1, 1.0)).fit(X, y)
    >>> model.loo_decision_function(frozen="accept").shape
    (150, 3)
    """

    def fit(self, X, y, sample_weight=None, **params):
        """Fit as scikit-learn does, and remember the training data.

        Parameters
        ----------
        X, y, sample_weight, **params
            As in scikit-learn.
        """
        linear_model.RidgeClassifierCV.fit(self, X, y, sample_weight=sample_weight, **params)
        return remember(self, X, y, sample_weight)


class Lasso(InfluenceMixin, linear_model.Lasso):
    """scikit-learn's ``Lasso``; every edit is solved, its support followed.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import Lasso
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = Lasso(alpha=0.5, tol=1e-8).fit(X, y)
    >>> model.loo_predict(indices=[0]).round(1)
    array([195.2])
    >>> Lasso(alpha=0.5, tol=1e-8).fit(X[1:], y[1:]).predict(X[:1]).round(1)
    array([195.2])
    """


class ElasticNet(InfluenceMixin, linear_model.ElasticNet):
    """scikit-learn's ``ElasticNet``; every edit is solved, its support followed.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skinfluence.linear_model import ElasticNet
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ElasticNet(alpha=0.01, l1_ratio=0.9, tol=1e-8).fit(X, y)
    >>> model.loo_predict(indices=[0]).round(1)
    array([191.1])
    >>> ElasticNet(alpha=0.01, l1_ratio=0.9, tol=1e-8).fit(X[1:], y[1:]).predict(X[:1]).round(1)
    array([191.1])
    """


class PoissonRegressor(InfluenceMixin, linear_model.PoissonRegressor):
    """scikit-learn's ``PoissonRegressor``; decision values are logarithms of the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import PoissonRegressor
    >>> X, y = np.arange(8.0)[:, None], np.array([0, 1, 1, 2, 4, 4, 9, 11])
    >>> model = PoissonRegressor(alpha=0.01, tol=1e-8).fit(X, y)
    >>> model.loo_predict(indices=[7]).round(2)
    array([14.56])
    >>> PoissonRegressor(alpha=0.01, tol=1e-8).fit(X[:7], y[:7]).predict(X[7:]).round(2)
    array([14.56])
    """


class GammaRegressor(InfluenceMixin, linear_model.GammaRegressor):
    """scikit-learn's ``GammaRegressor``; decision values are logarithms of the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import GammaRegressor
    >>> X, y = np.arange(8.0)[:, None], np.array([0.5, 1, 1, 2, 4, 4, 9, 11])
    >>> model = GammaRegressor(alpha=0.01, tol=1e-8).fit(X, y)
    >>> model.loo_predict(indices=[7]).round(2)
    array([12.9])
    >>> GammaRegressor(alpha=0.01, tol=1e-8).fit(X[:7], y[:7]).predict(X[7:]).round(2)
    array([12.9])
    """


class TweedieRegressor(InfluenceMixin, linear_model.TweedieRegressor):
    """scikit-learn's ``TweedieRegressor``.

    With the log link answers are certified for powers from 1 to 2; for others the curvature of a
    row can be negative, so there are no bounds and effects are solved by Newton's method. The
    identity link is supported for power 0, the squared error.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.linear_model import TweedieRegressor
    >>> X, y = np.arange(8.0)[:, None], np.array([0.5, 1, 1, 2, 4, 4, 9, 11])
    >>> model = TweedieRegressor(power=1.5, alpha=0.01, tol=1e-8).fit(X, y)
    >>> model.loo_predict(indices=[7]).round(2)
    array([13.13])
    >>> TweedieRegressor(power=1.5, alpha=0.01, tol=1e-8).fit(X[:7], y[:7]).predict(X[7:]).round(2)
    array([13.13])
    """
