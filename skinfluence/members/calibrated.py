"""Calibration in folds: models of the other folds, and calibrators of what these say of each."""

from dataclasses import dataclass

import numpy as np

from skinfluence.members.fold_models import Folds
from skinfluence.members.in_folds import InFolds

LOST = (
    "a class has then fewer rows than there are folds, or a fold has none of it with weight, or its model or "
    "calibrators have no fit"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibratedProblem(InFolds):
    """A classifier that is calibrated in folds, and its training data.

    Parameters
    ----------
    design, y, weights, loss, labels, cuts, model_name, concern
        As of :class:`~skinfluence.members.in_folds.InFolds`: the loss is that of the chances, ``y`` are
        positions of the classes.
    estimator : classifier
        What is fitted to the other folds, not fitted.
    own_labels : ndarray of shape (n_classes,)
        What it is fitted to in the place of the classes.
    calibrator : callable
        From scores of rows, codes and weights to their family.
    response : {"decision_function", "predict_proba"}
        What calibrators are fitted to.
    asked : callable
        From a fitted classifier, its rows, labels and weights to what it says without a row.
    ensemble : bool
        Whether each fold's model has its calibrators, whose chances are averaged, or all rows have them in
        common, of a model of all rows.
    """

    estimator: object
    own_labels: np.ndarray
    calibrator: object
    response: str
    asked: object
    ensemble: bool

    without_rows = LOST, "Split such a group, or fit with fewer folds."
    # Weights that the classifier does not take are those of calibrators alone.
    weighs_all = False
    own_rows = "calibration in folds, which are cut anew after each"

    @property
    def given_y(self):
        """What the classifier is fitted to, (n_samples,)."""
        return self.own_labels[self.y]

    def table(self, method):
        """The table cut into folds, and its calibrators."""
        return Folds(self, method)
