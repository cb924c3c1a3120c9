"""The audit itself: leave-one-out evidence about every training row, ranked, and what to do about it.

What may be asked is settled in `asked`, rows are judged in `judging` and `targets`; what comes out is an
`audited.Audit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import _num_samples

from skinfluence import Influence
from skinfluence._utils._optional import require
from skinfluence._utils.influences import refuse_offset
from skinfluence._utils.typing import Frozen, MatrixLike
from skinfluence.cleaning.asked import (
    SCORES,
    USUAL_ROUNDS,
    check_pull,
    check_rounds,
    held,
    judge_of,
    known_effects,
    known_groups,
    known_score,
    plain,
    settled,
)
from skinfluence.cleaning.audited import Audit
from skinfluence.cleaning.judging import by_suspicion, judge_labels
from skinfluence.cleaning.left_out import left_out_losses
from skinfluence.cleaning.sources import table_of_sources
from skinfluence.problem import refuse_several_targets

# Of those to validate on: effects of all training rows on each are in memory together.
ROWS_AT_ONCE = 200


def audit(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    suspect: Mapping[str, Any] | None = None,
    score: (
        Literal["error_proba", "loo_loss", "margin", "trimmed", "self_influence", "cleanlab"] | None
    ) = None,
    effects: bool | None = None,
    groups: ArrayLike | None = None,
    X_val: MatrixLike | None = None,
    y_val: ArrayLike | None = None,
    method: Literal["auto", "one-step", "exact"] = "auto",
    frozen: Frozen = None,
    rounds: int = 0,
    trim: float | None = None,
    influence: Influence | None = None,
) -> Audit:
    """Rank the training rows of a fitted model by how wrong they look without themselves.

    Every row is judged by the model that has not seen it. A high leave-one-out loss says that the
    other rows contradict this one; what is known about the errors says whether it is wrong.

    Parameters
    ----------
    estimator : fitted classifier, regressor, or Pipeline
        The model, fitted on the rows given here. A classifier has ``predict_proba``, or a
        ``decision_function`` to whose leave-one-out values probabilities are fitted.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        The training rows, in the order given to ``fit``.
    y : array-like of shape (n_samples,)
        The training targets.
    sample_weight : array-like of shape (n_samples,), default=None
        The weights given to ``fit``.
    ids : array-like of shape (n_samples,), default=None
        Names of the rows for the table. The index of a DataFrame `X` or the row number by default.
    suspect : {``{"true": c}``, ``{"given": c}``}, default=None
        What you know about the errors: only members of class c were mislabelled, or only labels c
        cannot be trusted. In small tables with overlapping classes the labels themselves do not tell.
    score : {"error_proba", "loo_loss", "margin", "trimmed", "self_influence", "cleanlab"}, default=None
        What the table is ranked by: how likely the label is wrong (default for classifiers),
        the leave-one-out loss (default for regressors), by how much the most likely other class is
        ahead of the given one without the row, or how strongly the row pulls the model towards
        itself. "trimmed": how likely the label is wrong by a fit without the rows that look most wrong,
        in three `rounds` where none are given. "cleanlab": its label quality, of the leave-one-out
        probabilities. "error_proba", "margin", "trimmed" and "cleanlab" are for classifiers.
    effects : bool, default=None
        Whether to work out what dropping a row does to the others, the columns ``effect_of_dropping`` and
        ``effect_error``, an estimate of how far that is off. It is known of linear models with a smooth
        loss and of kernel ridge regression; True refuses other models. None: of these, with errors where
        they are cheap: about the price of two Hessians and leverages, or of n solves where there are fewer
        rows than parameters, and of as many for each of eight rows. True: with errors whatever they
        cost, from up to 32 rows. Where transformers or balanced class weights are learned anew without a row,
        each effect is an edit of the whole and leave-one-out answers of all others, solved to round-off:
        None works out those that the action on a numeric target rests on, True those of the first 20
        rows; fewer, down to none, where that would take longer than some four seconds, which a note says.
    groups : array-like of shape (n_samples,), default=None
        Where each row comes from: its annotator, hospital or file. Gives the table ``sources``, at
        the price of an edit and of one-step leave-one-out answers for each source.
    X_val, y_val : array-like of shape (n_val, n_features) and (n_val,), default=None
        Rows that are known to be right. Gives the column ``effect_on_validation``: the change of
        their mean loss when a row is dropped.
    method : {"auto", "one-step", "exact"}, default="auto"
        How leave-one-out answers are computed. "one-step": one Newton step for every row. "auto":
        so too (behind an imputer each is solved for, which is cheaper), and then the rows that look most
        surprising or most wrong are solved with a certified error: about 300 for two classes, fewer for
        more, never fewer than 20.
        "exact": every row solved to round-off.
    frozen : {None, "accept", "refuse"}, default=None
        What becomes of the transformers of a pipeline and of balanced class weights while rows are
        left out. None: they are without the row too, as :class:`~skinfluence.Influence` says.
        "accept": they stay as fitted on all rows, as they always do in ``self_influence``.
    rounds : int, default=0
        Trimmed leave-one-out, for classifiers with probabilities: so many times the rows that look most
        wrong, a growing share of all, are left out of the fit together and all rows judged again. It
        helps where no more is left out than is wrong, which `trim` sees to; see the guide.
    trim : float, default=None
        The share of the rows left out in the last round. By default the share of errors that is claimed
        without trimming; none where none are.
    influence : Influence, default=None
        An `Influence` already factored for this model and these rows.

    Returns
    -------
    audit : Audit
        With ``table``, ``plan()``, ``apply()``, ``verify()``, ``plot()`` and ``to_html()``.

    Notes
    -----
    A surprising label can be wrong, or right in a place where the classes overlap. ``error_proba``
    tells the two apart: where the probabilities say that one label in ten disagrees, one in ten does
    without any error; errors leave disagreement where there should be none. The labels are explained
    by right ones, which follow the leave-one-out probabilities (sharpened and shifted, because errors
    blunt and shift them), and by a chance ``noise_matrix[true, given]`` that one class is given as
    another [1]_: none, the same for all, or its own for some classes or pairs of classes. These shapes
    are fitted by maximum likelihood, weighed by how well they explain the labels, and averaged;
    ``error_proba`` is Bayes' rule. Where the model does not beat the shares of the classes, or where
    no errors explain the labels as well, nothing is suggested, and a note says why and how many errors
    cannot be excluded. The suggested action is

    - **relabel** when another class has a chance of at least two thirds to be the right one;
    - **drop** when the label is more likely wrong than right even if its chance is off by as much as the
      model is (at least .48 and the misfit that the nearest rows show), and no class is that likely;
    - **keep** otherwise, and wherever a class would lose its last row.

    A model that cannot follow the data disagrees with right labels too, but with whole neighbourhoods of
    them. Before the noise is estimated, the leave-one-out probabilities are moved by what the labels of
    the 20 nearest rows say beyond the model, as far as that explains the labels, and mixed with the votes
    of these rows where that explains them much better still: where the model is sure and wrong
    (``local_proba``). Not where there are as many columns as rows. What is left of a misfit looks like
    errors: ``error_proba`` allows for rows of which the model knows nothing however sure it is, the more the
    further the nearest rows move the model and the more the classes overlap. A note counts the rows that are
    more likely wrong than right without that allowance and not changed.

    For a regressor: **drop** when the leave-one-out residual is extreme (3.5 robust standard
    deviations) and dropping is predicted to lower the loss of the other rows; also when it is so far off
    that no residual of this spread and these tails explains it, whatever the others gain (a Bonferroni
    test at 5 %, of Student's t with the tails of the residuals; a note says so); **keep** otherwise.
    Residuals of counts and amounts are those of the deviance.

    References
    ----------
    .. [1] Bootkrajang & Kaban (2012), Label-noise robust logistic regression and its applications,
       ECML PKDD: a model of the true label and a chance for each pair that it was replaced.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.cleaning import audit
    >>> from skinfluence.datasets import load_demo
    >>> from skinfluence.linear_model import LogisticRegression
    >>> demo = load_demo("wine", flip_share=0.1)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(demo.X, demo.y)
    >>> found = audit(model, demo.X, demo.y)
    >>> found.table[["row", "given", "suggested", "action"]].head(3)
       row    given suggested   action
    0   18  class_1   class_0  relabel
    1   98  class_2   class_1  relabel
    2    5  class_1   class_0  relabel
    >>> found.depth_table(demo.flipped)[["depth", "found"]].head(3)
       depth  found
    0   0.05      9
    1   0.10     18
    2   0.15     18
    """
    require("pandas", extra="audit")
    check_consistent_length(X, y, sample_weight, ids)
    y = plain(y)
    if ids is None:
        ids = X.index if hasattr(X, "iloc") else np.arange(len(y))
    judge = judge_of(estimator)
    score = known_score(score, SCORES[judge])
    if influence is None:
        influence = Influence(estimator, X, y, sample_weight=sample_weight)
    refuse_offset(influence.objective, "Audits are of")
    refuse_several_targets(influence.objective, "Audits")
    unsaid, effects = effects is None, known_effects(influence, effects)
    check_pull(influence, score)
    frozen = settled(influence, method, frozen)
    asked = {"method": method, "frozen": frozen}
    if score == "trimmed" and not rounds:
        rounds = USUAL_ROUNDS
    check_rounds(rounds, trim, groups, estimator)
    options = {
        **asked,
        "rounds": rounds,
        "trim": trim,
        "suspect": suspect,
        "effects": effects,
        "score": score,
    }
    groups = known_groups(groups, len(y), influence.data.inputs.labels)
    columns, scores, evidence = judge(estimator, influence, y, options)
    noise = evidence.pop("noise")
    if unsaid and effects is False:
        evidence["notes"] = (*evidence["notes"], _note_on_effects(influence))
    if X_val is not None or y_val is not None:
        columns["effect_on_validation"] = _effect_on_validation(influence, X_val, y_val, asked)
        columns["action"] = columns.pop("action")
    sources = None
    if groups is not None:

        def losses(without, targets):
            return left_out_losses(without, targets, options, influence.objective)

        sources, notes = table_of_sources(influence, groups, columns, losses, held(frozen))
        evidence["notes"] = (*evidence["notes"], *notes)
    return Audit(
        estimator=estimator,
        X=X,
        y=y,
        sample_weight=None if sample_weight is None else np.asarray(sample_weight),
        task="classification" if judge is judge_labels else "regression",
        table=_ranked_table(columns, scores[score], ids),
        score=score,
        noise=noise,
        checked=np.zeros(len(y), dtype=bool),
        options={**options, "groups": groups, "X_val": X_val, "y_val": y_val},
        again=audit,
        sources=sources,
        **evidence,
    )


def _note_on_effects(influence):
    also = "" if influence.answers.knows("self_influence") else " and no self_influence"
    return (
        "What dropping a row does to all the others is known of linear models with a smooth loss and of "
        f"kernel ridge regression, not of {influence.objective.model_name}: the table has no "
        f"effect_of_dropping{also}. X_val= and y_val=, rows known to be right, give effect_on_validation."
    )


def _effect_on_validation(influence, X, y, asked):
    """Change of the mean loss of rows that are known to be right when each row is dropped."""
    if X is None or y is None:
        raise ValueError("X_val and y_val go together. Got only one of them.")
    n = _num_samples(X)
    check_consistent_length(X, y)
    total, y = np.zeros(influence.objective.n_samples), np.asarray(y)
    for start in range(0, n, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, n))
        total += influence.removal_effect(_safe_indexing(X, rows), y[rows], **asked).sum(axis=0)
    return total / n


def _ranked_table(columns, score, ids):
    pd = require("pandas", extra="audit")
    order = by_suspicion(score, columns["loo_loss"])
    table = pd.DataFrame({"row": np.arange(len(order)), "id": np.asarray(ids), **columns})
    table = table.iloc[order].reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(order) + 1))
    return table
