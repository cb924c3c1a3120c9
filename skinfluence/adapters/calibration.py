"""Calibrated classifiers over one that is held."""

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.utils import column_or_1d

from skinfluence._utils.validation import check_rows, check_sample_weight
from skinfluence.design import design_of
from skinfluence.inputs.calibrated import GivenScores, held_classifier
from skinfluence.inputs.wrappers import opened
from skinfluence.losses.chances import OfChances
from skinfluence.objective import Labels, objective_of, refuse_form

# Of what is minimised: scikit-learn's solvers leave less.
LEFT = 1e-6
# Of a chance: above it answers about the optimum are not about the fit.
FAR = 1e-4
IN_FOLDS = (
    "Calibrators of several folds are of models of parts of the rows, which all move when a row leaves. Got "
    "a CalibratedClassifierCV that cuts its rows into folds. "
)
HOLD_ONE = (
    "Calibrate a classifier that is held, on other rows than those of its fit: "
    "CalibratedClassifierCV(FrozenEstimator(classifier)).fit(X, y); or ask about the classifier alone, on "
    "all rows: Influence(clone(model.calibrated_classifiers_[0].estimator).fit(X, y), X, y)."
)
HELD_IN_FOLDS = (
    "Leave ensemble at 'auto', so that the classifier, which is held (FrozenEstimator), is calibrated once: "
    "Influence(CalibratedClassifierCV(model.estimator, method=model.method).fit(X, y), X, y)."
)


@refuse_form.register
def _(model: CalibratedClassifierCV):
    if held_classifier(model) is None:
        held = isinstance(model.estimator, FrozenEstimator)
        raise TypeError(IN_FOLDS + (HELD_IN_FOLDS if held else HOLD_ONE))


@objective_of.register
def _(model: CalibratedClassifierCV, X, y, sample_weight=None):
    from skinfluence.closed_form import answers as _answers  # noqa: F401  registers the answers
    from skinfluence.closed_form.problem import ClosedProblem

    refuse_form(model)
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
    family = _family(model, given, X, labels.codes(y), weights)
    _check_fit(model, family)
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


def _family(model, given, X, codes, weights):
    from skinfluence.adapters.closed_form import made
    from skinfluence.closed_form import calibration

    more = {}
    if model.method == "temperature":
        more["are_chances"] = given.response == "predict_proba"
    family = {
        "sigmoid": calibration.SigmoidFamily,
        "isotonic": calibration.IsotonicFamily,
        "temperature": calibration.TemperatureFamily,
    }[model.method]
    return made(family, X, codes, weights, len(model.classes_), **more)


def _refuse_labels(model, given: GivenScores):
    classes = np.asarray(model.classes_)
    if not np.array_equal(classes, given.classes):
        raise ValueError(
            "A calibrated classifier must have been given rows of all classes that its classifier knows, "
            f"and of no other. Got {list(classes)}, and {list(given.classes)} of the classifier. Calibrate "
            "on rows of all of them."
        )
    positions = classes.dtype.kind not in "US" and not np.array_equal(
        classes, np.arange(len(classes))
    )
    if model.method == "temperature" and positions:
        raise ValueError(
            "Labels that a temperature is fitted to must be strings, or 0, 1, ... Got "
            f"{list(classes)}, which scikit-learn takes for positions. Fit the classifier, and its "
            "calibration, on y.astype(str)."
        )


def _check_fit(model, family):
    """Refuse data that do not end at these calibrators; say where the fit is not the optimum."""
    curves = model.calibrated_classifiers_[0].calibrators
    if model.method == "temperature":
        fitted = family.chances(float(curves[0].beta_), family.X)
    else:
        columns = [one.predict(s) for one, s in zip(curves, family.X.T, strict=True)]
        fitted = np.column_stack(columns)
    best = family.chances(family.curves, family.X)
    least = family.left(best)
    if not family.left(fitted) - least <= LEFT * (least + 1e-3 * family.weights.sum()):
        raise ValueError(
            "X, y and sample_weight must be those of the fit, the rows in the same order. Got others: the "
            "calibrators of the fitted model are not those of these rows. Pass what was given to fit, and "
            "the classifier as it was."
        )
    away = np.abs(fitted - best).max()
    if away > FAR:
        family.concern = (
            f"The calibrators are not at the optimum of what they minimise: chances are off by {away:.1e}. "
            "Answers are about the optimum. Scores of a smaller size, or of a larger one, end nearer."
        )
