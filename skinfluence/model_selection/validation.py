"""Outputs and scores of every row, or group of rows, from the model without it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from skinfluence._utils.calls import level_outside
from skinfluence._utils.rows import rows_of_groups
from skinfluence._utils.typing import Floats, Frozen, MatrixLike, Method, Response, Scoring
from skinfluence.edits.points import Points
from skinfluence.influence import Influence
from skinfluence.influence.groups import answered, warn_without_model
from skinfluence.inputs.routes import answers_for, whole_pipeline
from skinfluence.leave_one_out import (
    Outputs,
    outputs,
    resolve_scorer,
)
from skinfluence.model_selection.fitting import check_data, check_known, fitted
from skinfluence.statistics import BUDGET

RESPONSES = ("predict", "predict_proba", "predict_log_proba", "decision_function", "loss")


def loo_predict(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    response_method: Response = "predict",
    method: Method = "auto",
    tol: float = 1e-3,
    frozen: Frozen = None,
    budget: float = BUDGET,
) -> NDArray[Any]:
    """Outputs of every row from the model fitted without it.

    What ``cross_val_predict(estimator, X, y, cv=LeaveOneOut())`` returns, for about the price of
    one fit.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Not changed; a clone is fitted on all rows.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), default=None
        For the last step of a pipeline.
    response_method : {"predict", "predict_proba", "predict_log_proba", "decision_function", \
            "loss"}, default="predict"
        ``"loss"``: the estimator's own loss of each row, unweighted (log loss, half squared
        error).
    method : {"auto", "exact", "one-step", "influence"}, default="auto"
        See :meth:`skinfluence.Influence.removal_effect`.
    tol : float, default=1e-3
        For ``"auto"``: certified error of the parameters relative to their change.
    frozen : {None, "accept", "refuse"}, default=None
        What becomes of the transformers of a pipeline. None: they are without the row too; where
        that is not known they stay as fitted on all rows, which a warning says, and those whose
        ``fit`` used y are refused. ``"accept"``: they stay as fitted. ``"refuse"``: an error where
        anything would.
    budget : float, default=60.0
        CPU seconds that may go into fitting transformers again without each row, where nothing
        cheaper is known. Beyond it an error says how long it would take.

    Returns
    -------
    outputs : ndarray of shape (n_samples,) or (n_samples, n_classes)

    Raises
    ------
    TypeError
        For an estimator whose objective is not known, and for searches, which would choose their
        parameters anew without each row.
    ValueError
        For ``"predict"`` where a class has one row: without it there is no model of that class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence.model_selection import loo_predict
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500)
    >>> loo_predict(model, X, y, response_method="predict_proba").shape
    (150, 3)
    >>> print(f"{loo_predict(model, X, y, response_method='loss').mean():.4f}")
    0.1296
    """
    _check_response(estimator, response_method)
    influence, _ = _influence(estimator, X, y, sample_weight)
    found = outputs(influence, method, tol, frozen, budget=budget)
    return _respond(found, response_method)


def loo_score(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    *,
    scoring: Scoring = None,
    sample_weight: ArrayLike | None = None,
    method: Method = "auto",
    tol: float = 1e-3,
    frozen: Frozen = None,
    budget: float = BUDGET,
) -> float:
    """A scorer on the leave-one-out outputs of all rows, taken together.

    Parameters
    ----------
    estimator, X, y, sample_weight, method, tol, frozen, budget
        As in :func:`loo_predict`.
    scoring : str or callable, default=None
        As in scikit-learn; accuracy or R2 when None. It is called once, on the outputs of all rows
        together, so that AUC and R2 are defined; what a callable gets as X are row positions.

    Returns
    -------
    score : float
        Rows that are alone in their class do not count.

    Notes
    -----
    ``cross_val_score(..., cv=LeaveOneOut())`` scores each row on its own, which for means over rows
    (accuracy, log loss) is the same number on average, and for R2 or AUC is not defined.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.model_selection import loo_score
    >>> X, y = load_diabetes(return_X_y=True)
    >>> print(f"{loo_score(Ridge(alpha=0.01), X, y):.3f}")
    0.494
    """
    influence, y = _influence(estimator, X, y, sample_weight)
    return influence.loo_score(scoring, method=method, tol=tol, frozen=frozen, budget=budget)


def leave_one_group_out(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    groups: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    response_method: Response = "predict",
    method: Method = "auto",
    tol: float = 1e-3,
    frozen: Frozen = None,
    budget: float = BUDGET,
) -> NDArray[Any]:
    """Outputs of every row from the model fitted without its whole group.

    What ``cross_val_predict(estimator, X, y, groups=groups, cv=LeaveOneGroupOut())`` returns, from
    one fit: each group is one edit.

    Parameters
    ----------
    estimator, X, y, sample_weight, response_method, method, tol, frozen, budget
        As in :func:`loo_predict`.
    groups : array-like of shape (n_samples,)
        The group of each row; at least two groups.

    Returns
    -------
    outputs : ndarray of shape (n_samples,) or (n_samples, n_classes)
        NaN, with a warning that names it, for a group without which there is no model: it holds all
        rows of a class, decides a parameter alone, or has the only rows on the wrong side of a model
        without a penalty.

    Raises
    ------
    ValueError
        For ``"predict"`` where such a group exists, and for a group that holds all the weight.

    See Also
    --------
    leave_one_group_out_score : One score per group.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.model_selection import leave_one_group_out
    >>> X, y = load_diabetes(return_X_y=True)
    >>> leave_one_group_out(Ridge(), X, y, groups=np.arange(442) % 5).shape
    (442,)
    """
    _check_response(estimator, response_method)
    options = {"method": method, "tol": tol, "frozen": frozen, "budget": budget}
    found, _, _ = _group_outputs(estimator, X, y, groups, sample_weight, **options)
    return _respond(found, response_method)


def leave_one_group_out_score(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    groups: ArrayLike,
    *,
    scoring: Scoring = None,
    sample_weight: ArrayLike | None = None,
    method: Method = "auto",
    tol: float = 1e-3,
    frozen: Frozen = None,
    budget: float = BUDGET,
) -> Floats:
    """The score of each group under the model fitted without it.

    What ``cross_val_score(estimator, X, y, groups=groups, cv=LeaveOneGroupOut())`` returns.

    Parameters
    ----------
    estimator, X, y, groups, sample_weight, method, tol, frozen, budget
        As in :func:`leave_one_group_out`.
    scoring : str or callable, default=None
        As in scikit-learn; accuracy or R2 when None. What a callable gets as X are row positions.

    Returns
    -------
    scores : ndarray of shape (n_groups,)
        In the order of ``np.unique(groups)``. NaN, with a warning, for a group without which there is
        no model, as in :func:`leave_one_group_out`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence.model_selection import leave_one_group_out_score
    >>> X, y = load_diabetes(return_X_y=True)
    >>> leave_one_group_out_score(Ridge(), X, y, groups=np.arange(442) % 5).shape
    (5,)
    """
    options = {"method": method, "tol": tol, "frozen": frozen, "budget": budget}
    found, y, members = _group_outputs(estimator, X, y, groups, sample_weight, **options)
    scorer = resolve_scorer(scoring, found.objective)
    return np.array([found.score(y, scorer, rows) for rows in members])


# Plumbing --------------------------------------------------------------------------------------


def _check_response(estimator, response_method):
    if response_method not in RESPONSES:
        raise ValueError(f"response_method must be one of {RESPONSES}. Got {response_method!r}.")
    check_known(estimator)
    if response_method != "loss" and not hasattr(estimator, response_method):
        raise AttributeError(
            f"response_method must be one the estimator has. {type(estimator).__name__} has no "
            f"{response_method}."
        )


def _respond(found, response_method):
    if response_method == "predict" and found.objective.labels is not None:
        nowhere = np.flatnonzero(np.isnan(found.eta).any(axis=1))
        if len(nowhere):
            raise ValueError(
                f"Every row must have a model without it to be predicted. Without row {nowhere[0]}, or "
                "its group, a class is gone, or the model has no optimum. Add rows of that class, drop it, "
                "penalise the model, or ask for response_method='decision_function', where such rows are "
                "NaN."
            )
    return getattr(found, response_method)()


def _influence(estimator, X, y, sample_weight):
    check_known(estimator)
    X, y, sample_weight = check_data(X, y, sample_weight)
    model = fitted(estimator, X, y, sample_weight)
    return Influence(model, X, y, sample_weight), y


def _group_outputs(estimator, X, y, groups, sample_weight, method, tol, frozen, budget):
    if groups is None:
        raise ValueError("The 'groups' parameter should not be None.")
    X, y, sample_weight = check_data(X, y, sample_weight, groups)
    groups = check_array(groups, input_name="groups", ensure_2d=False, dtype=None)
    names, position = np.unique(groups, return_inverse=True)
    if len(names) <= 1:
        raise ValueError(
            f"groups must name at least two groups, or nothing is left to fit. Got {names}."
        )
    members = rows_of_groups(position)
    influence, y = _influence(estimator, X, y, sample_weight)
    influence.data.look_at_groups(members)
    pipeline = whole_pipeline(influence, method, frozen, budget)
    objective = influence.objective
    whole = _groups_of_whole_classes(objective, names, position)
    left = [rows for rows, gone in zip(members, whole, strict=True) if not gone]
    if pipeline is None:
        points = [
            Points(rows, -objective.weights[rows], None, None, np.empty(0), rows) for rows in left
        ]
        eta = _own_values(influence, points, names[~whole], method, tol, frozen)
    else:
        eta = np.full((len(y), objective.loss.n_outputs), np.nan)
        for rows, values in zip(left, pipeline.group_values(left, method, tol), strict=True):
            eta[rows] = values
    eta[whole[position]] = np.nan
    return Outputs(influence.estimator, objective, eta), y, members


def _own_values(influence, points, names, method, tol, frozen):
    """Decision values of all rows without their groups; NaN, with a warning, where no optimum is left."""
    answers, problem = answers_for(influence, frozen), influence.objective
    eta = np.full((problem.n_samples, problem.loss.n_outputs), np.nan)
    unanswered = np.ones(len(points), dtype=bool)
    for some, found in answered(lambda some: answers.own_group_removals(some, method, tol), points):
        rows = np.concatenate([one.rows for one in points[some]])
        eta[rows], unanswered[some] = found[rows], False
    warn_without_model(names[unanswered], problem)
    return eta


def _groups_of_whole_classes(objective, names, position):
    """Which groups hold all the weight of a class that must be there, a mask."""
    total = np.bincount(position, weights=objective.weights)
    if (total > (1.0 - 1e-12) * objective.total_weight).any():
        raise ValueError(
            f"No group may hold all the weight. Group {names[total.argmax()]} does: without it "
            "nothing is left to fit."
        )
    whole = np.zeros(len(names), dtype=bool)
    if not objective.needs_all_classes:
        return whole
    found = [
        (one, kind, kinds)
        for one, kinds, weight in objective.own_kinds
        for kind in range(len(weight))
    ]
    for one, kind, kinds in found:
        holders = np.unique(position[(objective.weights > 0) & (kinds == kind)])
        if len(holders) == 1:
            whole[holders] = True
            warnings.warn(
                f"All rows of {one.kind_name(kind)} are in group {names[holders[0]]}: without "
                "it the optimum is at infinity, so its answers are NaN. Merge groups, or drop the "
                "class.",
                UserWarning,
                stacklevel=level_outside(),
            )
    return whole
