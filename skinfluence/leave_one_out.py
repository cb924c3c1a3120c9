"""Leave-one-out outputs and scores: every row as if the model had not seen it."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer
from sklearn.utils import get_tags

from skinfluence.answers import rows_alone_in_their_class, warn_alone
from skinfluence.inputs.frozen import check_frozen


def loo_eta(influence, method="auto", tol=1e-3, frozen=None):
    """Leave-one-out decision values in the loss's outputs, shape (n_samples, n_outputs).

    Rows of weight zero get their fitted values. A row whose removal leaves no model (the last one
    of its class, with a free intercept) gets NaN. ``frozen``: :func:`skinfluence.inputs.frozen.check_frozen`.
    """
    check_frozen(influence.estimator, frozen)
    eta = np.array(influence.answers.own_removals(method, tol))
    lonely = rows_alone_in_their_class(influence.objective)
    if len(lonely):
        warn_alone(lonely)
        eta[lonely] = np.nan
    return eta


class Outputs(BaseEstimator):
    """Decision values of all rows as what an estimator returns, so that a scorer can ask.

    Parameters
    ----------
    estimator : estimator
        Whose outputs these are.
    objective : Objective
    eta : ndarray of shape (n_samples, n_outputs)
        In the loss's outputs.

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
        return self.objective.labels.classes

    def _eta(self, X):
        return self.eta if X is None else self.eta[np.asarray(X)[:, 0]]

    def decision_function(self, X=None):
        eta = self.objective.loss.expand(self._eta(X))
        return eta[:, 0] if eta.shape[1] == 1 else eta

    def predict_proba(self, X=None):
        return self.objective.loss.predict_proba(self._eta(X))

    def predict_log_proba(self, X=None):
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X=None):
        labels = self.objective.labels
        if labels is None:
            return self.objective.loss.mean(self._eta(X))[:, 0]
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
        return float(scoring(self, rows[:, None], np.asarray(y)[rows]))


def outputs(influence, method="auto", tol=1e-3, frozen=None):
    """The leave-one-out :class:`Outputs` of all rows."""
    eta = loo_eta(influence, method, tol, frozen)
    return Outputs(influence.estimator, influence.objective, eta)


def resolve_scorer(scoring, objective):
    """One scorer for a name, a callable or None: accuracy or R2."""
    if scoring is None:
        scoring = "r2" if objective.labels is None else "accuracy"
    if isinstance(scoring, str):
        return get_scorer(scoring)
    if not callable(scoring):
        raise TypeError(
            "scoring must be None, the name of one scorer or a callable scorer(estimator, X, y). "
            f"Got {scoring!r}."
        )
    return scoring


def pooled_score(influence, y, scoring, **options):
    """A scorer applied once to the leave-one-out outputs of all rows."""
    scorer = resolve_scorer(scoring, influence.objective)
    return outputs(influence, **options).score(y, scorer)


def loo_loss(influence, method="auto", tol=1e-3, frozen=None):
    """Leave-one-out loss of each training row under its own label, unweighted.

    Parameters
    ----------
    influence : Influence
    method, tol
        See :meth:`Influence.removal_effect`.
    frozen : {None, "accept"}, default=None
        ``"accept"``: answer for the transformers of a pipeline as they are.

    Returns
    -------
    losses : ndarray of shape (n_train,)
        In units of the model's own loss: log loss, half squared error, half deviance.
    """
    return outputs(influence, method, tol, frozen).loss()
