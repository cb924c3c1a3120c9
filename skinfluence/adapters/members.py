"""Models made of several fitted on the same rows: voting, and a model for each target."""

from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d

from skinfluence._utils._compat import vote_weights
from skinfluence._utils.validation import check_rows, check_sample_weight, check_targets
from skinfluence._utils.weights import unless_ones
from skinfluence.design import design_of
from skinfluence.inputs.asked import AskedModel
from skinfluence.inputs.same_fit import check_same_fit
from skinfluence.inputs.wrappers import opened
from skinfluence.losses import Loss
from skinfluence.members.joining import Average, ClassAndRest, LabelByLabel, SideBySide
from skinfluence.members.problem import MembersProblem
from skinfluence.objective import Labels, objective_of, refuse_form, refuse_unknown

# What to do where several models are refused.
TARGET_BY_TARGET = "Ask about one target at a time: Influence(model.estimators_[k], X, y[:, k])."
LABEL_BY_LABEL = "Ask about one label at a time: Influence(model.estimators_[k], X, y[:, k])."
CLASS_BY_CLASS = (
    "Ask about one class at a time: Influence(model.estimators_[k], X, y == model.classes_[k])."
)

PAIR_BY_PAIR = (
    "Ask about one pair of classes at a time: a, b = np.array([(a, b) for i, a in enumerate(model.classes_) "
    "for b in model.classes_[i + 1 :]])[k]; pair = (y == a) | (y == b); "
    "Influence(model.estimators_[k], X[pair], 1 * (y[pair] == b))."
)


def side_by_side(problems, X, y, weights, name):
    """One problem of a model for each target.

    Parameters
    ----------
    problems : list of Problem
        Of one target each, on the same rows.
    X : ndarray or CSR array of shape (n_samples, n_features)
    y : ndarray of shape (n_samples, n_targets)
    weights : ndarray of shape (n_samples,)
    name : str
        What users call it, for messages.

    Returns
    -------
    problem : MembersProblem

    Raises
    ------
    TypeError
        For models that chose something on the rows, and for losses that are not of decision values.
    """
    problems = tuple(problems)
    _refuse_chosen(problems)
    losses = [one.loss for one in problems]
    if not all(isinstance(one, Loss) and one.n_outputs == 1 for one in losses):
        raise TypeError(
            "Models of several targets must have a loss of one decision value each. Got "
            f"{problems[0].model_name}. {TARGET_BY_TARGET}"
        )
    return _made_of(problems, SideBySide(losses), X, y, weights, None, name)


def class_and_rest(model, problems, X, codes, weights):
    """One problem of a binary model for each class, of a fitted OneVsRestClassifier.

    Parameters
    ----------
    model : OneVsRestClassifier
    problems : list of Problem
        Of the labels 0 and 1, on the same rows.
    X : ndarray or CSR array of shape (n_samples, n_features)
    codes : ndarray of int, shape (n_samples,)
        Positions of the classes.
    weights : ndarray of shape (n_samples,)

    Returns
    -------
    problem : MembersProblem

    Raises
    ------
    TypeError
        For models that chose something on the rows, and for parameters that have no decision values.
    """
    problems, as_chance = of_one_value(model, problems, CLASS_BY_CLASS)
    labels = Labels.by_position(model.classes_)
    name = f"{problems[0].model_name} for each class"
    return _made_of(problems, ClassAndRest(problems, as_chance), X, codes, weights, labels, name)


def each_pair(model, problems, X, codes, weights):
    """One problem of a binary model for each pair of classes, of a fitted OneVsOneClassifier.

    Parameters
    ----------
    model : OneVsOneClassifier
    problems : list of Problem
        Of the labels 0 and 1, on the rows of their two classes.
    X : ndarray or CSR array of shape (n_samples, n_features)
    codes : ndarray of int, shape (n_samples,)
        Positions of the classes.
    weights : ndarray of shape (n_samples,)

    Returns
    -------
    problem : PairsProblem

    Raises
    ------
    TypeError
        For models that chose something on the rows, and for parameters that have no decision values.
    """
    from skinfluence.members.pairs import PairsLoss, PairsProblem

    problems, as_chance = of_one_value(model, problems, PAIR_BY_PAIR)
    labels = Labels.by_position(model.classes_)
    loss = PairsLoss(problems, len(model.classes_), as_chance)
    name = f"{problems[0].model_name} for each pair of classes"
    return PairsProblem(problems, design_of(X), codes, weights, loss, labels, name)


def of_one_value(model, problems, instead):
    """The problems of binary models, and whether these are asked for probabilities."""
    problems = tuple(problems)
    _refuse_chosen(problems)
    as_chance = says_chances(model)
    several = not as_chance and any(one.loss.n_outputs != 1 for one in problems)
    if several or not all(isinstance(one.loss, Loss) for one in problems):
        raise TypeError(
            f"The binary models of a {type(model).__name__} must have a loss of one decision value. Got "
            f"{problems[0].model_name}. {instead}"
        )
    return problems, as_chance


def says_chances(model):
    """Whether the models of several are asked for probabilities, as they have no decision function."""
    return not hasattr(model.estimators_[0], "decision_function")


def label_by_label(problems, as_chance, X, y, weights, instead):
    """One problem of a binary model for each of several labels, of which a row may have any.

    Parameters
    ----------
    problems : list of Problem
        Of the labels 0 and 1, on the same rows.
    as_chance : bool
        Whether models without a decision function are asked for probabilities.
    X : ndarray or CSR array of shape (n_samples, n_features)
    y : array-like of shape (n_samples, n_labels)
        Zeros and ones.
    weights : ndarray of shape (n_samples,)
    instead : str
        What to do where it is refused.

    Returns
    -------
    problem : MembersProblem

    Raises
    ------
    TypeError
        For models of other labels, that chose something on the rows, or without one decision value.
    """
    problems = tuple(problems)
    _refuse_chosen(problems)
    known = all(
        one.labels is not None
        and list(one.labels.classes) == [0, 1]
        and isinstance(one.loss, Loss)
        and (as_chance or one.loss.n_outputs == 1)
        for one in problems
    )
    if not known:
        raise TypeError(
            "Models of several labels must tell 1 from 0, by a decision value or a probability each. Got "
            f"{problems[0].model_name} of other labels, or of another kind. {instead}"
        )
    how = LabelByLabel(problems, as_chance)
    name = f"{problems[0].model_name} for each label"
    return _made_of(problems, how, X, how.loss.check_y(np.asarray(y)), weights, None, name)


def label_columns(X, y, n_labels, instead):
    """Several labels of rows as they were given to fit, (n_samples, n_labels).

    Raises
    ------
    ValueError
    """
    y = np.asarray(y.toarray() if sp.issparse(y) else y)
    check_rows(X, y)
    if y.ndim != 2 or y.shape[1] != n_labels:
        raise ValueError(
            f"y must have the {n_labels} labels of the fit, one a column. Got an array of shape {y.shape}. "
            f"{instead}"
        )
    return y


@objective_of.register
def _(model: VotingRegressor, X, y, sample_weight=None):
    y = check_targets(X, y)
    return _voting(model, X, y, y, None, sample_weight)


@objective_of.register
def _(model: VotingClassifier, X, y, sample_weight=None):
    if model.voting != "soft":
        raise TypeError(
            "Votes that are counted do not move until one of them turns. Got a VotingClassifier with "
            f"voting={model.voting!r}. Fit with "
            "voting='soft', or ask about one model: Influence(model.estimators_[k], X, "
            "model.le_.transform(y))."
        )
    y = column_or_1d(y)
    check_rows(X, y)
    labels = Labels.by_position(model.classes_)
    codes = labels.codes(y)
    return _voting(model, X, codes, model.le_.transform(y), labels, sample_weight)


@refuse_form.register(VotingClassifier)
@refuse_form.register(VotingRegressor)
def _(model):
    refuse_opened(model, _one_by_one(model), own_steps=True)


def _one_by_one(model):
    """What to do about a vote that is refused."""
    name = type(model).__name__
    own_y = "y" if isinstance(model, VotingRegressor) else "model.le_.transform(y)"
    return (
        f"Put what they share before it: make_pipeline(StandardScaler(), {name}(...)), give "
        "best_estimator_ in the place of a search, or ask about one model: "
        f"Influence(model.estimators_[k], X, {own_y})."
    )


def refuse_opened(model, instead, own_steps=False):
    """Refuse several models of which some stand behind steps or targets of their own, or chose.

    Parameters
    ----------
    model : estimator
        With ``estimators_``, where it is fitted.
    instead : str
        What to do, the end of the message.
    own_steps : bool, default=False
        Whether steps of their own are fine.

    Raises
    ------
    TypeError
    """
    models = getattr(model, "estimators_", ())
    if own_steps:
        models = [one.steps[-1][1] if isinstance(one, Pipeline) else one for one in models]
        for one in models:
            if opened(one) is None:
                refuse_unknown(one)
    inside = sorted({type(one).__name__ for one in models if opened(one) is not None})
    if inside:
        raise TypeError(
            f"The models of a {type(model).__name__} must be fitted on its features and its targets as they "
            f"are, with nothing chosen. Got {', '.join(inside)} inside it. {instead}"
        )


def _voting(model, X, y, given, labels, sample_weight):
    """The problem of a fitted vote, from the targets that its members were given."""
    weights = check_sample_weight(sample_weight, X.shape[0])
    shares = vote_weights(model)
    shares = np.ones(len(model.estimators_)) if shares is None else np.asarray(shares, dtype=float)
    how = Average(shares / shares.sum(), None if labels is None else len(labels.classes))
    if any(isinstance(one, Pipeline) for one in model.estimators_):
        return _of_pipelines(model, X, y, weights, labels, how)
    problems = tuple(objective_of(one, X, given, sample_weight) for one in model.estimators_)
    for one, problem in zip(model.estimators_, problems, strict=True):
        check_same_fit(one, problem)
    _refuse_chosen(problems)
    if labels is not None:
        for one in problems:
            _check_probabilities(one)
    return _made_of(problems, how, X, y, weights, labels, "a vote of several models")


def _of_pipelines(model, X, y, weights, labels, how):
    """The problem of a fitted vote of which some models have steps of their own."""
    from skinfluence.members.votes import VoteProblem

    concern, models = None, []
    given = [one for _, one in model.estimators if not isinstance(one, str)]
    for one, fitted in zip(given, model.estimators_, strict=True):
        asked = partial(AskedModel, of=how.of)
        try:
            found = asked(fitted, X, y, unless_ones(weights), same_fit=True)
        except TypeError as error:
            raise TypeError(f"{error} {_one_by_one(model)}") from error
        _refuse_chosen([found.problem])
        if labels is not None:
            _check_probabilities(found.problem)
        concern = found.concern if concern is None else concern
        models.append((one, how.of, asked))
    return VoteProblem(
        design=design_of(X),
        y=y,
        weights=weights,
        loss=how.loss,
        labels=labels,
        cuts=None,
        model_name="a vote of several models",
        models=tuple(models),
        shares=how.shares,
        concern=concern,
    )


def _made_of(problems, how, X, y, weights, labels, name):
    from skinfluence.members import answers as _answers  # noqa: F401  registers the answers

    return MembersProblem(problems, how, design_of(X), y, weights, labels, name)


def _check_probabilities(problem):
    try:
        problem.loss.predict_proba(np.full((1, problem.loss.n_outputs), 0.5))
    except AttributeError as error:
        raise TypeError(
            "The models of a soft vote must have probabilities that are a function of their decision values. "
            f"Got {problem.model_name}, which has none. Fit the vote "
            "without it (set_params(name='drop')), or with LogisticRegression in its place."
        ) from error


def _refuse_chosen(problems):
    for one in problems:
        if one.chosen is not None:
            raise TypeError(
                "The models of several that make one prediction must have chosen nothing on the rows. Got "
                f"{one.model_name}, which chose {one.chosen}; a refit would choose anew. Fit it with that "
                "given."
            )
