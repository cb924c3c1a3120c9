"""Calibration of a classifier that is held: its outputs are a step, and the calibrators a model of these."""

import copy

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if

from skinfluence.inputs.held import Held


class Scores(Held):
    """What a fitted classifier says of rows, as features; it learns nothing.

    Parameters
    ----------
    estimator : classifier
        Fitted.
    """

    def transform(self, X):
        """Decision values, else probabilities, (n_rows, n_classes); of two classes those of the second."""
        found = np.asarray(getattr(self.estimator, response_of(self.estimator))(X), dtype=float)
        if found.ndim == 1:
            return found[:, None]
        n_classes = len(self.estimator.classes_)
        if found.shape[1] != n_classes:
            raise ValueError(
                f"A calibrated classifier must have one score for each of its {n_classes} classes. Got "
                f"{found.shape[1]} for a row. Fit it with decision_function_shape='ovr'."
            )
        return found[:, 1:] if n_classes == 2 else found

    def get_feature_names_out(self, input_features=None):
        """A name for each output."""
        return np.array(
            [f"score{k}" for k in range(n_scores(self.estimator.classes_))], dtype=object
        )


class GivenScores(ClassifierMixin, BaseEstimator):
    """A classifier whose rows are what it says of them: what calibrators of scores are calibrators of.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    response : {"decision_function", "predict_proba"}
        What the scores are.
    """

    def __init__(self, classes, response):
        self.classes = classes
        self.response = response

    @property
    def classes_(self):
        return self.classes

    @property
    def n_features_in_(self):
        return n_scores(self.classes)

    def __sklearn_is_fitted__(self):
        return True

    def __repr__(self, N_CHAR_MAX=700):
        return "GivenScores()"

    def fit(self, X, y):
        """Nothing to fit."""
        return self

    def predict(self, X):
        """The class of the largest score, (n_rows,)."""
        X = np.asarray(X)
        edge = 0.5 if self.response == "predict_proba" else 0.0
        return self.classes[X.argmax(axis=1) if X.shape[1] > 1 else 1 * (X[:, 0] > edge)]

    @available_if(lambda self: self.response == "decision_function")
    def decision_function(self, X):
        X = np.asarray(X)
        return X[:, 0] if X.shape[1] == 1 else X

    @available_if(lambda self: self.response == "predict_proba")
    def predict_proba(self, X):
        X = np.asarray(X)
        return np.column_stack([1.0 - X[:, 0], X[:, 0]]) if X.shape[1] == 1 else X


def response_of(classifier):
    """What calibrators ask a classifier for."""
    has = hasattr(classifier, "decision_function")
    return "decision_function" if has else "predict_proba"


def n_scores(classes):
    """One for two classes, else one for each."""
    return 1 if len(classes) == 2 else len(classes)


def held_classifier(model):
    """The fitted classifier that a calibrated one holds; None where rows are cut into folds for it.

    Parameters
    ----------
    model : CalibratedClassifierCV
        Fitted or not.
    """
    held = model.estimator
    if isinstance(held, FrozenEstimator):
        # In folds each would have a calibrator of its own.
        held = None if model.ensemble is True else held.estimator
    elif model.cv != "prefit":
        held = None
    return held if hasattr(held, "classes_") else None


def numbers_for(model):
    """What rows must be of which several models each have their part or steps, behind an error about them.

    Nothing of others.
    """
    several = isinstance(model, StackingClassifier | StackingRegressor)
    if isinstance(model, VotingClassifier | VotingRegressor):
        several = any(isinstance(one, Pipeline) for one in getattr(model, "estimators_", ()))
    if several or (isinstance(model, CalibratedClassifierCV) and held_classifier(model) is None):
        return (
            " Rows that models inside another are asked about must be finite numbers here, whatever the "
            "steps inside take. Put what reads them before it: "
            f"make_pipeline(reader, {type(model).__name__}(...))."
        )
    return ""


def calibrated_layer(model):
    """A calibrated classifier as the outputs of what it holds and a calibrated one of those.

    Parameters
    ----------
    model : CalibratedClassifierCV
        Fitted or not.

    Returns
    -------
    step : Scores
    inside : CalibratedClassifierCV
        Or None where nothing is held, or scores are given already.
    """
    held = held_classifier(model)
    if held is None or isinstance(held, GivenScores):
        return None
    given = FrozenEstimator(GivenScores(np.asarray(held.classes_), response_of(held)))
    inside = copy.copy(model)
    inside.estimator = given
    inside.cv = None if isinstance(model.cv, str) else model.cv
    vars(inside).pop("feature_names_in_", None)
    if hasattr(model, "calibrated_classifiers_"):
        inside.n_features_in_ = given.n_features_in_
        inside.calibrated_classifiers_ = _of_estimator(model, given)
    return Scores(held), inside


def with_calibrators(model, inside):
    """A calibrated classifier, copied for this, with the calibrators of one of its scores."""
    held = model.calibrated_classifiers_[0].estimator
    model.calibrated_classifiers_ = _of_estimator(inside, held)
    return model


def _of_estimator(model, estimator):
    made = [copy.copy(one) for one in model.calibrated_classifiers_]
    for one in made:
        one.estimator = estimator
    return made
