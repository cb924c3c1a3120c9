"""Leave-one-out outputs and scores: every row as if the model had not seen it."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer
from sklearn.utils import get_tags

from skinfluence import effects, steps
from skinfluence.utils.memory import row_blocks


def loo_eta(influence, method="auto", tol=1e-3):
    """Leave-one-out decision values in the loss's outputs, shape (n_samples, n_outputs).

    Rows of weight zero get their fitted values. A row whose removal leaves no model (the last one
    of its class, with a free intercept) gets NaN.
    """
    eta = np.array(influence.own_removals(method, tol))
    lonely = rows_alone_in_their_class(influence.objective)
    if len(lonely):
        warn_alone(influence.objective, lonely)
        eta[lonely] = np.nan
    return eta


def rows_alone_in_their_class(objective):
    """Rows without which a class has no weight left and the optimum is at infinity."""
    labels = objective.labels
    if labels is None or objective.loss.self_concordance == 0.0:
        return np.empty(0, dtype=np.intp)
    free = objective.design.intercept and objective.penalty[-1] == 0
    if not (free or (objective.penalty == 0).all()):
        return np.empty(0, dtype=np.intp)
    weighted = objective.weights > 0
    alone = [np.flatnonzero(weighted & (objective.y == target)) for target in labels.targets]
    return np.concatenate([rows for rows in alone if len(rows) == 1] or [np.empty(0, np.intp)])


def warn_alone(objective, rows):
    """Say which rows have no leave-one-out model."""
    shown = ", ".join(str(row) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
    warnings.warn(
        f"Row {shown} is the only one of its class with weight: without it the class cannot be "
        "fitted, so its answers are NaN. Add rows of that class or drop the class.",
        UserWarning,
        stacklevel=4,
    )


class _Pooled(BaseEstimator):
    """Stands in for an estimator in front of a scorer: predicts the pooled outputs."""

    def __init__(self, influence, options):
        self.influence = influence
        self.options = options

    def __sklearn_tags__(self):
        return get_tags(self.influence.estimator)

    def __sklearn_is_fitted__(self):
        return True

    @property
    def classes_(self):
        return self.influence.estimator.classes_

    def predict(self, X):
        return self.influence.loo_predict(**self.options)

    def predict_proba(self, X):
        return self.influence.loo_predict_proba(**self.options)

    def decision_function(self, X):
        return self.influence.loo_decision_function(**self.options)


def pooled_score(influence, y, scoring, **options):
    """A scorer applied once to the leave-one-out outputs of all rows."""
    if scoring is None:
        scoring = "r2" if influence.objective.labels is None else "accuracy"
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    return scorer(_Pooled(influence, options), np.empty((len(y), 0)), y)


def loo_loss(influence, method="auto"):
    """Leave-one-out loss of each training row under its own label, unweighted.

    Parameters
    ----------
    influence : Influence
    method : str, default="auto"
        See :meth:`Influence.removal_effect`.

    Returns
    -------
    losses : ndarray of shape (n_train,)
        In units of the model's own loss: log loss, half squared error, half deviance.
    """
    objective = influence.objective
    return objective.loss.value(loo_eta(influence, method), objective.y)


def loo_loss_effect(influence, method="one-step"):
    """Predicted change of the leave-one-out loss of the *other* rows when each row is dropped.

    The training loss cannot say whether a row helps: without it, the model always fits the others
    better. Their leave-one-out loss can.

    Parameters
    ----------
    influence : Influence
    method : {"influence", "one-step"}, default="one-step"

    Returns
    -------
    effects : ndarray of shape (n_train,)
        Weighted mean over the other rows; negative: dropping the row helps them.

    Notes
    -----
    ``eta_j`` of the model without j moves, when i leaves too, by
    ``(I - w_j h_jj Lambda_j)^-1 d eta_j``, with ``d eta_j`` the change at j when i alone leaves:
    exact to first order in the pair's interaction. O(n^2 d K) in blocks; no n x n array is kept.
    """
    objective, factor = influence.objective, influence.factor
    n, k = objective.n_samples, objective.loss.n_outputs
    edits = steps.removals(objective, np.arange(n))
    h = steps.row_leverages(factor, edits, method)
    base = objective.eta + steps.own_eta_steps(factor, edits, method)
    before = objective.loss.value(base, objective.y)
    spread = np.eye(k) + edits.hessian @ h
    amplify = np.linalg.inv(spread).transpose(0, 2, 1)
    weights = objective.weights / objective.total_weight
    out = np.empty(n)
    for rows in row_blocks(n, 8 * k * (objective.n_parameters + 4 * n)):
        part = edits.take(rows)
        for block, change in effects.eta_steps(factor, part, objective.design, method):
            chosen = np.arange(n)[rows][block]
            moved = (
                change * amplify[:, 0, 0, None]
                if k == 1
                else ((amplify @ change[..., None])[..., 0])
            )
            after = objective.loss.value(base + moved, objective.y)
            after -= before
            after[np.arange(len(chosen)), chosen] = 0.0
            out[chosen] = after @ weights
    return out
