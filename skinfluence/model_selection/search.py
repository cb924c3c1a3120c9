"""Exhaustive search over parameters by leave-one-out, in scikit-learn's protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.exceptions import NotFittedError
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence._utils.typing import Frozen, MatrixLike, Method, Scoring
from skinfluence._utils.untouched import untouched
from skinfluence._utils.weights import fit_weights
from skinfluence.model_selection.candidates import Run, Trial, with_params
from skinfluence.model_selection.fitting import check_data, check_known
from skinfluence.statistics import BUDGET

METHODS = ("auto", "exact", "one-step")


def _best_has(attribute):
    """Whether a method can be delegated, with scikit-learn's rule: to the best, or the given."""

    def check(self):
        if not self.refit:
            raise AttributeError(
                f"{attribute} needs the model refitted at the best parameters. Got refit=False; "
                "refit manually with clone(estimator).set_params(**best_params_)."
            )
        getattr(getattr(self, "best_estimator_", self.estimator), attribute)
        return True

    return check


class LeaveOneOutSearch(MetaEstimatorMixin, BaseEstimator):
    """Search over parameter values by the leave-one-out score, without refitting per row.

    What ``GridSearchCV(estimator, param_grid, cv=LeaveOneOut())`` asks, for about the price of one
    fit per value. The values of the penalty (``C`` of LogisticRegression, ``alpha`` of Ridge and
    of the generalised linear models) cost less still: each fit starts at the last one, and shares
    its data.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Not changed. The transformers of a pipeline are without the row too when one is left out, as
        far as ``frozen`` lets them.
    param_grid : dict or list of dict
        As in :class:`~sklearn.model_selection.GridSearchCV`.
    scoring : str or callable, default=None
        A scorer on the leave-one-out outputs of all rows together. None: the estimator's own loss
        (log loss, half squared error), negated and averaged with the sample weights, as by
        ``RidgeCV``; scorers count each row once, as in ``GridSearchCV``.
    refit : bool, default=True
        Fit the estimator at the best parameters on all rows.
    method : {"auto", "exact", "one-step"}, default="auto"
        ``"auto"``: one Newton step per row while scanning (behind an imputer each is solved for, which
        is cheaper); then the best candidate, and those so close that the step cannot tell them apart,
        with a certified error. ``"exact"``: every
        candidate solved to round-off. ``"one-step"``: the scan only. For squared error they are
        the same.
    tol : float, default=1e-4
        For ``"auto"``: certified error of the mean leave-one-out loss of the best candidate,
        relative to it. ``cv_results_["score_bound"]`` has the bound that was reached.
    frozen : {None, "accept", "refuse"}, default=None
        None: the transformers of a pipeline are without the row too, so that each candidate is
        fitted, and answered about as a whole; where that is not known they stay as fitted, which a
        warning says, and those whose ``fit`` used y are refused. ``"accept"``: they are fitted on all
        rows, once per distinct setting of their parameters, and stay so. ``"refuse"``: an error
        where anything would.
    budget : float, default=60.0
        CPU seconds that may go into fitting the transformers of one candidate again without each
        row, where nothing cheaper is known.
    error_score : "raise" or float, default=np.nan
        Score of a candidate that cannot be fitted.
    verbose : int, default=0
        Above 0, print a line per candidate.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        ``params``, ``param_*``, ``mean_test_score``, ``std_test_score`` (over rows; NaN for
        scorers, which see all rows together), ``rank_test_score``, ``mean_fit_time``,
        ``mean_score_time`` and their ``std_*`` (0) as in scikit-learn, and ``score_method``, how
        the rows of a candidate were answered ("one-step", "auto", "exact"), with ``score_bound``,
        a bound on the error of its score (infinite where nothing is certified, NaN for scorers).
    best_estimator_ : estimator
        The estimator, fitted by its own ``fit`` at the best parameters on all rows.
    best_params_ : dict
    best_score_ : float
    best_index_ : int
    choices_ : ndarray of int, shape (n_samples,), or None
        The candidate that would have been chosen had a row not counted in the mean loss, for each
        row; None for scorers.
    choice_report_ : str or None
        For how many rows the choice would have been the same, and how often the bounds of the
        scores leave no doubt of it.
    scorer_ : callable
        What :meth:`score` uses.
    refit_time_ : float
    n_features_in_ : int
    feature_names_in_ : ndarray of str
    classes_ : ndarray

    See Also
    --------
    loo_predict : Leave-one-out outputs of one estimator.

    Notes
    -----
    With ``scoring=None`` all candidates must have the same loss; give a scorer to compare, say, a
    LogisticRegression with a RidgeClassifier. Rows that are alone in their class have no
    leave-one-out model and do not count, with a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.model_selection import LeaveOneOutSearch
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression())
    >>> search = LeaveOneOutSearch(
    ...     model, {"logisticregression__C": np.logspace(-2, 2, 5)}
    ... ).fit(X, y)
    >>> print(search.best_params_["logisticregression__C"], f"{search.best_score_:.4f}")
    1.0 -0.0760
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        scoring: Scoring = None,
        refit: bool = True,
        method: Method = "auto",
        tol: float = 1e-4,
        frozen: Frozen = None,
        budget: float = BUDGET,
        error_score: Literal["raise"] | float = np.nan,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.param_grid = param_grid
        self.scoring = scoring
        self.refit = refit
        self.method = method
        self.tol = tol
        self.frozen = frozen
        self.budget = budget
        self.error_score = error_score
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = deepcopy(inner.classifier_tags)
        tags.regressor_tags = deepcopy(inner.regressor_tags)
        tags.target_tags = deepcopy(inner.target_tags)
        tags.target_tags.multi_output = False
        tags.input_tags = deepcopy(inner.input_tags)
        tags.array_api_support = False
        return tags

    def fit(
        self, X: MatrixLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> LeaveOneOutSearch:
        """Search, then fit the estimator at the best parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            For the last step of a pipeline.

        Returns
        -------
        self : LeaveOneOutSearch

        Raises
        ------
        ValueError
            If no candidate can be fitted, or the losses of the candidates differ.
        TypeError
            For an estimator whose objective is not known.
        """
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}. Got {self.method!r} instead.")
        check_known(self.estimator)
        X, y, sample_weight = check_data(X, y, sample_weight)
        trials = [Trial(i, params) for i, params in enumerate(ParameterGrid(self.param_grid))]
        self.scorer_ = check_scoring(self.estimator, self.scoring)
        Run(self, X, y, sample_weight).score(trials)
        self.cv_results_ = _results(trials)
        self.best_index_ = int(self.cv_results_["rank_test_score"].argmin())
        self.best_score_ = float(self.cv_results_["mean_test_score"][self.best_index_])
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        self.choices_, self.choice_report_ = _choices(trials, self.best_index_)
        if self.refit:
            best = with_params(self.estimator, self.best_params_)
            start = time.perf_counter()
            self.best_estimator_ = best.fit(
                untouched(X, best), y, **fit_weights(best, sample_weight)
            )
            self.refit_time_ = time.perf_counter() - start
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        return self

    def score(self, X, y=None):
        """``scoring`` of the best estimator on other data; its own ``score`` without one.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : array-like of shape (n_rows,), default=None
        """
        check_is_fitted(self)
        _best_has("score")(self)
        return self.scorer_(self.best_estimator_, X, y)

    @property
    def n_features_in_(self):
        """Features of the training data."""
        try:
            check_is_fitted(self)
        except NotFittedError as error:
            raise AttributeError(
                f"{type(self).__name__} object has no n_features_in_ attribute."
            ) from error
        return self.best_estimator_.n_features_in_

    @property
    def classes_(self):
        """Classes of the best estimator."""
        _best_has("classes_")(self)
        return self.best_estimator_.classes_

    @available_if(_best_has("predict"))
    def predict(self, X):
        """``predict`` of the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict(X)

    @available_if(_best_has("predict_proba"))
    def predict_proba(self, X):
        """``predict_proba`` of the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_proba(X)

    @available_if(_best_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """``predict_log_proba`` of the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_log_proba(X)

    @available_if(_best_has("decision_function"))
    def decision_function(self, X):
        """``decision_function`` of the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        check_is_fitted(self)
        return self.best_estimator_.decision_function(X)

    @available_if(_best_has("transform"))
    def transform(self, X):
        """``transform`` of the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        """
        check_is_fitted(self)
        return self.best_estimator_.transform(X)


# Results ---------------------------------------------------------------------------------------


def _results(trials):
    """``cv_results_`` of scored candidates."""
    scores = np.array([trial.score for trial in trials], dtype=float)
    worst = np.nanmin(scores) - 1 if not np.isnan(scores).all() else 0.0
    ranks = rankdata(-np.where(np.isnan(scores), worst, scores), method="min")
    zeros = np.zeros(len(trials))
    return {
        "mean_fit_time": np.array([trial.fit_time for trial in trials]),
        "std_fit_time": zeros,
        "mean_score_time": np.array([trial.score_time for trial in trials]),
        "std_score_time": zeros.copy(),
        **_parameter_columns([trial.params for trial in trials]),
        "params": [trial.params for trial in trials],
        "mean_test_score": scores,
        "std_test_score": np.array([trial.std for trial in trials]),
        "rank_test_score": ranks.astype(np.int32),
        "score_bound": np.array([trial.bound for trial in trials]),
        "score_method": np.array([trial.method for trial in trials]),
    }


def _choices(trials, best):
    """What would have been chosen without each row's own loss, and how many rows that says."""
    known = [i for i, trial in enumerate(trials) if trial.losses is not None]
    if best not in known:
        return None, None
    losses = np.array([trials[i].losses for i in known])
    counted = ~np.isnan(losses).any(axis=0)
    losses = np.where(counted, losses, 0.0)
    # Of the weight, which is the same for all: a row's own share goes, and so does its weight.
    total = losses.sum(axis=1)[:, None] - losses
    choices = np.array(known)[total.argmin(axis=0)]
    bound = np.array([trials[i].bound for i in known]) * _weight(trials[best], losses[0])
    place = known.index(best)
    margin = np.delete(total - total[place], place, axis=0)
    doubt = (np.delete(bound, place) + bound[place])[:, None]
    same, n = choices == best, int(counted.sum())
    sure = int(((margin > doubt).all(axis=0) & counted).sum())
    named = ", ".join(f"{name}={value}" for name, value in trials[best].params.items())
    report = (
        f"{named or 'The same'} would have been chosen without the loss of "
        f"{int((same & counted).sum())} of {n} rows, one at a time; bounds leave no doubt for {sure}."
    )
    return choices, report


def _weight(trial, losses):
    """The total weight of the rows that count: of a mean loss and its sum."""
    total = np.nansum(trial.losses)
    return total / -trial.score if trial.score else float(len(losses))


def _parameter_columns(candidates):
    columns = {}
    for name in sorted({name for params in candidates for name in params}):
        held = [i for i, params in enumerate(candidates) if name in params]
        values = [candidates[i][name] for i in held]
        numbers = all(np.ndim(v) == 0 and isinstance(v, int | float | np.number) for v in values)
        column = np.ma.MaskedArray(
            np.empty(len(candidates), dtype=np.result_type(*values) if numbers else object),
            mask=True,
        )
        for i, value in zip(held, values, strict=True):
            column[i] = value
        columns[f"param_{name}"] = column
    return columns
