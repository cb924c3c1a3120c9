"""Calibrated classifiers, over one that is held and in folds."""

from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.svm import LinearSVC
from sklearn.utils import column_or_1d
from sklearn.utils.validation import has_fit_parameter

from skinfluence._utils.validation import check_rows, check_sample_weight
from skinfluence.adapters.closed_form import made
from skinfluence.design import design_of
from skinfluence.inputs.asked import AskedModel
from skinfluence.inputs.calibrated import GivenScores, Scores, held_classifier, response_of
from skinfluence.inputs.wrappers import opened
from skinfluence.losses.chances import OfChances
from skinfluence.objective import Labels, objective_of, refuse_form, refuse_unknown

# Of what is minimised: scikit-learn's solvers leave less.
LEFT = 1e-6
# Of a chance: above it answers about the optimum are not about the fit.
FAR = 1e-4
SAME_ROWS = (
    "X, y and sample_weight must be those of the fit, the rows in the same order. Got others: {}. Pass what "
    "was given to fit."
)
HOLD_ONE = (
    "Calibrate a classifier that is held, on other rows than those of its fit: "
    "CalibratedClassifierCV(FrozenEstimator(classifier)).fit(X, y); or ask about the classifier alone, on "
    "all rows: Influence(clone(model.calibrated_classifiers_[0].estimator).fit(X, y), X, y)."
)
BEFORE = (
    "Put its steps before the calibration, where all rows fit them, which is another model: "
    f"make_pipeline(StandardScaler(), CalibratedClassifierCV(...)). {HOLD_ONE}"
)
HELD_IN_FOLDS = (
    "A classifier that is held, a FrozenEstimator, is calibrated once, on all rows. Got a "
    "CalibratedClassifierCV that cuts them into folds for it. Leave ensemble at 'auto': "
    "Influence(CalibratedClassifierCV(model.estimator, method=model.method).fit(X, y), X, y)."
)


@refuse_form.register
def _(model: CalibratedClassifierCV):
    if held_classifier(model) is not None:
        return
    if isinstance(model.estimator, FrozenEstimator):
        raise TypeError(HELD_IN_FOLDS)
    fitted = getattr(model, "calibrated_classifiers_", ())
    inside = fitted[0].estimator if fitted else _given(model)
    while (layer := opened(inside)) is not None:
        inside = layer.inside
    try:
        refuse_unknown(inside)
        _cuts(model)
    except TypeError as error:
        raise TypeError(f"{error} {HOLD_ONE}") from error


@objective_of.register
def _(model: CalibratedClassifierCV, X, y, sample_weight=None):
    from skinfluence.closed_form import answers as _answers  # noqa: F401  registers the answers
    from skinfluence.closed_form.problem import ClosedProblem

    refuse_form(model)
    if held_classifier(model) is None:
        return _in_folds(model, X, y, sample_weight)
    layer = opened(model)
    if layer is not None:
        ((_, step),) = layer.transformers
        return objective_of(layer.inside, step.transform(X), y, sample_weight)
    y = column_or_1d(y)
    check_rows(X, y)
    given = held_classifier(model)
    _refuse_labels(model, given)
    labels = Labels.by_position(model.classes_)
    weights = check_sample_weight(sample_weight, X.shape[0])
    family, more = _calibrator(model, given.response)
    family = made(family, X, labels.codes(y), weights, **more)
    curves = model.calibrated_classifiers_[0].calibrators
    family.concern = _checked_fit(curves, model.method, family)
    return ClosedProblem(
        design_of(X, 0.0),
        family.codes,
        weights,
        family,
        _loss(model),
        labels,
        f"{model.method} calibration",
        needs_all_classes=True,
    )


def _loss(model):
    """The log loss of its chances; of steps, where many are zero, one minus the chance of the label."""
    from skinfluence.closed_form.problem import Votes

    return (Votes if model.method == "isotonic" else OfChances)(len(model.classes_))


def _calibrator(model, response):
    """The family of the calibrators, and what it is given besides scores, codes and weights."""
    from skinfluence.closed_form import calibration, temperature

    more = {"n_classes": len(model.classes_)}
    if model.method == "temperature":
        more["are_chances"] = response == "predict_proba"
    family = {
        "sigmoid": calibration.SigmoidFamily,
        "isotonic": calibration.IsotonicFamily,
        "temperature": temperature.TemperatureFamily,
    }[model.method]
    return family, more


def _given(model):
    """The classifier that is fitted to folds, not fitted."""
    return LinearSVC(random_state=0) if model.estimator is None else model.estimator


def _cuts(model):
    from skinfluence.members.folds import Cuts

    return Cuts(model.cv, classifies=True)


def _in_folds(model, X, y, sample_weight):
    """The problem of a classifier that is calibrated in folds."""
    from skinfluence.members.calibrated import CalibratedProblem

    y = column_or_1d(y)
    check_rows(X, y)
    fitted = [one.estimator for one in model.calibrated_classifiers_]
    _refuse_positions(model)
    labels = Labels.by_position(model.classes_)
    weights = check_sample_weight(sample_weight, X.shape[0])
    response = response_of(fitted[0])
    family, more = _calibrator(model, response)
    problem = CalibratedProblem(
        design=design_of(X),
        y=labels.codes(y),
        weights=weights,
        loss=_loss(model),
        labels=labels,
        cuts=_cuts(model),
        model_name=f"{model.method} calibration in folds",
        estimator=_given(model),
        # Of a temperature scikit-learn makes numbers of words first.
        own_labels=np.asarray(fitted[0].classes_),
        calibrator=partial(family, **more),
        response=response,
        asked=partial(AskedModel, of=response),
        ensemble=model.ensemble is not False,
    )
    concern = _checked_models(problem, fitted)
    found = _checked_calibrators(problem, model)
    return replace(problem, concern=found if concern is None else concern)


def _checked_models(problem, fitted):
    """Refuse models that are not those of the folds of these rows, and such as chose something on them.

    Returns what about them makes answers misleading, of the first of which there is something to say.
    """
    fold = problem.cuts.of(problem.y)
    places = [fold != k for k in range(problem.cuts.n_folds)] if problem.ensemble else [fold >= 0]
    if len(fitted) != len(places):
        raise ValueError(SAME_ROWS.format(f"{len(fitted)} models, of {len(places)} folds"))
    for k in range(problem.cuts.n_folds):
        own = np.bincount(problem.y, problem.weights * (fold == k), len(problem.labels.classes))
        if not (own > 0).all():
            # Folds are cut by how many rows a class has, of weight 0 or not.
            few = "" if problem.weights.all() else "Leave rows of weight 0 out. "
            raise ValueError(
                "Every fold must have rows of every class, with weight. Got one without class "
                f"{problem.labels.classes[np.argmin(own)]}. {few}Fit with "
                f"cv=StratifiedKFold({problem.cuts.n_folds})."
            )
    y, concern = problem.own_labels[problem.y], None
    for one, rows in zip(fitted, places, strict=True):
        weighed = has_fit_parameter(one, "sample_weight")
        own = problem.weights[rows] if weighed else None
        try:
            asked = problem.asked(one, problem.design.X[rows], y[rows], own, same_fit=True)
        except TypeError as error:
            raise TypeError(f"{error} {BEFORE}") from error
        if asked.problem.chosen is not None:
            raise TypeError(
                "The classifier of calibration in folds must have chosen nothing on the rows. Got "
                f"{asked.problem.model_name}, which chose {asked.problem.chosen}; each fold would choose "
                "anew. Fit it with that given."
            )
        concern = asked.concern if concern is None else concern
    return concern


def _checked_calibrators(problem, model):
    """Refuse calibrators that are not those of the folds of these rows; say where they are at no optimum."""
    fold = problem.cuts.of(problem.y)
    found = []
    for k, one in enumerate(model.calibrated_classifiers_):
        held = fold == k if problem.ensemble else fold >= 0
        again = partial(_out_of_fold, problem, fold)
        scores = (
            Scores(one.estimator).transform(problem.design.X[held]) if problem.ensemble else again()
        )
        family = problem.calibrator(scores, problem.y[held], problem.weights[held])
        found.append(
            _checked_fit(one.calibrators, model.method, family, None if problem.ensemble else again)
        )
    return next((one for one in found if one is not None), None)


def _out_of_fold(problem, fold):
    """Scores of all rows, each by the classifier fitted again to the other folds, (n_samples, n_scores)."""
    from skinfluence.members.fold_models import fitted_to

    found = []
    for k in range(problem.cuts.n_folds):
        inside, *_ = fitted_to(problem, np.flatnonzero(fold != k))
        found.append(Scores(inside).transform(problem.design.X[fold == k]))
    return np.concatenate(found)[np.argsort(np.argsort(fold, kind="stable"))]


def _refuse_labels(model, given: GivenScores):
    classes = np.asarray(model.classes_)
    if not np.array_equal(classes, given.classes):
        raise ValueError(
            "A calibrated classifier must have been given rows of all classes that its classifier knows, "
            f"and of no other. Got {list(classes)}, and {list(given.classes)} of the classifier. Calibrate "
            "on rows of all of them."
        )
    _refuse_positions(model)


def _refuse_positions(model):
    """Refuse labels of a temperature that are numbers, and not positions."""
    classes = np.asarray(model.classes_)
    words = all(isinstance(one, str) for one in classes)
    positions = not words and not np.array_equal(classes, np.arange(len(classes)))
    if model.method == "temperature" and positions:
        raise ValueError(
            "Labels that a temperature is fitted to must be strings, or 0, 1, ... Got "
            f"{list(classes)}, which scikit-learn takes for positions. Fit the classifier, and its "
            "calibration, on y.astype(str)."
        )


def _checked_fit(curves, method, family, again=None):
    """Refuse data that do not end at these calibrators; say where these are at no optimum, else None.

    Where the scores of the fit are not kept, ``again`` finds them a second time: from a classifier that
    ends elsewhere then, nothing is known of the data.
    """
    if method == "temperature":
        fitted = family.chances(float(curves[0].beta_), family.X)
    else:
        columns = [one.predict(s) for one, s in zip(curves, family.X.T, strict=True)]
        fitted = np.column_stack(columns)
    best = family.chances(family.curves, family.X)
    least, away = family.left(best), np.abs(fitted - best).max()
    near = family.left(fitted) - least <= LEFT * (least + 1e-3 * family.weights.sum())
    if not (near or family.may_stop_at(fitted)):
        if again is not None and not np.array_equal(again(), family.X):
            return (
                f"Fitted again, the classifier says something else of rows: chances are off by {away:.1e}. "
                "Answers are about its optimum. Let it come there, by a smaller tol and a larger max_iter."
            )
        raise ValueError(
            SAME_ROWS.format("the calibrators of the fitted model are not those of these rows")
        )
    if away <= FAR:
        return None
    return (
        f"The calibrators are not at the optimum of what they minimise: chances are off by {away:.1e}. "
        "Answers are about the optimum. Scores of a smaller size, or of a larger one, end nearer."
    )
