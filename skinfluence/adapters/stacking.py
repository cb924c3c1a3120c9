"""Stacks whose models are fitted to the rows, in folds."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.base import is_classifier
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils import column_or_1d

from skinfluence._utils.validation import check_rows, check_sample_weight, check_targets
from skinfluence._utils.weights import unless_ones
from skinfluence.design import design_of
from skinfluence.inputs.asked import AskedModel
from skinfluence.inputs.inputs import Inputs
from skinfluence.inputs.wrappers import opened
from skinfluence.objective import Labels, objective_of, refuse_form, refuse_unknown

ASK_THE_LAST = (
    "Ask about it with the models below held, fitted on what they predict: Z = model.transform(X); "
    "Influence(clone(model.final_estimator_).fit(Z, y), Z, y)."
)
CURVED = (
    "The models of a stack must be of the targets themselves, not of a transformer of them. Got {}. "
    "Put it around the stack: TransformedTargetRegressor(StackingRegressor(...))."
)


@refuse_form.register(StackingClassifier)
@refuse_form.register(StackingRegressor)
def _(model):
    try:
        given = _given(model)
        held = [isinstance(one, FrozenEstimator) for _, one in given]
        if all(held) and isinstance(model, StackingClassifier):
            raise TypeError(
                "A stack of FrozenEstimators is its last model, whose labels must be 0, 1, ... Got other "
                "labels. Fit it on their positions: np.searchsorted(model.classes_, y)."
            )
        if any(held) or model.cv == "prefit":
            raise TypeError(
                "The models of a stack must all be fitted to its rows, or all be FrozenEstimators, which "
                "stay as they are. Got some that are held beside others, or cv='prefit'."
            )
        for _, one in given:
            refuse_unknown(_inside(one))
        refuse_unknown(_inside(_last(model)))
        if "predict" in getattr(model, "stack_method_", ()) and is_classifier(model):
            raise TypeError(
                "Models of a stack of classifiers must say more than a label, which does not move until it "
                "turns. Got stack_method='predict'. Fit with stack_method='auto'."
            )
        _cuts(model)
    except TypeError as error:
        raise TypeError(f"{error} Of a {type(model).__name__}: {ASK_THE_LAST}") from error


def _given(model):
    """The name and the model of each that was fitted, not fitted."""
    return [(name, one) for name, one in model.estimators if not isinstance(one, str)]


def _last(model):
    if model.final_estimator is not None:
        return model.final_estimator
    return LogisticRegression() if isinstance(model, StackingClassifier) else RidgeCV()


def _inside(model):
    while (layer := opened(model)) is not None:
        model = layer.inside
    return model


def _cuts(model):
    from skinfluence.members.folds import Cuts

    return Cuts(model.cv, classifies=isinstance(model, StackingClassifier))


@objective_of.register
def _(model: StackingClassifier, X, y, sample_weight=None):
    y = column_or_1d(y)
    if not hasattr(model, "classes_") or isinstance(model.classes_, list):
        raise TypeError(
            "The labels of a stack must be one column. Got several. Fit one stack for each of them: "
            "Influence(clone(model).fit(X, y[:, k]), X, y[:, k])."
        )
    check_rows(X, y)
    labels = Labels.by_position(model.classes_)
    return _stack(model, X, labels.codes(y), labels, sample_weight)


@objective_of.register
def _(model: StackingRegressor, X, y, sample_weight=None):
    return _stack(model, X, check_targets(X, y), None, sample_weight)


def _stack(model, X, y, labels, sample_weight):
    """The problem of a fitted stack, from positions of classes or targets."""
    from skinfluence.members.stacks import StackProblem

    refuse_form(model)
    weights = check_sample_weight(sample_weight, X.shape[0])
    given = zip(_given(model), model.stack_method_, strict=True)
    problem = StackProblem(
        design=design_of(X),
        y=y,
        weights=weights,
        loss=None,
        labels=labels,
        cuts=_cuts(model),
        model_name="a stack",
        models=tuple((one, of, partial(AskedModel, of=of)) for (_, one), of in given),
        last=_last(model),
        read=Inputs,
        passthrough=model.passthrough,
    )
    concern = _checked_members(problem, model)
    last, found = _checked_last(problem, model)
    codes, classes = y, None
    if labels is not None:
        classes = Labels(labels.classes, last.labels.targets, np.ones(len(labels.classes)))
        codes = classes.targets[y]
    concern = found if concern is None else concern
    return replace(problem, y=codes, labels=classes, loss=last.loss, concern=concern)


def _checked_members(problem, model):
    """Refuse models of other rows, and such as chose something on them; what about them misleads."""
    concern = None
    X, y, weights = problem.design.X, problem.given_y, unless_ones(problem.weights)
    for (name, _), one, (_, _, asked) in zip(
        _given(model), model.estimators_, problem.models, strict=True
    ):
        try:
            found = asked(one, X, y, weights, same_fit=True)
        except TypeError as error:
            raise TypeError(f"{error} {ASK_THE_LAST}") from error
        if found.problem.chosen is not None:
            raise TypeError(
                "The models of a stack must have chosen nothing on the rows. Got "
                f"{name}, {found.problem.model_name}, which chose {found.problem.chosen}; each fold would "
                f"choose anew. Fit it with that given. {ASK_THE_LAST}"
            )
        if found.problem.curve is not None:
            raise TypeError(f"{CURVED.format(f'{name}, with one')} {ASK_THE_LAST}")
        concern = found.concern if concern is None else concern
    return concern


def _checked_last(problem, model):
    """The problem of the last model as fitted; refuse other rows, and say what about it misleads."""
    said = _said(problem)
    try:
        inputs = Inputs(model.final_estimator_, said)
        if inputs.moves_targets:
            raise TypeError(f"{CURVED.format('the last, with one')} {ASK_THE_LAST}")
        return inputs.problem(problem.given_y, problem.weights), None
    except ValueError:
        if np.array_equal(said, _said(problem)):
            raise
    # Fitted again its models end elsewhere: nothing is known of the rows.
    inputs = Inputs(model.final_estimator_, said)
    return inputs.problem(problem.given_y, problem.weights, same_fit=False), (
        "Fitted again, the models of the stack say something else of rows. Answers are about their optima. "
        "Let them come there, by a smaller tol and a larger max_iter."
    )


def _said(problem):
    """What the last model was fitted to: what models fitted to the other folds say of each row."""
    from skinfluence.members.fold_models import fitted_to
    from skinfluence.members.stacks import beside

    fold, X = problem.cuts.of(problem.codes), problem.design.X
    columns = []
    for k in range(len(problem.models)):
        member, found = problem.member(k), []
        for j in range(problem.cuts.n_folds):
            one, *_ = fitted_to(member, np.flatnonzero(fold != j))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = getattr(one, member.response)(X[fold == j])
            values = values[:, None] if values.ndim == 1 else values
            two = member.response == "predict_proba" and values.shape[1] == 2
            found.append(values[:, 1:] if two else values)
        columns.append(np.concatenate(found)[np.argsort(np.argsort(fold, kind="stable"))])
    return beside(X, columns, problem.passthrough)
