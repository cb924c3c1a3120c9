"""Removal by a training objective that is perturbed beforehand (Guo et al., 2020)."""

import math

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skinfluence._utils.rows import named

MAX_STEPS = 100


class PerturbedLogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression whose fit can be forgotten with (epsilon, delta), without noise per release.

    Minimises ``sum_i log(1 + exp(-y_i x_i' theta)) + |theta|^2 / (2 C) + b' theta`` with one draw of
    ``b``, normal with standard deviation ``sigma_``. After rows are forgotten the same objective
    on the others is solved by Newton steps until the norm of its gradient is below ``residual``, as
    it is after ``fit``.

    Parameters
    ----------
    C : float, default=1.0
    epsilon : float, default=1.0
    delta : float, default=1e-5
    residual : float, default=1e-6
        Norm of the gradient that every model keeps, fixed before the fit: ``sigma_`` is in proportion.
    random_state : int, RandomState or None, default=None
        A seed that others know undoes the noise.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features)
    intercept_ : ndarray of shape (1,)
        Zero: a free one has no strong convexity.
    classes_ : ndarray of shape (2,)
    n_features_in_ : int
    sigma_ : float
        ``residual sqrt(2 log(1.5 / delta)) / epsilon``.
    residual_ : float
        Norm of the gradient that is left.

    Notes
    -----
    Theorem 3 of [1]_: whoever sees a model whose gradient on the retained rows is at most ``residual``
    cannot tell it, up to (epsilon, delta), from one that was fitted on them. One draw serves all
    requests. Beside :class:`GaussianRelease`, which needs a model that was trained as usual and draws for
    each release. The object holds its rows, but not those that were forgotten.

    References
    ----------
    .. [1] C. Guo, T. Goldstein, A. Hannun and L. van der Maaten, "Certified Data Removal from Machine
       Learning Models", ICML 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.unlearning import PerturbedLogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = PerturbedLogisticRegression(random_state=0).fit(scale(X), y)
    >>> model.forget([3, 77]).residual_ < 1e-6
    True
    """

    def __init__(self, C=1.0, *, epsilon=1.0, delta=1e-5, residual=1e-6, random_state=None):
        self.C = C
        self.epsilon = epsilon
        self.delta = delta
        self.residual = residual
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X, y):
        """Draw the perturbation and minimise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Two classes.

        Returns
        -------
        self : PerturbedLogisticRegression
        """
        for name in ("C", "epsilon", "residual"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be positive and finite. Got {value!r}.")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must lie between 0 and 1. Got {self.delta!r}.")
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(
                "Only binary classification is supported. Two classes are needed. Got "
                f"{len(self.classes_)} class{'' if len(self.classes_) == 1 else 'es'}."
            )
        self.sigma_ = self.residual * math.sqrt(2.0 * math.log(1.5 / self.delta)) / self.epsilon
        self._b = check_random_state(self.random_state).normal(scale=self.sigma_, size=X.shape[1])
        self._rows, self._X, self._signs = np.arange(len(X)), X, 2.0 * codes - 1.0
        self._n = len(X)
        self.intercept_ = np.zeros(1)
        self._solve(np.zeros(X.shape[1]))
        return self

    def forget(self, rows):
        """Remove rows, by the numbers that they had in ``fit``.

        Parameters
        ----------
        rows : int, array-like of int or of bool

        Returns
        -------
        self : PerturbedLogisticRegression
            At the perturbed optimum of the other rows; the rows themselves are not held any more.
        """
        check_is_fitted(self)
        gone = np.unique(named(rows).positions(self._n, None))
        missing = np.setdiff1d(gone, self._rows)
        if len(missing):
            raise ValueError(f"A removed row stays removed. Got row {missing[0]} again.")
        left = ~np.isin(self._rows, gone)
        if len(np.unique(self._signs[left])) < 2:
            raise ValueError(
                "Both classes must keep a row. Got a request that leaves one of them none."
            )
        self._rows, self._X, self._signs = self._rows[left], self._X[left], self._signs[left]
        self._solve(self.coef_[0])
        return self

    def decision_function(self, X):
        """Log odds of the second class, (n_rows,).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_[0]

    def predict(self, X):
        """The more likely class of each row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        eta = self.decision_function(X)
        return self.classes_[(eta > 0).astype(int)]

    def predict_proba(self, X):
        """Probabilities of both classes, (n_rows, 2).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        second = expit(self.decision_function(X))
        return np.column_stack([1.0 - second, second])

    def _gradient(self, theta):
        pull = -self._signs * expit(-self._signs * (self._X @ theta))
        return self._X.T @ pull + theta / self.C + self._b

    def _value(self, theta):
        loss = np.logaddexp(0.0, -self._signs * (self._X @ theta)).sum()
        return loss + theta @ theta / (2.0 * self.C) + self._b @ theta

    def _solve(self, theta):
        gradient = self._gradient(theta)
        for _ in range(MAX_STEPS):
            if np.linalg.norm(gradient) <= self.residual:
                break
            p = expit(self._X @ theta)
            H = (self._X.T * (p * (1.0 - p))) @ self._X
            H.flat[:: len(H) + 1] += 1.0 / self.C
            step, scale, value = cho_solve(cho_factor(H), gradient), 1.0, self._value(theta)
            # Damped until the value falls; near the optimum, where rounding hides that, full steps.
            while scale > 1e-10 and not self._value(theta - scale * step) <= value + 1e-12 * abs(
                value
            ):
                scale *= 0.5
            theta = theta - scale * step
            gradient = self._gradient(theta)
        self.residual_ = float(np.linalg.norm(gradient))
        if not self.residual_ <= self.residual:
            raise ValueError(
                f"The gradient must come below residual={self.residual:.1e}. It stayed at "
                f"{self.residual_:.1e}, where float64 ends: fix a larger residual, or scale the features."
            )
        self.coef_ = theta[None].copy()
