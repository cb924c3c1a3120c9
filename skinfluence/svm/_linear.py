"""Linear support vector machines, fitted to their exact optimum."""

import numbers
import warnings
from dataclasses import replace

import numpy as np
from sklearn import svm
from sklearn.exceptions import ConvergenceWarning

from skinfluence._utils._compat import check_parameters
from skinfluence.adapters.svm import OwnClassWeighted, refuse_unknown_linear
from skinfluence.hinge.answers import HingeAnswers
from skinfluence.losses import SmoothHinge
from skinfluence.mixin import InfluenceMixin, remember
from skinfluence.objective import objective_of
from skinfluence.smooth.optimum import piecewise
from skinfluence.smooth.optimum.newton import minimise
from skinfluence.solvers import resolve_solver
from skinfluence.svm._validation import check_classification

LOSSES = ("hinge", "squared_hinge", "smooth_hinge")


class LinearSVC(InfluenceMixin, svm.LinearSVC):
    """scikit-learn's :class:`~sklearn.svm.LinearSVC`, fitted exactly, with influence methods.

    The objective is scikit-learn's, the intercept penalised as a feature of value
    ``intercept_scaling`` included. The fit is its own: Newton's method for the squared and the
    smooth hinge, the active-set path for the hinge, to round-off and without randomness. A row of
    weight 2 is exactly the row given twice, a row of weight 0 exactly absent.

    Parameters
    ----------
    penalty : {"l2"}, default="l2"
    loss : {"hinge", "squared_hinge", "smooth_hinge"}, default="squared_hinge"
        ``"smooth_hinge"`` is Koh and Liang's ``t log(1 + exp((1 - y f) / t))``.
    dual, tol, verbose, random_state, max_iter
        Those of scikit-learn, kept so that its code runs; the exact fit does not need them.
    C : float, default=1.0
    multi_class : {"ovr"}, default="ovr"
        One binary problem per class.
    fit_intercept : bool, default=True
    intercept_scaling : float, default=1.0
    class_weight : dict or "balanced", default=None
    temperature : float, default=0.001
        Of the smooth hinge.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray of shape (1,) or (n_classes,), or 0.0 without an intercept
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    n_iter_ : int
        Factorisations of the Hessian, or steps of the path.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skinfluence.svm import LinearSVC
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LinearSVC(loss="smooth_hinge", temperature=0.1).fit(X, y)
    >>> clf.removal_effect(X[:2], y[:2]).shape
    (2, 150)
    """

    _counts_weights = True

    def __init__(
        self,
        penalty="l2",
        loss="squared_hinge",
        *,
        dual="auto",
        tol=1e-4,
        C=1.0,
        multi_class="ovr",
        fit_intercept=True,
        intercept_scaling=1,
        class_weight=None,
        verbose=0,
        random_state=None,
        max_iter=1000,
        temperature=0.001,
    ):
        super().__init__(
            penalty=penalty,
            loss=loss,
            dual=dual,
            tol=tol,
            C=C,
            multi_class=multi_class,
            fit_intercept=fit_intercept,
            intercept_scaling=intercept_scaling,
            class_weight=class_weight,
            verbose=verbose,
            random_state=random_state,
            max_iter=max_iter,
        )
        self.temperature = temperature

    def fit(self, X, y, sample_weight=None):
        """Fit to the optimum, and remember the training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : LinearSVC

        Raises
        ------
        ValueError
            For parameters outside their range, fewer than two classes, and what no exact answer
            is known for (``penalty="l1"``, ``multi_class="crammer_singer"``).
        """
        self._check_parameters()
        rows, labels = check_classification(self, X, y, sample_weight)
        self.classes_ = np.unique(labels)
        n_outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        self.coef_ = np.zeros((n_outputs, rows.shape[1]))
        self.intercept_ = np.zeros(n_outputs) if self.fit_intercept else 0.0
        given = None if sample_weight is None else np.asarray(sample_weight)
        if self.loss == "hinge":
            self._fit_hinge(rows, labels, given)
        else:
            self._fit_smooth(objective_of(self, rows, labels, given))
        return remember(self, X, y, sample_weight)

    def _check_parameters(self):
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {LOSSES}. Got {self.loss!r} instead.")
        refuse_unknown_linear(self)
        for name in ("C", "intercept_scaling", "temperature"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or not 0.0 < value < np.inf:
                raise ValueError(f"{name} must be positive and finite. Got {value!r} instead.")
        check_parameters(self, but=("loss", "temperature"))

    def _fit_hinge(self, X, y, sample_weight):
        params = {k: v for k, v in self.get_params(deep=False).items() if k != "temperature"}
        start = svm.LinearSVC(**{**params, "dual": True, "random_state": 0})
        with warnings.catch_warnings():
            # Wherever liblinear stops, the path goes on.
            warnings.simplefilter("ignore", ConvergenceWarning)
            start.fit(X, y, sample_weight)
        problem = objective_of(start, X, y, sample_weight)
        answers = HingeAnswers(problem)
        self.coef_, intercept = answers.optimum.weights()
        if self.fit_intercept:
            self.intercept_ = intercept
        self.n_iter_ = max(1, answers.report().n_pivots)

    def _fit_smooth(self, objective):
        solver = _Counted(resolve_solver("auto", objective, "float64"))
        if self.loss == "squared_hinge":
            objective, n_steps = piecewise.minimise(objective, solver)
        else:
            # From a smooth problem to the one asked for: Newton's method has a region of its own
            # at each temperature, which shrinks with it.
            for temperature in [*_cooling(self.temperature), self.temperature]:
                objective = minimise(_at_temperature(objective, temperature), solver).objective
            n_steps = solver.n_factors
        d = objective.design.n_features
        self.coef_ = objective.theta[:, :d].copy()
        if self.fit_intercept:
            self.intercept_ = objective.theta[:, d] * objective.design.intercept
        self.n_iter_ = n_steps


class _Counted:
    """A solver that counts its factorisations."""

    def __init__(self, solver):
        self.solver = solver
        self.n_factors = 0

    def factor(self, objective):
        self.n_factors += 1
        return self.solver.factor(objective)


def _cooling(temperature):
    """Temperatures from 1 down to four times the one asked for."""
    steps = max(0, int(np.ceil(np.log(1.0 / temperature) / np.log(4.0))))
    return [temperature * 4.0**k for k in range(steps, 0, -1)]


def _at_temperature(objective, temperature):
    loss = SmoothHinge(temperature)
    if isinstance(objective.loss, OwnClassWeighted):
        loss = OwnClassWeighted(loss, objective.loss.class_weight)
    return replace(objective, loss=loss)
