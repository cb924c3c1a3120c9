"""One-vs-rest classifiers: one objective whose outputs are the binary models."""

from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d

from skinfluence._utils.validation import check_rows, check_sample_weight
from skinfluence.adapters.members import (
    CLASS_BY_CLASS,
    LABEL_BY_LABEL,
    PAIR_BY_PAIR,
    class_and_rest,
    each_pair,
    label_by_label,
    label_columns,
    of_one_value,
    says_chances,
)
from skinfluence.design import design_of
from skinfluence.inputs.asked import AskedModel
from skinfluence.inputs.same_fit import check_same_fit
from skinfluence.inputs.wrappers import opened
from skinfluence.losses import OneVsRest, SquaredError
from skinfluence.objective import Labels, Objective, objective_of, refuse_form
from skinfluence.problem import having_chosen


def class_loss(loss, n_classes):
    """The loss of a classifier made of binary ones, and the target of each class.

    Parameters
    ----------
    loss : Loss
        Of one output, with a ``coding``.
    n_classes : int
        With two there is one binary model.

    Returns
    -------
    loss : Loss
    targets : ndarray of shape (n_classes, ...)
    """
    if n_classes == 2:
        return loss, np.array(loss.coding)
    if isinstance(loss, SquaredError):
        # One Gram matrix for all classes instead of one for each.
        return SquaredError(n_classes), 2.0 * np.eye(n_classes) - 1.0
    return OneVsRest(loss, n_classes), np.arange(n_classes)


class BalancedOneVsRest(OneVsRest):
    """One binary loss per class, in each of which both sides weigh half of all.

    With the share ``p_k`` of class k in the weight of all, a row of the class counts ``1 / (2 p_k)`` in
    the problem of class k, which is its weight here, and all other rows ``1 / (2 (1 - p_k))``.

    Parameters
    ----------
    loss : SingleOutputLoss
    class_weight : ndarray of shape (n_classes,)
        Of each class in its own problem.
    """

    def __init__(self, loss, class_weight):
        others = 1.0 / (2.0 - 1.0 / class_weight)
        factors = others / class_weight[:, None]
        np.fill_diagonal(factors, 1.0)
        super().__init__(loss, len(class_weight), factors)
        self.class_weight = class_weight

    def reweighted(self, ratio):
        return BalancedOneVsRest(self.loss, self.class_weight * ratio)


@objective_of.register
def _(model: OneVsRestClassifier, X, y, sample_weight=None):
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    if model.multilabel_:
        y = label_columns(X, y, len(model.estimators_), LABEL_BY_LABEL)
        parts = [
            _binary_problem(one, X, own, sample_weight)
            for one, own in zip(model.estimators_, y.T, strict=True)
        ]
        _check_rows_of_each(model, parts)
        return label_by_label(parts, says_chances(model), X, y, sample_weight, LABEL_BY_LABEL)
    y = column_or_1d(y)
    check_rows(X, y)
    classes = model.classes_
    n_classes = len(classes)
    codes = Labels.by_position(classes).codes(y)
    own = range(n_classes) if n_classes > 2 else (1,)
    parts = [
        _binary_problem(estimator, X, (codes == k).astype(int), sample_weight)
        for k, estimator in zip(own, model.estimators_, strict=True)
    ]
    first = parts[0]
    by_label = [not part.balanced and (part.weights != sample_weight).any() for part in parts]
    if not all(_agree(part, first) for part in parts) or (n_classes > 2 and any(by_label)):
        _check_rows_of_each(model, parts)
        return class_and_rest(model, parts, X, codes, sample_weight)
    balanced = first.balanced
    loss, targets = class_loss(first.loss, n_classes)
    class_weight = np.ones(n_classes)
    if n_classes == 2:
        class_weight = first.labels.class_weight
    elif balanced:
        class_weight = np.array([part.labels.class_weight[1] for part in parts])
        loss, targets = BalancedOneVsRest(first.loss, class_weight), np.arange(n_classes)
    return replace(
        first,
        loss=loss,
        y=targets[codes],
        weights=sample_weight * class_weight[codes],
        theta=np.vstack([part.theta for part in parts]),
        labels=Labels(classes, targets, class_weight, balanced),
    )


@objective_of.register
def _(model: OneVsOneClassifier, X, y, sample_weight=None):
    if model.pairwise_indices_ is not None:
        raise TypeError(
            "The models of a OneVsOneClassifier must be of rows of numbers. Got kernel values. Fit it with "
            "the kernel in its place: SVC(kernel='rbf')."
        )
    sample_weight = check_sample_weight(sample_weight, X.shape[0])
    y = column_or_1d(y)
    check_rows(X, y)
    n_classes = len(model.classes_)
    codes = Labels.by_position(model.classes_).codes(y)
    if any(isinstance(one, Pipeline) for one in model.estimators_):
        return _pairs_of_pipelines(model, X, codes, sample_weight)
    parts = []
    for estimator, a, b in zip(model.estimators_, *np.triu_indices(n_classes, 1), strict=True):
        own = np.flatnonzero((codes == a) | (codes == b))
        target = 1 * (codes[own] == b)
        parts.append(_binary_problem(estimator, X[own], target, sample_weight[own], PAIR_BY_PAIR))
        check_same_fit(estimator, parts[-1])
    return each_pair(model, parts, X, codes, sample_weight)


def _pairs_of_pipelines(model, X, codes, weights):
    """The problem of a fitted OneVsOneClassifier of pipelines."""
    from skinfluence.members.pairs import PairsLoss
    from skinfluence.members.pairs_whole import PairsOfPipelinesProblem

    as_chance, n_classes = says_chances(model), len(model.classes_)
    asked = partial(AskedModel, of="predict_proba" if as_chance else "decision_function")
    parts = []
    for estimator, a, b in zip(model.estimators_, *np.triu_indices(n_classes, 1), strict=True):
        own = np.flatnonzero((codes == a) | (codes == b))
        try:
            parts.append(asked(estimator, X[own], 1 * (codes[own] == b), None, same_fit=True))
        except TypeError as error:
            raise TypeError(f"{error} {PAIR_BY_PAIR}") from error
    problems, _ = of_one_value(model, [one.problem for one in parts], PAIR_BY_PAIR)
    said = [one.concern for one in parts if one.concern is not None]
    return PairsOfPipelinesProblem(
        design=design_of(X),
        y=codes,
        weights=weights,
        loss=PairsLoss(problems, n_classes, as_chance),
        labels=Labels.by_position(model.classes_),
        cuts=None,
        model_name=f"{problems[0].model_name} for each pair of classes",
        models=tuple((model.estimator, asked.keywords["of"], asked) for _ in parts),
        concern=said[0] if said else None,
    )


@refuse_form.register
def _(model: OneVsOneClassifier):
    inside = getattr(model, "estimators_", [model.estimator])[0]
    if isinstance(inside, Pipeline):
        # Its steps are fitted to the rows of each pair, and it is asked whole.
        inside = inside.steps[-1][1]
    layer = opened(inside)
    if layer is not None and layer.transformers:
        raise TypeError(
            "The models of a OneVsOneClassifier must be classifiers, or pipelines that end in one. Got "
            f"{type(inside).__name__}, inside of which are steps. {PAIR_BY_PAIR}"
        )


def _binary_problem(estimator, X, y, sample_weight, instead=CLASS_BY_CLASS):
    chosen = []
    while (layer := opened(estimator)) is not None:
        if layer.transformers:
            raise TypeError(
                "Binary models of several classes must be of the features as they are, or behind the same "
                f"steps. Got {type(estimator).__name__}, inside of which they are others. {instead}"
            )
        chosen.append(layer.chosen)
        estimator = layer.inside
    problem = objective_of(estimator, X, y, sample_weight)
    for words in reversed(chosen):
        problem = having_chosen(problem, words)
    if problem.labels is None:
        raise TypeError(
            "Binary models of several classes are understood where they are classifiers. Got "
            f"{type(estimator).__name__}. {instead}"
        )
    return problem


def _check_rows_of_each(model, parts):
    """Refuse other data than those of the fit; models that are one objective are checked as that."""
    for one, part in zip(model.estimators_, parts, strict=True):
        check_same_fit(one, part)


def _agree(one, other):
    if not all(isinstance(each, Objective) and each.loss.coding for each in (one, other)):
        return False
    same_loss = type(one.loss) is type(other.loss) and vars(one.loss) == vars(other.loss)
    same_design = one.design.intercept == other.design.intercept
    return same_loss and same_design and np.array_equal(one.penalty, other.penalty)
