"""Leave-one-out outputs and scores: every row as if the model had not seen it."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import d2_tweedie_score, get_scorer, make_scorer
from sklearn.utils import get_tags

from skinfluence._utils.scoring import has_decision_function, refuse_score_of_two
from skinfluence.answers.checks import rows_alone, warn_alone
from skinfluence.inputs.routes import answers_for, whole_pipeline
from skinfluence.losses import Tweedie
from skinfluence.statistics import FILLED, REFITTED


def loo_eta(influence, method="auto", tol=1e-3, frozen=None, rows=None, budget=None):
    """Leave-one-out decision values in the loss's outputs, shape (n_samples, n_outputs).

    Without a row the transformers of a pipeline are fitted without it too, unless they are held
    (``frozen="accept"``) or that is not known, which :func:`~skinfluence.inputs.frozen.check_frozen`
    says. Where nothing but the model learned from the rows, those of weight zero get their fitted
    values. A row whose removal leaves no model (the last one of its class, with a free intercept)
    gets NaN, and so do rows that were not asked for.
    """
    whole = whole_pipeline(influence, method, frozen, budget)
    problem = influence.objective
    asked = np.arange(problem.n_samples) if rows is None else np.unique(rows)
    lonely = np.intersect1d(rows_alone(problem), asked)
    if whole is None:
        answers = answers_for(influence, frozen)
        own = answers.own_removals(method, tol, None if rows is None else asked)
        if rows is None:
            eta = np.array(own)
        else:
            eta = np.full((problem.n_samples, *own.shape[1:]), np.nan)
            eta[asked] = own
    else:
        asked = np.setdiff1d(asked, lonely)
        eta = np.full((problem.n_samples, problem.loss.n_outputs), np.nan)
        eta[asked] = whole.own_values(asked, method, tol)
    if len(lonely):
        warn_alone(problem, lonely)
        eta[lonely] = np.nan
    return eta


def quick_method(influence, frozen=None):
    """The cheaper of one step and of solving to a certificate, for leave-one-out of all rows.

    One step, except behind an imputer whose fills move: its Hessian after the edit takes more passes over the
    rows that are filled than a certified answer (``python benchmarks/quick_looks.py``).
    """
    if not influence.answers.certifies:
        return "one-step"
    return "auto" if _row_count(influence, "one-step", FILLED, frozen) else "one-step"


def fitted_again(influence, frozen=None):
    """For how many rows the steps of a pipeline are fitted again, in exact leave-one-out of all."""
    return _row_count(influence, "exact", REFITTED, frozen)


def _row_count(influence, method, route, frozen):
    """For how many rows leave-one-out takes a route through a pipeline."""
    whole = whole_pipeline(influence, method, frozen, np.inf)
    if whole is None:
        return 0
    # After earlier edits of the rows that are left.
    whole, rows, _ = whole.numbered(np.arange(influence.objective.n_samples))
    return int(np.count_nonzero(whole.removals(rows, None).routes == route))


class Outputs(BaseEstimator):
    """Decision values of all rows as what an estimator returns, so that a scorer can ask.

    Parameters
    ----------
    estimator : estimator
        Whose outputs these are.
    objective : Objective
    eta : ndarray of shape (n_samples, n_outputs)
        In the loss's outputs; offsets of the rows are added here.

    Notes
    -----
    The ``X`` of a method is an array of row positions, shape (m, 1); all rows when None.
    """

    def __init__(self, estimator, objective, eta):
        self.estimator = estimator
        self.objective = objective
        self.eta = eta

    def __sklearn_tags__(self):
        return get_tags(self.estimator)

    def __sklearn_is_fitted__(self):
        return True

    @property
    def classes_(self):
        labels = self.objective.labels
        # Of several labels a row has, their numbers.
        return np.arange(self.eta.shape[1]) if labels is None else labels.classes

    def _eta(self, X):
        offset = self.objective.offset
        eta = self.eta if offset is None else self.eta + offset[:, None]
        return eta if X is None else eta[np.asarray(X)[:, 0]]

    def decision_function(self, X=None):
        eta = self.objective.loss.expand(self._eta(X))
        return eta[:, 0] if eta.shape[1] == 1 else eta

    def by_class(self):
        """A number for each class, (n_samples, n_classes), or one for the second of two, (n_samples, 1)."""
        return self.objective.loss.by_class(self._eta(None))

    def predict_proba(self, X=None):
        return self.objective.loss.predict_proba(self._eta(X))

    def predict_log_proba(self, X=None):
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X=None):
        labels = self.objective.labels
        if labels is None:
            mean = self.objective.loss.mean(self._eta(X))
            return mean[:, 0] if mean.shape[1] == 1 else mean
        return labels.classes[self.objective.loss.decide(self._eta(X))]

    def loss(self, X=None):
        """The model's own loss of each row, unweighted."""
        rows = slice(None) if X is None else np.asarray(X)[:, 0]
        return self.objective.loss.value(self.eta[rows], self.objective.y[rows])

    def score(self, y, scoring, rows=None):
        """A scorer on the outputs of some rows; those without outputs (NaN) do not count."""
        rows = np.arange(len(self.eta)) if rows is None else rows
        rows = rows[~np.isnan(self.eta[rows]).any(axis=1)]
        if not len(rows):
            return np.nan
        return float(scoring(self._as_scored(), rows[:, None], np.asarray(y)[rows]))

    def _as_scored(self):
        labels, loss = self.objective.labels, self.objective.loss
        if labels is None or has_decision_function(loss, self.eta, labels.classes):
            return self
        return _Chances(self.estimator, self.objective, self.eta)


class _Chances(Outputs):
    """Of two classes, where the decision values are their chances: scorers ask for these."""

    decision_function = None


def outputs(influence, method="auto", tol=1e-3, frozen=None, rows=None, budget=None):
    """The leave-one-out :class:`Outputs` of all rows, NaN where others than ``rows`` are asked."""
    eta = loo_eta(influence, method, tol, frozen, rows, budget)
    return Outputs(influence.estimator, influence.objective, eta)


def resolve_scorer(scoring, objective):
    """One scorer for a name, a callable or None: what estimators score themselves by.

    Accuracy, R2, or of a generalised linear model the share of the deviance, D2.
    """
    if scoring is None:
        loss = getattr(objective.loss, "inner", objective.loss)
        if isinstance(loss, Tweedie):
            return make_scorer(d2_tweedie_score, power=loss.power)
        scoring = "accuracy" if objective.classifies else "r2"
    if isinstance(scoring, str):
        if objective.labels is not None:
            refuse_score_of_two(scoring, len(objective.labels.classes))
        return get_scorer(scoring)
    if not callable(scoring):
        raise TypeError(
            "scoring must be None, the name of one scorer or a callable scorer(estimator, X, y). "
            f"Got {scoring!r}."
        )
    return scoring


def pooled_score(influence, y, scoring, rows=None, **options):
    """A scorer applied once to the leave-one-out outputs of all rows, or of some."""
    scorer = resolve_scorer(scoring, influence.objective)
    return outputs(influence, rows=rows, **options).score(y, scorer, rows)


def loo_loss(influence, method="auto", tol=1e-3, frozen=None, budget=None):
    """Leave-one-out loss of each training row under its own label, unweighted.

    Parameters
    ----------
    influence : Influence
    method, tol
        See :meth:`Influence.removal_effect`.
    frozen, budget
        See :meth:`Influence.loo_decision_function`.

    Returns
    -------
    losses : ndarray of shape (n_train,)
        In units of the model's own loss: log loss, half squared error, half deviance.
    """
    return outputs(influence, method, tol, frozen, budget=budget).loss()
